// IPv6 (RFC 8200): offsets from the header's first byte, the check of a header against the bytes there are, writing the header of
// packets that we originate, and addresses. What stands behind it, header-chain.ts beside this file finds.
import { FAULT, type Fault } from "./fault.ts";

export const IPV6 = {
  VERSION_CLASS_LABEL: 0,
  PAYLOAD_LENGTH: 4,
  NEXT_HEADER: 6,
  HOP_LIMIT: 7,
  SOURCE: 8,
  DESTINATION: 24,
  HEADER_LENGTH: 40,
} as const;

/** Bytes of an address. */
export const ADDRESS6_LENGTH = 16;

/** Every link carries so much (RFC 8200 section 5). */
export const LEAST_MTU6 = 1280;

/** IANA "Assigned Internet Protocol Numbers": extension headers (RFC 7045 section 4), and what only IPv6 carries. */
export const NEXT_HEADER = {
  HOP_BY_HOP: 0,
  ROUTING: 43,
  FRAGMENT: 44,
  ESP: 50,
  AH: 51,
  ICMPV6: 58,
  NONE: 59,
  DESTINATION: 60,
  MOBILITY: 135,
  HIP: 139,
  SHIM6: 140,
} as const;

/** The fragment header (RFC 8200 section 4.5): offsets from its first byte, and the parts of its word of offset and flags. */
export const FRAGMENT6 = { NEXT_HEADER: 0, OFFSET: 2, IDENTIFICATION: 4, LENGTH: 8 } as const;
/** In bytes as it stands there, for it counts units of 8 and is shifted by 3. */
export const FRAGMENT6_OFFSET = 0xfff8;
export const FRAGMENT6_MORE = 1;

/**
 * @param at offset of the header
 * @param length bytes from there to the end of the frame; what is past the payload is padding
 */
export function checkIpv6(view: DataView, at: number, length: number): Fault {
  if (length < IPV6.HEADER_LENGTH) return FAULT.IPV6_TRUNCATED;
  if (view.getUint8(at) >>> 4 !== 6) return FAULT.IPV6_VERSION;
  const payload = view.getUint16(at + IPV6.PAYLOAD_LENGTH);
  // RFC 2675 section 3: the length stands in an option then.
  if (payload === 0 && view.getUint8(at + IPV6.NEXT_HEADER) === NEXT_HEADER.HOP_BY_HOP) return FAULT.IPV6_JUMBOGRAM;
  return payload > length - IPV6.HEADER_LENGTH ? FAULT.IPV6_PAYLOAD_LENGTH : FAULT.NONE;
}

/** The header of a packet quoted in an ICMPv6 error, whose payload may be cut short. @param length bytes from it to the error's end */
export function checkQuotedIpv6(view: DataView, at: number, length: number): Fault {
  if (length < IPV6.HEADER_LENGTH) return FAULT.IPV6_TRUNCATED;
  return view.getUint8(at) >>> 4 === 6 ? FAULT.NONE : FAULT.IPV6_VERSION;
}

/** @returns bytes of a checked packet, header and payload */
export const totalLength6 = (view: DataView, at: number): number =>
  IPV6.HEADER_LENGTH + view.getUint16(at + IPV6.PAYLOAD_LENGTH);

/**
 * Writes a header but for its addresses.
 * @param trafficClass the whole byte: DSCP and ECN
 * @param payloadLength bytes behind the header
 */
export function writeIpv6(
  view: DataView,
  at: number,
  trafficClass: number,
  payloadLength: number,
  nextHeader: number,
  hopLimit: number,
): void {
  view.setUint32(at, 0x60000000 | (trafficClass << 20));
  view.setUint16(at + IPV6.PAYLOAD_LENGTH, payloadLength);
  view.setUint8(at + IPV6.NEXT_HEADER, nextHeader);
  view.setUint8(at + IPV6.HOP_LIMIT, hopLimit);
}

/** Copies the address at `from` of one view to `to` of another. */
export function copyAddress6(source: DataView, from: number, view: DataView, to: number): void {
  for (let i = 0; i < ADDRESS6_LENGTH; i += 4) view.setInt32(to + i, source.getInt32(from + i));
}

export function sameAddress6(one: DataView, at: number, other: DataView, otherAt: number): boolean {
  for (let i = 0; i < ADDRESS6_LENGTH; i += 4) if (one.getInt32(at + i) !== other.getInt32(otherAt + i)) return false;
  return true;
}

/** ff00::/8 */
export const isMulticast6 = (view: DataView, at: number): boolean => view.getUint8(at) === 0xff;

/** fe80::/10 */
export const isLinkLocal6 = (view: DataView, at: number): boolean => (view.getUint16(at) & 0xffc0) === 0xfe80;

/** The unspecified address, :: */
export const isUnspecified6 = (view: DataView, at: number): boolean =>
  (view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8) | view.getInt32(at + 12)) === 0;
