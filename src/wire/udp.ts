// UDP (RFC 768): offsets from the header's first byte, the check of its length, and writing it.
import { sum } from "./checksum.ts";
import { FAULT, type Fault } from "./fault.ts";

export const UDP = { SOURCE_PORT: 0, DESTINATION_PORT: 2, LENGTH: 4, CHECKSUM: 6, HEADER_LENGTH: 8 } as const;

/**
 * A UDP length shorter than the bytes there are leaves bytes that belong to nobody, and is let pass.
 * @param length bytes of the IPv4 payload
 * @param longest what the UDP length may say at most: more than `length` in the first of several fragments
 */
export function checkUdp(view: DataView, at: number, length: number, longest = length): Fault {
  if (length < UDP.HEADER_LENGTH) return FAULT.UDP_TRUNCATED;
  const said = view.getUint16(at + UDP.LENGTH);
  return said < UDP.HEADER_LENGTH || said > longest ? FAULT.UDP_LENGTH : FAULT.NONE;
}

/**
 * The checksum must be right where we take what the datagram says (RFC 1122 section 4.1.3.4); 0 means that there is none.
 * @param pseudo the pseudo-header's sum
 * @param length the UDP length
 */
export function checkUdpSum(view: DataView, at: number, length: number, pseudo: number): Fault {
  if (view.getUint16(at + UDP.CHECKSUM) === 0) return FAULT.NONE;
  return sum(view, at, length, pseudo) === 0xffff ? FAULT.NONE : FAULT.UDP_CHECKSUM;
}

/** The same over IPv6, where there must be one (RFC 8200 section 8.1). */
export function checkUdpSum6(view: DataView, at: number, length: number, pseudo: number): Fault {
  return view.getUint16(at + UDP.CHECKSUM) === 0 ? FAULT.UDP_CHECKSUM : checkUdpSum(view, at, length, pseudo);
}

/** Writes a header, with checksum 0. @param ports source << 16 | destination @param length bytes of header and payload */
export function writeUdp(view: DataView, at: number, ports: number, length: number): void {
  view.setInt32(at, ports);
  view.setUint16(at + UDP.LENGTH, length);
  view.setUint16(at + UDP.CHECKSUM, 0);
}
