// The mapping table: which external port a client's port gets, how long it stays, and that none is had twice.
import { describe, expect, test } from "bun:test";
import { ICMP, TCP, UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import { RandomPool } from "../../../src/dataplane/random.ts";
import { MappingTable } from "../../../src/dataplane/tables/mappings.ts";
import { keyedHash } from "../../support/keyed-hash.ts";
import { type Plain, plain } from "../../support/plain.ts";

const NONE = -1;

function mappingTable(capacity: number, seed = 1): Plain<MappingTable> {
  const random = new Random(seed);
  const pool = new RandomPool((words) => {
    for (let i = 0; i < words.length; i++) words[i] = random.next();
  });
  return plain(new MappingTable(capacity, keyedHash(random.next()), pool));
}

interface Mapping {
  readonly number: number;
  readonly external: number;
  holds: number;
}

describe("the mapping table", () => {
  test("agrees with a model through random allocation, holding and release", () => {
    const random = new Random(3);
    const table = mappingTable(400);
    const model = new Map<string, Mapping>();
    const owners = new Map<string, string>();
    for (let step = 0; step < 200_000; step++) {
      const protocol = random.pick([ICMP, TCP, UDP]);
      const address = random.below(12) - 6;
      const port = random.below(40) * 1638;
      const name = `${protocol} ${address} ${port}`;
      const known = model.get(name);
      const found = table.find(protocol, address, port);
      if (found !== (known?.number ?? NONE)) throw new Error(`step ${step}: found ${found} for ${name}`);
      if (known === undefined) {
        const number = table.allocate(protocol, address, port);
        if ((number === NONE) !== (model.size === 400)) throw new Error(`step ${step}: ${number} of ${model.size}`);
        if (number === NONE) continue;
        table.retain(number);
        const external = table.externalPort(number);
        const ownPort = `${protocol} ${port}`;
        const outside = `${protocol} ${external}`;
        if (owners.has(outside)) throw new Error(`step ${step}: port ${external} given twice`);
        if (port !== 0 && !owners.has(ownPort) && external !== port) throw new Error(`step ${step}: ${port} was free`);
        if (external < 1024 !== port < 1024) throw new Error(`step ${step}: port ${external}`);
        if (external % 2 !== port % 2) throw new Error(`step ${step}: parity of ${external} for ${port}`);
        owners.set(outside, name);
        model.set(name, { number, external, holds: 1 });
      } else if (random.chance(0.3)) {
        table.retain(known.number);
        known.holds++;
      } else {
        const isLast = --known.holds === 0;
        if (table.release(known.number, false, step) !== isLast) throw new Error(`step ${step}: not the last`);
        if (!isLast) continue;
        model.delete(name);
        owners.delete(`${protocol} ${known.external}`);
      }
      for (const [asked, owner] of [[`${protocol} ${port}`, owners.get(`${protocol} ${port}`)]]) {
        const number = table.findExternal(protocol, port);
        const expected = owner === undefined ? NONE : model.get(owner)?.number;
        if (number !== expected) throw new Error(`step ${step}: external ${asked} is ${number}`);
      }
    }
    expect(model.size).toBeGreaterThan(0);
    for (const [name, { number, external }] of model) {
      const [, address, port] = name.split(" ").map(Number);
      expect([table.address(number), table.internalPort(number), table.externalPort(number)]).toEqual([
        address,
        port,
        external,
      ]);
    }
  });

  test("keeps a mapping that lingers for two minutes, for its own client", () => {
    const table = mappingTable(10);
    const mapping = table.allocate(UDP, 1, 5000);
    expect([table.retain(mapping), table.retain(mapping)]).toEqual([true, false]);
    expect([table.release(mapping, true, 100), table.release(mapping, true, 100)]).toEqual([false, true]);
    table.expire(219, 10);
    expect(table.find(UDP, 1, 5000)).toBe(mapping);
    expect(table.externalPort(table.allocate(UDP, 2, 5000))).not.toBe(5000);
    expect(table.retain(mapping)).toBe(true);
    table.expire(10_000, 10);
    expect(table.find(UDP, 1, 5000)).toBe(mapping);
    table.release(mapping, true, 10_000);
    table.expire(10_120, 10);
    expect(table.find(UDP, 1, 5000)).toBe(NONE);
  });

  test("keeps a mapping for two minutes after the last release that asks for it, and no longer", () => {
    for (const [asked, last] of [
      [100, 130],
      [100, 219],
      [100, 220],
    ]) {
      const table = mappingTable(10);
      const mapping = table.allocate(UDP, 1, 5000);
      table.retain(mapping);
      table.retain(mapping);
      table.release(mapping, true, asked);
      table.release(mapping, false, last);
      table.expire(asked + 119, 10);
      expect(table.find(UDP, 1, 5000)).toBe(last < asked + 120 ? mapping : NONE);
      table.expire(asked + 120, 10);
      expect(table.find(UDP, 1, 5000)).toBe(NONE);
    }
  });

  test("ends what lingers of clients that are no more", () => {
    const table = mappingTable(10);
    const mappings = [1, 2, 3].map((address) => table.allocate(UDP, address, 5000));
    for (const mapping of mappings) table.retain(mapping);
    for (const mapping of mappings.slice(0, 2)) table.release(mapping, true, 100);
    table.retire((address) => address === 1);
    expect([1, 2, 3].map((address) => table.find(UDP, address, 5000))).toEqual([mappings[0], NONE, mappings[2]]);
  });

  test("gives up what lingers longest when records run out", () => {
    const table = mappingTable(3);
    for (const [second, port] of [
      [30, 1001],
      [10, 1002],
      [20, 1003],
    ].sort(([a], [b]) => a - b)) {
      const mapping = table.allocate(UDP, 1, port);
      table.retain(mapping);
      table.release(mapping, true, second);
    }
    const mapping = table.allocate(UDP, 2, 2000);
    table.retain(mapping);
    expect([1001, 1002, 1003].map((port) => table.find(UDP, 1, port) !== NONE)).toEqual([true, false, true]);
  });

  test("gives every port from 1024 on before it refuses, those of the same parity first", () => {
    const table = mappingTable(70_000);
    const external = new Set<number>();
    let others = 0;
    for (let address = 0; ; address++) {
      const mapping = table.allocate(UDP, address, 5000);
      if (mapping === NONE) break;
      table.retain(mapping);
      const port = table.externalPort(mapping);
      if (port % 2 === 1) others++;
      else if (others > 0) throw new Error("a port of the same parity was left");
      external.add(port);
    }
    expect(external.size).toBe(65536 - 1024);
    expect(Math.min(...external)).toBe(1024);
    // The other protocols have theirs.
    expect(table.externalPort(table.allocate(TCP, 1, 5000))).toBe(5000);
    expect(table.externalPort(table.allocate(ICMP, 1, 5000))).toBe(5000);
  });

  test("gives ports below 1024 for such ones first, and never port 0", () => {
    const table = mappingTable(2000);
    const external = Array.from({ length: 1100 }, (_, address) => {
      const mapping = table.allocate(UDP, address, 0);
      table.retain(mapping);
      return table.externalPort(mapping);
    });
    expect(external.slice(0, 511).filter((port) => port === 0 || port % 2 === 1 || port >= 1024)).toEqual([]);
    expect(external.slice(511, 1022).filter((port) => port % 2 === 0 || port >= 1024)).toEqual([]);
    expect(external.slice(1022).filter((port) => port % 2 === 1 || port < 1024)).toEqual([]);
  });

  test("does not choose ports that can be guessed from the last one", () => {
    const table = mappingTable(1000);
    const ports = Array.from({ length: 500 }, (_, address) => {
      const mapping = table.allocate(TCP, address, 6000);
      table.retain(mapping);
      return table.externalPort(mapping);
    });
    const steps = new Set(ports.slice(2).map((port, i) => port - ports[i + 1]));
    expect(steps.size).toBeGreaterThan(400);
  });
});
