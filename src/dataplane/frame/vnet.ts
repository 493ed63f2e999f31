// What segmentation and checksum offload left undone in a frame: fields of Linux's struct virtio_net_hdr
// (linux/virtio_net.h, little-endian), which stands VNET_LENGTH bytes in front of each frame.
import { ETHERNET } from "../../wire/ethernet.ts";
import { IPV4, PROTOCOL } from "../../wire/ipv4.ts";
import { IPV6 } from "../../wire/ipv6.ts";
import { TCP } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { KIND, type Packet } from "../packet.ts";
import { VNET_LENGTH } from "../ring.ts";

const FLAGS = 0;
const GSO_TYPE = 1;
const GSO_SIZE = 4;
const CSUM_START = 6;
const CSUM_OFFSET = 8;

const NEEDS_CSUM = 1;
const GSO_NONE = 0;
const GSO_TCPV4 = 1;
const GSO_UDP = 3;
const GSO_TCPV6 = 4;
const GSO_UDP_L4 = 5;
const GSO_ECN = 0x80;

/**
 * How many segments a frame may be cut into at most: half a millisecond of work, since each takes the kernel 0.8 µs where the
 * interface does not cut. Linux makes frames of 64 KiB whatever the MSS is, so that TCP passes with one of 103 bytes or more. Paths with
 * less are not known: hosts must take 536 (RFC 9293 section 3.7.1).
 */
export const MOST_SEGMENTS = 640;

/** Bytes of the smallest one: Linux makes none smaller (TCP_MIN_SND_MSS is 48, less 40 bytes of options). */
export const LEAST_SEGMENT = 8;

/** Of a frame that is not to be cut by the interface but may be by us, into fragments: bytes that count like a segment. */
const FRAGMENT_SHIFT = 10;

const SCTP_CHECKSUM = 8;
const SCTP_HEADER_LENGTH = 12;

/**
 * Whether the header says nothing but what the sender's own stack would. It comes from the sender: the kernel writes the
 * checksum where it says, after we have judged the packet, and must not be made to write into what we judged.
 * @param packet checked, not yet rewritten
 */
export function hasSoundOffload(view: DataView, packet: Packet): boolean {
  const header = packet.at - VNET_LENGTH;
  const gso = view.getUint8(header + GSO_TYPE);
  const left = view.getUint8(header + FLAGS) & NEEDS_CSUM;
  if (gso === GSO_NONE && left === 0) return true;
  if (packet.fragment !== 0 || packet.kind !== KIND.FLOW) return false;
  if (left !== 0 && !isChecksumPlace(packet, view.getUint16(header + CSUM_START, true), checksumOffset(view, header))) {
    return false;
  }
  if (gso === GSO_NONE) return true;
  if (view.getUint16(header + GSO_SIZE, true) === 0) return false;
  const type = gso & ~GSO_ECN;
  if (packet.protocol === PROTOCOL.TCP) return type === (packet.isIpv6 ? GSO_TCPV6 : GSO_TCPV4);
  return packet.protocol === PROTOCOL.UDP && (type === GSO_UDP || type === GSO_UDP_L4);
}

const checksumOffset = (view: DataView, header: number): number => view.getUint16(header + CSUM_OFFSET, true);

/** @param start from the frame's first byte @param offset from there */
function isChecksumPlace({ at, transport, protocol, length }: Packet, start: number, offset: number): boolean {
  if (start !== transport - at) return false;
  switch (protocol) {
    case PROTOCOL.TCP:
      return offset === TCP.CHECKSUM;
    case PROTOCOL.UDP:
      return offset === UDP.CHECKSUM;
    case PROTOCOL.DCCP:
    case PROTOCOL.UDP_LITE:
      return offset === UDP.CHECKSUM && length >= UDP.HEADER_LENGTH;
    case PROTOCOL.SCTP:
      return offset === SCTP_CHECKSUM && length >= SCTP_HEADER_LENGTH;
    default:
      return false;
  }
}

/**
 * Whether a frame is to be cut into no more segments, and none smaller, than a sender may ask of us and the kernel: else each of
 * its bytes would be a packet to be made and sent.
 * @param at offset of the frame @param total bytes of its packet
 */
export const isCutIntoFew = (view: DataView, at: number, total: number): boolean => {
  const segment = segmentSize(view, at);
  return segment === 0 || (segment >= LEAST_SEGMENT && total <= segment * MOST_SEGMENTS);
};

/** @param at offset of a frame @param length its bytes @returns how much work it can make, in segments; of a sender who lies, too */
export const workOf = (view: DataView, at: number, length: number): number => {
  const segment = segmentSize(view, at);
  return segment === 0 ? 1 + (length >>> FRAGMENT_SHIFT) : Math.min(1 + length / segment, MOST_SEGMENTS);
};

/**
 * The common cases of `hasSoundOffload` and `isCutIntoFew`, for a TCP or UDP packet without IP options that is no fragment:
 * nothing is left undone, or its checksum, where it belongs; or it is TCP, to be cut into segments.
 * @param at offset of its frame @param total bytes of the packet
 */
