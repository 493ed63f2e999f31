// Bytes and packets of flows, counted while somebody asks for them: in memory of their own, beside the flow table's records, which the
// dataplane's thread and the kernel path's programs add to and control reads. All of them add as one step, for they do so at the same time.
import type { Flow, Side } from "../types.ts";

/** Words for a flow: half a cache line. */
export const COUNT_WORDS = 8;
export const COUNT_LENGTH = 4 * COUNT_WORDS;

/** Offsets, in words. What is of side 1 stands behind what is of side 0. */
export const COUNT = {
  /** 64 bits: of IP packets that came from a side and were sent on. */
  BYTES: 0,
  /** 32 bits, that go round. */
  PACKETS: 4,
  /** Of which flow of this number: FlowTable's `birth`. */
  BIRTH: 6,
} as const;

/** From what is of side 0 to what is of side 1, in words. */
export const BYTES_STRIDE = 2;
export const PACKETS_STRIDE = 1;

const WORD = 2 ** 32;

/** @param birth what FlowTable's `birth` is: what was counted of another flow of that number goes */
export function countPacket(words: Int32Array, flow: Flow, birth: number, side: Side, bytes: number): void {
  const at = flow * COUNT_WORDS;
  if (words[at + COUNT.BIRTH] !== birth) {
    for (let i = 0; i < COUNT.BIRTH; i++) words[at + i] = 0;
    words[at + COUNT.BIRTH] = birth;
  }
  const low = at + COUNT.BYTES + side * BYTES_STRIDE;
  // The programs add all 64 bits at once, this thread half of them and then the other: the sum comes out the same.
  if ((Atomics.add(words, low, bytes) >>> 0) + bytes >= WORD) Atomics.add(words, low + 1, 1);
  Atomics.add(words, at + COUNT.PACKETS + side * PACKETS_STRIDE, 1);
}

export function bytesOf(words: Int32Array, flow: Flow, side: Side): number {
  const low = flow * COUNT_WORDS + COUNT.BYTES + side * BYTES_STRIDE;
  return (words[low] >>> 0) + words[low + 1] * WORD;
}

export function packetsOf(words: Int32Array, flow: Flow, side: Side): number {
  return words[flow * COUNT_WORDS + COUNT.PACKETS + side * PACKETS_STRIDE] >>> 0;
}
