// Durations as text.
import { expect, test } from "bun:test";
import { formatDuration, parseDuration } from "../../src/base/duration.ts";

const DURATIONS: [string, number][] = [
  ["1s", 1],
  ["59s", 59],
  ["1m", 60],
  ["1m1s", 61],
  ["1h", 3600],
  ["1h1s", 3601],
  ["2h4m", 7440],
  ["2h13m20s", 8000],
];

test.each(DURATIONS)("%s is %d seconds, and back", (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
  expect(formatDuration(seconds)).toBe(text);
});

test("units may exceed the next larger one", () => {
  expect(parseDuration("90s")).toBe(90);
  expect(parseDuration("124m")).toBe(7440);
});

test.each(["", "5", "s", "0s", "05m", "1h0m", "-1s", "1.5h", "1 m", "1m ", "4m2h", "1m1m", "1d", "1M", "100000s"])(
  "%j is no duration",
  (text) => {
    expect(parseDuration(text)).toBeUndefined();
  },
);
