// Compiles rules: each becomes the matches that the dataplane compares packets with, of IPv4 and of IPv6. The result depends on more
// than the rules' text, so they are compiled again when a rule expires or a name's addresses change.

import { type Family, hostPrefix, type IpAddress, type IpPrefix, overlapIp } from "../base/ip.ts";
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Conditions, type Match, type Match6 } from "../dataplane/rules/match.ts";
import { compileRuleset, type Ruleset } from "../dataplane/rules/ruleset.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { NEXT_HEADER } from "../wire/ipv6.ts";
import { DNS_PORT } from "../wire/ports.ts";
import type { ListedRule, Policy, PortRange, Rule } from "./parse.ts";

/** What the compiled form depends on beside the text of the rules: for a client that has no IPv6, of IPv4 alone. */
export interface Circumstances extends Surroundings<number> {
  /** Unix time in seconds. */
  readonly now: number;
  /** Undefined: the client has no IPv6, and whatever it sends of it is refused. */
  readonly ipv6?: Surroundings<Uint8Array> | undefined;
}

/** Of one family. */
export interface Surroundings<Address extends IpAddress = IpAddress> {
  /** What specialtarget=dns means. */
  readonly dns: readonly Address[];
  /**
   * The addresses of this family that a host name has now, which may be none; undefined as long as nobody knows. Then rules that
   * accept it match nothing, and rules that drop it whatever their other conditions fit: it might be meant.
   */
  readonly addressesOf: (name: string) => readonly Address[] | undefined;
}

export const IANA = { tcp: PROTOCOL.TCP, udp: PROTOCOL.UDP, icmp: PROTOCOL.ICMP } as const;

/** What rules mean of packets of one family. */
interface Form<Address extends IpAddress> {
  readonly family: Family;
  readonly anywhere: IpPrefix<Address>;
  /** proto=icmp. */
  readonly icmp: number;
  /** @returns the destination that a rule names by its address; undefined where it names none */
  readonly destinationOf: (rule: Rule) => IpPrefix<Address> | undefined;
}

const FORM: Form<number> = {
  family: 4,
  anywhere: { address: 0, prefix: 0 },
  icmp: PROTOCOL.ICMP,
  destinationOf: ({ dst4 }) => dst4,
};

const FORM6: Form<Uint8Array> = {
  family: 6,
  anywhere: { address: new Uint8Array(16), prefix: 0 },
  icmp: NEXT_HEADER.ICMPV6,
  destinationOf: ({ dst6 }) => dst6,
};

const ALL_PORTS: PortRange = { low: 0, high: 65535 };

/** @param policy what happens when no rule matches */
export function compileRules(rules: readonly ListedRule[], policy: Policy, circumstances: Circumstances): Ruleset {
  const accept = policy === "accept";
  return compileRuleset(
    rules.flatMap((rule, i) => matchesOf(rule, i + 1, circumstances)),
    accept,
    rules.flatMap((rule, i) => matches6Of(rule, i + 1, circumstances)),
    accept && circumstances.ipv6 !== undefined,
  );
}

/**
 * @param number the rule's, from 1
 * @returns what the rule matches of IPv4, which may be nothing
 */
export function matchesOf(rule: ListedRule, number: number, circumstances: Circumstances): Match[] {
  return isExpired(rule, circumstances.now) ? [] : matchesBy(FORM, rule, number, circumstances);
}

/** As `matchesOf`, of IPv6. */
export function matches6Of(rule: ListedRule, number: number, { now, ipv6 }: Circumstances): Match6[] {
  return isExpired(rule, now) || ipv6 === undefined ? [] : matchesBy(FORM6, rule, number, ipv6);
}

function matchesBy<Address extends IpAddress>(
  form: Form<Address>,
  rule: ListedRule,
  number: number,
  around: Surroundings<Address>,
): (Conditions & IpPrefix<Address>)[] {
  const destinations = destinationsBy(form, rule, around);
  if (rule.specialtarget !== "dns") return cross(form, rule, number, destinations, rule.dstports ?? ALL_PORTS);
  if (excludesDns(rule)) return [];
  const servers = around.dns.map((address) => hostPrefix(address));
  const meant = servers.filter((server) => destinations.some((destination) => overlapIp(server, destination)));
  return cross(form, rule, number, meant, { low: DNS_PORT, high: DNS_PORT });
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

/** @returns what the circumstances are of one family; undefined where the client has none of it */
export function surroundingsOf(circumstances: Circumstances, family: Family): Surroundings | undefined {
  return family === 4 ? circumstances : circumstances.ipv6;
}

/** @returns the prefixes of one family that a rule names as destination, in whatever way */
export function destinationsOf(rule: ListedRule, family: Family, circumstances: Circumstances): readonly IpPrefix[] {
  if (family === 4) return destinationsBy(FORM, rule, circumstances);
  return circumstances.ipv6 === undefined ? [] : destinationsBy(FORM6, rule, circumstances.ipv6);
}

function destinationsBy<Address extends IpAddress>(
  { family, anywhere, destinationOf }: Form<Address>,
  rule: ListedRule,
  { addressesOf }: Surroundings<Address>,
): readonly IpPrefix<Address>[] {
  if (!isAbout(rule, family)) return [];
  if (rule.dsthost === undefined) return [destinationOf(rule) ?? anywhere];
  const addresses = addressesOf(rule.dsthost);
  if (addresses === undefined) return rule.action === "drop" ? [anywhere] : [];
  return Array.from(new Map(addresses.map((address) => [String(address), address])).values(), hostPrefix);
}

/** @returns whether a rule may be about packets of a family: it names no destination of the other one */
export function isAbout({ dst4, dst6, family }: ListedRule, asked: Family): boolean {
  return (asked === 4 ? dst6 : dst4) === undefined && (family ?? asked) === asked;
}

/** @returns whether a rule drops packets of a family to any address, because its host name is unknown */
export function dropsBlindly(rule: ListedRule, family: Family, circumstances: Circumstances): boolean {
  const { action, dsthost } = rule;
  const around = surroundingsOf(circumstances, family);
  if (around === undefined || !isAbout(rule, family)) return false;
  return action === "drop" && dsthost !== undefined && around.addressesOf(dsthost) === undefined;
}

/** One match for each destination and protocol. */
function cross<Address extends IpAddress>(
  form: Form<Address>,
  rule: ListedRule,
  number: number,
  destinations: readonly IpPrefix<Address>[],
  ports: PortRange,
): (Conditions & IpPrefix<Address>)[] {
  return destinations.flatMap((destination) =>
    protocolsOf(rule, form.icmp).map((protocol) => ({
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

/** Ports without a protocol mean both TCP and UDP, as the Linux agent of Qubes OS has it. @param icmp the family's ICMP */
function protocolsOf({ proto, dstports, specialtarget }: Rule, icmp: number): readonly number[] {
  if (proto !== undefined) return [proto === "icmp" ? icmp : IANA[proto]];
  const hasPorts = dstports !== undefined || specialtarget === "dns";
  return hasPorts ? [IANA.tcp, IANA.udp] : [ANY_PROTOCOL];
}
