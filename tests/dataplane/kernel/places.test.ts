// Places of the kernel path's table, which are fewer than flows: who gets them, and who gives way, whatever others do.
import { expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { SETTINGS } from "../../../lab/router-lab.ts";
import { NO_PLACE, Places } from "../../../src/dataplane/kernel/places.ts";
import { Parties } from "../../../src/dataplane/parties.ts";
import { type Client, type Flow, NO_FLOW, type Party } from "../../../src/dataplane/types.ts";
import { toAddress } from "../../../src/wire/ipv4.ts";

const PLACES = 64;
const FLOWS = 1000;
/** Two clients of one host, a network, the uplink, the firewall itself. */
const PARTIES = new Parties({
  ...SETTINGS,
  clients: [SETTINGS.clients[0], { ...SETTINGS.clients[0], name: "third" }, SETTINGS.clients[1]],
});
const PART = Math.floor(PLACES / PARTIES.groups);
const host = (number: number) => PARTIES.host(2 as Client, toAddress(number));
const WORK = PARTIES.host(0 as Client, toAddress(0));
const THIRD = PARTIES.host(1 as Client, toAddress(0));

/** Flows that want places, as KernelPath gives them. */
class Table {
  readonly lastUsed = new Int32Array(FLOWS);
  readonly places = new Places(PLACES, FLOWS, { lastUsed: (flow) => this.lastUsed[flow] });
  second = 100;
  /** Flows that have lost their place. */
  taken = 0;

  constructor() {
    this.places.follow(PARTIES);
  }

  has(flow: number): boolean {
    return this.places.of(flow as Flow) !== NO_PLACE;
  }

  /** A frame of a flow comes. @returns whether it has a place then */
  use(flow: number, party: Party): boolean {
    this.lastUsed[flow] = this.second;
    if (this.has(flow)) return true;
    if (this.places.isFull) {
      const victim = this.places.victim(party, this.second * 1000, this.second);
      if (victim === NO_FLOW) return false;
      this.places.giveBack(victim);
      this.taken++;
    }
    this.places.give(flow as Flow, party);
    return true;
  }
}

test("a place that counts for another party from now on counts for the one before no more", () => {
  const table = new Table();
  for (let flow = 0; flow < PLACES; flow++) table.use(flow, WORK);
  for (let flow = 0; flow < PLACES; flow++) table.places.own(flow as Flow, THIRD);
  expect([table.use(100, THIRD), table.use(101, WORK)]).toEqual([false, true]);
  expect(table.has(101)).toBe(true);
});

test("who has less than its part gets a place from the greediest, and keeps it, whatever others do", () => {
  for (let seed = 0; seed < 30; seed++) {
    const random = new Random(seed);
    const table = new Table();
    const greedy = [WORK, host(20), host(21), PARTIES.uplink, PARTIES.ourselves];
    const busy = random.below(100) / 100;
    /** Others' flows have numbers from 100 on; some are used all the time, some once. */
    const greed = (times: number) => {
      for (let i = 0; i < times; i++) {
        const number = random.chance(busy) ? random.below(50) : random.below(FLOWS - 100);
        table.use(100 + number, greedy[number % greedy.length]);
        if (random.chance(0.01)) table.second++;
      }
    };
    greed(1000);
    for (let flow = 0; flow < PART; flow++) {
      expect({ seed, flow, has: table.use(flow, THIRD) }).toEqual({ seed, flow, has: true });
      greed(20);
    }
    greed(1000);
    expect(Array.from({ length: PART }, (_, flow) => table.has(flow))).not.toContain(false);
  }
});

test("of one client an idle flow gives way, and none that is used", () => {
  const table = new Table();
  for (let flow = 0; flow < PLACES; flow++) expect(table.use(flow, WORK)).toBe(true);
  for (let i = 0; i < 5; i++) {
    table.second++;
    for (let flow = 1; flow < PLACES; flow++) table.use(flow, WORK);
  }
  for (let i = 0; i < PLACES / 8 && !table.has(900); i++) table.use(900, WORK);
  expect([table.has(900), table.has(0), table.taken]).toEqual([true, false, 1]);
  for (let i = 0; i < PLACES; i++) expect(table.use(901, WORK)).toBe(false);
});

test("a network's hosts share what it has", () => {
  const table = new Table();
  for (let flow = 0; flow < PLACES; flow++) table.use(flow, host(20));
  for (let flow = 100; flow < 100 + PLACES; flow++) table.use(flow, host(21));
  const count = Array.from({ length: PLACES }, (_, flow) => flow).filter((flow) => table.has(100 + flow)).length;
  expect(count).toBeGreaterThanOrEqual(PLACES / 2 - 1);
  expect(count).toBeLessThanOrEqual(PLACES / 2);
});

test("parties that have as much do not take places from each other for ever", () => {
  const table = new Table();
  const all = [WORK, THIRD, host(20)];
  const turn = () => {
    table.second++;
    for (let i = 0; i < 3 * PLACES; i++) table.use(i, all[i % 3]);
  };
  for (let i = 0; i < 5; i++) turn();
  const before = table.taken;
  for (let i = 0; i < 20; i++) turn();
  expect(table.taken).toBe(before);
});

test("a search has its price: a party takes few places a second", () => {
  const table = new Table();
  for (let flow = 0; flow < PLACES; flow++) table.use(flow, WORK);
  table.second += 100;
  for (let flow = 100; flow < 700; flow++) table.use(flow, WORK);
  expect(table.taken).toBe(64);
});
