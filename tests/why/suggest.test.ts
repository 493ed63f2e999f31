// Suggested rules, held against the router: under them all of the refused traffic passes, and nothing else that was refused before. What
// they are called is what strangers chose, so it is looked at as a shell and a TOML parser would.

import { describe, expect, test } from "bun:test";
import { icmp, ip, ipv4, payload, tcp, udp } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import { GATEWAY, INTERFACES, Lab, OUTSIDE, WORK_GATEWAY, WORK_HOST } from "../../lab/router-lab.ts";
import { formatIp, type IpAddress } from "../../src/base/ip.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { makeSettings } from "../../src/control/settings.ts";
import { DropBook } from "../../src/control/views/drops.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { parseRule } from "../../src/rules/parse.ts";
import { type SuggestEntry, suggestFor, tomlLine } from "../../src/why/suggest.ts";
import { HOSTILE } from "../support/hostile-text.ts";
import { rejectionOf } from "../support/rejection.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { sound } from "../support/sound.ts";

const DEVICES = INTERFACES.map((device) => ({ ...device, isUp: true }));
const TCP = 6;
const UDP = 17;
const ICMP = 1;
const GRE = 47;

/** A packet of the client's, as far as rules look at it. */
interface Sent {
  readonly protocol: number;
  readonly destination: string;
  readonly selector: number;
}

const text = (rules: readonly string[], name = "work") => `[uplink]
interface = "uplink"
address = "${OUTSIDE}/24"
gateway = "${GATEWAY}"
dns = ["${GATEWAY}", "192.0.2.3"]
[[client]]
name = ${JSON.stringify(name)}
interface = "work"
address = "${WORK_HOST}"
gateway = "${WORK_GATEWAY}"
rules = [
${rules.map((rule) => `${rule.startsWith(" ") ? rule : `${JSON.stringify(rule)},`}\n`).join("")}]
`;

/** A firewall without a machine, whose client has these rules. */
class Bench {
  readonly lab: Lab;
  readonly drops: DropBook;
  readonly config: Config;
  readonly settings: Settings;
  private port = 1024;

  constructor(
    rules: readonly string[],
    private readonly names: ReadonlyMap<string, string> = new Map(),
    readonly name = "work",
  ) {
    const result = sound(parseConfig(text(rules, name), "firewall.toml"));
    this.config = result.config;
    const made = sound(makeSettings(this.config, DEVICES, { addressesOf: (host) => this.addressesOf(host) }));
    this.settings = made.settings;
    this.lab = new Lab({ settings: this.settings });
    this.drops = new DropBook(this.lab.router.drops.words, new SimulatedClock(), this.config, this.settings);
  }

  readonly addressesOf = (host: string) =>
    [...this.names].flatMap(([address, name]) => (name === host ? [ip(address)] : []));

  /** @returns whether it was refused by rules */
  isRefused({ protocol, destination, selector }: Sent): boolean {
    const ends = { source: WORK_HOST, destination, sourcePort: this.port++, destinationPort: selector };
    const packets = new Map([
      [TCP, () => tcp({ ...ends, flags: "S" })],
      [UDP, () => udp(ends, payload(4))],
      [
        ICMP,
        () => icmp({ source: WORK_HOST, destination, type: selector, code: 0, rest: this.port << 16 }, payload(8)),
      ],
    ]);
    const packet = packets.get(protocol)?.() ?? ipv4({ source: WORK_HOST, destination }, protocol, payload(8));
    const { verdict } = this.lab.from(WORK_HOST, packet);
    return verdict === "dropped: refused by rules";
  }

  suggest(words: readonly string[] = [], since = 600): Promise<SuggestEntry[]> {
    const { config, settings, drops, addressesOf } = this;
    const seenNames = { nameOf: (_: string, address: IpAddress) => this.names.get(formatIp(address)) };
    return suggestFor(
      { config, settings, drops, addressesOf, seenNames },
      this.name,
      words,
      since,
      new SimulatedClock().unixTime(),
    );
  }
}

const rulesOf = (entries: readonly SuggestEntry[]) => entries.flatMap((entry) => ("rule" in entry ? [entry.rule] : []));

function suggested(sent: readonly Sent[], names: Readonly<Record<string, string>> = {}, rules: readonly string[] = []) {
  const bench = new Bench(rules, new Map(Object.entries(names)));
  for (const packet of sent) expect(bench.isRefused(packet)).toBe(true);
  return bench.suggest();
}

