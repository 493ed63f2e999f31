// Bytes of a capture file, of standard input or of a named pipe, decompressed where they are gzip's or zstd's.
import { close, constants, fstat, open, read } from "node:fs";
import type { Transform } from "node:stream";
import { promisify } from "node:util";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { CaptureError } from "./error.ts";
import type { ByteSource } from "./window.ts";
import { ZstdFrames } from "./zstd-frames.ts";

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
  private decompressor: Transform | undefined;
  private stream: AsyncIterator<Buffer> | undefined;
  /** Why what was to be decompressed ended too soon. */
  private broken: unknown;
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
      if (next.done) return this.broken === undefined ? 0 : failed(this.broken, this.taken);
      this.ahead = next.value;
    }
    const count = this.ahead.copy(into, at);
    this.ahead = this.ahead.subarray(count);
    return count;
  }

  /** Nothing is read any more. */
  close(): void {
    this.decompressor?.destroy();
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
      this.decompressor = isGzip ? createGunzip() : createZstdDecompress();
      this.stream = this.decompressor[Symbol.asyncIterator]();
      this.feed(this.decompressor, head, isGzip ? undefined : new ZstdFrames());
    } else {
      this.ahead = head;
    }
  }

  /**
   * Writes the file to its decompressor, and ends that only after the last bytes have come out: otherwise those of a file that
   * is cut short would be lost.
   */
  private async feed(decompressor: Transform, head: Buffer, frames: ZstdFrames | undefined): Promise<void> {
    const write = promisify((bytes: Buffer, done: (error?: Error | null) => void) => decompressor.write(bytes, done));
    try {
      for await (const chunk of this.chunks(head)) {
        frames?.follow(chunk);
        await write(chunk);
      }
      if (frames !== undefined && !frames.isWhole) throw new Error("unexpected end of file");
      decompressor.end();
    } catch (error) {
      // What has come out already is read first.
      this.broken = error;
      if (!decompressor.destroyed) decompressor.end();
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
