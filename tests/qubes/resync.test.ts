// Dom0's daemon is restarted and filled key by key, as qubesd does it, at random moments, with random pauses, and dies again in
// mid-sentence: what is in force is at each moment what was, or what will be, and soon what is.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { Random } from "../../lab/random.ts";
import type { Config } from "../../src/config/config.ts";
import { type ClientRules, CommittedRules, type Database, readClientRules } from "../../src/qubes/client-rules.ts";
import { makeQubeConfig } from "../../src/qubes/qube-config.ts";
import { QubesDb } from "../../src/qubes/qubesdb.ts";
import { QUBESDB_PORT } from "../../src/qubes/qubesdb-wire.ts";
import { databaseOf } from "../support/database.ts";
import { QubesDbDouble } from "../support/qubesdb-double.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { Switchboard } from "../support/vchans.ts";

const ADDRESSES = ["10.137.0.8", "10.137.0.9", "10.137.0.10"];
const ADDRESSES_6 = ["fd09:24ef:4179::a89:8", "fd09:24ef:4179::a89:9", "fd09:24ef:4179::a89:a"];
/** Until all that was written is in force, in ms. */
const SOON = 2000;

type Keys = readonly (readonly [path: string, value: string])[];

/** What qubesd writes, in its order (qubes-core-admin, create_qdb_entries): the base keys, then each client's. */
function randomKeys(random: Random): Keys {
  const keys: [string, string][] = [
    ["/name", "firebreak"],
    ["/qubes-netvm-gateway", `10.137.1.${random.below(4)}`],
    ["/qubes-netvm-primary-dns", "10.139.1.1"],
  ];
  const hasIpv6 = random.chance(0.5);
  if (hasIpv6) keys.splice(2, 0, ["/qubes-netvm-gateway6", `fd09::1:${random.below(4)}`]);
  if (random.chance(0.7)) {
    keys.push(["/qubes-ip", `10.137.2.${random.below(4)}`], ["/qubes-gateway", `10.138.0.${random.below(4)}`]);
    keys.push(["/qubes-primary-dns", `10.139.1.${random.below(4)}`]);
    if (hasIpv6)
      keys.push(["/qubes-ip6", `fd09::2:${random.below(4)}`], ["/qubes-gateway6", `fd09::3:${random.below(4)}`]);
  }
  keys.push(["/qubes-block-devices", ""]);
  const clients = ADDRESSES.filter(() => random.chance(0.7));
  const visible = (address: string) => `192.168.${random.below(2)}.${ADDRESSES.indexOf(address)}`;
  const told = new Map(clients.map((address) => [address, random.chance(0.3) ? visible(address) : address]));
  keys.push(["/connected-ips", [...told.values()].join(" ")]);
  const sixth = (address: string) => ADDRESSES_6[ADDRESSES.indexOf(address)];
  keys.push(["/connected-ips6", hasIpv6 ? clients.map(sixth).join(" ") : ""]);
  for (const address of clients.filter(() => random.chance(0.8))) {
    if (told.get(address) !== address) keys.push([`/mapped-ip/${address}/visible-ip`, told.get(address) ?? ""]);
    for (const one of hasIpv6 ? [address, sixth(address)] : [address])
      for (const [path, value] of randomRules(random, one)) keys.push([path, value]);
  }
  return keys;
}

function randomRules(random: Random, address: string): Keys {
  const rules = Array.from({ length: random.below(4) }, (_, i): [string, string] => {
    return [`/qubes-firewall/${address}/000${i}`, `action=${random.pick(["accept", "drop"])} proto=tcp`];
  });
  return [[`/qubes-firewall/${address}/policy`, "drop"], ...rules, [`/qubes-firewall/${address}`, ""]];
}

/** What the firewall is to do, of each client and of the network. */
interface InForce {
  readonly rules: readonly (ClientRules | undefined)[];
  readonly config: Omit<Config, "nat">;
}

function inForce(database: Pick<Database, "get">, rulesOf: (address: string) => ClientRules | undefined): InForce {
  const vifs = ADDRESSES.map((address, i) => {
    return { name: `vif${i}.0`, address: ip(address), address6: ip6(ADDRESSES_6[i]), mac: undefined };
  });
  const { config } = makeQubeConfig({ database, rulesOf: () => undefined, vifs, uplink: "eth0", options: undefined });
  return { rules: [...ADDRESSES, ...ADDRESSES_6].map(rulesOf), config };
}

function wanted(keys: Keys): InForce {
  const database = databaseOf(Object.fromEntries(keys));
  const has = (address: string) => database.get(`/qubes-firewall/${address}`) !== undefined;
  return inForce(database, (address) => (has(address) ? readClientRules(database, address) : undefined));
}

/** The base keys' part of it: of clients only what they were told of us. */
function base({ config: { uplink, redirects } }: InForce) {
  return { uplink, redirects };
}

/** A qube that follows, and its dom0. */
class Places {
  readonly clock = new SimulatedClock();
  readonly board = new Switchboard();
  readonly database: QubesDb;
  readonly rules: CommittedRules;
  /** What may be in force now: nothing, or one of these. */
  allowed: InForce[] = [];
  checks = 0;

  constructor(public double: QubesDbDouble) {
    this.database = new QubesDb(
      (handler) => this.board.connect(QUBESDB_PORT, handler),
      {
        synchronised: (before) => this.after(() => this.rules.readAll(before)),
        written: (path) => this.after(() => this.rules.written(path)),
        removed: (path) => this.after(() => this.rules.removed(path)),
        trouble: () => {},
      },
      this.clock,
    );
    this.rules = new CommittedRules(this.database);
  }

