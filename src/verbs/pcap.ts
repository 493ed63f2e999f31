// Capture files: reading classic pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), writing classic
// pcap. Bytes in, bytes out: the verbs read and write the files. A file that can't be read throws a
// CaptureError that names the byte and the remedy.

export interface CapturedFrame {
  /** When the frame was captured: Unix time in whole seconds, and the nanoseconds past them. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** The frame's bytes, as many as were captured. */
  readonly bytes: Uint8Array;
  /** Bytes of the frame on the wire; more than `bytes` holds where a snapshot length cut it. */
  readonly originalLength: number;
}

export interface Capture {
  readonly frames: readonly CapturedFrame[];
  /** Resolution of its timestamps. */
  readonly resolution: Resolution;
}

/** "us" also stands for coarser clocks, "ns" for any that is finer than microseconds. */
export type Resolution = "us" | "ns";

/** Why a capture can't be read; the message says at which byte of the file, and what to do about it. */
export class CaptureError extends Error {
  override name = "CaptureError";

  constructor(offset: number, problem: string, remedy: string) {
    super(`byte ${offset}: ${problem} (${remedy})`);
  }
}

const MAGIC_US = 0xa1b2c3d4;
const MAGIC_NS = 0xa1b23c4d;
const FILE_HEADER_LENGTH = 24;
const RECORD_HEADER_LENGTH = 16;

/** What tcpdump and Wireshark take for the longest frame (libpcap's MAXIMUM_SNAPLEN). */
const LONGEST_FRAME = 262144;
const LINK_ETHERNET = 1;

/** The types that captures of the wrong interface have: tcpdump.org/linktypes.html. */
const LINK_NAMES = new Map([
  [0, "loopback of BSD"],
  [101, "raw IP"],
  [105, "IEEE 802.11"],
  [113, "Linux cooked, as of tcpdump -i any"],
  [127, "IEEE 802.11 with radiotap"],
  [228, "raw IPv4"],
  [276, "Linux cooked v2, as of tcpdump -i any"],
]);

const CUT_SHORT = "the file is cut short: copy or capture it anew, or keep the whole records with `editcap FILE NEW`";
const DAMAGED = "the file is damaged: copy or capture it anew";

/** Reads a classic pcap file of either byte order and either resolution, or a pcapng file. */
export function readCapture(file: Uint8Array): Capture {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.byteLength < 4) throw new CaptureError(0, `the file has ${file.byteLength} bytes`, CUT_SHORT);
  if (view.getUint32(0) === SECTION_HEADER) return readPcapng(file, view);
  for (const littleEndian of [true, false]) {
    const magic = view.getUint32(0, littleEndian);
    if (magic === MAGIC_US || magic === MAGIC_NS) {
      return { frames: readRecords(file, view, littleEndian, magic), resolution: magic === MAGIC_NS ? "ns" : "us" };
    }
  }
  const magic = view.getUint32(0).toString(16).padStart(8, "0");
  throw new CaptureError(
    0,
    `neither pcap nor pcapng begins with ${magic}`,
    "decompress it, or save it as pcap or pcapng",
  );
}

function readRecords(file: Uint8Array, view: DataView, littleEndian: boolean, magic: number): CapturedFrame[] {
  if (file.byteLength < FILE_HEADER_LENGTH) {
    throw new CaptureError(
      0,
      `the file header has ${FILE_HEADER_LENGTH} bytes, the file ${file.byteLength}`,
      CUT_SHORT,
    );
  }
  // The upper half says whether frames end in a frame check sequence, which passes for padding.
  checkLinkType(view.getUint32(20, littleEndian) & 0xffff, 20);
  const nanosecondsPerTick = magic === MAGIC_NS ? 1 : 1000;
  const frames: CapturedFrame[] = [];
  for (let at = FILE_HEADER_LENGTH; at < file.byteLength; ) {
    const left = file.byteLength - at;
    if (left < RECORD_HEADER_LENGTH) {
      throw new CaptureError(at, `a record header has ${RECORD_HEADER_LENGTH} bytes, the file ${left} more`, CUT_SHORT);
    }
    const nanoseconds = view.getUint32(at + 4, littleEndian) * nanosecondsPerTick;
    if (nanoseconds >= 1e9)
      throw new CaptureError(at + 4, "a record's time has a second or more behind the point", DAMAGED);
    const captured = view.getUint32(at + 8, littleEndian);
    const originalLength = view.getUint32(at + 12, littleEndian);
    checkFrameLength(captured, originalLength, at + 8, left - RECORD_HEADER_LENGTH);
    const start = at + RECORD_HEADER_LENGTH;
    frames.push({
      seconds: view.getUint32(at, littleEndian),
      nanoseconds,
      bytes: file.subarray(start, start + captured),
      originalLength,
    });
    at = start + captured;
  }
  return frames;
}

