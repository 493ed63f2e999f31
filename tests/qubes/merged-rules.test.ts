// Two lists of rules made one: nothing is decided otherwise than by the list of a packet's family.
import { expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { Random } from "../../lab/random.ts";
import type { ClientRules } from "../../src/qubes/client-rules.ts";
import { mergeRules } from "../../src/qubes/merged-rules.ts";
import { type Circumstances, matches6Of, matchesOf } from "../../src/rules/compile.ts";
import type { ListedRule, Rule } from "../../src/rules/parse.ts";

const CIRCUMSTANCES: Circumstances = {
  dns: [ip("192.0.2.53")],
  now: 0,
  addressesOf: () => [ip("192.0.2.80")],
  ipv6: { dns: [ip6("2001:db8::53")], addressesOf: () => [ip6("2001:db8::80")] },
};

/** What `qvm-firewall` may have. */
function randomRule(random: Random): Rule {
  const action = random.pick(["accept", "drop"] as const);
  const destination = random.pick([
    {},
    { dst4: { address: ip("192.0.2.0"), prefix: 24 } },
    { dst6: { address: ip6("2001:db8::"), prefix: 32 } },
    { dsthost: "example.org" },
    { specialtarget: "dns" as const },
  ]);
  return { action, ...destination, ...random.pick([{}, { proto: "tcp" as const }, { proto: "icmp" as const }]) };
}

/** As qubesd writes the list of one family (qubes-core-admin, Firewall.qdb_entries): numbers stay, the other's rules are left out. */
function listOf(rules: readonly Rule[], foreign: "dst4" | "dst6"): ClientRules {
  const kept = [...rules.entries()].filter(([, rule]) => rule[foreign] === undefined);
  return { policy: "drop", rules: kept.map(([, rule]) => rule), numbers: kept.map(([number]) => number) };
}

function compiled(rules: readonly ListedRule[]) {
  return {
    ipv4: rules.flatMap((rule) => matchesOf(rule, 1, CIRCUMSTANCES)),
    ipv6: rules.flatMap((rule) => matches6Of(rule, 1, CIRCUMSTANCES)),
  };
}

test("whatever the lists are, and were, the one list matches what they do, in their order", () => {
  const random = new Random(6);
  for (let round = 0; round < 500; round++) {
    const [before, after] = [0, 1].map(() => Array.from({ length: random.below(6) }, () => randomRule(random)));
    const [ipv4, ipv6] = [listOf(after, "dst6"), listOf(random.chance(0.7) ? after : before, "dst4")];
    const { policy, rules } = mergeRules(ipv4, ipv6);
    expect(policy).toBe("drop");
    expect(compiled(rules)).toEqual({ ipv4: compiled(ipv4.rules).ipv4, ipv6: compiled(ipv6.rules).ipv6 });
  }
});

test("of lists of one time it is the list that people know", () => {
  const random = new Random(66);
  for (let round = 0; round < 200; round++) {
    const rules = Array.from({ length: random.below(6) }, () => randomRule(random));
    const merged = mergeRules(listOf(rules, "dst6"), listOf(rules, "dst4")).rules;
    expect(merged.map(({ family: _, ...rule }) => rule)).toEqual(rules);
    expect(merged.filter(({ family, dst4, dst6 }) => family !== undefined && !dst4 && !dst6)).toEqual([]);
  }
});

test("a policy of one family alone is that family's last rule", () => {
  const [accept, drop] = (["accept", "drop"] as const).map((policy) => ({ policy, rules: [], numbers: [] }));
  expect(mergeRules(accept, accept)).toEqual({ policy: "accept", rules: [] });
  expect(mergeRules(drop, drop)).toEqual({ policy: "drop", rules: [] });
  expect(mergeRules(accept, drop)).toEqual({ policy: "drop", rules: [{ action: "accept", family: 4 }] });
  expect(mergeRules(drop, accept)).toEqual({ policy: "drop", rules: [{ action: "accept", family: 6 }] });
});
