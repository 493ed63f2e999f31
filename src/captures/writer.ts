// Writes classic pcap files of Ethernet frames, little-endian, through a buffer.
import { LONGEST_FRAME } from "./format.ts";
import type { Resolution } from "./frame.ts";
import { LINK_ETHERNET } from "./link-types.ts";
import { FILE_HEADER_LENGTH, MAGIC_NS, MAGIC_US, RECORD_HEADER_LENGTH } from "./pcap.ts";

const BUFFER_LENGTH = 1 << 18;

export class CaptureWriter {
  private readonly buffer = Buffer.alloc(BUFFER_LENGTH + RECORD_HEADER_LENGTH + LONGEST_FRAME);
  private readonly view = new DataView(this.buffer.buffer, this.buffer.byteOffset, this.buffer.length);
  private length = FILE_HEADER_LENGTH;
  private readonly nanosecondsPerTick: number;

  /** @param write takes bytes that are overwritten when it returns */
  constructor(
    resolution: Resolution,
    private readonly write: (bytes: Buffer) => void,
  ) {
    this.nanosecondsPerTick = resolution === "ns" ? 1 : 1000;
    this.view.setUint32(0, resolution === "ns" ? MAGIC_NS : MAGIC_US, true);
    this.view.setUint16(4, 2, true); // version 2.4
    this.view.setUint16(6, 4, true);
    this.view.setUint32(16, LONGEST_FRAME, true);
    this.view.setUint32(20, LINK_ETHERNET, true);
  }

  /**
   * Adds a frame. Times before 1970 or after 2106 don't fit and wrap.
   * @param at, captured where its bytes are, at most LONGEST_FRAME
   * @param original bytes that it had
   */
  add(seconds: number, nanoseconds: number, bytes: Buffer, at: number, captured: number, original: number): void {
    const { buffer, view, length } = this;
    view.setUint32(length, seconds, true);
    view.setUint32(length + 4, Math.floor(nanoseconds / this.nanosecondsPerTick), true);
    view.setUint32(length + 8, captured, true);
    view.setUint32(length + 12, original, true);
    bytes.copy(buffer, length + RECORD_HEADER_LENGTH, at, at + captured);
    this.length = length + RECORD_HEADER_LENGTH + captured;
    if (this.length >= BUFFER_LENGTH) this.flush();
  }

  /** Hands on what is buffered. */
  flush(): void {
    this.write(this.buffer.subarray(0, this.length));
    this.length = 0;
  }
}
