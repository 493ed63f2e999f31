// TCP (RFC 9293): offsets from the header's first byte, the check of its lengths and flags, and its options.
import { FAULT } from "./fault.ts";

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
export const ACK = 16;

/** @param length bytes of the IPv4 payload */
export function checkTcp(view: DataView, at: number, length: number): number {
  if (length < TCP.HEADER_LENGTH) return FAULT.TCP_TRUNCATED;
  const dataOffset = tcpHeaderLength(view, at);
  if (dataOffset < TCP.HEADER_LENGTH || dataOffset > length) return FAULT.TCP_DATA_OFFSET;
  // A segment is a SYN, a RST, a FIN or an ACK; SYN excludes FIN and RST, and only SYN and RST go without ACK.
  const flags = view.getUint8(at + TCP.FLAGS) & (FIN | SYN | RST | ACK);
  if (flags === 0 || flags === FIN || (flags & (SYN | FIN)) === (SYN | FIN)) return FAULT.TCP_FLAGS;
  if ((flags & RST) !== 0 && (flags & (SYN | FIN)) !== 0) return FAULT.TCP_FLAGS;
  return FAULT.NONE;
}

/** @returns bytes of the header with its options; below 20 in a header that `checkTcp` refuses */
export function tcpHeaderLength(view: DataView, at: number): number {
  return (view.getUint8(at + TCP.DATA_OFFSET) >>> 4) << 2;
}

const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_WINDOW_SCALE = 3;
/** RFC 7323 section 2.3: a larger shift count is taken as this one. */
const MAX_WINDOW_SCALE = 14;

/** @returns the shift count of a checked SYN's window scale option (RFC 7323 section 2.2), or -1 when it has none */
export function windowScale(view: DataView, at: number): number {
  const end = at + tcpHeaderLength(view, at);
  for (let i = at + TCP.HEADER_LENGTH; i < end; ) {
    const kind = view.getUint8(i);
    if (kind === OPTION_END) return -1;
    if (kind === OPTION_NOP) {
      i++;
      continue;
    }
    if (i + 1 >= end) return -1;
    const length = view.getUint8(i + 1);
    if (length < 2 || i + length > end) return -1;
    if (kind === OPTION_WINDOW_SCALE && length === 3) return Math.min(view.getUint8(i + 2), MAX_WINDOW_SCALE);
    i += length;
  }
  return -1;
}
