// Token buckets: as many tokens as they hold, then their rate.
import { expect, test } from "bun:test";
import { TokenBuckets } from "../../../src/dataplane/tables/token-buckets.ts";

/** @returns tokens that one who asks every `step` ms gets from `from` to `to` ms */
function taken(buckets: TokenBuckets, bucket: number, from: number, to: number, step: number): number {
  let count = 0;
  for (let now = from; now < to; now += step) if (buckets.take(bucket, 100, 20, now)) count++;
  return count;
}

test("a token bucket gives out what it holds, and then its rate, however often it is asked", () => {
  const buckets = new TokenBuckets();
  buckets.grow(3);
  expect(taken(buckets, 1, 5000, 5001, 0.01)).toBe(20);
  expect(taken(buckets, 1, 5001, 6001, 0.5)).toBeWithin(99, 102);
  expect(taken(buckets, 1, 6001, 7001, 10)).toBeWithin(99, 102);
  expect(taken(buckets, 1, 60_000, 60_001, 0.01)).toBe(20);
  expect(taken(buckets, 2, 60_000, 60_001, 0.01)).toBe(20);
});

test("buckets that are new are full, and the others stay as they are", () => {
  const buckets = new TokenBuckets();
  buckets.grow(1);
  expect(taken(buckets, 0, 1000, 1001, 0.01)).toBe(20);
  buckets.grow(2);
  buckets.grow(1);
  expect([0, 1].map((bucket) => taken(buckets, bucket, 1001, 1002, 0.01))).toEqual([0, 20]);
});
