// Reading pcapng (draft-ietf-opsawg-pcapng): blocks of { type, length, body padded to 4 bytes, length again }, their byte
// order told by section. Frames stand in enhanced, simple and (obsolete, of old tools) plain packet blocks.
import { plainName } from "../base/quote.ts";
import { CaptureError, CUT_SHORT, DAMAGED } from "./error.ts";
import { LONGEST_FRAME, type Oddities } from "./format.ts";
import { DIRECTION, type FrameInHand, type Resolution } from "./frame.ts";
import { LINK_ETHERNET } from "./link-types.ts";
import type { Window } from "./window.ts";

/** Types of blocks. */
export const BLOCK = {
  SECTION_HEADER: 0x0a0d0d0a,
  INTERFACE_DESCRIPTION: 1,
  OBSOLETE_PACKET: 2,
  SIMPLE_PACKET: 3,
  ENHANCED_PACKET: 6,
} as const;
const { SECTION_HEADER, INTERFACE_DESCRIPTION, OBSOLETE_PACKET, SIMPLE_PACKET, ENHANCED_PACKET } = BLOCK;
export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Bytes of a block beside its body: its type, and its length twice. */
export const BLOCK_OVERHEAD = 12;
/** Offsets in enhanced and obsolete packet blocks; the interface has 4 bytes in the one and 2 in the other. */
export const PACKET = { INTERFACE: 8, TIME_HIGH: 12, TIME_LOW: 16, CAPTURED: 20, ORIGINAL: 24, DATA: 28 } as const;
const SIMPLE = { ORIGINAL: 8, DATA: 12 } as const;
/** The shortest whole block of each type that is read. */
const SHORTEST_BLOCK = new Map<number, number>([
  [SECTION_HEADER, 28],
  [INTERFACE_DESCRIPTION, 20],
  [OBSOLETE_PACKET, 32],
  [SIMPLE_PACKET, 16],
  [ENHANCED_PACKET, 32],
]);
/** What Wireshark and libpcap take for the longest block, and how many interfaces a section may have here. */
const LONGEST_BLOCK = 1 << 24;
const MOST_INTERFACES = 1 << 16;

/** Codes of options: of all blocks, of interface descriptions, and of packet blocks, epb_ or pack_. */
export const OPTION_END = 0;
export const OPTION_COMMENT = 1;
export const INTERFACE_OPTION = { NAME: 2, TIME_RESOLUTION: 9, TIME_OFFSET: 14 } as const;
/** The lowest two bits of the flags are a DIRECTION. */
export const PACKET_OPTION = { FLAGS: 2, DROP_COUNT: 4, PACKET_ID: 5, VERDICT: 7 } as const;

/** What an interface description says of the packet blocks that name it. */
export interface CaptureInterface {
  readonly name: string | undefined;
  readonly linkType: number;
  readonly snapLength: number;
  readonly clock: Clock;
}

/** Interfaces that are told one by one. */
const MOST_TOLD = 16;

/** @returns what one of a file's interfaces can be chosen by: `0 (eth0), 1 (eth1)` */
export function choiceText(interfaces: readonly CaptureInterface[]): string {
  const told = interfaces
    .slice(0, MOST_TOLD)
    .map(({ name }, i) => (name === undefined ? String(i) : `${i} (${plainName(name)})`));
  const more = interfaces.length - told.length;
  return [...told, ...(more > 0 ? [`and ${more} more`] : [])].join(", ");
}

interface Clock {
  /** Units of its timestamps in a second, and the seconds to add to them. */
  readonly ticksPerSecond: bigint;
  readonly secondsOffset: bigint;
  /** The same as numbers, where those are exact; otherwise 0 ticks. */
  readonly ticks: number;
  readonly offset: number;
}

export class PcapngFormat {
  resolution: Resolution = "us";
  /** Those of the section in hand, by number. */
  interfaces: CaptureInterface[] = [];
  /** Whether any interface of the file so far is an Ethernet one. */
  hasEthernet = false;
  private littleEndian = true;

  constructor(private readonly oddities: Oddities) {}

  static recognises({ view, start }: Window): boolean {
    return view.getUint32(start) === SECTION_HEADER;
  }

  /** As CaptureFormat.next. */
  next(window: Window, frame: FrameInHand): boolean {
    for (;;) {
      const length = this.wholeBlock(window);
      if (length === 0) return false;
      const at = window.start;
      const type = window.view.getUint32(at, this.littleEndian);
      if (type === SECTION_HEADER) this.interfaces = [];
      else if (type === INTERFACE_DESCRIPTION) this.describe(window, at, length);
      else if (type === ENHANCED_PACKET || type === OBSOLETE_PACKET) this.readPacket(window, at, length, type, frame);
      else if (type === SIMPLE_PACKET) this.readSimplePacket(window, at, length, frame);
      window.start += length;
      if (type === ENHANCED_PACKET || type === OBSOLETE_PACKET || type === SIMPLE_PACKET) return true;
    }
  }

