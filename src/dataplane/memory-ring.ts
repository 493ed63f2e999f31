// A Ring over plain memory, for tests and replay: one frame at a time goes in, and what is sent is copied out at once.
// It is stricter than the packet ring: a frame's memory is overwritten when the next one takes its place, so that a
// router that holds on to a frame longer than it may is found out.
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "./ring.ts";

/** What the router sent, copied as it was at that moment. */
export interface SentFrame {
  /** Number of the egress interface. */
  readonly iface: number;
  readonly bytes: Uint8Array;
  /** The virtio_net_hdr in front: VNET_LENGTH bytes. */
  readonly vnet: Uint8Array;
  /** Whose it is: Ring's `share`. */
  readonly share: number;
}

/** The longest frame that can be put in: what TCP segmentation offload makes, and what a capture can hold. */
const LONGEST_FRAME = 262144;
/** The packet ring's frames begin at such an offset too: 2 below a multiple of 4, so that the IP header is aligned. */
const RECEIVED_AT = 14;
const RESERVED_AT = RECEIVED_AT + LONGEST_FRAME + 16;
/** Fills memory that nobody may read. */
const POISON = 0xee;

export class MemoryRing implements Ring {
  readonly bytes = new Uint8Array(RESERVED_AT + RESERVED_LENGTH).fill(POISON);
  readonly view = new DataView(this.bytes.buffer);
  share = 0;
  /** What was sent and not yet taken, in order. */
  private sent: SentFrame[] = [];
  private receivedLength = 0;

  /**
   * Puts a frame where the router can receive it; the frame before it is gone.
   * @param vnet its virtio_net_hdr; without one nothing is offloaded
   * @returns the frame's offset, for `router.receive`
   * @throws RangeError for a frame of more than 262144 bytes
   */
  put(frame: Uint8Array, vnet?: Uint8Array): number {
    this.bytes.fill(POISON, RECEIVED_AT, RECEIVED_AT + this.receivedLength);
    this.bytes.fill(0, RECEIVED_AT - VNET_LENGTH, RECEIVED_AT);
    if (frame.length > LONGEST_FRAME) throw new RangeError(`a frame of ${frame.length} bytes`);
    if (vnet !== undefined) this.bytes.set(vnet.subarray(0, VNET_LENGTH), RECEIVED_AT - VNET_LENGTH);
    this.bytes.set(frame, RECEIVED_AT);
    this.receivedLength = frame.length;
    return RECEIVED_AT;
  }

  reserve(): number {
    this.bytes.fill(0, RESERVED_AT - VNET_LENGTH, RESERVED_AT);
    this.bytes.fill(POISON, RESERVED_AT, RESERVED_AT + RESERVED_LENGTH);
    return RESERVED_AT;
  }

  send(iface: number, at: number, length: number): void {
    this.sent.push({
      iface,
      bytes: this.bytes.slice(at, at + length),
      vnet: this.bytes.slice(at - VNET_LENGTH, at),
      share: this.share,
    });
  }

  /** @returns what was sent since the last call, in order */
  takeSent(): SentFrame[] {
    const sent = this.sent;
    this.sent = [];
    return sent;
  }
}