  private after(act: () => unknown): void {
    act();
    this.check();
  }

  get now(): InForce {
    return inForce(this.rules.inForce, (address) => this.rules.get(address));
  }

  check(): void {
    this.checks++;
    const { now } = this;
    for (const [i, rules] of now.rules.entries()) {
      if (rules === undefined) continue; // drops everything
      expect(this.allowed.map((one) => one.rules[i])).toContainEqual(rules);
      // What it was told of addresses goes with its rules.
      expect(this.allowed.map((one) => one.config.clients[i]?.network)).toContainEqual(now.config.clients[i]?.network);
    }
    if (this.database.get("/connected-ips") !== undefined) expect(this.allowed.map(base)).toContainEqual(base(now));
  }

  /** A daemon that has these keys so far. */
  serve(keys: Keys): void {
    this.double = new QubesDbDouble(Object.fromEntries(keys));
    const { double } = this;
    void this.board.serve(QUBESDB_PORT, double.handler()).then((stream) => double.attach(stream));
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    for (let turn = 0; turn < 6; turn++) await this.clock.advance(0);
    this.check();
  }
}

test("restarts of dom0's daemon at any moment of its filling, and at any byte", async () => {
  const random = new Random(14);
  let checks = 0;
  for (let round = 0; round < 60; round++) {
    const [old, coming] = [randomKeys(random), randomKeys(random)];
    const places = new Places(new QubesDbDouble());
    places.allowed = [wanted(old)];
    places.serve(old);
    await places.pass(SOON);
    expect(places.now).toEqual(wanted(old));

    places.allowed = [wanted(old), wanted(coming)];
    for (let deaths = random.below(3); deaths >= 0; deaths--) {
      places.double.detach();
      await places.pass(random.below(300)); // we look for it at some moment of its filling
      places.serve([]);
      const bytes = deaths > 0 ? random.below(3000) : Number.POSITIVE_INFINITY;
      let isFirst = true;
      for (const [path, value] of coming) {
        places.double.write(path, value);
        if (isFirst) await places.pass(random.below(300));
        isFirst = false;
        if (deaths > 0 && random.chance(0.1)) places.double.dieAfter(random.below(bytes));
        await places.pass(random.below(30));
      }
    }
    await places.pass(SOON);
    const now = places.now;
    const last = wanted(coming);
    expect(base(now)).toEqual(base(last));
    for (const [i, address] of ADDRESSES.entries()) {
      const connected = Object.fromEntries(coming)["/connected-ips"]?.split(" ") ?? [];
      const network = wanted(old).config.clients[i]?.network;
      const isListed =
        connected.includes(address) || connected.some((one) => ip(one === "" ? "0.0.0.0" : one) === network);
      if (last.rules[i] !== undefined || !isListed) expect(now.rules[i]).toEqual(last.rules[i]);
    }
    for (const [i, address] of ADDRESSES_6.entries()) {
      const connected = Object.fromEntries(coming)["/connected-ips6"]?.split(" ") ?? [];
      const [rules, rulesNow] = [last, now].map((one) => one.rules[ADDRESSES.length + i]);
      if (rules !== undefined || !connected.includes(address)) expect(rulesNow).toEqual(rules);
    }
    checks += places.checks;
    places.database.close();
  }
  expect(checks).toBeGreaterThan(3000);
});

test("where only our connection breaks, while rules are rewritten, no more is allowed than by the old ones or the new", async () => {
  const [rule, other] = ["action=accept proto=tcp dstports=80", "action=drop proto=udp"];
  const address = "10.137.0.9";
  const keysOf = (rules: readonly string[]): Keys => [
    ["/connected-ips", address],
    [`/qubes-firewall/${address}/policy`, "drop"],
    ...rules.map((text, i) => [`/qubes-firewall/${address}/000${i}`, text] as const),
    [`/qubes-firewall/${address}`, ""],
  ];
  const [old, coming] = [keysOf([rule, rule]), keysOf([other, rule, other])];
  for (let step = 0; step <= coming.length; step++) {
    const places = new Places(new QubesDbDouble());
    const [, ...rest] = coming;
    const beginnings = [[], [other], [other, rule]].map((rules) => wanted(keysOf(rules)));
    const refused = { ...wanted(old), rules: [undefined, readClientRules(databaseOf({}), address), undefined] };
    places.allowed = [wanted(old), wanted(coming), refused, ...beginnings];
    places.serve(old);
    await places.pass(SOON);
    const { double } = places;
    double.remove(`/qubes-firewall/${address}/`);
    for (const [i, [path, value]] of rest.entries()) {
      if (i === step) {
        double.detach();
        void places.board.serve(QUBESDB_PORT, double.handler()).then((stream) => double.attach(stream));
        await places.pass(SOON);
      }
      double.write(path, value);
      await places.pass(10);
    }
    await places.pass(SOON);
    expect(places.now).toEqual(wanted(coming));
    places.database.close();
  }
});

test("until the base keys are all there a first start has nothing in force, and then has it at once", async () => {
  const keys = randomKeys(new Random(3));
  const places = new Places(new QubesDbDouble());
  places.allowed = [wanted(keys)];
  places.serve([]);
  for (const [path, value] of keys) {
    const { entries } = places.double;
    const awaited = entries.has("/qubes-netvm-gateway6") ? "/connected-ips6" : "/connected-ips";
    expect(places.database.synchronised).toBe(entries.has(awaited));
    places.double.write(path, value);
    await places.pass(10);
  }
  expect(places.now).toEqual(wanted(keys));
  places.database.close();
});