  /**
   * Some tools tell of blocks without their padding; as Wireshark, we take it to be there.
   * @returns bytes of the block that the window begins with, told twice; 0 while it isn't there whole
   */
  private wholeBlock(window: Window): number {
    const { view, start, left } = window;
    if (left < BLOCK_OVERHEAD) {
      window.want(BLOCK_OVERHEAD);
      if (left === 0 || !window.ended) return 0;
      const problem = `a block has at least ${BLOCK_OVERHEAD} bytes, the file ${left} more`;
      throw new CaptureError(window.offsetOf(start), problem, CUT_SHORT);
    }
    if (view.getUint32(start) === SECTION_HEADER) this.readByteOrder(window);
    const type = view.getUint32(start, this.littleEndian);
    const told = view.getUint32(start + 4, this.littleEndian);
    const length = padded(told);
    const offset = window.offsetOf(start + 4);
    if (length < (SHORTEST_BLOCK.get(type) ?? BLOCK_OVERHEAD)) {
      throw new CaptureError(offset, `a block of type ${type} can't have ${length} bytes`, DAMAGED);
    }
    if (length > left) {
      if (length > LONGEST_BLOCK) {
        throw new CaptureError(offset, `a block of ${length} bytes is longer than any (${LONGEST_BLOCK})`, DAMAGED);
      }
      window.want(length);
      if (!window.ended) return 0;
      throw new CaptureError(offset, `a block announces ${length} bytes, there are ${left}`, CUT_SHORT);
    }
    if (told !== length) this.oddities.blocks++;
    if (padded(view.getUint32(start + length - 4, this.littleEndian)) !== length) {
      throw new CaptureError(window.offsetOf(start + length - 4), "a block's two lengths differ", DAMAGED);
    }
    return length;
  }

  private readByteOrder(window: Window): void {
    const { view, start } = window;
    this.littleEndian = view.getUint32(start + 8, true) === BYTE_ORDER_MAGIC;
    if (!this.littleEndian && view.getUint32(start + 8) !== BYTE_ORDER_MAGIC) {
      throw new CaptureError(window.offsetOf(start + 8), "a section's byte order is neither", DAMAGED);
    }
  }

  private describe(window: Window, at: number, length: number): void {
    const { view, bytes } = window;
    if (this.interfaces.length === MOST_INTERFACES) {
      const problem = `a section describes more than ${MOST_INTERFACES} interfaces`;
      throw new CaptureError(window.offsetOf(at), problem, DAMAGED);
    }
    let name: string | undefined;
    let ticksPerSecond = 1_000_000n;
    let secondsOffset = 0n;
    const end = at + length - 4;
    for (let option = at + 16; option + 4 <= end; ) {
      const code = view.getUint16(option, this.littleEndian);
      const size = view.getUint16(option + 2, this.littleEndian);
      if (code === OPTION_END) break;
      if (option + 4 + size > end) {
        throw new CaptureError(window.offsetOf(option), "an option is longer than its block", DAMAGED);
      }
      if (code === INTERFACE_OPTION.NAME)
        name = bytes.toString("utf8", option + 4, option + 4 + size).replace(/\0+$/, "");
      else if (code === INTERFACE_OPTION.TIME_RESOLUTION && size === 1) {
        const exponent = view.getUint8(option + 4);
        ticksPerSecond = exponent < 128 ? 10n ** BigInt(exponent) : 2n ** BigInt(exponent - 128);
      } else if (code === INTERFACE_OPTION.TIME_OFFSET && size === 8) {
        secondsOffset = view.getBigInt64(option + 4, this.littleEndian);
      }
      option += 4 + ((size + 3) & ~3);
    }
    const linkType = view.getUint16(at + 8, this.littleEndian);
    const snapLength = view.getUint32(at + 12, this.littleEndian);
    this.interfaces.push({ name, linkType, snapLength, clock: makeClock(ticksPerSecond, secondsOffset) });
    if (linkType === LINK_ETHERNET) this.hasEthernet = true;
    if (ticksPerSecond > 1_000_000n) this.resolution = "ns";
  }

