// As much of ELF-64, little-endian, as the build looks at (elf.h, elf(5)): where an executable's bytes go in memory.

export const PAGE = 4096;

export const ELF_HEADER_LENGTH = 64;
export const PROGRAM_HEADER_LENGTH = 56;

// Offsets in the ELF header.
const MAGIC = 0x464c457f;
const CLASS = 4;
const CLASS_64 = 2;
const PROGRAM_HEADERS = 32;
const SECTION_HEADERS = 40;
const PROGRAM_HEADER_COUNT = 56;
const SECTION_HEADER_COUNT = 60;
const SECTION_NAMES = 62;

export const PT = { LOAD: 1, NOTE: 4, PHDR: 6 } as const;
export const PF = { WRITE: 2, READ: 4 } as const;

/** Of a note that is a build id (NT_GNU_BUILD_ID). */
const BUILD_ID = 3;

/** A program header. Addresses and offsets stay below 2^53. */
export interface Segment {
  readonly type: number;
  readonly flags: number;
  /** In the file. */
  readonly offset: number;
  readonly address: number;
  readonly fileLength: number;
  readonly length: number;
  readonly alignment: number;
}

/** @throws Error when it is no such file */
export function readSegments(bytes: Buffer): Segment[] {
  if (bytes.readUInt32LE(0) !== MAGIC || bytes[CLASS] !== CLASS_64) throw new Error("this is no 64-bit ELF file");
  const table = Number(bytes.readBigUInt64LE(PROGRAM_HEADERS));
  return Array.from({ length: bytes.readUInt16LE(PROGRAM_HEADER_COUNT) }, (_, i) => {
    const at = table + i * PROGRAM_HEADER_LENGTH;
    const long = (offset: number) => Number(bytes.readBigUInt64LE(at + offset));
    return {
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      offset: long(8),
      address: long(16),
      fileLength: long(32),
      length: long(40),
      alignment: long(48),
    };
  });
}

/** @returns the ELF header of a file whose program headers, these, follow it, and that has no section headers */
export function writeHeaders(oldHeader: Buffer, segments: readonly Segment[]): Buffer {
  const bytes = Buffer.alloc(ELF_HEADER_LENGTH + segments.length * PROGRAM_HEADER_LENGTH);
  oldHeader.copy(bytes, 0, 0, ELF_HEADER_LENGTH);
  bytes.writeBigUInt64LE(BigInt(ELF_HEADER_LENGTH), PROGRAM_HEADERS);
  bytes.writeBigUInt64LE(0n, SECTION_HEADERS);
  bytes.writeUInt16LE(segments.length, PROGRAM_HEADER_COUNT);
  bytes.writeUInt16LE(0, SECTION_HEADER_COUNT);
  bytes.writeUInt16LE(0, SECTION_NAMES);
  for (const [i, { type, flags, offset, address, fileLength, length, alignment }] of segments.entries()) {
    const at = ELF_HEADER_LENGTH + i * PROGRAM_HEADER_LENGTH;
    bytes.writeUInt32LE(type, at);
    bytes.writeUInt32LE(flags, at + 4);
    for (const [j, value] of [offset, address, address, fileLength, length, alignment].entries()) {
      bytes.writeBigUInt64LE(BigInt(value), at + 8 + j * 8);
    }
  }
  return bytes;
}

/** @returns the linker's fingerprint of an executable, in hexadecimal. @throws Error when it has none */
export function readBuildId(bytes: Buffer): string {
  for (const { offset, fileLength } of readSegments(bytes).filter(({ type }) => type === PT.NOTE)) {
    for (let at = offset; at < offset + fileLength; ) {
      const [nameLength = 0, length = 0, type = 0] = [0, 4, 8].map((field) => bytes.readUInt32LE(at + field));
      const description = at + 12 + padded(nameLength);
      if (type === BUILD_ID) return bytes.toString("hex", description, description + length);
      at = description + padded(length);
    }
  }
  throw new Error("the executable has no build id");
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4;
}
