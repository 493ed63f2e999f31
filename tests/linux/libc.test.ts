// What system calls say when they fail.
import { expect, test } from "bun:test";
import { constants } from "node:os";
import { errno, libc, must, SystemError } from "../../src/linux/libc.ts";

test("a failure names the call and the error", () => {
  expect(() => must(libc.close(-1), "close")).toThrow("close: EBADF");
});

test("the reason stays what it was while the engine compiles and collects", () => {
  const { EBADF } = constants.errno;
  const reasons = new Set<number>();
  for (let round = 0; round < 20; round++) {
    libc.close(-1);
    const garbage = Array.from({ length: 20_000 }, (_, i) => ({ i, bytes: new Uint8Array(64) }));
    const compiled = new Function("list", `return list.length + ${round}`) as (list: readonly unknown[]) => number;
    expect(compiled(garbage)).toBe(20_000 + round);
    Bun.gc(true);
    reasons.add(errno());
  }
  expect([...reasons]).toEqual([EBADF]);
});

test("its code is the error's name", () => {
  expect(new SystemError("ioctl eth0", 19)).toMatchObject({ code: "ENODEV", message: "ioctl eth0: ENODEV" });
});

test("an error without a name keeps its number", () => {
  expect(new SystemError("ioctl eth0", 4095).message).toBe("ioctl eth0: error 4095");
});

test("success returns the call's result", () => {
  expect(must(7, "read")).toBe(7);
});
