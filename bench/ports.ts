// What a new mapping costs, on memory alone, by how full the ports are: `bun bench/ports.ts`. Prints the median of many short parts, in
// ns a mapping made and ended again: where the client's own port is free, and where another has to be found.
import { Random } from "../lab/random.ts";
import { SETTINGS } from "../lab/router-lab.ts";
import { drawHashKeys, KeyedHash } from "../src/dataplane/keyed-hash.ts";
import { Parties } from "../src/dataplane/parties.ts";
import { MappingTable } from "../src/dataplane/ports/mappings.ts";
import { RandomPool } from "../src/dataplane/random.ts";
import { type Client, type Mapping, NO_MAPPING } from "../src/dataplane/types.ts";
import { type Address, PROTOCOL } from "../src/wire/ipv4.ts";
import type { Port } from "../src/wire/ports.ts";
import { median } from "./report/statistics.ts";

const FLOWS = 131_072;
const PART = 200;
const PARTS = 500;
const VICTIM = 0x0a000009 as Address;
const CLIENTS = 2;

const PARTIES = new Parties(SETTINGS);
const [attacker, victim] = ([0, 1] as Client[]).map((client) => PARTIES.host(client, VICTIM));

/** @param fill what part of the ports an attacker has taken @param lingers whether these linger */
function filled(fill: number, lingers: boolean): MappingTable {
  const random = new Random(1);
  const pool = new RandomPool((words) => crypto.getRandomValues(words));
  const table = new MappingTable(FLOWS, new KeyedHash(drawHashKeys(() => random.next())), pool);
  table.follow(PARTIES, CLIENTS);
  const order = Array.from({ length: 65_536 }, (_, port) => port);
  for (let left = order.length * fill; left > 0; left--) {
    const port = order.splice(random.below(order.length), 1)[0] as Port;
    const mapping = table.allocate(PROTOCOL.UDP, attacker, 0x0a000001 as Address, port);
    if (mapping === NO_MAPPING) break;
    table.retain(mapping);
    if (lingers) table.release(mapping, true, 1);
  }
  return table;
}

/** @returns ns for each of PARTS parts */
function parts(table: MappingTable, portOf: (i: number) => number): number[] {
  const made = new Int32Array(PART);
  return Array.from({ length: PARTS }, (_, part) => {
    const start = Bun.nanoseconds();
    for (let i = 0; i < PART; i++) {
      const mapping = table.allocate(PROTOCOL.UDP, victim, (VICTIM + i) as Address, portOf(part * PART + i) as Port);
      if (mapping === NO_MAPPING) throw new Error("no port");
      table.retain(mapping);
      made[i] = mapping;
    }
    for (const mapping of made) table.release(mapping as Mapping, false, 1);
    return (Bun.nanoseconds() - start) / PART;
  });
}

for (const [what, fill, lingers] of [
  ["empty", 0, false],
  ["half full", 0.5, false],
  ["as full as one client can have it", 1, false],
  ["full, all lingering", 1, true],
] as const) {
  for (const [which, portOf] of [
    ["any port", (i: number) => 1024 + ((i * 7919) % 64_512)],
    ["one that is taken", () => 20_000], // the firewall's own
  ] as const) {
    const table = filled(fill, lingers);
    parts(table, portOf); // so that all is compiled
    console.log(`ports ${what}, ${which}: ${median(parts(table, portOf)).toFixed(0)} ns`);
  }
}
