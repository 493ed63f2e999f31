// Says why a rule does not match a packet. The compiled rule decides whether it matches; this file only finds the sentence
// for the first predicate that fails.

import { formatAddress, formatPrefix, overlap } from "../base/address.ts";
import { ICMP_KIND, type KeyRange, KINDS_OF_IPV4, keyOf, keysOf } from "../dataplane/rules/match.ts";
import { DNS_PORT } from "../wire/ports.ts";
import { type Circumstances, destinationsOf, dropsBlindly, excludesDns, isExpired, matchesOf } from "./compile.ts";
import { formatPorts, type Rule } from "./parse.ts";

/** A packet, as far as rules look at it. */
export interface Asked {
  /** IANA protocol number. */
  readonly protocol: number;
  /** Unsigned 32-bit number in host order. */
  readonly destination: number;
  /** Destination port of TCP and UDP, type of ICMP; 0 of other protocols. */
  readonly selector: number;
}

/** @returns what the first predicate that fails says of the packet, or undefined where the rule matches */
export function mismatch(rule: Rule, asked: Asked, circumstances: Circumstances): string | undefined {
  if (isExpired(rule, circumstances.now)) return expiry(rule);
  const host = { address: asked.destination, prefix: 32 };
  const destinations = destinationsOf(rule, circumstances);
  if (!destinations.some((prefix) => overlap(prefix, host))) return wrongDestination(rule, circumstances);
  const matches = matchesOf(rule, 1, circumstances).filter((match) => overlap(match, host));
  if (matches.length === 0) return wrongServer(rule, circumstances);
  const kind = KINDS_OF_IPV4[asked.protocol];
  const key = keyOf(kind, asked.protocol, asked.selector);
  const keys = matches.flatMap((match) => keysOf(match, kind, KINDS_OF_IPV4) ?? []);
  if (keys.some(({ low, high }) => low <= key && key <= high)) return undefined;
  return keys.length === 0 ? wrongProtocol(rule) : wrongKey(kind, keys[0]);
}

/** @returns what is to be said of a rule that matches, beside that it does */
export function remark(rule: Rule, circumstances: Circumstances): string | undefined {
  if (!dropsBlindly(rule, circumstances)) return undefined;
  return `nobody knows the addresses of ${rule.dsthost} here, so that the rule drops packets to any`;
}

function expiry({ expire = 0 }: Rule): string {
  return `it expired at ${new Date(expire * 1000).toISOString().replace(".000Z", "Z")}`;
}

function wrongDestination({ dst4, dsthost }: Rule, { addressesOf }: Circumstances): string {
  if (dst4 !== undefined) {
    return `destination is not ${dst4.prefix === 32 ? formatAddress(dst4.address) : `in ${formatPrefix(dst4)}`}`;
  }
  if (dsthost === undefined) return "destination is not an IPv6 address";
  const addresses = addressesOf(dsthost);
  if (addresses === undefined) return `nobody knows the addresses of ${dsthost} here, so that the rule matches nothing`;
  if (addresses.length === 0) return `${dsthost} has no address, so that the rule matches nothing`;
  return `destination is no address of ${dsthost}, which has ${addresses.map(formatAddress).join(", ")}`;
}

function wrongServer(rule: Rule, { dns }: Circumstances): string {
  if (excludesDns(rule)) return `dstports is not port ${DNS_PORT} alone, so that the rule matches nothing`;
  return `destination is no name server: ${dns.length === 0 ? "there are none" : `these are: ${dns.map(formatAddress).join(", ")}`}`;
}

function wrongProtocol({ proto }: Rule): string {
  return proto === undefined ? "protocol is neither tcp nor udp" : `protocol is not ${proto}`;
}

function wrongKey(kind: number, keys: KeyRange): string {
  if (kind === ICMP_KIND) return `ICMP type is not ${keys.low}`;
  return keys.low === keys.high ? `port is not ${keys.low}` : `port is not in ${formatPorts(keys)}`;
}
