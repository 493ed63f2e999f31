// Dom0 writes two lists of a client's rules, one of each family, both made of the one that people know from `qvm-firewall`: whose rule
// names a destination of the other family is left out. Here they are one list again.
import { isDeepStrictEqual } from "node:util";
import type { Family } from "../base/ip.ts";
import type { ListedRule, Policy } from "../rules/parse.ts";
import type { ClientRules } from "./client-rules.ts";

/** Of both lists, one of which may be newer than the other: rules with one number are not always the same. */
export function mergeRules(ipv4: ClientRules, ipv6: ClientRules): { policy: Policy; rules: ListedRule[] } {
  const numbers = [...new Set([...ipv4.numbers, ...ipv6.numbers])].sort((one, other) => one - other);
  const rules = numbers.flatMap((number) => {
    const [one, other] = [listed(ipv4, number, 4), listed(ipv6, number, 6)];
    const isSame = isDeepStrictEqual({ ...one, family: undefined }, { ...other, family: undefined });
    if (one !== undefined && isSame) return { ...ipv4.rules[ipv4.numbers.indexOf(number)] };
    return [one, other].filter((rule) => rule !== undefined);
  });
  const policies = [policyRule(ipv4, 4), policyRule(ipv6, 6)].flat();
  return policies.length === 2 ? { policy: "accept", rules } : { policy: "drop", rules: [...rules, ...policies] };
}

function listed({ rules, numbers }: ClientRules, number: number, family: Family): ListedRule | undefined {
  const at = numbers.indexOf(number);
  return at < 0 ? undefined : { ...rules[at], family };
}

/** A policy of one family alone, as its last rule. Dom0 writes none that accepts. */
function policyRule({ policy }: ClientRules, family: Family): ListedRule[] {
  return policy === "accept" ? [{ action: "accept", family }] : [];
}
