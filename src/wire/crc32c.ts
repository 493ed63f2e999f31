// CRC32c, the checksum of SCTP (RFC 9260 appendix A).

/** Castagnoli's polynomial, bits reversed. */
const POLYNOMIAL = 0x82f63b78;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** @returns the CRC as an unsigned 32-bit number; SCTP carries it in little-endian order */
export function crc32c(view: DataView, at: number, length: number): number {
  let crc = -1;
  for (let i = at; i < at + length; i++) crc = (crc >>> 8) ^ TABLE[(crc ^ view.getUint8(i)) & 0xff];
  return ~crc >>> 0;
}
