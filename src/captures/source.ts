// Bytes of a capture file, of standard input or of a named pipe, decompressed where they are gzip's or zstd's.
import { close, constants, fstat, open, read } from "node:fs";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { CaptureError } from "./error.ts";
import type { ByteSource } from "./window.ts";

const STANDARD_INPUT = 0;
const CHUNK = 1 << 16;
const GZIP = Buffer.of(0x1f, 0x8b);
const ZSTD = Buffer.of(0x28, 0xb5, 0x2f, 0xfd);

const openFile = promisify(open);
const statFile = promisify(fstat);

/** A file that is open, read once from its beginning to its end. */
export class CaptureSource implements ByteSource {
  /** Bytes that were taken from the file so far: of a compressed one, compressed. */
  taken = 0;
  private stream: AsyncIterator<Buffer> | undefined;
  /** What was read already: at first the bytes that tell whether it is compressed, then the rest of a chunk. */
  private ahead: Buffer = Buffer.alloc(0);

  private constructor(
    private readonly fd: number,
    /** Bytes of a regular file; undefined for what has no end beforehand. */
    readonly size: number | undefined,
  ) {}

  /** @param path a file, or "-" for standard input @throws what the system says */
  static async open(path: string): Promise<CaptureSource> {
    const fd = path === "-" ? STANDARD_INPUT : await openFile(path, constants.O_RDONLY);
    const status = await statFile(fd);
    const source = new CaptureSource(fd, status.isFile() ? status.size : undefined);
    await source.recognise();
    return source;
  }

  async read(into: Buffer, at: number): Promise<number> {
    if (this.ahead.length === 0) {
      if (this.stream === undefined) return this.take(into, at, into.length - at);
      const next = await this.stream.next().catch((error: unknown) => failed(error, this.taken));
      if (next.done) return 0;
      this.ahead = next.value;
    }
    const count = this.ahead.copy(into, at);
    this.ahead = this.ahead.subarray(count);
    return count;
  }

  /** Nothing is read any more. */
  close(): void {
    if (this.fd !== STANDARD_INPUT) close(this.fd);
  }

  private async recognise(): Promise<void> {
    const first = Buffer.alloc(ZSTD.length);
    let length = 0;
    for (let count = -1; count !== 0 && length < first.length; length += count) {
      count = await this.take(first, length, first.length - length);
    }
    const head = first.subarray(0, length);
    const isGzip = head.subarray(0, GZIP.length).equals(GZIP);
    if (isGzip || head.equals(ZSTD)) {
      const decompressor = isGzip ? createGunzip() : createZstdDecompress();
      this.stream = Readable.from(this.chunks(head)).pipe(decompressor)[Symbol.asyncIterator]();
    } else {
      this.ahead = head;
    }
  }

  private async *chunks(head: Buffer): AsyncGenerator<Buffer> {
    yield head;
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK);
      const count = await this.take(chunk, 0, CHUNK);
      if (count === 0) return;
      yield chunk.subarray(0, count);
    }
  }

  private take(into: Buffer, at: number, length: number): Promise<number> {
    return new Promise((resolve, reject) => {
      read(this.fd, into, at, length, null, (error, count) => {
        if (error !== null) return reject(error);
        this.taken += count;
        resolve(count);
      });
    });
  }
}

/** @param taken bytes of the file that had been read @throws a CaptureError for what gunzip and zstd say */
function failed(error: unknown, taken: number): never {
  const reason = error instanceof Error ? error.message : String(error);
  throw new CaptureError(taken, `can't be decompressed: ${reason}`, "the file is damaged or cut short: copy it anew");
}
