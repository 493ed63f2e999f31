// What a NIC would do with a frame whose work was left to it, and the opposite: for frames with a virtio_net_hdr.
// Shares no code with src.
import { checksum } from "./frames.ts";

export const NEEDS_CSUM = 1;
export const NO_VNET = new Uint8Array(10);
export const GSO = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, UDP_L4: 5 } as const;

export interface VnetFields {
  readonly flags?: number;
  readonly gsoType?: number;
  readonly headerLength?: number;
  /** Payload bytes of each segment. */
  readonly gsoSize?: number;
  /** Where the missing checksum's sum begins, from the frame's first byte. */
  readonly checksumStart?: number;
  /** Where it is to be written, from there. */
  readonly checksumOffset?: number;
}

/** @returns a struct virtio_net_hdr (linux/virtio_net.h), little-endian, 10 bytes */
export function vnet(fields: VnetFields): Uint8Array {
  const view = new DataView(new ArrayBuffer(10));
  view.setUint8(0, fields.flags ?? 0);
  view.setUint8(1, fields.gsoType ?? GSO.NONE);
  view.setUint16(2, fields.headerLength ?? 0, true);
  view.setUint16(4, fields.gsoSize ?? 0, true);
  view.setUint16(6, fields.checksumStart ?? 0, true);
  view.setUint16(8, fields.checksumOffset ?? 0, true);
  return new Uint8Array(view.buffer);
}

export interface OffloadedFrame {
  readonly frame: Uint8Array;
  readonly vnet: Uint8Array;
}

const UDP = 17;

/** What a frame's TCP or UDP checksum is of, and where it is. */
function places(frame: Uint8Array): {
  protocol: number;
  addresses: Uint8Array;
  start: number;
  end: number;
  offset: number;
} {
  const length = (at: number) => frame[at] * 256 + frame[at + 1];
  const isIpv6 = frame[12] === 0x86;
  const protocol = frame[isIpv6 ? 20 : 23];
  const parts = isIpv6
    ? { addresses: frame.subarray(22, 54), start: 54, end: 54 + length(18) }
    : { addresses: frame.subarray(26, 34), start: 14 + (frame[14] & 15) * 4, end: 14 + length(16) };
  return { protocol, ...parts, offset: protocol === UDP ? 6 : 16 };
}

/**
 * @param frame an Ethernet frame with TCP or UDP over IPv4, or over IPv6 without extension headers
 * @returns the same as a sender leaves it that lets its NIC add the checksum up: the field holds the pseudo-header's sum
 */
export function leaveChecksum(frame: Uint8Array, fields: VnetFields = {}): OffloadedFrame {
  const { protocol, addresses, start, end, offset } = places(frame);
  const left = frame.slice();
  const length = end - start;
  const pseudoHeader = [...addresses, 0, protocol, length >>> 8, length & 255];
  const sum = 0xffff - checksum(Uint8Array.from(pseudoHeader));
  left.set([sum >>> 8, sum & 255], start + offset);
  return {
    frame: left,
    vnet: vnet({ flags: NEEDS_CSUM, checksumStart: start, checksumOffset: offset, ...fields }),
  };
}

/** @returns the frame as it goes over the wire, when the NIC has done what its virtio_net_hdr asks; segments uncut */
export function completeChecksum({ frame, vnet }: OffloadedFrame): Uint8Array {
  if ((vnet[0] & NEEDS_CSUM) === 0) return frame;
  const start = vnet[6] + vnet[7] * 256;
  const at = start + vnet[8] + vnet[9] * 256;
  if (at + 2 > frame.length) throw new Error(`checksum at ${at} of ${frame.length} bytes`);
  const complete = frame.slice();
  const sum = checksum(complete.subarray(start));
  // A UDP checksum that comes out as zero is sent as all ones (RFC 768).
  complete.set(sum === 0 && places(frame).protocol === UDP ? [255, 255] : [sum >>> 8, sum & 255], at);
  return complete;
}
