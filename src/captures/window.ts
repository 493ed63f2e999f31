// The part of a file that a reader sees: a buffer that slides over it, so that memory is bounded however long the file is.
// It is filled between two records and never while one is in hand.

/** Where bytes come from: a file, a pipe, or what decompresses one. */
export interface ByteSource {
  /** @returns bytes written to `into` from `at` on; 0 at the end */
  read(into: Buffer, at: number): Promise<number>;
}

const INITIAL_LENGTH = 1 << 18;
/** Room in front of the first record, where a header of Ethernet may have to be written. */
const HEADROOM = 16;

export class Window {
  bytes = Buffer.allocUnsafe(HEADROOM + INITIAL_LENGTH);
  view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  /** What has been read and not yet been used. */
  start = HEADROOM;
  end = HEADROOM;
  /** No more will come. */
  ended = false;
  /** Of the file: where `bytes[0]` stands in it. */
  private base = -HEADROOM;
  /** Bytes that have to be there, from `start` on, before it is worth looking again. */
  private wanted = 1;

  constructor(private readonly source: ByteSource) {}

  get left(): number {
    return this.end - this.start;
  }

  /** @returns the offset in the file of a place in `bytes` */
  offsetOf(at: number): number {
    return this.base + at;
  }

  /** A reader can go on when so many bytes are there, from `start` on. */
  want(bytes: number): void {
    this.wanted = bytes;
  }

  /** Reads until what was wanted is there, or the end. @throws what reading throws; then the window has ended too */
  async fill(): Promise<void> {
    this.makeRoom();
    try {
      while (this.left < this.wanted) {
        const count = await this.source.read(this.bytes, this.end);
        this.end += count;
        if (count === 0) {
          this.ended = true;
          return;
        }
      }
    } catch (error) {
      this.ended = true;
      throw error;
    }
  }

  /** Moves what is left to the front, of a larger buffer if it has to be. */
  private makeRoom(): void {
    const { bytes, start, end } = this;
    if (HEADROOM + this.wanted > bytes.length) {
      this.bytes = Buffer.allocUnsafe(HEADROOM + this.wanted + INITIAL_LENGTH);
      this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
    }
    bytes.copy(this.bytes, HEADROOM, start, end);
    this.base += start - HEADROOM;
    this.start = HEADROOM;
    this.end = HEADROOM + end - start;
  }
}
