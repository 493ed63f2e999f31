// Warnings about rules, held against the compiled rules: without a rule that is said to decide nothing, every packet is
// judged as with it; and a rule that one before it covers is always found.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import { wordsOfBytes } from "../../lab/rulesets.ts";
import { networkOf6, parseAddress6 } from "../../src/base/address.ts";
import { ruleWarnings } from "../../src/config/rule-warnings.ts";
import { judge, judge6 } from "../../src/dataplane/rules/ruleset.ts";
import { compileRules } from "../../src/rules/compile.ts";
import type { ListedRule, Rule } from "../../src/rules/parse.ts";

const NOW = 1_700_000_000;
const DNS = [ip("9.9.9.9"), ip("9.9.9.10")];
const HOSTS = ["9.9.9.9", "9.9.9.10", "8.8.8.8", "8.8.4.4", "8.0.0.0", "7.0.0.1"].map(ip);
const NAMES = new Map([
  ["one.example", [ip("8.8.8.8")]],
  ["two.example", [ip("8.8.4.4"), ip("7.0.0.1")]],
]);
const DNS6 = [ip6("2001:db8::53")];
const HOSTS6 = ["2001:db8::53", "2001:db8::1", "2001:db8:0:1::1", "2001:db9::1", "::7"].map(ip6);
const NAMES6 = new Map([
  ["one.example", [ip6("2001:db8::1")]],
  ["two.example", []],
]);
const SURROUNDINGS = { dns: DNS, now: NOW, unreached: () => undefined };
const SURROUNDINGS6 = { ...SURROUNDINGS, dns6: DNS6 };
const PORTS = [0, 22, 53, 80, 65535];

function ip6(text: string): Uint8Array {
  return parseAddress6(text) ?? new Uint8Array(16);
}

/** Of few values, so that rules often meet. */
function randomRule(random: Random): Rule {
  const proto = random.pick([undefined, "tcp", "udp", "icmp"] as const);
  const hasPorts = proto !== "icmp" && random.chance(0.4);
  const [low, high] = [random.pick(PORTS), random.pick(PORTS)].sort((one, other) => one - other);
  const prefix = random.pick([0, 4, 8, 24, 32]);
  const address = (random.pick(HOSTS) & (prefix === 0 ? 0 : -1 << (32 - prefix))) >>> 0;
  return {
    action: random.pick(["accept", "drop"] as const),
    ...(random.chance(0.15)
      ? { dsthost: random.pick([...NAMES.keys()]) }
      : random.chance(0.6) && { dst4: { address, prefix } }),
    ...(proto !== undefined && { proto }),
    ...(proto !== "icmp" && random.chance(0.15) && { specialtarget: "dns" as const }),
    ...(hasPorts && { dstports: { low, high } }),
    ...(proto === "icmp" && random.chance(0.5) && { icmptype: random.pick([8, 13]) }),
    ...(random.chance(0.15) && { expire: NOW + random.pick([-1, 5, 10]) }),
  };
}

/** @returns whether each packet of a grid is accepted, at a time */
function judgements(rules: readonly Rule[], now: number): boolean[] {
  const ruleset = compileRules(rules, "drop", { dns: DNS, now, addressesOf: (name) => NAMES.get(name) ?? [] });
  const packets = HOSTS.flatMap((host) => [
    ...[6, 17].flatMap((protocol) => PORTS.map((port) => [host, protocol, port] as const)),
    ...[8, 13].map((type) => [host, 1, type] as const),
    [host, 47, 0] as const,
  ]);
  return packets.map(([host, protocol, selector]) => (judge(ruleset, protocol, host | 0, selector) & 1) === 1);
}

/** As `randomRule`, of either family or of both. */
function randomRule6(random: Random): ListedRule {
  const { dst4, icmptype, ...rule } = randomRule(random);
  const written = { address: random.pick(HOSTS6), prefix: random.pick([0, 16, 32, 64, 128]) };
  const isIpv6 = dst4 !== undefined && random.chance(0.7);
  return {
    ...rule,
    ...(isIpv6 ? { dst6: networkOf6(written) } : dst4 && { dst4 }),
    ...(icmptype !== undefined && { icmptype: random.pick([8, 13, 128]) }),
    ...(random.chance(0.1) && { family: random.pick([4, 6] as const) }),
  };
}

