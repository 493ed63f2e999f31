// Standard output for many lines: gathered, and written in pieces. A reader who has gone (`| head`) ends it quietly.
import { writeSync } from "node:fs";

const STANDARD_OUTPUT = 1;
const PIECE = 1 << 16;
/** How long to wait for a reader who is slower, where the pipe doesn't wait by itself. */
const PAUSE_MS = 2;

export class Printer {
  /** Whether nobody reads any more. */
  isClosed = false;
  private lines: string[] = [];
  private length = 0;

  add(line: string): void {
    this.lines.push(line, "\n");
    this.length += line.length + 1;
  }

  /** Writes what has been gathered, if it is enough to be worth it, or all of it. */
  async flush(all: boolean): Promise<void> {
    if (this.isClosed || this.length < (all ? 1 : PIECE)) return;
    let bytes = Buffer.from(this.lines.join(""));
    this.lines = [];
    this.length = 0;
    while (bytes.length > 0) {
      const written = this.write(bytes);
      if (this.isClosed) return;
      bytes = bytes.subarray(written);
      if (written === 0) await Bun.sleep(PAUSE_MS);
    }
  }

  private write(bytes: Buffer): number {
    try {
      return writeSync(STANDARD_OUTPUT, bytes);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EAGAIN") return 0;
      if (code !== "EPIPE") throw error;
      this.isClosed = true;
      return 0;
    }
  }
}