const to = (destination: string, protocol: number, ...selectors: readonly number[]): Sent[] =>
  selectors.map((selector) => ({ destination, protocol, selector }));

describe("as few rules as can be", async () => {
  test.each([
    [
      "ports in a row are a range",
      to("198.51.100.7", TCP, 80, 82, 81),
      ["action=accept dst4=198.51.100.7 proto=tcp dstports=80-82"],
    ],
    [
      "both protocols are one rule",
      [...to("198.51.100.7", TCP, 443), ...to("198.51.100.7", UDP, 443)],
      ["action=accept dst4=198.51.100.7 dstports=443"],
    ],
    [
      "addresses that make a prefix are one",
      ["4", "5", "6", "7"].flatMap((last) => to(`198.51.100.${last}`, UDP, 123)),
      ["action=accept dst4=198.51.100.4/30 proto=udp dstports=123"],
    ],
    [
      "a type of ICMP by itself",
      to("198.51.100.7", ICMP, 8),
      ["action=accept dst4=198.51.100.7 proto=icmp icmptype=8"],
    ],
    [
      "name servers are dns",
      [...to(GATEWAY, UDP, 53), ...to("192.0.2.3", UDP, 53)],
      ["action=accept proto=udp specialtarget=dns"],
    ],
  ])("%s", async (_, sent, rules) => {
    expect(rulesOf(await suggested(sent))).toEqual(rules);
  });

  test("a host name stands for all the addresses that the client was told", async () => {
    const names = { "198.51.100.7": "www.example", "203.0.113.9": "www.example", "203.0.113.10": "bad name$(reboot)" };
    const sent = [...to("198.51.100.7", TCP, 443), ...to("203.0.113.9", TCP, 443), ...to("203.0.113.10", TCP, 443)];
    expect(rulesOf(await suggested(sent, names)).toSorted()).toEqual([
      "action=accept dst4=203.0.113.10 proto=tcp dstports=443",
      "action=accept dsthost=www.example proto=tcp dstports=443",
    ]);
  });
});

