// What a rule says of a packet, in numbers: one conjunction of predicates, about the destination and about one number more.
// Which number that is depends on the protocol: a port, an ICMP type, or the protocol itself. Walking a list of matches
// (ruleset.ts), searching it (index.ts, steps.ts) and explaining why a rule does not match (src/rules/mismatch.ts) all ask here.
import { PROTOCOL } from "../../wire/ipv4.ts";
import { NEXT_HEADER } from "../../wire/ipv6.ts";

/** IP protocol in a match that says nothing of it. */
export const ANY_PROTOCOL = 0;
/** ICMP type in a match that says nothing of it. */
export const ANY_ICMP_TYPE = -1;

/** What a match says beside its destination. */
export interface Conditions {
  /** The user's number of the rule, from 1. */
  readonly rule: number;
  readonly accept: boolean;
  /** IANA protocol number, or ANY_PROTOCOL. */
  readonly protocol: number;
  /** Destination ports, both ends included; 0–65535 where the rule says nothing. Looked at for TCP and UDP only. */
  readonly portLow: number;
  readonly portHigh: number;
  /** ICMP type, or ANY_ICMP_TYPE. Looked at for ICMP only, in IPv6 for ICMPv6. */
  readonly icmpType: number;
}

/** One conjunction of predicates about IPv4 packets. A rule of the user's may have become several of them, or none. */
export interface Match extends Conditions {
  /** Destination prefix: address as unsigned 32-bit number in host order, length 0–32 (0: every destination). */
  readonly address: number;
  readonly prefix: number;
}

/** The same about IPv6 packets. */
export interface Match6 extends Conditions {
  /** 16 bytes in wire order; length 0–128. Bits behind it are ignored. */
  readonly address: Uint8Array;
  readonly prefix: number;
}

/** Kinds of protocols, by what a packet's key is: */
export const KINDS = 4;
const TCP_KIND = 0; // the destination port
const UDP_KIND = 1; // the destination port
export const ICMP_KIND = 2; // the type
const OTHER_KIND = 3; // the protocol's number

/** Keys are below this: ports are the largest. */
export const KEYS = 65536;

/** Keys, both ends included. */
export interface KeyRange {
  readonly low: number;
  readonly high: number;
}

const EVERY_KEY: KeyRange = { low: 0, high: KEYS - 1 };

/**
 * The kind of each IANA protocol number, below KINDS. A table, because which protocol comes next is no branch that a processor can
 * guess; one for each family, because each has an ICMP of its own.
 */
export type Kinds = Uint8Array;
export const KINDS_OF_IPV4: Kinds = kindsWith(PROTOCOL.ICMP);
export const KINDS_OF_IPV6: Kinds = kindsWith(NEXT_HEADER.ICMPV6);

/** @param protocol IANA protocol number, in IPv4 @returns its kind, below KINDS */
export function kindOf(protocol: number): number {
  return KINDS_OF_IPV4[protocol];
}

/** As `kindOf`, in IPv6. */
export function kindOf6(protocol: number): number {
  return KINDS_OF_IPV6[protocol];
}

/** What is different about the matches of a family. */
export interface MatchFamily<M extends Match | Match6> {
  readonly kinds: Kinds;
  /** 32-bit words of an address. */
  readonly words: number;
  /** @returns the destination, as one number */
  readonly addressOf: (match: M) => bigint;
}

export const IPV4_MATCHES: MatchFamily<Match> = {
  kinds: KINDS_OF_IPV4,
  words: 1,
  addressOf: ({ address }) => BigInt(address),
};

export const IPV6_MATCHES: MatchFamily<Match6> = {
  kinds: KINDS_OF_IPV6,
  words: 4,
  addressOf: ({ address }) => address.reduce((number, byte) => (number << 8n) | BigInt(byte), 0n),
};

/** @param words that an address has @returns them, uint32, the leading one first */
export function wordsOf(address: bigint, words: number): number[] {
  return Array.from({ length: words }, (_, word) => Number((address >> BigInt(32 * (words - 1 - word))) & 0xffffffffn));
}

function kindsWith(icmp: number): Kinds {
  const kinds = new Uint8Array(256).fill(OTHER_KIND);
  kinds[PROTOCOL.TCP] = TCP_KIND;
  kinds[PROTOCOL.UDP] = UDP_KIND;
  kinds[icmp] = ICMP_KIND;
  return kinds;
}

/** @returns a packet's key. @param selector as `judge` takes it */
export function keyOf(kind: number, protocol: number, selector: number): number {
  return kind === OTHER_KIND ? protocol : selector;
}

/** @returns the keys of packets of this kind that a match is about; undefined when it is about none of the kind */
export function keysOf(match: Conditions, kind: number, kinds: Kinds): KeyRange | undefined {
  const { protocol, portLow, portHigh, icmpType } = match;
  if (protocol !== ANY_PROTOCOL && kinds[protocol] !== kind) return undefined;
  if (kind === OTHER_KIND) return protocol === ANY_PROTOCOL ? EVERY_KEY : { low: protocol, high: protocol };
  if (kind === ICMP_KIND) return icmpType === ANY_ICMP_TYPE ? EVERY_KEY : { low: icmpType, high: icmpType };
  return { low: portLow, high: portHigh };
}
