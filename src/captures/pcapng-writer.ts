// Writes a pcapng file (draft-ietf-opsawg-pcapng) of Ethernet frames, little-endian, through a buffer: one section, all interfaces by
// name, and of each frame who sent it, what became of it, and a comment.
import { LONGEST_FRAME } from "./format.ts";
import type { Resolution } from "./frame.ts";
import { LINK_ETHERNET } from "./link-types.ts";
import {
  BLOCK,
  BLOCK_OVERHEAD,
  BYTE_ORDER_MAGIC,
  INTERFACE_OPTION,
  OPTION_COMMENT,
  OPTION_END,
  PACKET,
  PACKET_OPTION,
} from "./pcapng.ts";

const BUFFER_LENGTH = 1 << 18;
/** Bytes of a comment, at most; of a text, what is longer is cut. */
export const LONGEST_COMMENT = 4096;
/** Bytes of all else in a packet block, generously. */
const MOST_OVERHEAD = 256;
/** Bytes that there is room for behind what is handed on: those of most frames. */
const SHORT_BLOCK = 64 * 1024 + LONGEST_COMMENT + MOST_OVERHEAD;
const HALF = 2 ** 16;
const WORD = 2 ** 32;

/** epb_verdict begins with who gave it; this one is followed by 8 bytes, a TC_ACT_ of linux/pkt_cls.h. */
const VERDICT_OF_EBPF_TC = 1;

/** What is said of a frame; members without a value are left out. */
export interface PacketNote {
  /** One of DIRECTION. */
  readonly direction: number;
  /** A text, or its bytes in UTF-8, at most LONGEST_COMMENT. */
  readonly comment: string | Uint8Array;
  /** The same for a packet at all interfaces that it passes. */
  readonly packetId?: number | undefined;
  /** A TC_ACT_ of linux/pkt_cls.h. */
  readonly verdict?: number | undefined;
  /** Frames lost between the one before it and this one. */
  readonly dropCount?: number | undefined;
}

export class PcapngWriter {
  private buffer: Buffer;
  private view: DataView;
  private length = 0;
  private readonly digits: number;
  private readonly ticksPerSecond: bigint;
  private readonly nanosecondsPerTick: number;

  /**
   * @param names the interfaces'
   * @param write takes bytes that are overwritten when it returns; where it is undefined, whoever adds frames takes them now and then
   * @param size bytes that are buffered before they are handed on, or should be taken
   */
  constructor(
    names: readonly string[],
    resolution: Resolution,
    private readonly write: ((bytes: Buffer) => void) | undefined,
    private readonly size = BUFFER_LENGTH,
  ) {
    this.buffer = Buffer.allocUnsafeSlow(size + SHORT_BLOCK);
    this.view = viewOf(this.buffer);
    this.digits = resolution === "ns" ? 9 : 6;
    this.nanosecondsPerTick = resolution === "ns" ? 1 : 1000;
    this.ticksPerSecond = BigInt(1e9 / this.nanosecondsPerTick);
    this.beginSection();
    for (const name of names) this.describeInterface(name);
  }

  /** Bytes that wait for a flush. */
  get waiting(): number {
    return this.length;
  }

  /**
   * Adds a frame. Times that 64 bits don't hold wrap.
   * @param iface its interface's place among the names
   * @param at, captured where its bytes are, at most LONGEST_FRAME
   * @param original bytes that it had
   */
  add(
    iface: number,
    seconds: number,
    nanoseconds: number,
    bytes: Buffer,
    at: number,
    captured: number,
    original: number,
    note: PacketNote,
  ): void {
    this.makeRoom(captured);
    const { view, length: start } = this;
    view.setUint32(start + PACKET.INTERFACE, iface, true);
    this.setTime(start, seconds, Math.floor(nanoseconds / this.nanosecondsPerTick));
    view.setUint32(start + PACKET.CAPTURED, captured, true);
    view.setUint32(start + PACKET.ORIGINAL, original, true);
    bytes.copy(this.buffer, start + PACKET.DATA, at, at + captured);
    this.length = this.pad(start + PACKET.DATA, captured);
    if (typeof note.comment === "string") this.addText(OPTION_COMMENT, note.comment);
    else this.buffer.set(note.comment, this.addOption(OPTION_COMMENT, note.comment.length));
    view.setUint32(this.addOption(PACKET_OPTION.FLAGS, 4), note.direction, true);
    if (note.dropCount !== undefined) {
      this.set64(this.addOption(PACKET_OPTION.DROP_COUNT, 8), note.dropCount);
    }
    if (note.packetId !== undefined) {
      this.set64(this.addOption(PACKET_OPTION.PACKET_ID, 8), note.packetId);
    }
    if (note.verdict !== undefined) {
      const option = this.addOption(PACKET_OPTION.VERDICT, 9);
      view.setUint8(option, VERDICT_OF_EBPF_TC);
      this.set64(option + 1, note.verdict);
    }
    this.endBlock(start, BLOCK.ENHANCED_PACKET);
    if (this.write !== undefined && this.length >= this.size) this.flush();
  }

