// The way frames come in and go out: what the router asks of whoever owns the frames' memory. The appliance's ring
// (packet-ring.ts) is AF_PACKET; tests and replay use plain memory. No code here: only the contract.
import type { Iface } from "./types.ts";

/**
 * Bytes in front of every frame: Linux's struct virtio_net_hdr (linux/virtio_net.h), little-endian, without
 * num_buffers. All zero means: nothing offloaded.
 */
export const VNET_LENGTH = 10;

/** Bytes that `reserve` gives, behind its virtio_net_hdr: the largest frame that the router originates. */
export const RESERVED_LENGTH = 2038;

/** Interfaces at a time: their numbers are below this. */
export const MAX_INTERFACES = 64;

export interface Ring {
  /**
   * All frames' memory, received and originated: a frame is an offset into it and a length, and has VNET_LENGTH bytes
   * of virtio_net_hdr in front. `bytes` and `view` are the same memory.
   */
  readonly bytes: Uint8Array;
  readonly view: DataView;

  /** Whose the frames are that are sent next, as line-shares.ts numbers them: by this an uplink with a rate is shared. */
  share: number;

  /**
   * Room for one frame that the router originates.
   * @returns the offset of RESERVED_LENGTH bytes, with a zeroed virtio_net_hdr in front, that stay the caller's until
   * the frame is sent or the next call of `reserve`.
   */
  reserve(): number;

  /**
   * Queues a frame for transmission, in place: nobody changes its bytes until the queue has been flushed.
   * @param iface number of the egress interface in the settings in force
   * @param at offset of the frame's first byte (the Ethernet destination)
   * @param length bytes of the frame, without its virtio_net_hdr
   */
  send(iface: Iface, at: number, length: number): void;
}
