// Follows the frames of a zstd file (RFC 8878 section 3.1) without decompressing them: the decompressor takes a file that ends in the
// middle of a frame for a whole one, and here it is told apart.

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
/** Bytes of the fields of a frame header, by two bits of its descriptor each (section 3.1.1.1). */
const DICTIONARY_ID = [0, 1, 2, 4];
const CONTENT_SIZE = [0, 2, 4, 8];
const DESCRIPTOR = { CONTENT_SIZE_SHIFT: 6, SINGLE_SEGMENT: 0x20, CHECKSUM: 4, DICTIONARY_MASK: 3 } as const;
const CHECKSUM_LENGTH = 4;
const RLE_BLOCK = 1;

export class ZstdFrames {
  private state: "magic" | "descriptor" | "block" | "skippable" = "magic";
  /** Bytes of the field that the state asks for: how many are missing, and the little-endian value of those that came. */
  private missing = 4;
  private value = 0;
  private shift = 1;
  /** Bytes to pass over before that. */
  private pass = 0;
  private checksum = 0;

  /** Whether the bytes so far end with a frame. */
  get isWhole(): boolean {
    return this.state === "magic" && this.missing === 4 && this.pass === 0;
  }

  follow(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; ) {
      const passed = Math.min(this.pass, bytes.length - i);
      this.pass -= passed;
      i += passed;
      if (i === bytes.length) return;
      this.value += bytes[i++] * this.shift;
      this.shift *= 256;
      this.missing--;
      if (this.missing === 0) this.take(this.value);
    }
  }

  private take(value: number): void {
    if (this.state === "magic") {
      const isSkippable = (value & ~15) >>> 0 === SKIPPABLE;
      if (isSkippable) this.expect("skippable", 4);
      else if (value === MAGIC) this.expect("descriptor", 1);
      else this.expect("magic", 4, Number.POSITIVE_INFINITY); // no frame: the decompressor says so
    } else if (this.state === "skippable") this.expect("magic", 4, value);
    else if (this.state === "descriptor") this.expect("block", 3, this.readDescriptor(value));
    else this.readBlock(value);
  }

  /** @returns bytes of the header behind its descriptor */
  private readDescriptor(value: number): number {
    const isSingle = (value & DESCRIPTOR.SINGLE_SEGMENT) !== 0;
    const sizeCode = value >>> DESCRIPTOR.CONTENT_SIZE_SHIFT;
    this.checksum = (value & DESCRIPTOR.CHECKSUM) === 0 ? 0 : CHECKSUM_LENGTH;
    const size = isSingle && sizeCode === 0 ? 1 : CONTENT_SIZE[sizeCode];
    return (isSingle ? 0 : 1) + DICTIONARY_ID[value & DESCRIPTOR.DICTIONARY_MASK] + size;
  }

  private readBlock(header: number): void {
    const length = ((header >>> 1) & 3) === RLE_BLOCK ? 1 : header >>> 3;
    if ((header & 1) === 0) this.expect("block", 3, length);
    else this.expect("magic", 4, length + this.checksum);
  }

  private expect(state: ZstdFrames["state"], bytes: number, pass = 0): void {
    this.state = state;
    this.missing = bytes;
    this.value = 0;
    this.shift = 1;
    this.pass = pass;
  }
}
