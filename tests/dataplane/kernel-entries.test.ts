import { expect, test } from "bun:test";
import { ENTRY_STRIDE, KernelEntries } from "../../src/dataplane/kernel-entries.ts";
import { ENTRY, ENTRY_KEY, hashKey, seal } from "../../src/dataplane/kernel-programs.ts";

const CAPACITY = 8;
const SEED = 42;

/** A sealed entry whose key is a number, in a generation. */
function entryOf(key: number, generation: number, timeout = 0): DataView {
  const entry = new DataView(new ArrayBuffer(ENTRY.LENGTH));
  entry.setInt32(ENTRY.KEY + ENTRY_KEY.PORTS, key);
  entry.setInt32(ENTRY.GENERATION, generation, true);
  entry.setInt32(ENTRY.TIMEOUT, timeout, true);
  seal(entry);
  return entry;
}

/** A table, and what is in it that holds: keys and timeouts. */
function table() {
  const words = new Int32Array((CAPACITY * ENTRY_STRIDE) / 4);
  const view = new DataView(words.buffer);
  const holding = (generation: number) =>
    Array.from({ length: CAPACITY }, (_, place) => place * ENTRY_STRIDE)
      .filter((at) => view.getInt32(at + ENTRY.GENERATION, true) === generation)
      .map((at) => [view.getInt32(at + ENTRY.KEY + ENTRY_KEY.PORTS), view.getInt32(at + ENTRY.TIMEOUT, true)]);
  return { entries: new KernelEntries(words, SEED), holding };
}

/** Keys whose two places are the same. */
function rivals(count: number): number[] {
  const pair = (key: number) => (hashKey(SEED, entryOf(key, 1)) & (CAPACITY - 1)) >> 1;
  return Array.from({ length: 1000 }, (_, key) => key)
    .filter((key) => pair(key) === pair(0))
    .slice(0, count);
}

test("an entry takes the place of the one with its key, and goes when it is removed", () => {
  const { entries, holding } = table();
  expect(entries.put(entryOf(7, 1, 30), 1)).toBe(true);
  expect(entries.put(entryOf(7, 1, 300), 1)).toBe(true);
  expect(holding(1)).toEqual([[7, 300]]);
  entries.remove(entryOf(8, 1));
  expect(holding(1)).toEqual([[7, 300]]);
  entries.remove(entryOf(7, 1));
  expect(holding(1)).toEqual([]);
});

test("two have room where both belong, and a third when the generation of one is over", () => {
  const [a = 0, b = 0, c = 0] = rivals(3);
  const { entries, holding } = table();
  expect([a, b, c].map((key) => entries.put(entryOf(key, 1), 1))).toEqual([true, true, false]);
  expect(holding(1).toSorted()).toEqual(
    [
      [a, 0],
      [b, 0],
    ].toSorted(),
  );
  expect(entries.put(entryOf(b, 2), 2)).toBe(true);
  expect(entries.put(entryOf(c, 2), 2)).toBe(true);
  expect(entries.put(entryOf(a, 2), 2)).toBe(false);
  expect(holding(1)).toEqual([]);
  expect(holding(2).toSorted()).toEqual(
    [
      [b, 0],
      [c, 0],
    ].toSorted(),
  );
});
