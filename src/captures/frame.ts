// One captured frame, in hand while the next is not yet read: readers fill the same object again and again, so that a
// capture of any length costs no allocation by the frame.

/** Who sent a frame, as far as the capture says: pcapng's epb_flags, or the packet type of Linux cooked captures. */
export const DIRECTION = { UNKNOWN: 0, INBOUND: 1, OUTBOUND: 2 } as const;

/** Finest time that a file can tell: "us" also stands for coarser clocks, "ns" for any that is finer than microseconds. */
export type Resolution = "us" | "ns";

export class FrameInHand {
  /** When it was captured: Unix time in whole seconds, and the nanoseconds past them. */
  seconds = 0;
  nanoseconds = 0;
  /** Where its bytes are in the reader's window, and how many were captured. */
  at = 0;
  captured = 0;
  /** Bytes of the frame on the wire; more than `captured` where a snapshot length cut it. */
  original = 0;
  /** One of tcpdump.org/linktypes.html. */
  linkType = 0;
  /** Number of the interface in the file's section, 0 in a classic file. */
  iface = 0;
  /** One of DIRECTION. */
  direction: number = DIRECTION.UNKNOWN;
}
