// What a program uses, read from /proc: texts as the kernel writes them, and this very program.
import { expect, test } from "bun:test";
import { memoryUse, processorTime } from "../../src/linux/usage.ts";

test("memory is in bytes, all of it and what is no file's", () => {
  const text =
    "Name:\tVmRSS:  1 kB\nVmPeak:\t   99 kB\nVmRSS:\t   72340 kB\nRssAnon:\t   30000 kB\nRssFile:\t   42340 kB\n";
  expect(memoryUse(text)).toEqual({ resident: 72_340 * 1024, anonymous: 30_000 * 1024 });
  const { resident, anonymous } = memoryUse();
  expect(resident).toBeGreaterThan(anonymous);
  expect(anonymous).toBeGreaterThan(1 << 20);
});

test("time of processors is that of user and kernel mode, whatever the program's name is", () => {
  expect(processorTime("7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 9 9 20 0 3 0 100 1 1")).toBe(3);
  const before = processorTime(); // of a young program it may be 0
  while (processorTime() === before);
  expect(processorTime()).toBeGreaterThan(before);
});
