// The router's memory in a replay: one frame at a time is copied in from a capture, and what is sent is shown at once to
// whoever writes it. Nothing is allocated by the frame.
//
// Each frame has a tag that says because of which frame it is there, so that one that waits for ARP can be told from others when it is
// sent at last. The tag stands where hdr_len is in the virtio_net_hdr: the router copies that with the frame, and never looks at it.
import { LONGEST_FRAME } from "../captures/format.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../dataplane/ring.ts";

/** The packet ring's frames begin at such an offset too: 2 below a multiple of 4, so that the IP header is aligned. */
export const RECEIVED_AT = 14;
const RESERVED_AT = RECEIVED_AT + LONGEST_FRAME + 16;
/** Offset of hdr_len, 16 bits, in struct virtio_net_hdr (linux/virtio_net.h). */
const TAG = 2;

export class ReplayRing implements Ring {
  readonly bytes = Buffer.alloc(RESERVED_AT + RESERVED_LENGTH);
  readonly view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  /** Of frames that the router makes from now on, 0 to 65535. */
  private tag = 0;
  share = 0;

  /** @param sent sees each frame that the router sends, in `bytes`, which is the router's again when it returns */
  constructor(private readonly sent: (iface: number, at: number, length: number) => void) {}

  /** Puts `length` bytes of other memory where the router can receive them, as a frame with nothing offloaded. */
  put(from: Buffer, at: number, length: number): void {
    from.copy(this.bytes, RECEIVED_AT, at, at + length);
    this.clearOffload(RECEIVED_AT);
  }

  /** Gives a tag to the frame that was put last, and to those that the router makes because of it. */
  setTag(tag: number): void {
    this.tag = tag;
    this.view.setUint16(RECEIVED_AT - VNET_LENGTH + TAG, tag, true);
  }

  /** @param at offset of a frame that is being sent: the received one, in place, or one that the router made or let wait */
  tagOf(at: number): number {
    return at < RESERVED_AT ? this.tag : this.view.getUint16(at - VNET_LENGTH + TAG, true);
  }

  reserve(): number {
    this.clearOffload(RESERVED_AT);
    this.view.setUint16(RESERVED_AT - VNET_LENGTH + TAG, this.tag, true);
    return RESERVED_AT;
  }

  send(iface: number, at: number, length: number): void {
    this.sent(iface, at, length);
  }

  private clearOffload(at: number): void {
    for (let i = at - VNET_LENGTH; i < at; i++) this.bytes[i] = 0;
  }
}
