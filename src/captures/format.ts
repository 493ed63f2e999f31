// What the two formats of capture files share.
import type { FrameInHand, Resolution } from "./frame.ts";
import type { Window } from "./window.ts";

/** What tcpdump and Wireshark take for the longest frame (libpcap's MAXIMUM_SNAPLEN). */
export const LONGEST_FRAME = 262144;

export interface CaptureFormat {
  readonly resolution: Resolution;
  /**
   * Takes the next frame from the window into the hand.
   * @returns whether there is one; without one the window has to be filled, or has come to its end
   * @throws CaptureError for a damaged or cut file
   */
  next(window: Window, frame: FrameInHand): boolean;
}

/** Records that are not as they should be and are read all the same. */
export class Oddities {
  /** With more captured bytes than the frame had: it had as many as were captured. */
  lengths = 0;
  /** With a second or more behind the point: it is carried. */
  times = 0;
  /** Blocks of pcapng that are told without their padding: they have it. */
  blocks = 0;
}
