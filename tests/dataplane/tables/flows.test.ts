// The flow table against a plain Map, at random; and the router with a full one.
import { describe, expect, test } from "bun:test";
import { icmp, payload, udp } from "../../../lab/frames.ts";
import { TCP, UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import {
  forwarded,
  Lab,
  OUTSIDE,
  REMOTE,
  refused,
  SETTINGS,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import { FLOW, FLOW_WORDS, type FlowFields, MAX_NEIGHBOURS } from "../../../src/dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../../../src/dataplane/tables/flow-state.ts";
import { FlowTable } from "../../../src/dataplane/tables/flows.ts";
import { NO_FLOW, NO_FLOW_SIDE } from "../../../src/dataplane/types.ts";
import { addressBook } from "../../support/address-book.ts";
import { keyedHash } from "../../support/keyed-hash.ts";
import { type Plain, plain } from "../../support/plain.ts";

/** What packets from one side of a flow carry. */
interface Side {
  readonly source: number;
  readonly destination: number;
  readonly ports: number;
}

interface Flow {
  readonly protocol: number;
  readonly kind: number;
  readonly sides: readonly [Side, Side];
}

/** The addresses that stand for a client's in the packets that come back. */
const EXTERNAL = -7;
const EXTERNAL_6 = 1;

/** Numbers of IPv6 addresses. */
const NUMBERS = 20;

/** A flow and what it is known by in the model. */
interface Known extends Flow {
  readonly names: readonly string[];
}

function nameOf(side: Side, protocol: number): string {
  return `${side.source} ${side.destination} ${side.ports} ${protocol}`;
}

function flowTable(capacity: number, seed: number): Plain<FlowTable> {
  const book = addressBook(NUMBERS);
  for (let i = 0; i < NUMBERS; i++) book.take(0x20010db8, 0, 0, i);
  const table = plain(new FlowTable(capacity, keyedHash(seed), undefined, book));
  table.external = EXTERNAL;
  table.external6 = EXTERNAL_6;
  return table;
}

/** Adds a flow. @param neighbours of its sides @returns its number, or NO_FLOW */
function add(
  table: Plain<FlowTable>,
  { protocol, kind, sides }: Flow,
  neighbours: readonly [number, number] = [1, 2],
): number {
  const flow = table.allocate();
  if (flow === NO_FLOW) return flow;
  const fields = { ...sides[0], backSource: sides[1].source, backPorts: sides[1].ports, protocol, kind };
  table.fill(flow, { ...fields, client: 0, rule: 0, isMapped: false, timeout: 0 } as FlowFields, ...neighbours);
  const { source, destination, ports, backSource, backPorts } = fields;
  const hash = table.hash(source, destination, ports, protocol);
  table.link(flow, hash, table.hash(backSource, table.destination(flow, 1), backPorts, protocol));
  return flow;
}

function find(table: Plain<FlowTable>, side: Side, protocol: number): number {
  return table.find(side.source, side.destination, side.ports, protocol);
}

/** Few values, so that flows are alike in all but one field, and the table is full of near misses. */
function randomFlow(random: Random): Flow {
  const isIpv6 = random.chance(0.3);
  const anyIpv4 = () => (random.chance(0.5) ? 0x0a000000 + random.below(40) : random.next() | 0x01000000);
  const address = () => (isIpv6 ? 1 + random.below(NUMBERS) : anyIpv4());
  const ports = () => (random.chance(0.5) ? random.below(40) << 16 : random.next() | 0);
  const kind = random.pick([FLOW_STATE.OUTBOUND, FLOW_STATE.INBOUND, FLOW_STATE.DIRECT]);
  const from = { source: address(), destination: address(), ports: ports() };
  const external = isIpv6 ? EXTERNAL_6 : EXTERNAL;
  const destination = kind === FLOW_STATE.OUTBOUND ? external : from.source;
  return { protocol: random.pick([TCP, UDP]), kind, sides: [from, { source: address(), destination, ports: ports() }] };
}

/** Inserts, removes and looks up at random, and compares each answer with a Map's. */
function compareWithModel(capacity: number, seed: number, steps: number, fullness: number): void {
  const random = new Random(seed);
  const table = flowTable(capacity, random.next());
  const model = new Map<string, number>();
  const flows = new Map<number, Known>();
  const numbers: number[] = [];
  for (let step = 0; step < steps; step++) {
    if (random.chance(numbers.length < capacity * fullness ? 0.55 : 0.45)) {
      const made = randomFlow(random);
      const { protocol, sides } = made;
      const names = sides.map((side) => nameOf(side, protocol));
      if (names[0] === names[1] || names.some((name) => model.has(name))) continue;
      const flow = add(table, made);
      if ((flow === NO_FLOW) !== (numbers.length === capacity)) throw new Error(`flow ${flow} of ${numbers.length}`);
      if (flow === NO_FLOW) continue;
      if (flows.has(flow)) throw new Error(`flow ${flow} given twice`);
      flows.set(flow, { ...made, names });
      numbers.push(flow);
      for (const [side, name] of names.entries()) model.set(name, flow * 2 + side);
    } else if (numbers.length > 0) {
      const place = random.below(numbers.length);
      const flow = numbers[place];
      numbers[place] = numbers[numbers.length - 1];
      numbers.pop();
      const { protocol, sides, names } = flows.get(flow) as Known;
      flows.delete(flow);
      table.remove(flow);
      for (const [i, side] of sides.entries()) {
        model.delete(names[i]);
        if (find(table, side, protocol) !== NO_FLOW_SIDE)
          throw new Error(`step ${step}: flow ${flow} found after its end`);
      }
    }
    if (numbers.length === 0) continue;
    const flow = numbers[random.below(numbers.length)];
    const { protocol, sides } = flows.get(flow) as Known;
    const side = random.below(2);
    if (find(table, sides[side], protocol) !== flow * 2 + side) throw new Error(`step ${step}: flow ${flow} not found`);
    if (random.chance(0.7)) continue;
    const near = { ...sides[side], [random.pick(["source", "destination", "ports"])]: 1 + random.below(NUMBERS) };
    const expected = model.get(nameOf(near, protocol)) ?? NO_FLOW_SIDE;
    if (find(table, near, protocol) !== expected) throw new Error(`step ${step}: not flow side ${expected}`);
  }
  expect(table.size).toBe(numbers.length);
  for (const [flow, { protocol, sides }] of flows) {
    expect(sides.map((side) => find(table, side, protocol))).toEqual([flow * 2, flow * 2 + 1]);
  }
}

describe("the flow table", () => {
  test("agrees with a Map over a million random insertions, removals and look-ups", () => {
    compareWithModel(1, 1, 2_000, 1);
    compareWithModel(7, 2, 50_000, 1);
    compareWithModel(1000, 3, 300_000, 0.9);
    compareWithModel(1024, 4, 300_000, 1);
    compareWithModel(20_000, 5, 350_000, 1);
  }, 30_000);

  test("holds as many flows as it says, and no more", () => {
    const table = flowTable(3, 99);
    const flow = (i: number): Flow => ({
      protocol: UDP,
      kind: FLOW_STATE.DIRECT,
      sides: [
        { source: i, destination: 1, ports: 1 },
        { source: 1, destination: i, ports: 2 },
      ],
    });
    expect([1, 2, 3, 4].map((i) => add(table, flow(i)))).toEqual([0, 1, 2, NO_FLOW]);
    table.remove(1);
    expect(add(table, flow(5))).toBe(1);
    expect(table.size).toBe(3);
  });

  test("tells what a flow is made of, with numbers as large as they get", () => {
    for (const [kind, back] of [
      [FLOW_STATE.OUTBOUND, EXTERNAL],
      [FLOW_STATE.INBOUND, -1],
      [FLOW_STATE.DIRECT, -1],
    ]) {
      const table = flowTable(10, 1);
      const sides: [Side, Side] = [
        { source: -1, destination: -2, ports: -3 },
        { source: -4, destination: back, ports: -6 },
      ];
      const flow = add(table, { protocol: 255, kind, sides }, [MAX_NEIGHBOURS - 1, MAX_NEIGHBOURS - 2]);
      expect([table.protocol(flow), table.neighbour(flow, 0), table.neighbour(flow, 1)]).toEqual([255, 4095, 4094]);
      for (const [side, { source, destination, ports }] of sides.entries()) {
        expect([table.source(flow, side), table.destination(flow, side), table.ports(flow, side)]).toEqual([
          source,
          destination,
          ports,
        ]);
        expect(find(table, sides[side], 255)).toBe(flow * 2 + side);
        expect(find(table, sides[side], 254)).toBe(NO_FLOW_SIDE);
      }
    }
  });
});

test("what is late to a record's deadline and TCP state does no harm once the flow is gone", () => {
  const table = plain(new FlowTable(4, keyedHash(1)));
  const flows = [table.allocate(), table.allocate(), table.allocate()];
  for (const flow of flows) table.discard(flow);
  for (const flow of flows) {
    for (const word of [FLOW.DEADLINE, ...Array.from({ length: 5 }, (_, i) => FLOW.TCP + i)]) {
      table.words[flow * FLOW_WORDS + word] = -1;
    }
  }
  expect([0, 1, 2, 3].map(() => table.allocate()).sort()).toEqual([0, 1, 2, 3]);
  expect(table.allocate()).toBe(NO_FLOW);
  const behind = table.words.filter((word, i) => word !== 0 && i % FLOW_WORDS >= FLOW.STATE); // `fill` writes what is before
  expect(behind).toEqual(Int32Array.of(1, 1, 1, 1));
});

test("when the flow table is full new flows are dropped, and those in it go on", () => {
  const lab = new Lab({ settings: { ...SETTINGS, nat: { ...SETTINGS.nat, maxFlows: 4 } } });
  const packet = (sourcePort: number) =>
    udp({ source: WORK_HOST, destination: REMOTE, sourcePort, destinationPort: 9 }, payload(1));
  const outside = (sourcePort: number) =>
    udp({ source: OUTSIDE, destination: REMOTE, sourcePort, destinationPort: 9, ttl: 63 }, payload(1));
  for (let port = 1; port <= 4; port++) {
    expect(lab.from(WORK_HOST, packet(port))).toEqual(forwarded(REMOTE, outside(port)));
    const back = { source: REMOTE, destination: OUTSIDE, sourcePort: 9, destinationPort: port };
    expect(lab.from(REMOTE, udp(back, payload(1))).verdict).toBe("forwarded");
  }
  for (let port = 5; port <= 8; port++) {
    const told = icmp({ source: WORK_GATEWAY, destination: WORK_HOST, type: 3, code: 13 }, packet(port));
    expect(lab.from(WORK_HOST, packet(port))).toEqual(refused("flow table full", WORK_HOST, told));
  }
  for (let port = 1; port <= 4; port++) {
    expect(lab.from(WORK_HOST, packet(port))).toEqual(forwarded(REMOTE, outside(port)));
  }
  lab.wait(310_000);
  expect(lab.from(WORK_HOST, packet(5))).toEqual(forwarded(REMOTE, outside(5)));
});