function checkLinkType(type: number, offset: number): void {
  if (type === LINK_ETHERNET) return;
  const name = LINK_NAMES.get(type);
  throw new CaptureError(
    offset,
    `link type ${type}${name === undefined ? "" : ` (${name})`} is not Ethernet (1)`,
    "capture on one Ethernet interface, by its name",
  );
}

/**
 * @param captured, original the lengths that a record states, in bytes
 * @param offset where it states them
 * @param left bytes that there are for the frame
 */
function checkFrameLength(captured: number, original: number, offset: number, left: number): void {
  if (captured > LONGEST_FRAME) {
    throw new CaptureError(offset, `a frame of ${captured} bytes is longer than any (${LONGEST_FRAME})`, DAMAGED);
  }
  if (captured > original) {
    throw new CaptureError(offset, `a record has ${captured} bytes of a frame that had ${original}`, DAMAGED);
  }
  if (captured > left) {
    throw new CaptureError(offset, `a record announces ${captured} bytes, there are ${left}`, CUT_SHORT);
  }
}

// pcapng: blocks of { type, length, body padded to 4 bytes, length again }, byte order by section.
const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const BLOCK_OVERHEAD = 12;
/** The shortest whole block of each type that is read. */
const SHORTEST_BLOCK = new Map([
  [SECTION_HEADER, 28],
  [INTERFACE_DESCRIPTION, 20],
  [SIMPLE_PACKET, 16],
  [ENHANCED_PACKET, 32],
]);
const OPTION_END = 0;
const OPTION_TIME_RESOLUTION = 9;
const OPTION_TIME_OFFSET = 14;

/** What an interface description says of the packet blocks that name it. */
interface CaptureInterface {
  readonly snapLength: number;
  /** Units of its timestamps in a second, and the seconds to add to them. */
  readonly ticksPerSecond: bigint;
  readonly secondsOffset: bigint;
}

function readPcapng(file: Uint8Array, view: DataView): Capture {
  const frames: CapturedFrame[] = [];
  let interfaces: CaptureInterface[] = [];
  let littleEndian = true;
  let resolution: Resolution = "us";
  for (let at = 0; at < file.byteLength; ) {
    if (file.byteLength - at < BLOCK_OVERHEAD) {
      throw new CaptureError(
        at,
        `a block has at least ${BLOCK_OVERHEAD} bytes, the file ${file.byteLength - at} more`,
        CUT_SHORT,
      );
    }
    if (view.getUint32(at) === SECTION_HEADER) {
      littleEndian = view.getUint32(at + 8, true) === BYTE_ORDER_MAGIC;
      if (!littleEndian && view.getUint32(at + 8) !== BYTE_ORDER_MAGIC) {
        throw new CaptureError(at + 8, "a section's byte order is neither", DAMAGED);
      }
      interfaces = [];
    }
    const type = view.getUint32(at, littleEndian);
    const length = blockLength(view, at, type, littleEndian);
    if (type === INTERFACE_DESCRIPTION) {
      const described = readInterface(view, at, length, littleEndian);
      interfaces.push(described);
      if (described.ticksPerSecond > 1_000_000n) resolution = "ns";
    } else if (type === ENHANCED_PACKET) {
      frames.push(readEnhancedPacket(file, view, at, length, littleEndian, interfaces));
    } else if (type === SIMPLE_PACKET) {
      frames.push(readSimplePacket(file, view, at, length, littleEndian, interfaces, frames.at(-1)));
    }
    at += length;
  }
  return { frames, resolution };
}

/** @returns bytes of the whole block at `at`: stated twice, a multiple of 4, within the file, enough for its type */
function blockLength(view: DataView, at: number, type: number, littleEndian: boolean): number {
  const length = view.getUint32(at + 4, littleEndian);
  if (length % 4 !== 0 || length < (SHORTEST_BLOCK.get(type) ?? BLOCK_OVERHEAD)) {
    throw new CaptureError(at + 4, `a block of type ${type} can't have ${length} bytes`, DAMAGED);
  }
  if (length > view.byteLength - at) {
    throw new CaptureError(at + 4, `a block announces ${length} bytes, there are ${view.byteLength - at}`, CUT_SHORT);
  }
  if (view.getUint32(at + length - 4, littleEndian) !== length) {
    throw new CaptureError(at + length - 4, "a block's two lengths differ", DAMAGED);
  }
  return length;
}

