// TCP (RFC 9293): offsets from the header's first byte, the check of its lengths and flags, and its options.
import { delta16, sum } from "./checksum.ts";
import { FAULT, type Fault } from "./fault.ts";

export const TCP = {
  SOURCE_PORT: 0,
  DESTINATION_PORT: 2,
  SEQUENCE: 4,
  ACKNOWLEDGMENT: 8,
  DATA_OFFSET: 12,
  FLAGS: 13,
  WINDOW: 14,
  CHECKSUM: 16,
  URGENT: 18,
  HEADER_LENGTH: 20,
} as const;

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

/** RFC 9293 section 3.1, from the lowest bit up. */
const FLAG_NAMES = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/** @param bits the byte at TCP.FLAGS @returns the names of those that are set */
export function flagNames(bits: number): string[] {
  return FLAG_NAMES.filter((_, i) => ((bits >>> i) & 1) !== 0);
}

/** @param length bytes of the IPv4 payload */
export function checkTcp(view: DataView, at: number, length: number): Fault {
  if (length < TCP.HEADER_LENGTH) return FAULT.TCP_TRUNCATED;
  const dataOffset = tcpHeaderLength(view, at);
  if (dataOffset < TCP.HEADER_LENGTH || dataOffset > length) return FAULT.TCP_DATA_OFFSET;
  // A segment is a SYN, a RST, a FIN or an ACK; SYN excludes FIN and RST, and only SYN and RST go without ACK.
  const flags = view.getUint8(at + TCP.FLAGS) & (FIN | SYN | RST | ACK);
  if (flags === 0 || flags === FIN || (flags & (SYN | FIN)) === (SYN | FIN)) return FAULT.TCP_FLAGS;
  if ((flags & RST) !== 0 && (flags & (SYN | FIN)) !== 0) return FAULT.TCP_FLAGS;
  return FAULT.NONE;
}

/**
 * The checksum must be right where we take what the segment says (RFC 9293 section 3.1).
 * @param pseudo the pseudo-header's sum
 * @param length bytes of the IPv4 payload
 */
export function checkTcpSum(view: DataView, at: number, length: number, pseudo: number): Fault {
  return sum(view, at, length, pseudo) === 0xffff ? FAULT.NONE : FAULT.TCP_CHECKSUM;
}

/** @returns bytes of the header with its options; below 20 in a header that `checkTcp` refuses */
export const tcpHeaderLength = (view: DataView, at: number): number => (view.getUint8(at + TCP.DATA_OFFSET) >>> 4) << 2;

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_WINDOW_SCALE = 3;
/** RFC 7323 section 2.3: a larger shift count is taken as this one. */
const MAX_WINDOW_SCALE = 14;

/** @returns the shift count of a checked SYN's window scale option (RFC 7323 section 2.2), or -1 when it has none */
export function windowScale(view: DataView, at: number): number {
  const option = optionAt(view, at, OPTION_WINDOW_SCALE, 3);
  return option < 0 ? -1 : Math.min(view.getUint8(option + 2), MAX_WINDOW_SCALE);
}

/** @returns a checked SYN's MSS (RFC 9293 section 3.7.1), or -1 when it has none */
export function maximumSegmentSize(view: DataView, at: number): number {
  const option = optionAt(view, at, OPTION_MSS, 4);
  return option < 0 ? -1 : view.getUint16(option + 2);
}

/** @returns where a checked header's first option of that kind and length is; -1 where there is none, or options are malformed before it */
function optionAt(view: DataView, at: number, wanted: number, bytes: number): number {
  const end = at + tcpHeaderLength(view, at);
  for (let i = at + TCP.HEADER_LENGTH; i + 1 < end; ) {
    const kind = view.getUint8(i);
    if (kind === OPTION_END) return -1;
    if (kind === OPTION_NOP) {
      i++;
      continue;
    }
    const length = view.getUint8(i + 1);
    if (length < 2 || i + length > end) return -1;
    if (kind === wanted && length === bytes) return i;
    i += length;
  }
  return -1;
}

/** Writes a header of 20 bytes, with checksum 0. @param ports source << 16 | destination */
export function writeTcp(
  view: DataView,
  at: number,
  ports: number,
  sequence: number,
  acknowledgment: number,
  flags: number,
  window: number,
): void {
  view.setInt32(at, ports);
  view.setInt32(at + TCP.SEQUENCE, sequence);
  view.setInt32(at + TCP.ACKNOWLEDGMENT, acknowledgment);
  view.setUint8(at + TCP.DATA_OFFSET, (TCP.HEADER_LENGTH >> 2) << 4);
  view.setUint8(at + TCP.FLAGS, flags);
  view.setUint16(at + TCP.WINDOW, window);
  view.setUint16(at + TCP.CHECKSUM, 0);
  view.setUint16(at + TCP.URGENT, 0);
}

/**
 * Lowers a checked SYN's MSS option (RFC 9293 section 3.7.1) to `most`; smaller ones, and SYNs without one, stay.
 * @returns the delta of the change for the TCP checksum, or 0
 */
export function clampMss(view: DataView, at: number, most: number): number {
  const option = optionAt(view, at, OPTION_MSS, 4);
  if (option < 0) return 0;
  const mss = view.getUint16(option + 2);
  if (mss <= most) return 0;
  view.setUint16(option + 2, most);
  const delta = delta16(mss, most);
  // At an odd offset the option's bytes lie in the other halves of the words that the checksum adds.
  return ((option - at) & 1) === 0 ? delta : ((delta & 0xff) << 8) | (delta >>> 8);
}
