// What segmentation and checksum offload left undone in a frame: fields of Linux's struct virtio_net_hdr
// (linux/virtio_net.h, little-endian), which stands VNET_LENGTH bytes in front of each frame.
import { VNET_LENGTH } from "./ring.ts";

const FLAGS = 0;
const GSO_TYPE = 1;
const GSO_SIZE = 4;
const CSUM_START = 6;
const CSUM_OFFSET = 8;

const NEEDS_CSUM = 1;
const GSO_NONE = 0;

/** @returns whether the transport checksum field holds only the folded pseudo-header sum, not inverted */
export function needsChecksum(view: DataView, at: number): boolean {
  return (view.getUint8(at - VNET_LENGTH + FLAGS) & NEEDS_CSUM) !== 0;
}

/** Says that the frame's checksums are whole. */
export function checksumDone(view: DataView, at: number): void {
  const flags = at - VNET_LENGTH + FLAGS;
  view.setUint8(flags, view.getUint8(flags) & ~NEEDS_CSUM);
}

/** @returns bytes of payload in each segment that the frame will be cut into, or 0 for a frame that stays whole */
export function segmentSize(view: DataView, at: number): number {
  if (view.getUint8(at - VNET_LENGTH + GSO_TYPE) === GSO_NONE) return 0;
  return view.getUint16(at - VNET_LENGTH + GSO_SIZE, true);
}

/** @returns offset of the first byte that the missing checksum covers */
export function checksumStart(view: DataView, at: number): number {
  return at + view.getUint16(at - VNET_LENGTH + CSUM_START, true);
}

/** @returns offset of the missing checksum's field */
export function checksumField(view: DataView, at: number): number {
  return checksumStart(view, at) + view.getUint16(at - VNET_LENGTH + CSUM_OFFSET, true);
}
