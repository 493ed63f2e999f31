// Frames that wait: whole and in order, shared fairly, and not longer than their flow lives.
import { describe, expect, test } from "bun:test";
import { payload } from "../../../lab/frames.ts";
import { SETTINGS } from "../../../lab/router-lab.ts";
import { MemoryRing } from "../../../src/dataplane/memory-ring.ts";
import { Parties } from "../../../src/dataplane/parties.ts";
import { RESERVED_LENGTH, VNET_LENGTH } from "../../../src/dataplane/ring.ts";
import { FlowTable } from "../../../src/dataplane/tables/flows.ts";
import { type Client, NO_FLOW, type Party } from "../../../src/dataplane/types.ts";
import { NO_SLOT, ParkedFrames } from "../../../src/dataplane/waiting/parked.ts";
import { toAddress } from "../../../src/wire/ipv4.ts";
import { keyedHash } from "../../support/keyed-hash.ts";

const SLOTS = 6;
const MOST_OF_KEY = 4;
const PARTIES = new Parties(SETTINGS);
const WORK = PARTIES.host(0 as Client, toAddress(0));
const VNET = Uint8Array.from({ length: VNET_LENGTH }, (_, i) => 0xa0 + i);

class Bench {
  readonly ring = new MemoryRing();
  readonly flows = new FlowTable(4, keyedHash(1));
  readonly parked = new ParkedFrames(this.ring, this.flows, SLOTS, MOST_OF_KEY, (slot) => {
    this.evicted.push(this.parked.key(slot));
    this.parked.free(slot);
  });
  /** What those waited for that had to give way. */
  readonly evicted: number[] = [];

  constructor() {
    this.parked.follow(PARTIES);
  }

  park(key: number, party: Party, frame = payload(60), flow = NO_FLOW): number {
    return this.parked.park(key, party, this.ring.put(frame, VNET), frame.length, flow);
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
      expect(bench.park(7, WORK, frame)).not.toBe(NO_SLOT);
      expect(bench.takeAll(7)).toEqual([Uint8Array.from([...VNET, ...frame])]);
    }
    expect(bench.park(7, WORK, payload(RESERVED_LENGTH + 1))).toBe(NO_SLOT);
  });

  test("come back in the order in which they came, each for what it waited for", () => {
    const bench = new Bench();
    for (const [i, key] of [3, 5, 3, 5, 3].entries()) bench.park(key, WORK, Uint8Array.of(i, 0, 0, 0));
    const firstBytes = (key: number) => bench.takeAll(key).map((bytes) => bytes[VNET_LENGTH]);
    expect([firstBytes(5), firstBytes(3), firstBytes(3)]).toEqual([[1, 3], [0, 2, 4], []]);
  });

  test("are no more of one thing than may wait for it, nor than there are slots", () => {
    const bench = new Bench();
    const isParked = (key: number) => bench.park(key, WORK) !== NO_SLOT;
    expect([1, 2, 1, 1, 1, 1].map(isParked)).toEqual([true, true, true, true, true, false]);
    expect([2, 2].map(isParked)).toEqual([true, false]);
    bench.parked.drop(1);
    expect([2, 1, 1, 1].map(isParked)).toEqual([true, true, true, true]);
    expect(isParked(3)).toBe(false);
    expect(bench.evicted).toEqual([]);
  });

  test("give way, the greediest party's oldest first, until all have as many", () => {
    const bench = new Bench();
    for (let key = 0; key < SLOTS; key++) bench.park(key, WORK);
    for (const key of [10, 11, 12]) expect(bench.park(key, PARTIES.uplink)).not.toBe(NO_SLOT);
    expect(bench.park(13, PARTIES.uplink)).toBe(NO_SLOT);
    expect(bench.park(14, PARTIES.ourselves)).not.toBe(NO_SLOT);
    expect(bench.evicted).toEqual([0, 1, 2, 3]);
  });

  test("are gone once their flow has ended, though its number may name another flow by then", () => {
    const bench = new Bench();
    const flow = bench.flows.allocate();
    for (let i = 0; i < MOST_OF_KEY; i++) bench.park(1, WORK, payload(60), flow);
    expect(bench.park(1, WORK, payload(60), flow)).toBe(NO_SLOT);
    bench.flows.discard(flow);
    expect(bench.flows.allocate()).toBe(flow);
    expect(bench.parked.oldest(1)).toBe(NO_SLOT);
    for (let i = 0; i < MOST_OF_KEY; i++) expect(bench.park(2, WORK, payload(60), flow)).not.toBe(NO_SLOT);
    expect(bench.park(3, PARTIES.uplink)).not.toBe(NO_SLOT);
    expect(bench.takeAll(1)).toEqual([]);
    expect(bench.takeAll(2)).toHaveLength(MOST_OF_KEY);
    expect(bench.evicted).toEqual([]);
  });

  test("stay whose they are when there are other parties, and those of who is gone give way as all do", () => {
    const bench = new Bench();
    for (let key = 0; key < 3; key++) bench.park(key, WORK);
    for (let key = 3; key < 6; key++) bench.park(key, PARTIES.uplink);
    const after = new Parties({ ...SETTINGS, clients: SETTINGS.clients.slice(1) }, PARTIES);
    bench.parked.follow(after);
    for (const key of [10, 11]) expect(bench.park(key, after.ourselves)).not.toBe(NO_SLOT);
    expect(bench.evicted.toSorted()).toEqual([0, 3]);
    expect(bench.park(12, after.uplink)).toBe(NO_SLOT);
  });

  test("are dropped that wait for what is over", () => {
    const bench = new Bench();
    for (const key of [1, 2, 3, 2]) bench.park(key, WORK);
    bench.parked.dropThose((key) => key === 2);
    expect([1, 2, 3].map((key) => bench.takeAll(key).length)).toEqual([1, 0, 1]);
  });

  test("are all gone when they are dropped, and their slots free", () => {
    const bench = new Bench();
    for (let i = 0; i < SLOTS; i++) bench.park(i, WORK);
    expect(bench.park(9, WORK)).toBe(NO_SLOT);
    bench.parked.clear();
    expect(Array.from({ length: SLOTS }, (_, i) => bench.parked.oldest(i))).toEqual(Array(SLOTS).fill(NO_SLOT));
    for (let i = 0; i < SLOTS; i++) expect(bench.park(i, WORK)).not.toBe(NO_SLOT);
  });
});
