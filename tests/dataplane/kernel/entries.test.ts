// The kernel path's table: entries find room, lose it, and are what was put in.
import { expect, test } from "bun:test";
import { ENTRY_STRIDE, KernelEntries } from "../../../src/dataplane/kernel/entries.ts";
import { Gate } from "../../../src/dataplane/kernel/gates.ts";
import {
  CONTROL,
  ENTRY,
  ENTRY_KEY,
  hashKey,
  INDEX_WAYS,
  NUMBER_MASK,
  SHUT,
  writeChecksum,
} from "../../../src/dataplane/kernel/programs/layout.ts";
import { keyedHash } from "../../support/keyed-hash.ts";

const CAPACITY = 16;
const PLACES = 8;
const KEYED = keyedHash(42);

/** An entry, with its checksum, whose key is a number, in a generation. */
function entryOf(key: number, generation: number, timeout = 0): DataView {
  const entry = new DataView(new ArrayBuffer(ENTRY.LENGTH));
  entry.setInt32(ENTRY.KEY + ENTRY_KEY.PORTS, key);
  entry.setInt32(ENTRY.GENERATION, generation, true);
  entry.setInt32(ENTRY.TIMEOUT, timeout, true);
  writeChecksum(entry);
  return entry;
}

/** A table, and what is found in it: of a key, the timeouts of entries of a generation. */
function table() {
  const words = new Int32Array((CAPACITY * ENTRY_STRIDE) / 4);
  const view = new DataView(words.buffer);
  const index = new Int32Array(PLACES * INDEX_WAYS);
  const gate = new Gate(new Int32Array(CONTROL.LENGTH / 4), 0);
  const find = (key: number, generation: number) => {
    const place = placeOf(key);
    return Array.from(index.subarray(place * INDEX_WAYS, (place + 1) * INDEX_WAYS))
      .filter((number) => number !== 0)
      .map((number) => ((number & NUMBER_MASK) - 1) * ENTRY_STRIDE)
      .filter((at) => view.getInt32(at + ENTRY.KEY + ENTRY_KEY.PORTS) === key)
      .filter((at) => view.getInt32(at + ENTRY.GENERATION, true) === generation)
      .map((at) => view.getInt32(at + ENTRY.TIMEOUT, true));
  };
  const entries = new KernelEntries(words, index, KEYED);
  /** Numbers of entries that give way. */
  const yielding = new Set<number>();
  const put = (number: number, entry: DataView, generation: number) =>
    entries.put(number, entry, generation, gate, (other) => yielding.has(other));
  return { entries, gate, view, put, find, yielding };
}

function placeOf(key: number): number {
  return hashKey(KEYED, entryOf(key, 1)) & (PLACES - 1);
}

/** Keys that have the same place in the index. */
function rivals(count: number): number[] {
  return Array.from({ length: 1000 }, (_, key) => key)
    .filter((key) => placeOf(key) === placeOf(0))
    .slice(0, count);
}

test("an entry takes the place of the one before it, and goes when it is removed", () => {
  const { entries, put, find } = table();
  expect(put(3, entryOf(7, 1, 30), 1)).toBe(true);
  expect(put(3, entryOf(7, 1, 300), 1)).toBe(true);
  expect(find(7, 1)).toEqual([300]);
  entries.remove(3, entryOf(7, 1));
  expect([find(7, 1), find(7, 0)]).toEqual([[], []]);
  expect(put(3, entryOf(8, 1, 5), 1)).toBe(true);
  expect([find(7, 1), find(8, 1)]).toEqual([[], [5]]);
});

test("four have room at one place, and a fifth when the generation of one is over, or one is removed", () => {
  const keys = rivals(5);
  const { entries, put, find } = table();
  const putKey = (number: number, generation: number) =>
    put(number, entryOf(keys[number] ?? 0, generation), generation);
  expect([0, 1, 2, 3, 4].map((number) => putKey(number, 1))).toEqual([true, true, true, true, false]);
  expect(keys.map((key) => find(key, 1))).toEqual([[0], [0], [0], [0], []]);
  expect([1, 2, 3, 4, 0].map((number) => putKey(number, 2))).toEqual([true, true, true, true, false]);
  expect(keys.map((key) => find(key, 2))).toEqual([[], [0], [0], [0], [0]]);
  entries.remove(1, entryOf(keys[1] ?? 0, 2));
  expect(putKey(0, 2)).toBe(true);
  expect(keys.map((key) => find(key, 2))).toEqual([[0], [], [0], [0], [0]]);
});

test("where there is no room, one that has to give way loses its place", () => {
  const keys = rivals(5);
  const { put, find, yielding } = table();
  const putKey = (number: number) => put(number, entryOf(keys[number] ?? 0, 1), 1);
  for (const number of [0, 1, 2, 3]) putKey(number);
  yielding.add(2);
  expect(putKey(4)).toBe(true);
  expect(keys.map((key) => find(key, 1))).toEqual([[0], [0], [], [0], [0]]);
});

test("an entry is marked with what the gate has counted by the time that it can be found", () => {
  const { gate, put, view } = table();
  let counted = 0;
  Object.defineProperty(gate, "passed", { get: () => ++counted });
  put(3, entryOf(7, 1), 1);
  expect(view.getInt32(3 * ENTRY_STRIDE + ENTRY.LAST, true)).toBe(2);
});

test("one that a fragment has shut opens once the fragment is settled, and only then", () => {
  const { entries, gate, put, view, find } = table();
  const at = 3 * ENTRY_STRIDE;
  put(3, entryOf(7, 1), 1);
  expect(entries.mayOpen(3, gate)).toBe(false);
  view.setInt32(at + ENTRY.GENERATION, SHUT, true);
  view.setInt32(at + ENTRY.LAST, -0x80000000, true);
  gate.settle(0x7fffffff);
  expect([find(7, 1), entries.mayOpen(3, gate)]).toEqual([[], false]);
  gate.settle(-0x80000000);
  expect(entries.mayOpen(3, gate)).toBe(true);
  put(3, entryOf(7, 1), 1);
  expect(find(7, 1)).toEqual([0]);
});
