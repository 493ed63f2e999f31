// Compiles rules: each becomes the matches that the dataplane compares packets with. The result depends on more than the
// rules' text, so they are compiled again when a rule expires or a name's addresses change.

import { overlap, type Prefix } from "../base/address.ts";
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Match } from "../dataplane/rules/match.ts";
import { compileRuleset, type Ruleset } from "../dataplane/rules/ruleset.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { DNS_PORT } from "../wire/ports.ts";
import type { Policy, PortRange, Rule } from "./parse.ts";

/** What the compiled form depends on beside the text of the rules. */
export interface Circumstances {
  /** What specialtarget=dns means: addresses as unsigned 32-bit numbers in host order. */
  readonly dns: readonly number[];
  /** Unix time in seconds. */
  readonly now: number;
  /**
   * The IPv4 addresses that a host name has now, which may be none; undefined as long as nobody knows. Then rules that accept it
   * match nothing, and rules that drop it whatever their other conditions fit: it might be meant.
   */
  readonly addressesOf: (name: string) => readonly number[] | undefined;
}

export const IANA = { tcp: PROTOCOL.TCP, udp: PROTOCOL.UDP, icmp: PROTOCOL.ICMP } as const;

const ALL_PORTS: PortRange = { low: 0, high: 65535 };
const ANYWHERE: Prefix = { address: 0, prefix: 0 };

/** @param policy what happens when no rule matches */
export function compileRules(rules: readonly Rule[], policy: Policy, circumstances: Circumstances): Ruleset {
  const matches = rules.flatMap((rule, i) => matchesOf(rule, i + 1, circumstances));
  return compileRuleset(matches, policy === "accept");
}

/**
 * @param number the rule's, from 1
 * @returns what the rule matches, which may be nothing
 */
export function matchesOf(rule: Rule, number: number, circumstances: Circumstances): Match[] {
  if (isExpired(rule, circumstances.now)) return [];
  const destinations = destinationsOf(rule, circumstances);
  if (rule.specialtarget !== "dns") return cross(rule, number, destinations, rule.dstports ?? ALL_PORTS);
  if (excludesDns(rule)) return [];
  const servers = circumstances.dns.map((address) => ({ address, prefix: 32 }));
  const meant = servers.filter((server) => destinations.some((destination) => overlap(server, destination)));
  return cross(rule, number, meant, { low: DNS_PORT, high: DNS_PORT });
}

/** @returns whether a rule's ports are others than the one of DNS, which specialtarget=dns means */
export function excludesDns({ dstports }: Rule): boolean {
  return dstports !== undefined && (dstports.low !== DNS_PORT || dstports.high !== DNS_PORT);
}

/** @param now Unix time in seconds */
export function isExpired({ expire }: Rule, now: number): boolean {
  return expire !== undefined && expire <= now;
}

/**
 * When rules have to be compiled anew because one of them expires.
 * @param now Unix time in seconds
 * @returns Unix time in seconds, later than now; undefined when none expires any more
 */
export function nextExpiry(rules: Iterable<Rule>, now: number): number | undefined {
  let next: number | undefined;
  for (const { expire } of rules) {
    if (expire !== undefined && expire > now && (next === undefined || expire < next)) next = expire;
  }
  return next;
}

/** @returns the prefixes that a rule names as destination, in whatever way */
export function destinationsOf(
  { action, dst4, dst6, dsthost }: Rule,
  { addressesOf }: Circumstances,
): readonly Prefix[] {
  if (dst6 !== undefined) return [];
  if (dsthost === undefined) return [dst4 ?? ANYWHERE];
  const addresses = addressesOf(dsthost);
  if (addresses === undefined) return action === "drop" ? [ANYWHERE] : [];
  return Array.from(new Set(addresses), (address) => ({ address, prefix: 32 }));
}

/** @returns whether a rule drops packets to any address, because its host name is unknown */
export function dropsBlindly({ action, dsthost }: Rule, { addressesOf }: Circumstances): boolean {
  return action === "drop" && dsthost !== undefined && addressesOf(dsthost) === undefined;
}

/** One match for each destination and protocol. */
function cross(rule: Rule, number: number, destinations: readonly Prefix[], ports: PortRange): Match[] {
  return destinations.flatMap((destination) =>
    protocolsOf(rule).map((protocol) => ({
      rule: number,
      accept: rule.action === "accept",
      ...destination,
      protocol,
      portLow: ports.low,
      portHigh: ports.high,
      icmpType: rule.icmptype ?? ANY_ICMP_TYPE,
    })),
  );
}

/** Ports without a protocol mean both TCP and UDP, as the Linux agent of Qubes OS has it. */
function protocolsOf(rule: Rule): readonly number[] {
  if (rule.proto !== undefined) return [IANA[rule.proto]];
  const hasPorts = rule.dstports !== undefined || rule.specialtarget === "dns";
  return hasPorts ? [IANA.tcp, IANA.udp] : [ANY_PROTOCOL];
}