test("what no rule can say alone is left out, with the reason", async () => {
  const [entry, ...more] = await suggested(to("198.51.100.7", GRE, 0));
  expect(more).toEqual([]);
  expect(entry).toMatchObject({
    client: "work",
    left_out: { proto: "47" },
    reason: expect.stringContaining("no word for this protocol"),
  });
  expect(tomlLine(entry, 1.8e9)).toMatch(/^ {2}# left out: 1 of 47 10\.137\.0\.10 to 198\.51\.100\.7 /);
});

test("a rule that somebody wrote against it is named", async () => {
  const entries = await suggested(to("198.51.100.7", TCP, 25, 25), {}, ["action=drop proto=tcp dstports=25"]);
  expect(entries).toEqual([
    {
      client: "work",
      rule: "action=accept dst4=198.51.100.7 proto=tcp dstports=25",
      packets: 2,
      last: expect.any(Number),
      qvm_firewall: "qvm-firewall work add --before 0 accept dst4=198.51.100.7 proto=tcp dstports=25",
      against: [{ rule: 1, place: "firewall.toml:12" }],
    },
  ]);
  expect(tomlLine(entries[0], 1.8e9)).toContain("; against rule 1 (firewall.toml:12)");
});

test("filters and time narrow it", async () => {
  const bench = new Bench([]);
  for (const packet of [...to("198.51.100.7", TCP, 80), ...to("203.0.113.9", UDP, 53)]) bench.isRefused(packet);
  expect(rulesOf(await bench.suggest(["proto=tcp"]))).toEqual([
    "action=accept dst4=198.51.100.7 proto=tcp dstports=80",
  ]);
  bench.lab.wait(30_000);
  bench.isRefused({ protocol: TCP, destination: "203.0.113.10", selector: 22 });
  expect(rulesOf(await bench.suggest([], 20))).toEqual(["action=accept dst4=203.0.113.10 proto=tcp dstports=22"]);
  expect(String(await rejectionOf(bench.suggest(["verdict=spoofed"])))).toContain("client and verdict are given");
  expect(String(await rejectionOf(bench.suggest(["nonsense"])))).toContain("is no filter");
});

const POOL = ["198.51.100.6", "198.51.100.7", "198.51.100.8", "203.0.113.9", "192.0.2.3", GATEWAY];
const NAMES = new Map([
  ["198.51.100.7", "www.example"],
  ["203.0.113.9", "www.example"],
  ["198.51.100.8", "db.example"],
]);
const PORTS = [22, 52, 53, 54, 80, 81, 82, 443];

function randomPacket(random: Random): Sent {
  const protocol = random.pick([TCP, TCP, UDP, ICMP]);
  return {
    protocol,
    destination: random.pick(POOL),
    selector: protocol === ICMP ? random.pick([8, 13]) : random.pick(PORTS),
  };
}

/** Everything in and around what is sent. */
const EVERYTHING: readonly Sent[] = [...POOL, "198.51.100.5", "198.51.100.9", "8.8.8.8"].flatMap((destination) => [
  ...[TCP, UDP].flatMap((protocol) =>
    [...PORTS, 21, 23, 79, 83, 442, 444].map((selector) => ({ protocol, destination, selector })),
  ),
  ...[8, 13, 15].map((selector) => ({ protocol: ICMP, destination, selector })),
  { protocol: GRE, destination, selector: 0 },
]);

/** What a rule may let pass beside what was refused: more addresses of a name that was sent to, more name servers. */
function isMeant(packet: Sent, refused: readonly Sent[]): boolean {
  const isLike = (other: Sent) => other.protocol === packet.protocol && other.selector === packet.selector;
  const name = NAMES.get(packet.destination);
  return refused.some(
    (other) =>
      isLike(other) &&
      (other.destination === packet.destination ||
        (name !== undefined && NAMES.get(other.destination) === name) ||
        (packet.selector === 53 && isServer(packet) && isServer(other))),
  );
}

const isServer = ({ destination }: Sent) => destination === GATEWAY || destination === "192.0.2.3";

test("replayed under the suggestion all that was refused passes, and of everything around it nothing else that was refused before", async () => {
  const random = new Random(2019);
  let [rulesMade, kinds] = [0, 0];
  for (let round = 0; round < 60; round++) {
    const rules = Array.from({ length: random.below(4) }, () => {
      const { destination } = randomPacket(random);
      return `action=${random.pick(["accept", "drop"])} dst4=${destination} proto=tcp dstports=${random.pick(PORTS)}`;
    });
    const bench = new Bench(rules, NAMES);
    const sent = Array.from({ length: 1 + random.below(25) }, () => randomPacket(random));
    const refused = sent.filter((packet) => bench.isRefused(packet));
    const entries = await bench.suggest();
    expect(entries.filter((entry) => "left_out" in entry)).toEqual([]);
    // As somebody pastes them: the lines of TOML, in front of the rules that there are.
    const after = new Bench([...entries.map((entry) => tomlLine(entry, 1.8e9)), ...rules], NAMES);
    for (const packet of refused) expect([packet, after.isRefused(packet)]).toEqual([packet, false]);
    const control = new Bench(rules, NAMES);
    for (const packet of EVERYTHING) {
      if (!isMeant(packet, refused))
        expect([packet, after.isRefused(packet)]).toEqual([packet, control.isRefused(packet)]);
    }
    rulesMade += entries.length;
    kinds += new Set(refused.map((packet) => JSON.stringify(packet))).size;
  }
  expect(kinds).toBeGreaterThan(rulesMade * 1.1);
});

test("whatever hosts are named, a command is words of the rule language, and a line is one", async () => {
  for (const name of [...HOSTILE, "-x", "a b", "www.example; reboot", "a=b"]) {
    const bench = new Bench([], new Map([["198.51.100.7", name]]));
    bench.isRefused({ protocol: TCP, destination: "198.51.100.7", selector: 443 });
    const [entry] = await bench.suggest();
    if (entry === undefined || !("rule" in entry)) throw new Error("left out");
    expect(parseRule(entry.rule)).toMatchObject({ ok: true });
    expect(entry.qvm_firewall).toMatch(/^qvm-firewall work add --before 0 accept(?: [a-z0-9]+=[A-Za-z0-9_./-]+)+$/);
    expect(tomlLine(entry, 1.8e9)).toMatch(/^[ -~]+$/);
  }
});

test("a client whose name no qube has is a word that somebody has to replace", async () => {
  for (const name of ["10.137.0.10", "9lives"]) {
    const bench = new Bench([], new Map(), name);
    bench.isRefused({ protocol: TCP, destination: "198.51.100.7", selector: 443 });
    expect(await bench.suggest()).toMatchObject([
      { qvm_firewall: "qvm-firewall QUBE add --before 0 accept dst4=198.51.100.7 proto=tcp dstports=443" },
    ]);
  }
});
