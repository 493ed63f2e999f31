// Standard output for many lines: gathered, and written at once. A reader who has gone (`| head`) is no error here.
import { writeSync } from "node:fs";
import { reasonOf } from "../base/reason.ts";
import { FileError } from "./outputs.ts";

const STANDARD_OUTPUT = 1;
/** How long to wait for a reader who is slower, where the pipe doesn't wait by itself. */
const PAUSE_MS = 2;

export class Printer {
  /** Whether nobody reads any more. */
  isClosed = false;
  private lines: string[] = [];

  add(line: string): void {
    this.lines.push(line, "\n");
  }

  addAll(lines: readonly string[]): void {
    for (const line of lines) this.add(line);
  }

  /** Writes what has been gathered. @throws FileError where it can't be, as on a full disk */
  async flush(): Promise<void> {
    let bytes = Buffer.from(this.lines.join(""));
    this.lines = [];
    while (bytes.length > 0 && !this.isClosed) {
      const written = this.write(bytes);
      bytes = bytes.subarray(written);
      if (written === 0 && !this.isClosed) await Bun.sleep(PAUSE_MS);
    }
  }

  private write(bytes: Buffer): number {
    try {
      return writeSync(STANDARD_OUTPUT, bytes);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EAGAIN") return 0;
      if (code !== "EPIPE") throw new FileError(`standard output can't be written: ${reasonOf(error)}`);
      this.isClosed = true;
      return 0;
    }
  }
}
