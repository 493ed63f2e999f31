// What a rule says of a packet, in numbers: one conjunction of predicates, about the destination and about one number more.
// Which number that is depends on the protocol: a port, an ICMP type, or the protocol itself. Walking a list of matches
// (ruleset.ts), searching it (index.ts, steps.ts) and explaining why a rule does not match (src/rules/mismatch.ts) all ask here.
import { PROTOCOL } from "../../wire/ipv4.ts";

/** IP protocol in a match that says nothing of it. */
export const ANY_PROTOCOL = 0;
/** ICMP type in a match that says nothing of it. */
export const ANY_ICMP_TYPE = -1;

/** One conjunction of predicates. A rule of the user's may have become several of them, or none. */
export interface Match {
  /** The user's number of the rule, from 1. */
  readonly rule: number;
  readonly accept: boolean;
  /** Destination prefix: address as unsigned 32-bit number in host order, length 0–32 (0: every destination). */
  readonly address: number;
  readonly prefix: number;
  /** IANA protocol number, or ANY_PROTOCOL. */
  readonly protocol: number;
  /** Destination ports, both ends included; 0–65535 where the rule says nothing. Looked at for TCP and UDP only. */
  readonly portLow: number;
  readonly portHigh: number;
  /** ICMP type, or ANY_ICMP_TYPE. Looked at for ICMP only. */
  readonly icmpType: number;
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

/** By IANA protocol number. A table, because which protocol comes next is no branch that a processor can guess. */
const KIND_OF = new Uint8Array(256).fill(OTHER_KIND);
KIND_OF[PROTOCOL.TCP] = TCP_KIND;
KIND_OF[PROTOCOL.UDP] = UDP_KIND;
KIND_OF[PROTOCOL.ICMP] = ICMP_KIND;

/** @param protocol IANA protocol number @returns its kind, below KINDS */
export function kindOf(protocol: number): number {
  return KIND_OF[protocol];
}

/** @returns a packet's key. @param selector as `judge` takes it */
export function keyOf(kind: number, protocol: number, selector: number): number {
  return kind === OTHER_KIND ? protocol : selector;
}

/** @returns the keys of packets of this kind that a match is about; undefined when it is about none of the kind */
export function keysOf(match: Match, kind: number): KeyRange | undefined {
  const { protocol, portLow, portHigh, icmpType } = match;
  if (protocol !== ANY_PROTOCOL && kindOf(protocol) !== kind) return undefined;
  if (kind === OTHER_KIND) return protocol === ANY_PROTOCOL ? EVERY_KEY : { low: protocol, high: protocol };
  if (kind === ICMP_KIND) return icmpType === ANY_ICMP_TYPE ? EVERY_KEY : { low: icmpType, high: icmpType };
  return { low: portLow, high: portHigh };
}
