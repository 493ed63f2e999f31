// What is odd about a client's rules: those that never decide anything, because others come first, because no packet is like
// that, or because what they name is not there. A rule is compared with the others as it is compiled, so that a rule which
// means more than one protocol or server may be covered by several.

import { firstOf, type IpPrefix } from "../base/ip.ts";
import {
  ANY_ICMP_TYPE,
  ANY_PROTOCOL,
  type Conditions,
  IPV4_MATCHES,
  IPV6_MATCHES,
  type Match,
  type Match6,
} from "../dataplane/rules/match.ts";
import { type Circumstances, excludesDns, isAbout, isExpired, matches6Of, matchesOf } from "../rules/compile.ts";
import { formatRule, type ListedRule, type Rule } from "../rules/parse.ts";
import { ICMP_TYPE } from "../wire/icmp.ts";
import { ICMPV6_TYPE } from "../wire/icmpv6.ts";

/** What is odd about one rule. */
export interface RuleWarning {
  /** Its index. */
  readonly rule: number;
  /** The end of a sentence that begins with the rule's number. */
  readonly problem: string;
}

/** What rules are judged by here. */
export interface RuleSurroundings {
  readonly dns: readonly number[];
  /** Undefined: the client has no IPv6. */
  readonly dns6?: readonly Uint8Array[] | undefined;
  /** Unix time in seconds. */
  readonly now: number;
  /** @returns why no packet for this prefix comes to the rules, with the remedy; undefined where some do */
  unreached(destination: IpPrefix): string | undefined;
}

/** @returns one warning for each rule, at most, by index */
export function ruleWarnings(rules: readonly ListedRule[], surroundings: RuleSurroundings): RuleWarning[] {
  const { dns, dns6, now } = surroundings;
  const numberOf = placeholders();
  const addressesOf = (name: string) => [numberOf(name)];
  const addresses6Of = (name: string) => [Uint8Array.of(...new Array<number>(12).fill(0), ...bytesOf(numberOf(name)))];
  const ipv6 = dns6 && { dns: dns6, addressesOf: addresses6Of };
  const circumstances: Circumstances = { dns, now, addressesOf, ipv6 };
  const shadows = new Shadows(rules);
  const warnings: RuleWarning[] = [];
  for (const [index, rule] of rules.entries()) {
    const matches = [
      matchesOf(rule, index + 1, circumstances),
      ...(ipv6 ? [matches6Of(rule, index + 1, circumstances)] : []),
    ];
    const all = matches.flat();
    const problem = emptiness(rule, all, surroundings) ?? shadows.problem(index, all);
    if (problem !== undefined) warnings.push({ rule: index, problem });
    if (matches.every((family) => family.some(isEverything)) && rule.expire === undefined) {
      const rest = rules.length - 1 - index;
      if (rest > 0) warnings.push({ rule: index + 1, problem: behindEverything(index, rest) });
      break;
    }
    shadows.add(all);
  }
  return warnings;
}

function behindEverything(index: number, rest: number): string {
  const others = rest === 1 ? "" : rest === 2 ? ", nor is the one after it" : `, nor are the ${rest - 1} after it`;
  return `is never reached${others}: rule ${index + 1} matches every packet (put that one last, or leave out what follows it)`;
}

/** @returns why a rule matches nothing, whatever stands before it */
function emptiness(rule: ListedRule, matches: readonly Conditions[], around: RuleSurroundings): string | undefined {
  if (isExpired(rule, around.now)) return "has expired, and matches nothing (leave it out)";
  const servers = around.dns.length + (around.dns6?.length ?? 0);
  if (rule.dsthost !== undefined && servers === 0) {
    const effect = rule.action === "drop" ? "drops packets to any address" : "matches nothing";
    return `names a host, but there is no name server to ask, so that it ${effect} (write dns in [uplink])`;
  }
  if (rule.specialtarget === "dns") {
    if (excludesDns(rule)) return "has dstports other than 53, so that it matches nothing (leave dstports out)";
    if (servers === 0) {
      return "is about name servers, but there are none, so that it matches nothing (write dns in [uplink])";
    }
    if (matches.length === 0)
      return "names a destination that is no name server, so that it matches nothing (leave it out)";
  }
  const requests = requestsAbout(rule, around);
  if (rule.icmptype !== undefined && !requests.includes(rule.icmptype)) {
    const types = `${requests.slice(0, -1).join(", ")} and ${requests.at(-1)}`;
    const which = requests.length === 1 ? `type ${requests[0]}, are` : `types ${types}, are`;
    return (
      `is never asked: only ICMP requests, ${which}, and answers and errors ` +
      "come with what they belong to (leave it out)"
    );
  }
  const destination = rule.dst4 ?? rule.dst6;
  if (rule.action === "drop" || destination === undefined) return undefined;
  const reason = around.unreached({ ...destination, address: firstOf(destination) });
  return reason && `accepts nothing: ${reason}`;
}

