// What commands leave is collected in a thread that never leaves its loop: these tests don't either, between garbage and its end.

import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { Collector, LEFT_BY_CLIENT } from "../../../src/dataplane/io/collector.ts";
import { Leisure } from "../../../src/dataplane/io/leisure.ts";
import { rehearsing } from "../../../src/dataplane/io/rehearsal.ts";

const SMALL_MEMORY = 128 * 1024 * 1024;

interface Piece {
  readonly number: number;
}

/** @returns one object of a hundred; the others nobody needs */
function leave(pieces: number): readonly Piece[] {
  const kept: Piece[] = [];
  for (let number = 0; number < pieces; number++) {
    const piece = { number };
    if (number % 100 === 0) kept.push(piece);
  }
  return kept;
}

function finish(collector: Collector): void {
  while (collector.isBusy) collector.step();
}

describe("the collector", () => {
  test("has nothing to do before much has been left", () => {
    const collector = new Collector();
    for (let pieces = 0; pieces < 500; pieces += LEFT_BY_CLIENT) collector.note(LEFT_BY_CLIENT);
    expect([collector.isBusy, collector.isWholeDue]).toEqual([false, false]);
    for (let i = 0; i < 4; i++) collector.note(LEFT_BY_CLIENT);
    expect(collector.isBusy).toBe(true);
    finish(collector);
    expect(collector.asked).toBeUndefined();
  });

  test("takes back what was left, in steps", () => {
    const collector = new Collector();
    Bun.gc(true);
    const before = heapStats().objectCount; // what the last collection has found
    const kept = leave(200_000);
    collector.note(512);
    finish(collector);
    const found = heapStats().objectCount - before;
    expect(found).toBeGreaterThanOrEqual(kept.length);
    expect(found).toBeLessThan(3 * kept.length);
  });

  test("wants a whole collection after some", () => {
    const collector = new Collector();
    for (let i = 0; i < 2; i++) {
      expect(collector.isWholeDue).toBe(false);
      collector.note(512);
      finish(collector);
    }
    expect(collector.isWholeDue).toBe(true);
    collector.collectWhole();
    expect(collector.isWholeDue).toBe(false);
  });
});

describe("leisure", () => {
  function rest(leisure: Leisure): number {
    let pieces = 0;
    for (; leisure.isNow(10); pieces++) leisure.step();
    return pieces;
  }

  test("is for when no frames have come for a while: then all kinds of commands are rehearsed, in pieces", () => {
    const leisure = new Leisure(new Collector());
    expect(leisure.isNow(9)).toBe(false);
    expect(rest(leisure)).toBeGreaterThan(Array.from(rehearsing()).length / 2);
    expect(leisure.isNow(1e6)).toBe(false);
  });

  test("has no rehearsal where memory is small", () => {
    expect(rest(new Leisure(new Collector(), SMALL_MEMORY))).toBe(0);
  });

  test("has what commands have left collected, where that is worth it, in the collector's steps", () => {
    const collector = new Collector();
    const leisure = new Leisure(collector, SMALL_MEMORY);
    collector.note(63);
    expect(leisure.isNow(1e6)).toBe(false);
    collector.note(1);
    expect([leisure.isNow(9), leisure.isNow(10), collector.isBusy]).toEqual([false, true, false]);
    leisure.step();
    expect([leisure.isNow(10), collector.isBusy]).toEqual([false, true]);
    finish(collector);
    for (let collected = 64; collected < 1024; collected += 64) {
      expect(collector.isWholeDue).toBe(false);
      collector.note(64);
      leisure.step();
      finish(collector);
    }
    expect(collector.isWholeDue).toBe(true);
  });

  test("has a whole collection where one is due, and no rehearsal again", () => {
    const collector = new Collector();
    const leisure = new Leisure(collector);
    rest(leisure);
    for (let i = 0; i < 2; i++) {
      finish(collector);
      collector.note(512);
    }
    expect(leisure.isNow(9)).toBe(false);
    expect(rest(leisure)).toBe(1);
    expect(collector.isWholeDue).toBe(false);
  });
});