  /** Without big integers, each of which is an object, where numbers do: from 1970 to 2106. */
  private setTime(start: number, seconds: number, ticks: number): void {
    const { view } = this;
    if (seconds < 0 || seconds >= WORD) {
      const all = BigInt(seconds) * this.ticksPerSecond + BigInt(ticks);
      view.setUint32(start + PACKET.TIME_HIGH, Number(BigInt.asUintN(32, all >> 32n)), true);
      view.setUint32(start + PACKET.TIME_LOW, Number(BigInt.asUintN(32, all)), true);
      return;
    }
    const perSecond = 1e9 / this.nanosecondsPerTick;
    const upper = Math.floor(seconds / HALF) * perSecond; // of 65536 ticks each
    const lower = (upper % HALF) * HALF + (seconds % HALF) * perSecond + ticks;
    view.setUint32(start + PACKET.TIME_HIGH, Math.floor(upper / HALF) + Math.floor(lower / WORD), true);
    view.setUint32(start + PACKET.TIME_LOW, lower % WORD, true);
  }

  /** @param value a whole number below 2^53 */
  private set64(at: number, value: number): void {
    this.view.setUint32(at, value % WORD, true);
    this.view.setUint32(at + 4, Math.floor(value / WORD), true);
  }

  /** Hands on what is buffered. */
  flush(): void {
    this.write?.(this.buffer.subarray(0, this.length));
    this.length = 0;
  }

  /** @returns what is buffered, to keep */
  take(): Buffer {
    const bytes = this.buffer.subarray(0, this.length);
    this.length = 0;
    if (bytes.length < this.size / 4) return Buffer.from(bytes); // they are copied sooner than a buffer is made
    this.buffer = Buffer.allocUnsafeSlow(this.size + SHORT_BLOCK);
    this.view = viewOf(this.buffer);
    return bytes;
  }

  /** For one more frame. */
  private makeRoom(captured: number): void {
    const wanted = this.length + captured + LONGEST_COMMENT + MOST_OVERHEAD;
    if (wanted <= this.buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(wanted);
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
    this.view = viewOf(larger);
  }

  private beginSection(): void {
    const { view, length: start } = this;
    view.setUint32(start + 8, BYTE_ORDER_MAGIC, true);
    view.setUint16(start + 12, 1, true); // version 1.0
    view.setUint16(start + 14, 0, true);
    view.setBigInt64(start + 16, -1n, true); // the section's length is not told
    this.length = start + 24;
    this.endBlock(start, BLOCK.SECTION_HEADER);
  }

  /** Adds an interface: its place is behind those there are. */
  describeInterface(name: string): void {
    const { view, length: start } = this;
    view.setUint16(start + 8, LINK_ETHERNET, true);
    view.setUint16(start + 10, 0, true);
    view.setUint32(start + 12, LONGEST_FRAME, true);
    this.length = start + 16;
    this.addText(INTERFACE_OPTION.NAME, name);
    view.setUint8(this.addOption(INTERFACE_OPTION.TIME_RESOLUTION, 1), this.digits);
    this.endBlock(start, BLOCK.INTERFACE_DESCRIPTION);
  }

  /** Adds an option. @returns where its bytes go */
  private addOption(code: number, size: number): number {
    const at = this.length;
    this.view.setUint16(at, code, true);
    this.view.setUint16(at + 2, size, true);
    this.length = this.pad(at + 4, size);
    return at + 4;
  }

  /** A character that doesn't fit as a whole is left out as a whole. */
  private addText(code: number, text: string): void {
    const at = this.length;
    const size = this.buffer.write(text, at + 4, LONGEST_COMMENT);
    this.addOption(code, size);
  }

  /** @returns the next place that is a multiple of 4, with zeros before it */
  private pad(at: number, size: number): number {
    const end = at + size;
    const padded = at + ((size + 3) & ~3);
    for (let i = end; i < padded; i++) this.buffer[i] = 0; // `fill` takes longer for three bytes than all else of a frame
    return padded;
  }

  private endBlock(start: number, type: number): void {
    if (type !== BLOCK.SECTION_HEADER) this.addOption(OPTION_END, 0);
    const total = this.length - start + BLOCK_OVERHEAD - 8;
    this.view.setUint32(start, type, true);
    this.view.setUint32(start + 4, total, true);
    this.view.setUint32(this.length, total, true);
    this.length += 4;
  }
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}