  private readPacket(window: Window, at: number, length: number, type: number, frame: FrameInHand): void {
    const { view } = window;
    const { littleEndian } = this;
    const place = at + PACKET.INTERFACE;
    frame.iface = type === ENHANCED_PACKET ? view.getUint32(place, littleEndian) : view.getUint16(place, littleEndian);
    const { linkType, clock } = this.interface(frame.iface, window, place);
    readTime(
      frame,
      clock,
      view.getUint32(at + PACKET.TIME_HIGH, littleEndian),
      view.getUint32(at + PACKET.TIME_LOW, littleEndian),
    );
    const captured = view.getUint32(at + PACKET.CAPTURED, littleEndian);
    const original = view.getUint32(at + PACKET.ORIGINAL, littleEndian);
    const room = length - PACKET.DATA - 4;
    this.setLengths(frame, captured, original, room, window, at + PACKET.CAPTURED);
    frame.linkType = linkType;
    frame.at = at + PACKET.DATA;
    const options = frame.at + ((captured + 3) & ~3);
    frame.direction =
      options + 8 > at + length - 4 ? DIRECTION.UNKNOWN : this.direction(view, options, at + length - 4);
  }

  /** A simple packet block tells no time: it has that of the frame before it, which is still in the hand. */
  private readSimplePacket(window: Window, at: number, length: number, frame: FrameInHand): void {
    const { linkType, snapLength } = this.interface(0, window, at);
    const original = window.view.getUint32(at + SIMPLE.ORIGINAL, this.littleEndian);
    const captured = snapLength === 0 ? original : Math.min(original, snapLength);
    this.setLengths(frame, captured, original, length - SIMPLE.DATA - 4, window, at + SIMPLE.ORIGINAL);
    frame.iface = 0;
    frame.linkType = linkType;
    frame.direction = DIRECTION.UNKNOWN;
    frame.at = at + SIMPLE.DATA;
  }

  private interface(number: number, window: Window, at: number): CaptureInterface {
    const found = this.interfaces[number];
    if (found !== undefined) return found;
    throw new CaptureError(window.offsetOf(at), `no block before describes interface ${number}`, DAMAGED);
  }

  /** @param at where the lengths are told, in the window @param room bytes that there are for the frame */
  private setLengths(
    frame: FrameInHand,
    captured: number,
    original: number,
    room: number,
    window: Window,
    at: number,
  ): void {
    if (captured > LONGEST_FRAME) {
      const problem = `a frame of ${captured} bytes is longer than any (${LONGEST_FRAME})`;
      throw new CaptureError(window.offsetOf(at), problem, DAMAGED);
    }
    if (captured > room) {
      throw new CaptureError(window.offsetOf(at), `a record announces ${captured} bytes, there are ${room}`, CUT_SHORT);
    }
    if (captured > original) this.oddities.lengths++;
    frame.captured = captured;
    frame.original = Math.max(captured, original);
  }

  /** Options that are broken say nothing. */
  private direction(view: DataView, from: number, end: number): number {
    for (let option = from; option + 4 <= end; ) {
      const code = view.getUint16(option, this.littleEndian);
      const size = view.getUint16(option + 2, this.littleEndian);
      if (code === OPTION_END || option + 4 + size > end) break;
      if (code === PACKET_OPTION.FLAGS && size === 4) {
        const direction = view.getUint32(option + 4, this.littleEndian) & 3;
        return direction > DIRECTION.OUTBOUND ? DIRECTION.UNKNOWN : direction;
      }
      option += 4 + ((size + 3) & ~3);
    }
    return DIRECTION.UNKNOWN;
  }
}

/** @returns the next multiple of 4 */
function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function makeClock(ticksPerSecond: bigint, secondsOffset: bigint): Clock {
  // A power of two has no whole number of nanoseconds in a tick, nor has what is finer than nanoseconds.
  const isDivided = 1_000_000_000n % ticksPerSecond === 0n;
  const offset = Number(secondsOffset);
  return { ticksPerSecond, secondsOffset, ticks: isDivided ? Number(ticksPerSecond) : 0, offset };
}

/** Long division of the 64-bit timestamp, in pieces that a double holds exactly: big integers cost an allocation each. */
function readTime(frame: FrameInHand, clock: Clock, high: number, low: number): void {
  const { ticks } = clock;
  if (ticks === 0) {
    readOddTime(frame, clock, high, low);
    return;
  }
  const first = Math.floor(high / ticks);
  const middle = (high - first * ticks) * 65536 + (low >>> 16);
  const second = Math.floor(middle / ticks);
  const last = (middle - second * ticks) * 65536 + (low & 0xffff);
  const third = Math.floor(last / ticks);
  frame.seconds = first * 4294967296 + second * 65536 + third + clock.offset;
  frame.nanoseconds = (last - third * ticks) * (1e9 / ticks);
}

function readOddTime(frame: FrameInHand, clock: Clock, high: number, low: number): void {
  const ticks = (BigInt(high) << 32n) | BigInt(low);
  const { ticksPerSecond, secondsOffset } = clock;
  frame.seconds = Number(ticks / ticksPerSecond + secondsOffset);
  frame.nanoseconds = Number(((ticks % ticksPerSecond) * 1_000_000_000n) / ticksPerSecond);
}
