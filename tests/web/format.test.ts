// Numbers, amounts and times of the page, as people read them.
import { expect, test } from "bun:test";
import { formatBits, formatBytes, formatCount, formatRate, formatSpan } from "../../src/web/page/format.ts";

const THIN = "\u202f";

test.each([
  [0, "0 bit/s"],
  [1, "1 bit/s"],
  [999, "999 bit/s"],
  [999.6, "1 kbit/s"],
  [1234, "1.23 kbit/s"],
  [12_345, "12.3 kbit/s"],
  [123_456, "123 kbit/s"],
  [999_499, "999 kbit/s"],
  [999_500, "1 Mbit/s"],
  [9_995_000, "10 Mbit/s"],
  [41_000_000, "41 Mbit/s"],
  [1_000_000_000, "1 Gbit/s"],
  [2.5e15, "2500 Tbit/s"],
])("%d bits a second are %s", (rate, text) => {
  expect(formatBits(rate)).toBe(text);
});

test.each([
  [0, "0/s"],
  [0.04, "< 0.1/s"],
  [0.5, "0.5/s"],
  [9.94, "9.9/s"],
  [9.96, "10/s"],
  [5200.4, `5${THIN}200/s`],
])("%d times a second are %s", (rate, text) => {
  expect(formatRate(rate)).toBe(text);
});

test.each([
  [-3, "0 s"],
  [0.4, "0 s"],
  [119, "119 s"],
  [120, "2 min"],
  [7199, "119 min"],
  [7200, "2 h 0 min"],
  [172_799, "47 h 59 min"],
  [180_000, "2 d 2 h"],
])("%d seconds are %s", (seconds, text) => {
  expect(formatSpan(seconds)).toBe(text);
});

test("counts have their digits in threes, bytes the unit that leaves three", () => {
  expect([7, 65_536, 1_234_567].map(formatCount)).toEqual(["7", `65${THIN}536`, `1${THIN}234${THIN}567`]);
  expect([7, 72_000_000].map(formatBytes)).toEqual(["7 B", "72 MB"]);
});
