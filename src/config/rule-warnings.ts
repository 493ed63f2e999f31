// What is odd about a client's rules: those that never decide anything, because others come first, because no packet is like
// that, or because what they name is not there. A rule is compared with the others as it is compiled, so that a rule which
// means more than one protocol or server may be covered by several.

import { networkOf } from "../base/address.ts";
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Match } from "../dataplane/rules/match.ts";
import { type Circumstances, excludesDns, isExpired, matchesOf } from "../rules/compile.ts";
import type { Rule } from "../rules/parse.ts";
import { formatRule } from "../rules/parse.ts";
import { ICMP_TYPE } from "../wire/icmp.ts";
import { maskOf } from "../wire/ipv4.ts";

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
  /** Unix time in seconds. */
  readonly now: number;
  /** @returns why no packet for this prefix comes to the rules, with the remedy; undefined where some do */
  unreached(address: number, prefix: number): string | undefined;
}

/** @returns one warning for each rule, at most, by index */
export function ruleWarnings(rules: readonly Rule[], surroundings: RuleSurroundings): RuleWarning[] {
  const circumstances = { dns: surroundings.dns, now: surroundings.now, addressesOf: placeholders() };
  const shadows = new Shadows(rules);
  const warnings: RuleWarning[] = [];
  for (const [index, rule] of rules.entries()) {
    const matches = matchesOf(rule, index + 1, circumstances);
    const problem = emptiness(rule, matches, surroundings) ?? shadows.problem(index, matches);
    if (problem !== undefined) warnings.push({ rule: index, problem });
    if (matches.some(isEverything) && rule.expire === undefined) {
      const rest = rules.length - 1 - index;
      if (rest > 0) warnings.push({ rule: index + 1, problem: behindEverything(index, rest) });
      break;
    }
    shadows.add(matches);
  }
  return warnings;
}

function behindEverything(index: number, rest: number): string {
  const others = rest === 1 ? "" : rest === 2 ? ", nor is the one after it" : `, nor are the ${rest - 1} after it`;
  return `is never reached${others}: rule ${index + 1} matches every packet (put that one last, or leave out what follows it)`;
}

/** @returns why a rule matches nothing, whatever stands before it */
function emptiness(rule: Rule, matches: readonly Match[], around: RuleSurroundings): string | undefined {
  if (isExpired(rule, around.now)) return "has expired, and matches nothing (leave it out)";
  if (rule.dsthost !== undefined && around.dns.length === 0) {
    const effect = rule.action === "drop" ? "drops packets to any address" : "matches nothing";
    return `names a host, but there is no name server to ask, so that it ${effect} (write dns in [uplink])`;
  }
  if (rule.specialtarget === "dns") {
    if (excludesDns(rule)) return "has dstports other than 53, so that it matches nothing (leave dstports out)";
    if (around.dns.length === 0) {
      return "is about name servers, but there are none, so that it matches nothing (write dns in [uplink])";
    }
    if (matches.length === 0)
      return "names a destination that is no name server, so that it matches nothing (leave it out)";
  }
  if (rule.icmptype !== undefined && rule.icmptype !== ICMP_TYPE.ECHO && rule.icmptype !== ICMP_TYPE.TIMESTAMP) {
    return (
      `is never asked: only ICMP requests, types ${ICMP_TYPE.ECHO} and ${ICMP_TYPE.TIMESTAMP}, are, and answers and errors ` +
      "come with what they belong to (leave it out)"
    );
  }
  const { dst4 } = rule;
  if (rule.action === "drop" || dst4 === undefined) return undefined;
  const reason = around.unreached(networkOf(dst4), dst4.prefix);
  return reason && `accepts nothing: ${reason}`;
}

/** Host names have no addresses yet: each stands for one of its own, where no rule's destination is but everywhere. */
function placeholders(): Circumstances["addressesOf"] {
  const numbers = new Map<string, number>();
  return (name) => {
    const number = numbers.get(name) ?? numbers.size + 1;
    numbers.set(name, number);
    return [number];
  };
}

function isEverything({ prefix, protocol, portLow, portHigh, icmpType }: Match): boolean {
  return prefix === 0 && protocol === ANY_PROTOCOL && portLow === 0 && portHigh === 65535 && icmpType === ANY_ICMP_TYPE;
}

/** The rules so far, found by what a later rule's match would have to be part of. */
class Shadows {
  /** By protocol and prefix. */
  private readonly before = new Map<string, Match[]>();

  constructor(private readonly rules: readonly Rule[]) {}

  add(matches: readonly Match[]): void {
    for (const match of matches) {
      const key = keyOf(match.protocol, match.address, match.prefix);
      const same = this.before.get(key);
      if (same === undefined) this.before.set(key, [match]);
      else same.push(match);
    }
  }

  /** @returns why earlier rules leave nothing to this one */
  problem(index: number, matches: readonly Match[]): string | undefined {
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
  private cover(match: Match, { expire }: Rule): number | undefined {
    let first: number | undefined;
    for (const protocol of new Set([match.protocol, ANY_PROTOCOL])) {
      for (let prefix = 0; prefix <= match.prefix; prefix++) {
        const address = (match.address & maskOf(prefix)) >>> 0;
        for (const earlier of this.before.get(keyOf(protocol, address, prefix)) ?? []) {
          if (first !== undefined && earlier.rule >= first) break;
          if (holds(earlier, match) && this.outlives(earlier, expire)) first = earlier.rule;
        }
      }
    }
    return first;
  }

  private outlives({ rule }: Match, expire: number | undefined): boolean {
    const end = this.rules[rule - 1]?.expire;
    return end === undefined || (expire !== undefined && expire <= end);
  }
}

function keyOf(protocol: number, address: number, prefix: number): string {
  return `${protocol} ${prefix === 0 ? 0 : address}/${prefix}`;
}

/** Whether ports and ICMP type of the second are among those of the first. */
function holds(one: Match, other: Match): boolean {
  const ports = one.portLow <= other.portLow && other.portHigh <= one.portHigh;
  return ports && (one.icmpType === ANY_ICMP_TYPE || one.icmpType === other.icmpType);
}

/** A rule without what says nothing about packets. */
function plain({ comment: _, ...rule }: Rule): string {
  return formatRule(rule);
}
