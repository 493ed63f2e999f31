// The Internet checksum (RFC 1071) and its incremental update (RFC 1624). A "sum" here is the folded ones'-complement sum
// of 16-bit words, not inverted; a "delta" is what a change of data adds to such a sum, and several add up. Checksum
// fields hold ~sum.

/** Folds a sum of up to 2^31 into 16 bits with end-around carry. */
export const fold = (sum: number): number => {
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
};

/**
 * @param at, length the bytes to sum; an odd last byte counts as the high byte of a word (RFC 1071 section 4.1)
 * @param initial a sum to go on from, below 2^30
 * @returns the folded sum, 0–0xffff
 */
export function sum(view: DataView, at: number, length: number, initial = 0): number {
  let total = initial;
  const end = at + length - 1;
  let i = at;
  // 65535 bytes add at most 32768 × 0xffff < 2^31: no carry is lost before the fold.
  for (; i < end; i += 2) total += view.getUint16(i);
  if (i === end) total += view.getUint8(i) << 8;
  return fold(total);
}

/**
 * The pseudo-header's sum of TCP and UDP (RFC 793 section 3.1, RFC 768).
 * @param source, destination addresses as int32 or uint32, host order
 * @param length bytes of header and payload
 */
export function pseudoHeaderSum(source: number, destination: number, protocol: number, length: number): number {
  return fold((source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length);
}

/**
 * The pseudo-header's sum over IPv6 (RFC 8200 section 8.1), of addresses where they stand.
 * @param at offset of the source address, which the destination's follows
 * @param protocol the upper layer's, that of the last extension header
 * @param length bytes of upper layer header and payload
 */
export function pseudoHeaderSum6(view: DataView, at: number, protocol: number, length: number): number {
  return fold(addressSum6(view, at) + addressSum6(view, at + 16) + protocol + (length >>> 16) + (length & 0xffff));
}

/** @returns the folded sum of an IPv6 address; `delta16` of two of them is the delta of replacing one by the other */
export function addressSum6(view: DataView, at: number): number {
  return fold(
    view.getUint16(at) +
      view.getUint16(at + 2) +
      view.getUint16(at + 4) +
      view.getUint16(at + 6) +
      view.getUint16(at + 8) +
      view.getUint16(at + 10) +
      view.getUint16(at + 12) +
      view.getUint16(at + 14),
  );
}

/** @returns the delta of replacing one 16-bit word by another: ~m + m' (RFC 1624 section 3, equation 3) */
export function delta16(before: number, after: number): number {
  return fold((~before & 0xffff) + after);
}

/** @returns the delta of replacing one 32-bit word, given as int32 or uint32, by another: not folded, so below 2^18 */
export const delta32 = (before: number, after: number): number =>
  (~before >>> 16) + (~before & 0xffff) + (after >>> 16) + (after & 0xffff);

/**
 * @param delta the sum of all deltas, below 2^31
 * @returns the checksum field after the data it covers changed by that: ~(~HC + delta) (RFC 1624 equation 3)
 */
export const updateChecksum = (checksum: number, delta: number): number => ~fold((~checksum & 0xffff) + delta) & 0xffff;
