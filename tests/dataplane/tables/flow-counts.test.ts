// Counts of flows: sums of both sides, by 64 bits that two write to by halves and as a whole; none of an earlier flow of that number.
import { expect, test } from "bun:test";
import { bytesOf, COUNT_WORDS, countPacket, packetsOf } from "../../../src/dataplane/tables/flow-counts.ts";
import type { Flow, Side } from "../../../src/dataplane/types.ts";

const FLOW = 3 as Flow;
const SIDES: readonly Side[] = [0, 1];
const sums = (words: Int32Array, flow = FLOW) =>
  SIDES.map((side) => [bytesOf(words, flow, side), packetsOf(words, flow, side)]);

test("both sides are counted, each for itself, and no other flow", () => {
  const words = new Int32Array(8 * COUNT_WORDS);
  for (let i = 0; i < 5; i++) countPacket(words, FLOW, 7, 0, 1500);
  countPacket(words, FLOW, 7, 1, 40);
  expect(sums(words)).toEqual([
    [7500, 5],
    [40, 1],
  ]);
  for (const other of [2, 4])
    expect(words.subarray(other * COUNT_WORDS, (other + 1) * COUNT_WORDS).every((word) => word === 0));
});

test("bytes go on beyond 32 bits, and beside who adds all 64 at once", () => {
  const words = new Int32Array(8 * COUNT_WORDS);
  const whole = new BigUint64Array(words.buffer);
  let expected = 0;
  for (let i = 0; i < 100_000; i++) {
    countPacket(words, FLOW, 0, 1, 65_535);
    Atomics.add(whole, FLOW * (COUNT_WORDS / 2) + 1, 64_000n);
    expected += 65_535 + 64_000;
  }
  expect(expected).toBeGreaterThan(2 ** 33);
  expect(bytesOf(words, FLOW, 1)).toBe(expected);
  expect(bytesOf(words, FLOW, 0)).toBe(0);
});

test("another flow of that number begins at zero", () => {
  const words = new Int32Array(8 * COUNT_WORDS);
  for (const side of SIDES) countPacket(words, FLOW, 1, side, 1000);
  countPacket(words, FLOW, 2, 1, 60);
  expect(sums(words)).toEqual([
    [0, 0],
    [60, 1],
  ]);
});
