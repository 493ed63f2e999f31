// Rates as text.
import { expect, test } from "bun:test";
import { formatRate, parseRate } from "../../src/base/rate.ts";

const RATES: [string, number][] = [
  ["100 kbit", 100_000],
  ["1 Mbit", 1_000_000],
  ["1.5 Mbit", 1_500_000],
  ["2.125 Mbit", 2_125_000],
  ["940 Mbit", 940_000_000],
  ["2.5 Gbit", 2_500_000_000],
  ["100 Gbit", 100_000_000_000],
];

test.each(RATES)("%s is %d bits a second, and back", (text, rate) => {
  expect(parseRate(text)).toBe(rate);
  expect(formatRate(rate)).toBe(text);
});

test("the space may be left out, and units need not be the largest", () => {
  expect(parseRate("100Mbit")).toBe(100_000_000);
  expect(parseRate("0.5 Gbit")).toBe(500_000_000);
  expect(parseRate("2500 Mbit")).toBe(2_500_000_000);
  expect(formatRate(1_234_567)).toBe("1234.567 kbit");
});

test.each([
  "",
  "100",
  "Mbit",
  "100 Mb",
  "100 mbit",
  "100 MBit",
  "-1 Mbit",
  "1e3 kbit",
  "01 Mbit",
  "1.2345 Mbit",
  "100  Mbit",
  "100 Mbit/s",
])("%j is no rate", (text) => {
  expect(parseRate(text)).toBeUndefined();
});