export const isPlainOffload = (view: DataView, at: number, isTcp: boolean, total: number): boolean => {
  return isPlain(view, at, isTcp, total, GSO_TCPV4, ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH);
};

/** The same of a packet of IPv6 without extension headers. */
export const isPlainOffload6 = (view: DataView, at: number, isTcp: boolean, total: number): boolean => {
  return isPlain(view, at, isTcp, total, GSO_TCPV6, ETHERNET.HEADER_LENGTH + IPV6.HEADER_LENGTH);
};

/** @param gsoTcp what says that TCP is to be cut @param start where the transport header is, from the frame's first byte */
const isPlain = (view: DataView, at: number, isTcp: boolean, total: number, gsoTcp: number, start: number): boolean => {
  const header = at - VNET_LENGTH;
  const gso = view.getUint8(header + GSO_TYPE);
  if (gso !== GSO_NONE) {
    if (!isTcp || (gso & ~GSO_ECN) !== gsoTcp) return false;
    const segment = view.getUint16(header + GSO_SIZE, true);
    if (segment < LEAST_SEGMENT || total > segment * MOST_SEGMENTS) return false;
  }
  if ((view.getUint8(header + FLAGS) & NEEDS_CSUM) === 0) return true;
  if (view.getUint16(header + CSUM_START, true) !== start) return false;
  return checksumOffset(view, header) === (isTcp ? TCP.CHECKSUM : UDP.CHECKSUM);
};

/** @returns whether nothing of a frame is left to its interface */
export const isUntouched = (view: DataView, at: number): boolean => {
  const header = at - VNET_LENGTH;
  return view.getUint8(header + GSO_TYPE) === GSO_NONE && (view.getUint8(header + FLAGS) & NEEDS_CSUM) === 0;
};

/** @returns whether the transport checksum field holds only the folded pseudo-header sum, not inverted */
export const needsChecksum = (view: DataView, at: number): boolean =>
  (view.getUint8(at - VNET_LENGTH + FLAGS) & NEEDS_CSUM) !== 0;

/** Says that the frame's checksums are whole. */
export function checksumDone(view: DataView, at: number): void {
  const flags = at - VNET_LENGTH + FLAGS;
  view.setUint8(flags, view.getUint8(flags) & ~NEEDS_CSUM);
}

/** @returns bytes of payload in each segment that the frame will be cut into, or 0 for a frame that stays whole */
export const segmentSize = (view: DataView, at: number): number =>
  view.getUint8(at - VNET_LENGTH + GSO_TYPE) === GSO_NONE ? 0 : view.getUint16(at - VNET_LENGTH + GSO_SIZE, true);

/** @returns offset of the first byte that the missing checksum covers */
export function checksumStart(view: DataView, at: number): number {
  return at + view.getUint16(at - VNET_LENGTH + CSUM_START, true);
}

/** @returns offset of the missing checksum's field */
export function checksumField(view: DataView, at: number): number {
  return checksumStart(view, at) + checksumOffset(view, at - VNET_LENGTH);
}

/** What a sender leaves to its interface. */
export interface Offload {
  /** Where the missing checksum's sum begins, from the frame's first byte, and from there, where it is to be written. */
  readonly checksum?: { readonly start: number; readonly offset: number } | undefined;
  /** Bytes of payload in each segment of TCP that the frame is to be cut into. */
  readonly segment?: number | undefined;
  /** Of which family the segments are. */
  readonly isIpv6?: boolean;
}

/** @returns a virtio_net_hdr */
export function offloadHeader({ checksum, segment, isIpv6 = false }: Offload): Uint8Array {
  const view = new DataView(new ArrayBuffer(VNET_LENGTH));
  if (checksum !== undefined) {
    view.setUint8(FLAGS, NEEDS_CSUM);
    view.setUint16(CSUM_START, checksum.start, true);
    view.setUint16(CSUM_OFFSET, checksum.offset, true);
  }
  if (segment !== undefined) {
    view.setUint8(GSO_TYPE, isIpv6 ? GSO_TCPV6 : GSO_TCPV4);
    view.setUint16(GSO_SIZE, segment, true);
  }
  return new Uint8Array(view.buffer);
}

/** @param view of a virtio_net_hdr @returns what it leaves to an interface; what it says beside that is not looked at */
export function readOffload(view: DataView): Offload {
  const isLeft = (view.getUint8(FLAGS) & NEEDS_CSUM) !== 0;
  const isCut = view.getUint8(GSO_TYPE) !== GSO_NONE;
  return {
    checksum: isLeft
      ? { start: view.getUint16(CSUM_START, true), offset: view.getUint16(CSUM_OFFSET, true) }
      : undefined,
    segment: isCut ? view.getUint16(GSO_SIZE, true) : undefined,
    isIpv6: isCut && (view.getUint8(GSO_TYPE) & ~GSO_ECN) === GSO_TCPV6,
  };
}
