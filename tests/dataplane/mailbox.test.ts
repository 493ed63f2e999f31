// The mailbox between two threads: what is put is taken, once, in order; what does not fit is refused.
import { expect, test } from "bun:test";
import { LONGEST_MAIL, MAILBOX_LENGTH, Mailbox } from "../../src/dataplane/io/mailbox.ts";

function twoSides(): { putter: Mailbox; taker: Mailbox } {
  const memory = new SharedArrayBuffer(MAILBOX_LENGTH);
  return { putter: new Mailbox(memory), taker: new Mailbox(memory) };
}

const text = (words: string) => new TextEncoder().encode(words);

/** All that is there. */
function takeAll(taker: Mailbox): unknown[] {
  const taken: unknown[] = [];
  for (const until = taker.count; taker.take(until); ) {
    const { kind, id, number, at, length } = taker;
    taken.push([kind, id, number, new TextDecoder().decode(taker.bytes.slice(at, at + length))]);
  }
  return taken;
}

test("messages come in order, with their numbers and bytes, and once", () => {
  const { putter, taker } = twoSides();
  for (let round = 0; round < 100; round++) {
    expect(putter.put(1, round, 0xc0a80101 | 0, text("..hello."), 2, 5)).toBe(true);
    expect(putter.put(2, round + 1, -1, text(""), 0, 0)).toBe(true);
    expect(takeAll(taker)).toEqual([
      [1, round, 0xc0a80101 | 0, "hello"],
      [2, round + 1, -1, ""],
    ]);
    expect(takeAll(taker)).toEqual([]);
  }
});

test("what was put after the count was read is left for the next time", () => {
  const { putter, taker } = twoSides();
  putter.put(1, 1, 0, text(""), 0, 0);
  const until = taker.count;
  putter.put(1, 2, 0, text(""), 0, 0);
  expect([taker.take(until), taker.id, taker.take(until)]).toEqual([true, 1, false]);
  expect(takeAll(taker)).toEqual([[1, 2, 0, ""]]);
});

test("when it is full, or the message is too long, nothing is put", () => {
  const { putter, taker } = twoSides();
  const long = new Uint8Array(LONGEST_MAIL + 1);
  expect(putter.put(1, 0, 0, long, 0, long.length)).toBe(false);
  expect(putter.put(1, 0, 0, long, 0, LONGEST_MAIL)).toBe(true);
  let room = 1;
  while (putter.put(1, room, 0, text("x"), 0, 1)) room++;
  expect(takeAll(taker)).toHaveLength(room);
  expect(putter.put(1, 0, 0, text("x"), 0, 1)).toBe(true);
});

test("who takes is told once until he looks", () => {
  const { putter, taker } = twoSides();
  expect([putter.mustTell(), putter.mustTell()]).toEqual([true, false]);
  taker.looks();
  expect(putter.mustTell()).toBe(true);
});
