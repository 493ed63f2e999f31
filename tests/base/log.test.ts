// What stands in front of each line of the log.
import { expect, test } from "bun:test";
import { stamp } from "../../src/base/log.ts";

test("a line begins with the uptime and the time of day", () => {
  expect(stamp("4920.12", Date.UTC(2026, 10, 30, 11, 32, 10, 999))).toBe("[  4920.12 2026-11-30T11:32:10Z]");
});

test("a clock that nobody has set is not told", () => {
  expect(stamp("1.05", 3000)).toBe("[     1.05]");
  expect(stamp("1.05", Date.UTC(2024, 11, 31, 23, 59))).toBe("[     1.05]");
});