function readInterface(view: DataView, at: number, length: number, littleEndian: boolean): CaptureInterface {
  checkLinkType(view.getUint16(at + 8, littleEndian), at + 8);
  let ticksPerSecond = 1_000_000n;
  let secondsOffset = 0n;
  const end = at + length - 4;
  for (let option = at + 16; option + 4 <= end; ) {
    const code = view.getUint16(option, littleEndian);
    const size = view.getUint16(option + 2, littleEndian);
    if (code === OPTION_END) break;
    if (option + 4 + size > end) throw new CaptureError(option, "an option is longer than its block", DAMAGED);
    if (code === OPTION_TIME_RESOLUTION && size === 1) {
      const exponent = view.getUint8(option + 4);
      ticksPerSecond = exponent < 128 ? 10n ** BigInt(exponent) : 2n ** BigInt(exponent - 128);
    } else if (code === OPTION_TIME_OFFSET && size === 8) {
      secondsOffset = view.getBigInt64(option + 4, littleEndian);
    }
    option += 4 + ((size + 3) & ~3);
  }
  return { snapLength: view.getUint32(at + 12, littleEndian), ticksPerSecond, secondsOffset };
}

function readEnhancedPacket(
  file: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  littleEndian: boolean,
  interfaces: readonly CaptureInterface[],
): CapturedFrame {
  const from = captureInterface(interfaces, view.getUint32(at + 8, littleEndian), at + 8);
  const high = view.getUint32(at + 12, littleEndian);
  const ticks = (BigInt(high) << 32n) | BigInt(view.getUint32(at + 16, littleEndian));
  const captured = view.getUint32(at + 20, littleEndian);
  const originalLength = view.getUint32(at + 24, littleEndian);
  checkFrameLength(captured, originalLength, at + 20, length - 32);
  return {
    seconds: Number(ticks / from.ticksPerSecond + from.secondsOffset),
    nanoseconds: Number(((ticks % from.ticksPerSecond) * 1_000_000_000n) / from.ticksPerSecond),
    bytes: file.subarray(at + 28, at + 28 + captured),
    originalLength,
  };
}

/** A simple packet block has no timestamp: it gets that of the frame before it. */
function readSimplePacket(
  file: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  littleEndian: boolean,
  interfaces: readonly CaptureInterface[],
  before: CapturedFrame | undefined,
): CapturedFrame {
  const { snapLength } = captureInterface(interfaces, 0, at);
  const originalLength = view.getUint32(at + 8, littleEndian);
  const captured = snapLength === 0 ? originalLength : Math.min(originalLength, snapLength);
  checkFrameLength(captured, originalLength, at + 8, length - 16);
  return {
    seconds: before?.seconds ?? 0,
    nanoseconds: before?.nanoseconds ?? 0,
    bytes: file.subarray(at + 12, at + 12 + captured),
    originalLength,
  };
}

function captureInterface(interfaces: readonly CaptureInterface[], number: number, offset: number): CaptureInterface {
  const found = interfaces[number];
  if (found === undefined) throw new CaptureError(offset, `no block before describes interface ${number}`, DAMAGED);
  return found;
}

/**
 * Writes a classic pcap file of Ethernet frames, little-endian.
 * @param frames in the order of the file; times before 1970 or after 2106 don't fit and wrap
 */
export function writeCapture(frames: readonly CapturedFrame[], resolution: Resolution): Uint8Array {
  const length = frames.reduce((total, frame) => total + RECORD_HEADER_LENGTH + frame.bytes.length, FILE_HEADER_LENGTH);
  const file = new Uint8Array(length);
  const view = new DataView(file.buffer);
  writeFileHeader(view, resolution);
  const nanosecondsPerTick = resolution === "ns" ? 1 : 1000;
  let at = FILE_HEADER_LENGTH;
  for (const frame of frames) {
    view.setUint32(at, frame.seconds, true);
    view.setUint32(at + 4, Math.floor(frame.nanoseconds / nanosecondsPerTick), true);
    view.setUint32(at + 8, frame.bytes.length, true);
    view.setUint32(at + 12, frame.originalLength, true);
    file.set(frame.bytes, at + RECORD_HEADER_LENGTH);
    at += RECORD_HEADER_LENGTH + frame.bytes.length;
  }
  return file;
}

function writeFileHeader(view: DataView, resolution: Resolution): void {
  view.setUint32(0, resolution === "ns" ? MAGIC_NS : MAGIC_US, true);
  view.setUint16(4, 2, true); // version 2.4
  view.setUint16(6, 4, true);
  view.setUint32(16, LONGEST_FRAME, true);
  view.setUint32(20, LINK_ETHERNET, true);
}
