// Warnings about rules, held against the compiled rules: without a rule that is said to decide nothing, every packet is
// judged as with it; and a rule that one before it covers is always found.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import { ruleWarnings } from "../../src/config/rule-warnings.ts";
import { judge } from "../../src/dataplane/rules/ruleset.ts";
import { compileRules } from "../../src/rules/compile.ts";
import type { Rule } from "../../src/rules/parse.ts";

const NOW = 1_700_000_000;
const DNS = [ip("9.9.9.9"), ip("9.9.9.10")];
const HOSTS = ["9.9.9.9", "9.9.9.10", "8.8.8.8", "8.8.4.4", "8.0.0.0", "7.0.0.1"].map(ip);
const NAMES = new Map([
  ["one.example", [ip("8.8.8.8")]],
  ["two.example", [ip("8.8.4.4"), ip("7.0.0.1")]],
]);
const SURROUNDINGS = { dns: DNS, now: NOW, unreached: () => undefined };
const PORTS = [0, 22, 53, 80, 65535];

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
