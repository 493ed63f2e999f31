// The mapping table: how long a mapping stays, that no port is had twice, and how many each client can have.
import { describe, expect, test } from "bun:test";
import { ICMP, TCP, UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import { SETTINGS, WORK_SETTINGS } from "../../../lab/router-lab.ts";
import type { AddressBook, Number6 } from "../../../src/dataplane/address-book.ts";
import { Parties } from "../../../src/dataplane/parties.ts";
import { MappingTable, RESOLVER_PORTS, RESOLVER_TCP_PORTS } from "../../../src/dataplane/ports/mappings.ts";
import { RandomPool } from "../../../src/dataplane/random.ts";
import type { Client } from "../../../src/dataplane/types.ts";
import type { Address } from "../../../src/wire/ipv4.ts";
import { addressBook } from "../../support/address-book.ts";
import { keyedHash } from "../../support/keyed-hash.ts";
import { type Plain, plain } from "../../support/plain.ts";

const NONE = -1;

const PARTIES = new Parties({ ...SETTINGS, clients: [0, 1, 2].map((i) => ({ ...WORK_SETTINGS, network: i })) });
/** Groups of clients, by the clients' numbers, and their hosts. */
const groups = ([0, 1, 2] as Client[]).map((client) => PARTIES.ofClient(client));
const parties = ([0, 1, 2] as Client[]).map((client) => PARTIES.host(client, 0 as Address));

/** What `address` makes of a number: IPv4 addresses, or numbers of IPv6 addresses in the table's book. */
const IPV4 = 0x0a000000;
const NUMBERS = 12;

/** @param clients how many there are; their addresses are those that tests allocate for */
function mappingTable(capacity: number, seed = 1, clients = 3, book = bookOfNumbers()): Plain<MappingTable> {
  const random = new Random(seed);
  const pool = new RandomPool((words) => {
    for (let i = 0; i < words.length; i++) words[i] = random.next();
  });
  const table = new MappingTable(capacity, keyedHash(random.next()), pool, book);
  table.follow(PARTIES, clients);
  return plain(table);
}

/** @returns a book of NUMBERS addresses, each held once */
function bookOfNumbers(): AddressBook {
  const book = addressBook(NUMBERS);
  for (let i = 1; i <= NUMBERS; i++) book.take(0x20010db8, 0, 0, i);
  return book;
}

/** Ends all that are over. */
function expire(table: Plain<MappingTable>, second: number): void {
  table.tick();
  while (table.isBusy) table.expire(second, 10);
}

/** A mapping that a flow uses. @returns its number, or NONE */
function used(table: Plain<MappingTable>, protocol: number, client: number, address: number, port: number): number {
  const mapping = table.allocate(protocol, parties[client], address, port);
  if (mapping !== NONE) table.retain(mapping);
  return mapping;
}

/** One that lingers. @param second since when */
function lingering(table: Plain<MappingTable>, client: number, address: number, port: number, second: number): number {
  const mapping = used(table, UDP, client, IPV4 + address, port);
  if (mapping !== NONE) table.release(mapping, true, second);
  return mapping;
}

function isResolvers(port: number): boolean {
  return port >= RESOLVER_PORTS.portLow && port <= RESOLVER_PORTS.portHigh;
}

/** Whether no client gets a port, because the firewall's own questions have it. */
function isKept(protocol: number, port: number): boolean {
  const { portLow, portHigh } = RESOLVER_TCP_PORTS;
  return (protocol === UDP && isResolvers(port)) || (protocol === TCP && port >= portLow && port <= portHigh);
}

interface Mapping {
  readonly number: number;
  readonly external: number;
  holds: number;
}

describe("the mapping table", () => {
  test("agrees with a model through random allocation, holding and release", () => {
    const random = new Random(3);
    const book = bookOfNumbers();
    const table = mappingTable(400, 1, 3, book);
    const model = new Map<string, Mapping>();
    const owners = new Map<string, string>();
    for (let step = 0; step < 200_000; step++) {
      const protocol = random.pick([ICMP, TCP, UDP]);
      const address = random.chance(0.5) ? IPV4 + random.below(6) : 1 + random.below(6);
      const family = address < IPV4 ? 6 : 4;
      const port = random.below(40) * 1638;
      const name = `${protocol} ${address} ${port}`;
      const known = model.get(name);
      const found = table.find(protocol, address, port);
      if (found !== (known?.number ?? NONE)) throw new Error(`step ${step}: found ${found} for ${name}`);
      if (known === undefined) {
        const number = used(table, protocol, 0, address, port);
        if ((number === NONE) !== (model.size === 400)) throw new Error(`step ${step}: ${number} of ${model.size}`);
        if (number === NONE) continue;
        const external = table.externalPort(number);
        const ownPort = `${family} ${protocol} ${port}`;
        const outside = `${family} ${protocol} ${external}`;
        if (owners.has(outside)) throw new Error(`step ${step}: port ${external} given twice`);
        const mayKeep = port !== 0 && !isKept(protocol, port) && !owners.has(ownPort);
        if (mayKeep && external !== port) throw new Error(`step ${step}: ${port} was free`);
        if (external < 1024 !== port < 1024) throw new Error(`step ${step}: port ${external}`);
        if (external % 2 !== port % 2) throw new Error(`step ${step}: parity of ${external} for ${port}`);
        owners.set(outside, name);
        model.set(name, { number, external, holds: 1 });
      } else if (random.chance(0.3)) {
        table.retain(known.number);
        known.holds++;
      } else {
        const isLast = --known.holds === 0;
        table.release(known.number, false, step);
        if ((table.find(protocol, address, port) === NONE) !== isLast) throw new Error(`step ${step}: not the last`);
        if (!isLast) continue;
        model.delete(name);
        owners.delete(`${family} ${protocol} ${known.external}`);
      }
      for (const asked of [4, 6]) {
        const owner = owners.get(`${asked} ${protocol} ${port}`);
        const number = table.findExternal(protocol, port, asked === 6);
        const expected = owner === undefined ? NONE : model.get(owner)?.number;
        if (number !== expected) throw new Error(`step ${step}: external ${asked} ${protocol} ${port} is ${number}`);
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
    // Each mapping of an IPv6 address holds it once.
    for (let i = 1; i <= NUMBERS; i++) book.release(i as Number6);
    const held = new Set(
      [...model.keys()].map((name) => Number(name.split(" ")[1])).filter((address) => address < IPV4),
    );
    expect(book.size).toBe(held.size);
    for (const { number, holds } of model.values()) {
      for (let i = 0; i < holds; i++) table.release(number, false, 0);
    }
    expect(book.size).toBe(0);
  });

  test("keeps a mapping that lingers for two minutes, for its own client", () => {
    const table = mappingTable(10);
    const mapping = used(table, UDP, 0, IPV4 + 1, 5000);
    table.retain(mapping);
    table.release(mapping, true, 100);
    expect(table.isUsed(mapping)).toBe(true);
    table.release(mapping, true, 100);
    expect(table.isUsed(mapping)).toBe(false);
    expire(table, 219);
    expect(table.find(UDP, IPV4 + 1, 5000)).toBe(mapping);
    expect(table.externalPort(table.allocate(UDP, parties[1], IPV4 + 2, 5000))).not.toBe(5000);
    table.retain(mapping);
    expire(table, 10_000);
    expect(table.find(UDP, IPV4 + 1, 5000)).toBe(mapping);
    table.release(mapping, true, 10_000);
    expire(table, 10_120);
    expect(table.find(UDP, IPV4 + 1, 5000)).toBe(NONE);
  });

  test("keeps a mapping for two minutes after the last release that asks for it, and no longer", () => {
    for (const [asked, last] of [
      [100, 130],
      [100, 219],
      [100, 220],
    ]) {
      const table = mappingTable(10);
      const mapping = used(table, UDP, 0, IPV4 + 1, 5000);
      table.retain(mapping);
      table.release(mapping, true, asked);
      table.release(mapping, false, last);
      expire(table, asked + 119);
      expect(table.find(UDP, IPV4 + 1, 5000)).toBe(last < asked + 120 ? mapping : NONE);
      expire(table, asked + 120);
      expect(table.find(UDP, IPV4 + 1, 5000)).toBe(NONE);
    }
  });

  test("ends so many at a time that are over, those of every client in their turn", () => {
    const table = mappingTable(100);
    for (let port = 2000; port < 2010; port++) {
      for (const client of [0, 1, 2]) lingering(table, client, client, port, 100);
    }
    const left = () => groups.map((group) => table.mappingsOf(group));
    table.expire(220, 7);
    expect([left(), table.isBusy]).toEqual([[3, 10, 10], true]);
    table.expire(220, 7);
    expect(left()).toEqual([0, 6, 10]);
    table.expire(220, 100);
    expect([left(), table.isBusy]).toEqual([[0, 0, 0], false]);
  });

  test("ends what lingers of clients that are no more, so much at a time, and the others' stay", () => {
    const table = mappingTable(100);
    for (let port = 5000; port < 5010; port++) for (const client of [0, 1]) lingering(table, client, client, port, 100);
    const ofGone = used(table, UDP, 1, IPV4 + 1, 7000);
    table.follow(new Parties({ ...SETTINGS, clients: [{ ...WORK_SETTINGS, network: 0 }] }, PARTIES), 1);
    table.expire(101, 4);
    expect([table.mappingsOf(groups[0]), table.mappingsOf(groups[1]), table.isBusy]).toEqual([10, 7, true]);
    while (table.isBusy) table.expire(101, 4);
    expect(groups.map((group) => table.mappingsOf(group))).toEqual([10, 1, 0]);
    // What a flow still uses does not linger after it.
    table.release(ofGone, true, 101);
    expect([table.mappingsOf(groups[1]), table.find(UDP, IPV4 + 1, 7000)]).toEqual([0, NONE]);
  });

  test("counts a mapping for who has it now, whether it lingers or not", () => {
    const table = mappingTable(10);
    const mappings = [used(table, UDP, 1, IPV4 + 5, 5000), lingering(table, 1, 5, 6000, 100)];
    for (const mapping of mappings) table.give(mapping, parties[0]);
    expect(groups.map((group) => table.mappingsOf(group))).toEqual([2, 0, 0]);
    table.release(mappings[0], true, 150);
    expire(table, 220);
    expect([table.find(UDP, IPV4 + 5, 5000), table.find(UDP, IPV4 + 5, 6000)]).toEqual([mappings[0], NONE]);
    expect([table.dropOldest(parties[1]), table.dropOldest(parties[0])]).toEqual([false, true]);
  });

  test("ends all that linger where we have another address, until those from before are gone", () => {
    const table = mappingTable(10);
    const mapping = used(table, UDP, 0, IPV4 + 5, 5000);
    for (const port of [6000, 6001]) lingering(table, 0, 5, port, 100);
    table.clear();
    while (table.isBusy) table.expire(101, 1);
    table.release(mapping, true, 101);
    expect(table.mappingsOf(groups[0])).toBe(0);
    table.hasCleared();
    lingering(table, 0, 5, 6000, 101);
    expire(table, 102);
    expect(table.mappingsOf(groups[0])).toBe(1);
  });

  test("counts what lingers as its client's, of whom the oldest goes when it asks for that", () => {
    const table = mappingTable(100);
    const mappings = [30, 31, 32].map((second) => lingering(table, 1, 7, 1000 + second, second));
    used(table, TCP, 1, IPV4 + 7, 80);
    used(table, ICMP, 0, IPV4 + 8, 80);
    expect(groups.map((group) => table.mappingsOf(group))).toEqual([1, 4, 0]);
    table.retain(mappings[0]);
    expect([1, 2, 3].map(() => table.dropOldest(parties[1]))).toEqual([true, true, false]);
    expect([30, 31, 32].map((second) => table.find(UDP, IPV4 + 7, 1000 + second))).toEqual([mappings[0], NONE, NONE]);
    expect(table.mappingsOf(groups[1])).toBe(2);
  });

  test("gives up any that lingers when records run out, and only then", () => {
    const given = new Set<number>();
    for (let seed = 1; seed <= 40; seed++) {
      const table = mappingTable(3, seed);
      for (const port of [1001, 1002, 1003]) lingering(table, 0, 1, port, port);
      used(table, TCP, 1, IPV4 + 2, 2000);
      const gone = [1001, 1002, 1003].filter((port) => table.find(UDP, IPV4 + 1, port) === NONE);
      expect(gone).toHaveLength(1);
      given.add(gone[0]);
    }
    expect([...given].sort()).toEqual([1001, 1002, 1003]);
    const table = mappingTable(3);
    for (const port of [1001, 1002, 1003]) used(table, UDP, 0, IPV4 + 1, port);
    expect(table.allocate(UDP, parties[0], IPV4 + 1, 1004)).toBe(NONE);
  });

  test("gives one client all ports but a quarter of them and the firewall's own, of the same parity while many are left of it", () => {
    const table = mappingTable(70_000, 1, 1);
    const external = new Set<number>();
    for (let address = 0; ; address++) {
      const mapping = used(table, UDP, 0, IPV4 + address, 5000);
      if (mapping === NONE) break;
      const port = table.externalPort(mapping);
      if (address < 24_000 && port % 2 === 1) throw new Error(`an odd port is the ${address}th`);
      if (port < 1024 || isResolvers(port)) throw new Error(`port ${port}`);
      external.add(port);
    }
    expect(external.size).toBe(65_535 - 8192 - Math.floor((65_535 - 8192) / 4));
    // The other protocols have theirs.
    expect(table.externalPort(table.allocate(TCP, parties[0], IPV4 + 1, 20_000))).toBe(20_000);
    expect(table.externalPort(table.allocate(ICMP, parties[0], IPV4 + 1, 5000))).toBe(5000);
  });

  test("gives ports below 1024 for such ones while there are many, then others; and never port 0", () => {
    const table = mappingTable(2000, 1, 1);
    const external = Array.from({ length: 1100 }, (_, address) =>
      table.externalPort(used(table, UDP, 0, IPV4 + address, 0)),
    );
    expect(external.slice(0, 440).filter((port) => port === 0 || port % 2 === 1 || port >= 1024)).toEqual([]);
    expect(external.slice(440, 880).filter((port) => port === 0 || port >= 1024)).toEqual([]);
    expect(external.slice(900).filter((port) => port % 2 === 1 || port < 1024)).toEqual([]);
  });

  test("keeps a quarter of the ports for clients who have less than their part of it, whatever others take", () => {
    const table = mappingTable(70_000);
    const taken = [0, 1].map((client) => {
      let count = 0;
      for (let i = 0; i < 65_536; i++)
        if (used(table, TCP, client, IPV4 + ((client << 16) | (i >> 15)), 1024 + i) !== NONE) count++;
      return count;
    });
    const all = 65_535 - 256; // the firewall's own have those
    const kept = Math.floor(all / 4);
    const part = Math.floor(kept / 3);
    expect(taken[0]).toBe(all - kept);
    expect(taken[1]).toBe(part);
    const ports = Array.from({ length: part + 1 }, (_, i) => used(table, TCP, 2, IPV4 + 99, 1024 + i));
    expect(ports.map((mapping) => mapping !== NONE)).toEqual([...new Array<boolean>(part).fill(true), false]);
    expect(used(table, UDP, 2, IPV4 + 99, 1024)).not.toBe(NONE);
  });

  test("lets what lingers of its own go for a client that has all of its part", () => {
    const table = mappingTable(70_000);
    for (let i = 0; i < 65_536; i++) used(table, UDP, 0, IPV4 + (i >> 15), 1024 + i);
    let held = 0;
    for (let i = 0; lingering(table, 1, 99, 1024 + i, i) !== NONE && held < 30_000; i++) held++;
    expect(held).toBe(30_000); // each new one ends one of its own
    expect(table.mappingsOf(groups[1])).toBe(Math.floor((65_535 - 8192) / 4 / 3));
    expect(used(table, UDP, 2, IPV4 + 98, 7000)).not.toBe(NONE);
  });

  test("has ports for the firewall's own questions, whatever clients do and whatever is forwarded", () => {
    for (const forwarded of [[], [{ protocol: UDP, portLow: 1, portHigh: 65_535 }]]) {
      const table = mappingTable(70_000, 1, 1);
      table.reserve(forwarded);
      for (let i = 0; i < 65_536; i++) used(table, UDP, 0, IPV4 + i, i);
      const ports = Array.from({ length: 256 }, () => {
        const mapping = table.allocateOwn(UDP, IPV4 + 77);
        table.retain(mapping);
        return table.externalPort(mapping);
      });
      expect(new Set(ports).size).toBe(256);
      expect(ports.filter((port) => !isResolvers(port))).toEqual([]);
      const quarters = [0, 1, 2, 3].map(
        (quarter) => ports.filter((port) => (port - RESOLVER_PORTS.portLow) >> 11 === quarter).length,
      );
      expect(Math.min(...quarters)).toBeGreaterThan(40);
    }
  });
});
