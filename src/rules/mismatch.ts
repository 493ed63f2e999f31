// Why a rule does not match a packet, in words: the predicates of compile.ts once more, one by one, for people who ask.

import { formatAddress, formatPrefix, overlap } from "../base/address.ts";
import { PROTOCOL } from "../wire/ipv4.ts";
import { type Circumstances, DNS_PORT, IANA, isExpired } from "./compile.ts";
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
  return (
    expiryMismatch(rule, circumstances) ??
    destinationMismatch(rule, asked, circumstances) ??
    serverMismatch(rule, asked, circumstances) ??
    protocolMismatch(rule, asked) ??
    portMismatch(rule, asked) ??
    typeMismatch(rule, asked)
  );
}

function expiryMismatch(rule: Rule, { now }: Circumstances): string | undefined {
  if (rule.expire === undefined || !isExpired(rule, now)) return undefined;
  return `it expired at ${new Date(rule.expire * 1000).toISOString().replace(".000Z", "Z")}`;
}

function destinationMismatch(
  { dst4, dst6, dsthost }: Rule,
  { destination }: Asked,
  { addressesOf }: Circumstances,
): string | undefined {
  if (dst6 !== undefined) return "destination is not an IPv6 address";
  if (dst4 !== undefined && !overlap(dst4, { address: destination, prefix: 32 })) {
    return dst4.prefix === 32
      ? `destination is not ${formatAddress(dst4.address)}`
      : `destination is not in ${formatPrefix(dst4)}`;
  }
  if (dsthost === undefined) return undefined;
  const addresses = addressesOf(dsthost);
  if (addresses.length === 0) return `${dsthost} has no address here, so that the rule matches nothing`;
  if (addresses.includes(destination)) return undefined;
  return `destination is no address of ${dsthost}, which has ${addresses.map(formatAddress).join(", ")}`;
}

function serverMismatch(
  { specialtarget, dstports }: Rule,
  { destination }: Asked,
  { dns }: Circumstances,
): string | undefined {
  if (specialtarget === undefined) return undefined;
  if (dstports !== undefined && (dstports.low !== DNS_PORT || dstports.high !== DNS_PORT)) {
    return `dstports is not port ${DNS_PORT} alone, so that the rule matches nothing`;
  }
  if (dns.includes(destination)) return undefined;
  return `destination is no name server of the uplink, which has ${dns.map(formatAddress).join(", ") || "none"}`;
}

function protocolMismatch({ proto, specialtarget, dstports }: Rule, { protocol }: Asked): string | undefined {
  if (proto !== undefined) return protocol === IANA[proto] ? undefined : `protocol is not ${proto}`;
  if (specialtarget === undefined && dstports === undefined) return undefined;
  return hasPorts(protocol) ? undefined : "protocol is neither tcp nor udp";
}

function portMismatch({ specialtarget, dstports }: Rule, { protocol, selector }: Asked): string | undefined {
  const ports = specialtarget === "dns" ? { low: DNS_PORT, high: DNS_PORT } : dstports;
  if (ports === undefined || !hasPorts(protocol) || (selector >= ports.low && selector <= ports.high)) return undefined;
  return ports.low === ports.high ? `port is not ${ports.low}` : `port is not in ${formatPorts(ports)}`;
}

function typeMismatch({ icmptype }: Rule, { selector }: Asked): string | undefined {
  return icmptype === undefined || selector === icmptype ? undefined : `ICMP type is not ${icmptype}`;
}

function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP;
}
