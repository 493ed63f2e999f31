// ICMP (RFC 792): offsets from the message's first byte, its types, and its checksum, which covers the message alone.
import { sum } from "./checksum.ts";
import { FAULT, type Fault } from "./fault.ts";

export const ICMP = {
  TYPE: 0,
  CODE: 1,
  CHECKSUM: 2,
  /** Of queries (echo, timestamp). */
  IDENTIFIER: 4,
  /** Of "fragmentation needed" (RFC 1191 section 4). */
  NEXT_HOP_MTU: 6,
  HEADER_LENGTH: 8,
} as const;

/** IANA "ICMP Type Numbers". */
export const ICMP_TYPE = {
  ECHO_REPLY: 0,
  UNREACHABLE: 3,
  SOURCE_QUENCH: 4,
  REDIRECT: 5,
  ECHO: 8,
  TIME_EXCEEDED: 11,
  PARAMETER_PROBLEM: 12,
  TIMESTAMP: 13,
  TIMESTAMP_REPLY: 14,
} as const;

/** Codes of UNREACHABLE (RFC 792, RFC 1812 section 5.2.7.1). */
export const UNREACHABLE_CODE = {
  HOST: 1,
  PORT: 3,
  FRAGMENTATION_NEEDED: 4,
  HOST_PROHIBITED: 10,
  ADMIN_PROHIBITED: 13,
} as const;

/** Lengths that paths have, of which RFC 1191 section 7.1 tries the next lower one where a router does not state its MTU. */
const PLATEAUS = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296];
/** Every link carries so much (RFC 791 section 3.2). */
export const LEAST_MTU = 68;

/** @param length bytes of an IPv4 packet @returns the next lower plateau */
export function plateauBelow(length: number): number {
  for (let i = 0; i < PLATEAUS.length; i++) if (PLATEAUS[i] < length) return PLATEAUS[i];
  return LEAST_MTU;
}

/** @param length bytes of the IPv4 payload */
export function checkIcmp(length: number): Fault {
  return length < ICMP.HEADER_LENGTH ? FAULT.ICMP_TRUNCATED : FAULT.NONE;
}

/** The checksum of a whole message of `length` bytes must be right where we act on what it says (RFC 1122 3.2.2). */
export function checkIcmpSum(view: DataView, at: number, length: number): Fault {
  return sum(view, at, length) === 0xffff ? FAULT.NONE : FAULT.ICMP_CHECKSUM;
}

/** Writes the checksum of a message that is complete but for it. */
export function writeIcmpSum(view: DataView, at: number, length: number): void {
  view.setUint16(at + ICMP.CHECKSUM, 0);
  view.setUint16(at + ICMP.CHECKSUM, ~sum(view, at, length) & 0xffff);
}
