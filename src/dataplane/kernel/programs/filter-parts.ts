// What the parts of the kernel path's first program share (filter.ts, filter6.ts): what is where on its stack, and pieces of code.
import { type Assembler, R0, R1, R2, R3, R4, R5, R6, R10, type Register } from "../../../linux/bpf/assembler.ts";
import { HELPER } from "./bpf-frame.ts";
import { CHECKSUM_BEGINNINGS, CHECKSUM_FACTOR } from "./layout.ts";

/** A 16-bit constant of network order, as this machine reads it. */
export function wire16(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}

// The filter's stack: the frame's headers, so that the IPv4 header is aligned; then what else it keeps.
export const FRAME = -62;
export const KEY = -80;
export const INDEX = -84;
export const TOTAL = -88;
export const SEQUENCE_END = -92;
export const TAG = -96;
/** Where the entry is. */
export const FOUND = -104;
/** Of struct sk_buff, what has all that is asked of it. */
export const SKB_BYTES = -360;
export const MOST_SKB_BYTES = FOUND - SKB_BYTES;
/** Where in the frame the transport header is. Aligned, and stored from a register: so older kernels see which of two numbers it is. */
export const START = -368;
/** The header of IPv6, as it comes: so that addresses are aligned. */
export const HEADER6 = -408;

export const at = (offset: number): number => FRAME + offset;

/** Bytes of the frame from an offset in R2, to a place on the stack. */
export function loadMore(a: Assembler, place: number, length: number, otherwise: string): void {
  a.do("move", R1, R6).do("move", R3, R10).do("add", R3, place).do("move", R4, length);
  a.call(HELPER.SKB_LOAD_BYTES).jumpIf(R0, "!=", 0, otherwise);
}

/** Copies what is at R0 to a register's place and offset, and leaves in R1 what checksumOf makes of it. R2 to R5 are lost. */
export function copySummed(a: Assembler, to: Register, offset: number, length: number): void {
  const sums = [R1, R2, R3, R4] as const;
  for (const [i, sum] of sums.entries()) a.do("move", sum, CHECKSUM_BEGINNINGS[i]);
  for (let i = 0; i < length / 4; i++) {
    const sum = sums[i & 3];
    a.load(4, R5, R0, 4 * i)
      .store(4, to, offset + 4 * i, R5)
      .do32("mul", sum, CHECKSUM_FACTOR)
      .do32("add", sum, R5);
  }
  for (const sum of [R2, R3, R4]) a.do32("mul", R1, CHECKSUM_FACTOR).do32("add", R1, sum);
}

/** Adds a word of the stack to R1, as KeyedHash and sumAddress do. R2 and R3 are lost. */
export function addKeyed(a: Assembler, place: number, factor: number, upper: number): void {
  a.load(4, R2, R10, place).do32("move", R3, R2).do32("mul", R2, factor).do32("add", R1, R2);
  a.do32("shiftRight", R3, 16).do32("mul", R3, upper).do32("add", R1, R3);
}
