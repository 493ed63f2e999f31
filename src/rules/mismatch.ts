// Says why a rule does not match a packet. The compiled rule decides whether it matches; this file only finds the sentence
// for the first predicate that fails.

import {
  type Family,
  familyOf,
  formatHosts,
  formatIp,
  hostPrefix,
  type IpAddress,
  isHost,
  overlapIp,
} from "../base/ip.ts";
import { ICMP_KIND, type KeyRange, KINDS_OF_IPV4, KINDS_OF_IPV6, keyOf, keysOf } from "../dataplane/rules/match.ts";
import { DNS_PORT } from "../wire/ports.ts";
import {
  type Circumstances,
  destinationsOf,
  dropsBlindly,
  excludesDns,
  isExpired,
  matches6Of,
  matchesOf,
  type Surroundings,
  surroundingsOf,
} from "./compile.ts";
import { formatPorts, type ListedRule, type Rule } from "./parse.ts";

/** A packet, as far as rules look at it. */
export interface Asked<Address extends IpAddress = IpAddress> {
  /** IANA protocol number. */
  readonly protocol: number;
  readonly destination: Address;
  /** Destination port of TCP and UDP, type of ICMP, or of ICMPv6 in IPv6; 0 of other protocols. */
  readonly selector: number;
}

/** @returns what the first predicate that fails says of the packet, or undefined where the rule matches */
export function mismatch(rule: ListedRule, asked: Asked, circumstances: Circumstances): string | undefined {
  if (isExpired(rule, circumstances.now)) return expiry(rule);
  const family = familyOf(asked.destination);
  const around = surroundingsOf(circumstances, family);
  if (around === undefined) return `the client has no IPv${family}`;
  const host = hostPrefix(asked.destination);
  const destinations = destinationsOf(rule, family, circumstances);
  if (!destinations.some((prefix) => overlapIp(prefix, host))) return wrongDestination(rule, family, around);
  const all = family === 4 ? matchesOf(rule, 1, circumstances) : matches6Of(rule, 1, circumstances);
  const matches = all.filter((match) => overlapIp(match, host));
  if (matches.length === 0) return wrongServer(rule, around);
  const kinds = family === 4 ? KINDS_OF_IPV4 : KINDS_OF_IPV6;
  const kind = kinds[asked.protocol];
  const key = keyOf(kind, asked.protocol, asked.selector);
  const keys = matches.flatMap((match) => keysOf(match, kind, kinds) ?? []);
  if (keys.some(({ low, high }) => low <= key && key <= high)) return undefined;
  return keys.length === 0 ? wrongProtocol(rule) : wrongKey(kind, keys[0], family);
}

/** @returns what is to be said of a rule that matches a packet of a family, beside that it does */
export function remark(rule: ListedRule, { destination }: Asked, circumstances: Circumstances): string | undefined {
  if (!dropsBlindly(rule, familyOf(destination), circumstances)) return undefined;
  return `nobody knows the addresses of ${rule.dsthost} here, so that the rule drops packets to any`;
}

function expiry({ expire = 0 }: Rule): string {
  return `it expired at ${new Date(expire * 1000).toISOString().replace(".000Z", "Z")}`;
}

function wrongDestination(
  { dst4, dst6, dsthost, family }: ListedRule,
  asked: Family,
  { addressesOf }: Surroundings,
): string {
  if (family !== undefined && family !== asked) return `it is for IPv${family} alone`;
  const named = dst4 ?? dst6;
  if (named !== undefined) return `destination is not ${isHost(named) ? "" : "in "}${formatHosts(named)}`;
  const addresses = addressesOf(dsthost ?? "");
  if (addresses === undefined) return `nobody knows the addresses of ${dsthost} here, so that the rule matches nothing`;
  if (addresses.length === 0) {
    return `${dsthost} has no ${asked === 4 ? "" : "IPv6 "}address, so that the rule matches nothing`;
  }
  return `destination is no address of ${dsthost}, which has ${addresses.map(formatIp).join(", ")}`;
}

function wrongServer(rule: Rule, { dns }: Surroundings): string {
  if (excludesDns(rule)) return `dstports is not port ${DNS_PORT} alone, so that the rule matches nothing`;
  return `destination is no name server: ${dns.length === 0 ? "there are none" : `these are: ${dns.map(formatIp).join(", ")}`}`;
}

function wrongProtocol({ proto }: Rule): string {
  return proto === undefined ? "protocol is neither tcp nor udp" : `protocol is not ${proto}`;
}

function wrongKey(kind: number, keys: KeyRange, family: Family): string {
  if (kind === ICMP_KIND) return `ICMP${family === 4 ? "" : "v6"} type is not ${keys.low}`;
  return keys.low === keys.high ? `port is not ${keys.low}` : `port is not in ${formatPorts(keys)}`;
}
