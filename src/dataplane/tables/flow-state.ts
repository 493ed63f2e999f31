// The STATE word of a flow's record: what its bits are, only this file says. The kernel path's programs test and follow the
// same word. From the lowest bit up:
//
//    0      the record holds a flow            14      TCP: reset
//    1      assured                            15      TCP: the first SYN offered to scale windows
//    2–4    outbound, inbound, or direct       16–19   TCP: window scale of side 0
//    5      holds a mapping                    20–23   TCP: window scale of side 1
//    6–7    TCP: SYN seen, of sides 0 and 1    24–27   generation of the client's rules
//    8–9    TCP: SYN acknowledged              28–30   number of its timeout
//    10–11  TCP: FIN seen                      31      TCP: data came after a reset
//    12–13  TCP: FIN acknowledged
import type { Side } from "../types.ts";

export const FLOW_STATE = {
  USED: 1 << 0,
  /** Answered; TCP: both SYNs acknowledged, and not closed. Others are the first to go when room is needed. */
  ASSURED: 1 << 1,
  /** Which kind of flow. From a client to the uplink: the responder sees our address in place of the client's. */
  OUTBOUND: 1 << 2,
  /** From the uplink to a forwarded port, or to a mapping open to anyone. */
  INBOUND: 1 << 3,
  /** From client to client: nothing is translated. */
  DIRECT: 1 << 4,
  /** It holds the mapping of its external port. */
  MAPPED: 1 << 5,
} as const;

/** TCP's bits, by side. "Acknowledged" is the SYN or FIN of that side, by the other. */
export const SYN_SEEN = [1 << 6, 1 << 7] as const;
export const SYN_ACKED = [1 << 8, 1 << 9] as const;
export const FIN_SEEN = [1 << 10, 1 << 11] as const;
export const FIN_ACKED = [1 << 12, 1 << 13] as const;
export const RESET = 1 << 14;
export const SCALE_OFFERED = 1 << 15;
/** A RST was seen, and data after it: either it was not believed, or the data was under way already. */
export const DOUBTFUL = 1 << 31;

export const BOTH_SYNS_SEEN = SYN_SEEN[0] | SYN_SEEN[1];
export const BOTH_SYNS_ACKED = SYN_ACKED[0] | SYN_ACKED[1];
export const BOTH_SYNS_AGREED = BOTH_SYNS_SEEN | BOTH_SYNS_ACKED;
export const BOTH_FINS_SEEN = FIN_SEEN[0] | FIN_SEEN[1];
export const BOTH_FINS_ACKED = FIN_ACKED[0] | FIN_ACKED[1];
/** What is looked at to see that a connection is open and nothing ends it: then, of these, BOTH_SYNS_AGREED is set. */
export const ENDING = BOTH_SYNS_AGREED | BOTH_FINS_SEEN | RESET;

/** The scales of both sides' windows, SCALE_BITS each: side 0's first. SCALE_MASK is one of them. */
export const SCALE_SHIFT = 16;
export const SCALE_BITS = 4;
export const SCALE_MASK = (1 << SCALE_BITS) - 1;

/** All bits that TCP uses. */
export const TCP_BITS =
  ENDING | BOTH_FINS_ACKED | SCALE_OFFERED | DOUBTFUL | (((1 << (2 * SCALE_BITS)) - 1) << SCALE_SHIFT);

const GENERATION_SHIFT = 24;
export const GENERATIONS = 16;
const GENERATION_MASK = (GENERATIONS - 1) << GENERATION_SHIFT;

const TIMEOUT_SHIFT = 28;
const TIMEOUTS = 8;
export const TIMEOUT_MASK = (TIMEOUTS - 1) << TIMEOUT_SHIFT;

/** @returns the power of two that a side's window is multiplied by */
export const windowScaleOf = (state: number, side: Side): number =>
  (state >>> (SCALE_SHIFT + side * SCALE_BITS)) & SCALE_MASK;

export const withWindowScale = (state: number, side: Side, scale: number): number => {
  const shift = SCALE_SHIFT + side * SCALE_BITS;
  return (state & ~(SCALE_MASK << shift)) | (scale << shift);
};

/** @returns 0 to GENERATIONS - 1: the generation of its client's rules that the flow was judged by */
export const generationOf = (state: number): number => (state >>> GENERATION_SHIFT) & (GENERATIONS - 1);
export const withGeneration = (state: number, generation: number): number =>
  (state & ~GENERATION_MASK) | (generation << GENERATION_SHIFT);

/** @returns the number of the flow's timeout (tables/timeouts.ts) */
export const timeoutOf = (state: number): number => (state >>> TIMEOUT_SHIFT) & (TIMEOUTS - 1);
export const withTimeout = (state: number, timeout: number): number =>
  (state & ~TIMEOUT_MASK) | (timeout << TIMEOUT_SHIFT);
