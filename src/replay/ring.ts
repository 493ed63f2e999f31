// The router's memory in a replay: one frame at a time is copied in from a capture, and what is sent is shown at once to
// whoever writes it. Nothing is allocated by the frame.
import { LONGEST_FRAME } from "../captures/format.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../dataplane/ring.ts";

/** The packet ring's frames begin at such an offset too: 2 below a multiple of 4, so that the IP header is aligned. */
export const RECEIVED_AT = 14;
const RESERVED_AT = RECEIVED_AT + LONGEST_FRAME + 16;

export class ReplayRing implements Ring {
  readonly bytes = Buffer.alloc(RESERVED_AT + RESERVED_LENGTH);
  readonly view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);

  /** @param sent sees each frame that the router sends, in `bytes`, which is the router's again when it returns */
  constructor(private readonly sent: (iface: number, at: number, length: number) => void) {}

  /** Puts `length` bytes of other memory where the router can receive them, as a frame with nothing offloaded. */
  put(from: Buffer, at: number, length: number): void {
    from.copy(this.bytes, RECEIVED_AT, at, at + length);
    this.clearOffload(RECEIVED_AT);
  }

  reserve(): number {
    this.clearOffload(RESERVED_AT);
    return RESERVED_AT;
  }

  send(iface: number, at: number, length: number): void {
    this.sent(iface, at, length);
  }

  private clearOffload(at: number): void {
    for (let i = at - VNET_LENGTH; i < at; i++) this.bytes[i] = 0;
  }
}
