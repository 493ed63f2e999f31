// Reading classic pcap (draft-ietf-opsawg-pcap): a file header, then records, of either byte order and either resolution.
// Lengths and times that other tools write wrongly are read as tcpdump and Wireshark read them, and counted as odd.
import { CaptureError, CUT_SHORT, DAMAGED } from "./error.ts";
import { LONGEST_FRAME, type Oddities } from "./format.ts";
import type { FrameInHand, Resolution } from "./frame.ts";
import type { Window } from "./window.ts";

export const MAGIC_US = 0xa1b2c3d4;
export const MAGIC_NS = 0xa1b23c4d;
export const FILE_HEADER_LENGTH = 24;
export const RECORD_HEADER_LENGTH = 16;

/** Files of versions before 2.3 have a record's two lengths the other way round, and of 2.3 some have. */
const SWAPPED_BEFORE = 3;

export class PcapFormat {
  readonly resolution: Resolution;
  private readonly nanosecondsPerTick: number;
  private readonly linkType: number;
  private readonly minorVersion: number;

  private constructor(
    window: Window,
    private readonly littleEndian: boolean,
    magic: number,
    private readonly oddities: Oddities,
  ) {
    const { view, start } = window;
    this.resolution = magic === MAGIC_NS ? "ns" : "us";
    this.nanosecondsPerTick = magic === MAGIC_NS ? 1 : 1000;
    this.minorVersion = view.getUint16(start + 6, littleEndian);
    // The upper half tells of frame check sequences behind the frames, which pass for padding.
    this.linkType = view.getUint32(start + 20, littleEndian) & 0xffff;
    window.start += FILE_HEADER_LENGTH;
  }

  /** @returns undefined where the window doesn't begin with a file header; @throws CaptureError where it is cut */
  static begin(window: Window, oddities: Oddities): PcapFormat | undefined {
    for (const littleEndian of [true, false]) {
      const magic = window.view.getUint32(window.start, littleEndian);
      if (magic !== MAGIC_US && magic !== MAGIC_NS) continue;
      if (window.left < FILE_HEADER_LENGTH) {
        const problem = `the file header has ${FILE_HEADER_LENGTH} bytes, the file ${window.left}`;
        throw new CaptureError(0, problem, CUT_SHORT);
      }
      return new PcapFormat(window, littleEndian, magic, oddities);
    }
    return undefined;
  }

  /** @returns whether there is a frame; without one the window has to be filled, or has come to its end */
  next(window: Window, frame: FrameInHand): boolean {
    const { view, start, left } = window;
    const { littleEndian } = this;
    if (left < RECORD_HEADER_LENGTH) {
      window.want(RECORD_HEADER_LENGTH);
      if (left === 0 || !window.ended) return false;
      const problem = `a record header has ${RECORD_HEADER_LENGTH} bytes, the file ${left} more`;
      throw new CaptureError(window.offsetOf(start), problem, CUT_SHORT);
    }
    let captured = view.getUint32(start + 8, littleEndian);
    let original = view.getUint32(start + 12, littleEndian);
    if (this.minorVersion < SWAPPED_BEFORE || (this.minorVersion === SWAPPED_BEFORE && captured > original)) {
      [captured, original] = [original, captured];
    }
    if (captured > LONGEST_FRAME) {
      const problem = `a frame of ${captured} bytes is longer than any (${LONGEST_FRAME})`;
      throw new CaptureError(window.offsetOf(start + 8), problem, DAMAGED);
    }
    if (captured > left - RECORD_HEADER_LENGTH) {
      window.want(RECORD_HEADER_LENGTH + captured);
      if (!window.ended) return false;
      const problem = `a record announces ${captured} bytes, there are ${left - RECORD_HEADER_LENGTH}`;
      throw new CaptureError(window.offsetOf(start + 8), problem, CUT_SHORT);
    }
    frame.seconds = view.getUint32(start, littleEndian);
    frame.nanoseconds = view.getUint32(start + 4, littleEndian) * this.nanosecondsPerTick;
    if (frame.nanoseconds >= 1e9) this.carry(frame);
    if (captured > original) this.oddities.lengths++;
    frame.at = start + RECORD_HEADER_LENGTH;
    frame.captured = captured;
    frame.original = captured > original ? captured : original;
    frame.linkType = this.linkType;
    window.start = frame.at + captured;
    return true;
  }

  /** A second and more behind the point counts as such. */
  private carry(frame: FrameInHand): void {
    this.oddities.times++;
    const more = Math.floor(frame.nanoseconds / 1e9);
    frame.seconds += more;
    frame.nanoseconds -= more * 1e9;
  }
}
