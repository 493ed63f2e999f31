// IPv4 (RFC 791): offsets from the header's first byte, the check of a header against the bytes there are, and writing
// the plain header of packets that we originate.
import { fold, sum } from "./checksum.ts";
import { FAULT, type Fault } from "./fault.ts";

declare const brand: unique symbol;

/** An IPv4 address as int32 in host order: two of them are compared whole. Settings and texts have uint32. */
export type Address = number & { readonly [brand]: "Address" };

/** @param value int32 or uint32, host order */
export const toAddress = (value: number): Address => (value | 0) as Address;

export const readAddress = (view: DataView, at: number): Address => view.getInt32(at) as Address;

export const IPV4 = {
  VERSION_LENGTH: 0,
  TOS: 1,
  TOTAL_LENGTH: 2,
  IDENTIFICATION: 4,
  FRAGMENT: 6,
  TTL: 8,
  PROTOCOL: 9,
  CHECKSUM: 10,
  SOURCE: 12,
  DESTINATION: 16,
  HEADER_LENGTH: 20,
} as const;

/** IANA "Assigned Internet Protocol Numbers". */
export const PROTOCOL = { ICMP: 1, TCP: 6, UDP: 17, DCCP: 33, SCTP: 132, UDP_LITE: 136 } as const;

/** TTL of packets that we originate (IANA "IP Time To Live Parameter"). */
export const DEFAULT_TTL = 64;

/** Bits of the word at IPV4.FRAGMENT. */
export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
export const FRAGMENT_OFFSET = 0x1fff;

/** What lowering the TTL by one adds to the header's sum: -0x0100 in ones' complement. */
export const TTL_DELTA = 0xfeff;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_LOOSE_SOURCE_ROUTE = 131;
const OPTION_STRICT_SOURCE_ROUTE = 137;

const halves = (word: number): number => (word >>> 16) + (word & 0xffff);

/**
 * @param at offset of the header
 * @param length bytes from there to the end of the frame; what is past the total length is padding
 */
export function checkIpv4(view: DataView, at: number, length: number): Fault {
  if (length < IPV4.HEADER_LENGTH) return FAULT.IPV4_TRUNCATED;
  const first = view.getUint8(at);
  if (first >>> 4 !== 4) return FAULT.IPV4_VERSION;
  const headerLength = (first & 15) << 2;
  if (headerLength < IPV4.HEADER_LENGTH || headerLength > length) return FAULT.IPV4_HEADER_LENGTH;
  const total = view.getUint16(at + IPV4.TOTAL_LENGTH);
  if (total < headerLength || total > length) return FAULT.IPV4_TOTAL_LENGTH;
  // A fragment may not reach past the largest datagram (RFC 791 section 3.1).
  if (((view.getUint16(at + IPV4.FRAGMENT) & FRAGMENT_OFFSET) << 3) + total > 0xffff) return FAULT.IPV4_FRAGMENT;
  if (headerLength === IPV4.HEADER_LENGTH) {
    const s =
      halves(view.getInt32(at)) +
      halves(view.getInt32(at + 4)) +
      halves(view.getInt32(at + 8)) +
      (halves(view.getInt32(at + 12)) + halves(view.getInt32(at + 16)));
    return fold(s) === 0xffff ? FAULT.NONE : FAULT.IPV4_CHECKSUM;
  }
  if (sum(view, at, headerLength) !== 0xffff) return FAULT.IPV4_CHECKSUM;
  return checkOptions(view, at + IPV4.HEADER_LENGTH, at + headerLength);
}

/**
 * The header of a packet quoted in an ICMP error: whole, with the right checksum and no source route (RFC 5508 section 7.3),
 * while its payload may be cut short.
 * @param length bytes from the header to the end of the error
 */
export function checkQuotedIpv4(view: DataView, at: number, length: number): Fault {
  if (length < IPV4.HEADER_LENGTH) return FAULT.IPV4_TRUNCATED;
  const first = view.getUint8(at);
  if (first >>> 4 !== 4) return FAULT.IPV4_VERSION;
  const header = (first & 15) << 2;
  if (header < IPV4.HEADER_LENGTH || header > length) return FAULT.IPV4_HEADER_LENGTH;
  if (sum(view, at, header) !== 0xffff) return FAULT.IPV4_CHECKSUM;
  return checkOptions(view, at + IPV4.HEADER_LENGTH, at + header);
}

/** Options must be well formed, and none a source route (RFC 7126 section 4.3 and 4.4 advise to drop these). */
function checkOptions(view: DataView, at: number, end: number): Fault {
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) return FAULT.NONE;
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    if (at + 1 >= end) return FAULT.IPV4_OPTIONS;
    const length = view.getUint8(at + 1);
    if (length < 2 || at + length > end) return FAULT.IPV4_OPTIONS;
    if (kind === OPTION_LOOSE_SOURCE_ROUTE || kind === OPTION_STRICT_SOURCE_ROUTE) return FAULT.IPV4_SOURCE_ROUTE;
    at += length;
  }
  return FAULT.NONE;
}

/** @returns bytes of a checked header, options included */
export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at) & 15) << 2;
}

/**
 * Writes a header of 20 bytes, with its checksum, identification 0 and DF set (RFC 6864: an atomic datagram).
 * @param tos the whole byte: DSCP and ECN
 * @param totalLength bytes of header and payload
 * @param source, destination as int32 or uint32, host order
 */
export function writeIpv4(
  view: DataView,
  at: number,
  tos: number,
  totalLength: number,
  ttl: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  view.setUint8(at, 0x45);
  view.setUint8(at + IPV4.TOS, tos);
  view.setUint16(at + IPV4.TOTAL_LENGTH, totalLength);
  view.setUint16(at + IPV4.IDENTIFICATION, 0);
  view.setUint16(at + IPV4.FRAGMENT, DONT_FRAGMENT);
  view.setUint8(at + IPV4.TTL, ttl);
  view.setUint8(at + IPV4.PROTOCOL, protocol);
  view.setUint16(at + IPV4.CHECKSUM, 0);
  view.setInt32(at + IPV4.SOURCE, source);
  view.setInt32(at + IPV4.DESTINATION, destination);
  view.setUint16(at + IPV4.CHECKSUM, ~sum(view, at, IPV4.HEADER_LENGTH) & 0xffff);
}

/** @returns the network mask of a prefix of 0–32 bits, as the int32 with those bits. */
export function maskOf(prefix: number): number {
  return prefix === 0 ? 0 : -1 << (32 - prefix);
}