/** @returns whether each packet of a grid of both families is accepted, at a time */
function judgements6(rules: readonly ListedRule[], now: number): boolean[] {
  const ruleset = compileRules(rules, "drop", {
    ...{ dns: DNS, now, addressesOf: (name) => NAMES.get(name) ?? [] },
    ipv6: { dns: DNS6, addressesOf: (name) => NAMES6.get(name) ?? [] },
  });
  const packets = [
    ...PORTS.flatMap((port) => [[6, port] as const, [17, port] as const]),
    [58, 128] as const,
    [47, 0] as const,
  ];
  const packets4 = [...packets, [1, 8] as const, [1, 13] as const];
  return [
    ...HOSTS.flatMap((host) => packets4.map(([protocol, selector]) => judge(ruleset, protocol, host | 0, selector))),
    ...HOSTS6.flatMap((host) => {
      const words = wordsOfBytes(host);
      return packets.map(([protocol, selector]) => judge6(ruleset, protocol, ...words, selector));
    }),
  ].map((judgement) => (judgement & 1) === 1);
}

test("a rule that is said to decide nothing decides nothing in either family", () => {
  const random = new Random(7);
  let warned = 0;
  for (let round = 0; round < 3000; round++) {
    const rules = Array.from({ length: 2 + random.below(6) }, () => randomRule6(random));
    for (const { rule } of ruleWarnings(rules, SURROUNDINGS6)) {
      warned++;
      for (const now of [NOW, NOW + 5, NOW + 10]) {
        expect(judgements6(rules.toSpliced(rule, 1), now)).toEqual(judgements6(rules, now));
      }
    }
  }
  expect(warned).toBeGreaterThan(1000);
});

test("what covers a rule in one family alone leaves it to the other", () => {
  const problems = (...rules: ListedRule[]) => ruleWarnings(rules, SURROUNDINGS6).map(({ rule }) => rule);
  const everything4: Rule = { action: "accept", dst4: { address: 0, prefix: 0 } };
  const everything6: Rule = { action: "accept", dst6: { address: new Uint8Array(16), prefix: 0 } };
  const tcp: Rule = { action: "drop", proto: "tcp" };
  expect(problems(everything4, tcp)).toEqual([]);
  expect(problems(everything6, tcp)).toEqual([]);
  expect(problems(everything4, everything6, tcp)).toEqual([2]);
  expect(problems({ action: "accept", family: 6 }, tcp)).toEqual([]);
  expect(ruleWarnings([everything4, tcp], SURROUNDINGS).map(({ rule }) => rule)).toEqual([1]);
});

test("of ICMP types those of either family are asked about", () => {
  const problem = (icmptype: number, more: Partial<ListedRule> = {}) =>
    ruleWarnings([{ action: "accept", proto: "icmp", icmptype, ...more }], SURROUNDINGS6)[0]?.problem;
  for (const type of [8, 13, 128]) expect(problem(type)).toBeUndefined();
  const [behind, end] = ["is never asked: only ICMP requests,", "come with what they belong to (leave it out)"];
  expect(problem(3)).toBe(`${behind} types 8, 13 and 128, are, and answers and errors ${end}`);
  expect(problem(8, { dst6: { address: HOSTS6[0], prefix: 128 } })).toBe(
    `${behind} type 128, are, and answers and errors ${end}`,
  );
});

test("a rule that is said to decide nothing decides nothing, now or later", () => {
  const random = new Random(5);
  let warned = 0;
  for (let round = 0; round < 3000; round++) {
    const rules = Array.from({ length: 2 + random.below(6) }, () => randomRule(random));
    for (const { rule } of ruleWarnings(rules, SURROUNDINGS)) {
      warned++;
      for (const now of [NOW, NOW + 5, NOW + 10]) {
        expect(judgements(rules.toSpliced(rule, 1), now)).toEqual(judgements(rules, now));
      }
    }
  }
  expect(warned).toBeGreaterThan(1000);
});

test("a rule that is there twice, or narrower than one before it, is always warned of", () => {
  const random = new Random(6);
  for (let round = 0; round < 1000; round++) {
    const { expire: _, ...wide } = randomRule(random);
    if (wide.specialtarget !== undefined) continue; // with other destinations and ports it may match nothing
    const between = Array.from({ length: random.below(4) }, () => randomRule(random));
    const proto = wide.proto ?? random.pick(["tcp", "udp"] as const);
    const narrow: Rule = { ...wide, proto, action: random.pick(["accept", "drop"] as const), expire: NOW + 5 };
    const rules = [wide, ...between, narrow];
    const last = ruleWarnings(rules, SURROUNDINGS).map(({ rule }) => rule);
    const everything = rules.findIndex(({ action: _action, comment: _comment, ...rest }) => {
      return Object.keys(rest).length === 0 || (rest.dst4?.prefix === 0 && Object.keys(rest).length === 1);
    });
    expect(last).toContain(everything < 0 ? rules.length - 1 : everything + 1); // one warning is for all behind a catch-all
  }
});
