// Frames that wait: whole and in order, no more than an owner's quota, and not longer than their flow lives.
import { describe, expect, test } from "bun:test";
import { payload } from "../../../lab/frames.ts";
import { MemoryRing } from "../../../src/dataplane/memory-ring.ts";
import { RESERVED_LENGTH, VNET_LENGTH } from "../../../src/dataplane/ring.ts";
import { FlowTable } from "../../../src/dataplane/tables/flows.ts";
import { NO_SLOT, ParkedFrames } from "../../../src/dataplane/tables/parked.ts";
import { NO_FLOW } from "../../../src/dataplane/types.ts";
import { keyedHash } from "../../support/keyed-hash.ts";

const SLOTS = 6;
const QUOTA = 4;
const VNET = Uint8Array.from({ length: VNET_LENGTH }, (_, i) => 0xa0 + i);

class Bench {
  readonly ring = new MemoryRing();
  readonly flows = new FlowTable(4, keyedHash(1));
  readonly parked = new ParkedFrames(this.ring, this.flows, SLOTS, QUOTA);

  park(key: number, owner: number, frame = payload(60), flow = NO_FLOW): number {
    return this.parked.park(key, owner, this.ring.put(frame, VNET), frame.length, flow);
  }

  /** Takes what waits for something, oldest first. @returns the frames, each behind its virtio_net_hdr */
  takeAll(key: number): Uint8Array[] {
    const taken: Uint8Array[] = [];
    for (let slot = this.parked.oldest(key); slot !== NO_SLOT; slot = this.parked.oldest(key)) {
      const length = this.parked.length(slot);
      const at = this.parked.take(slot);
      taken.push(this.ring.bytes.slice(at - VNET_LENGTH, at + length));
    }
    return taken;
  }
}

describe("parked frames", () => {
  test("come back whole, with their virtio_net_hdr, whatever their length", () => {
    const bench = new Bench();
    for (const length of [14, 15, 16, 17, 1514, RESERVED_LENGTH]) {
      const frame = payload(length).map((byte, i) => byte ^ i);
      expect(bench.park(7, 0, frame)).not.toBe(NO_SLOT);
      expect(bench.takeAll(7)).toEqual([Uint8Array.from([...VNET, ...frame])]);
    }
    expect(bench.park(7, 0, payload(RESERVED_LENGTH + 1))).toBe(NO_SLOT);
  });

  test("come back in the order in which they came, each for what it waited for", () => {
    const bench = new Bench();
    for (const [i, key] of [3, 5, 3, 5, 3].entries()) bench.park(key, key, Uint8Array.of(i, 0, 0, 0));
    const firstBytes = (key: number) => bench.takeAll(key).map((bytes) => bytes[VNET_LENGTH]);
    expect([firstBytes(5), firstBytes(3), firstBytes(3)]).toEqual([[1, 3], [0, 2, 4], []]);
  });

  test("are no more than their owner's quota, whatever they wait for, nor than there are slots", () => {
    const bench = new Bench();
    const isParked = (key: number, owner: number) => bench.park(key, owner) !== NO_SLOT;
    expect([1, 2, 1, 2, 1].map((key) => isParked(key, 8))).toEqual([true, true, true, true, false]);
    expect([3, 3, 3].map((key) => isParked(key, 9))).toEqual([true, true, false]);
    bench.parked.drop(2);
    expect([isParked(3, 9), isParked(2, 8), isParked(2, 8)]).toEqual([true, true, false]);
  });

  test("are gone once their flow has ended, though its number may name another flow by then", () => {
    const bench = new Bench();
    const flow = bench.flows.allocate();
    for (let i = 0; i < QUOTA; i++) bench.park(1, 1, payload(60), flow);
    expect(bench.park(1, 1, payload(60), flow)).toBe(NO_SLOT);
    bench.flows.discard(flow);
    expect(bench.flows.allocate()).toBe(flow);
    expect(bench.parked.oldest(1)).toBe(NO_SLOT);
    bench.parked.forEachFlow(() => expect.unreachable());
    for (let i = 0; i < QUOTA; i++) expect(bench.park(2, 1, payload(60), flow)).not.toBe(NO_SLOT);
    expect(bench.park(2, 2)).not.toBe(NO_SLOT);
    expect(bench.takeAll(1)).toEqual([]);
    expect(bench.takeAll(2)).toHaveLength(QUOTA + 1);
  });

  test("are all gone when they are dropped, and their slots free", () => {
    const bench = new Bench();
    for (let i = 0; i < SLOTS; i++) bench.park(i, i);
    expect(bench.park(9, 9)).toBe(NO_SLOT);
    bench.parked.clear();
    expect(Array.from({ length: SLOTS }, (_, i) => bench.parked.oldest(i))).toEqual(Array(SLOTS).fill(NO_SLOT));
    for (let i = 0; i < SLOTS; i++) expect(bench.park(i, i)).not.toBe(NO_SLOT);
  });
});
