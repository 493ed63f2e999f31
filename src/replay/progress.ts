// How far a replay is, on standard error while that is a terminal: one line that is written over.
import type { CaptureSource } from "../captures/source.ts";

const EVERY_MS = 500;

export class Progress {
  private readonly isShown = process.stderr.isTTY === true;
  private last = performance.now();
  private written = 0;

  constructor(private readonly sources: readonly CaptureSource[]) {}

  /** @param frames asked only when it is time to show something */
  show(frames: () => number): void {
    if (!this.isShown || performance.now() - this.last < EVERY_MS) return;
    this.last = performance.now();
    const size = this.sources.reduce((sum, source) => sum + (source.size ?? Number.NaN), 0);
    const taken = this.sources.reduce((sum, source) => sum + source.taken, 0);
    const share = size > 0 ? `${Math.floor((100 * taken) / size)} %, ` : "";
    this.write(`${share}${frames()} frames`);
  }

  clear(): void {
    if (this.written > 0) this.write("");
  }

  private write(text: string): void {
    process.stderr.write(`\r${text.padEnd(this.written)}${text === "" ? "\r" : ""}`);
    this.written = text.length;
  }
}