/** @returns the ICMP types that rules are asked about, of the families that this one is about */
function requestsAbout(rule: ListedRule, { dns6 }: RuleSurroundings): number[] {
  return [
    ...(isAbout(rule, 4) ? [ICMP_TYPE.ECHO, ICMP_TYPE.TIMESTAMP] : []),
    ...(dns6 !== undefined && isAbout(rule, 6) ? [ICMPV6_TYPE.ECHO] : []),
  ];
}

/** Host names have no addresses yet: each stands for one of its own, where no rule's destination is but everywhere. */
function placeholders(): (name: string) => number {
  const numbers = new Map<string, number>();
  return (name) => {
    const number = numbers.get(name) ?? numbers.size + 1;
    numbers.set(name, number);
    return number;
  };
}

function bytesOf(word: number): number[] {
  return [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255];
}

function isEverything({ prefix, protocol, portLow, portHigh, icmpType }: Match | Match6): boolean {
  return prefix === 0 && protocol === ANY_PROTOCOL && portLow === 0 && portHigh === 65535 && icmpType === ANY_ICMP_TYPE;
}

/** The rules so far, found by what a later rule's match would have to be part of. */
class Shadows {
  /** By `keyOf`. */
  private readonly before = new Map<string, (Match | Match6)[]>();
  /** Lengths of prefixes so far: there are few, though 129 are possible. */
  private readonly lengths = new Set<number>();

  constructor(private readonly rules: readonly ListedRule[]) {}

  add(matches: readonly (Match | Match6)[]): void {
    for (const match of matches) {
      this.lengths.add(match.prefix);
      const key = keyOf(match, match.protocol, match.prefix);
      const same = this.before.get(key);
      if (same === undefined) this.before.set(key, [match]);
      else same.push(match);
    }
  }

  /** @returns why earlier rules leave nothing to this one */
  problem(index: number, matches: readonly (Match | Match6)[]): string | undefined {
    if (matches.length === 0) return undefined;
    const covering = new Set<number>();
    for (const match of matches) {
      const rule = this.cover(match, this.rules[index]);
      if (rule === undefined) return undefined;
      covering.add(rule);
    }
    const numbers = [...covering].sort((one, other) => one - other);
    const names = numbers.length === 1 ? `rule ${numbers[0]}` : `rules ${numbers.join(" and ")}`;
    const earlier = numbers.map((number) => this.rules[number - 1]);
    const rule = this.rules[index];
    if (earlier.length === 1 && earlier[0] && plain(earlier[0]) === plain(rule))
      return `is ${names} once more (leave it out)`;
    const [verb, verbs] = rule.action === "accept" ? ["accepts", "accept"] : ["drops", "drop"];
    if (earlier.every(({ action }) => action === rule.action)) {
      return `changes nothing: ${names} ${numbers.length === 1 ? verb : verbs} all of it already (leave it out)`;
    }
    return `is never reached: ${names} ${numbers.length === 1 ? "decides" : "decide"} all of it before (put it first, or leave it out)`;
  }

  /** @returns the number of the first rule that decides all of a match */
  private cover(match: Match | Match6, { expire }: Rule): number | undefined {
    let first: number | undefined;
    for (const protocol of new Set([match.protocol, ANY_PROTOCOL])) {
      for (const prefix of this.lengths) {
        if (prefix > match.prefix) continue;
        for (const earlier of this.before.get(keyOf(match, protocol, prefix)) ?? []) {
          if (first !== undefined && earlier.rule >= first) break;
          if (holds(earlier, match) && this.outlives(earlier, expire)) first = earlier.rule;
        }
      }
    }
    return first;
  }

  private outlives({ rule }: Conditions, expire: number | undefined): boolean {
    const end = this.rules[rule - 1]?.expire;
    return end === undefined || (expire !== undefined && expire <= end);
  }
}

/** @returns family, protocol, and the first bits of a match's destination */
function keyOf(match: Match | Match6, protocol: number, prefix: number): string {
  const isIpv4 = typeof match.address === "number";
  const address = isIpv4 ? IPV4_MATCHES.addressOf(match as Match) : IPV6_MATCHES.addressOf(match as Match6);
  return `${isIpv4 ? 4 : 6} ${protocol} ${prefix} ${address >> BigInt((isIpv4 ? 32 : 128) - prefix)}`;
}

/** Whether ports and ICMP type of the second are among those of the first. */
function holds(one: Conditions, other: Conditions): boolean {
  const ports = one.portLow <= other.portLow && other.portHigh <= one.portHigh;
  return ports && (one.icmpType === ANY_ICMP_TYPE || one.icmpType === other.icmpType);
}

/** A rule without what says nothing about packets. */
function plain({ comment: _, ...rule }: ListedRule): string {
  return formatRule(rule);
}
