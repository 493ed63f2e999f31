// What system calls say when they fail.
import { expect, test } from "bun:test";
import { libc, must, SystemError } from "../../src/linux/libc.ts";

test("a failure names the call and the error", () => {
  expect(() => must(libc.close(-1), "close")).toThrow("close: EBADF");
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
