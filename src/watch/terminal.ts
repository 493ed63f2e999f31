// The terminal that `firebreak top` has: taken over, drawn on, and given back as it was, whatever happens. For a slow one, as a
// serial console, pictures wait here: the next is drawn once the last is out, and only what differs.
import { writeSync } from "node:fs";
import { openOutput } from "../base/line-output.ts";
import type { Line } from "./screen.ts";

const CSI = "\x1b[";
/** Another screen, an empty one; no cursor; and back (ECMA-48, and xterm's private modes, which others leave out). */
const ENTER = `${CSI}?1049h${CSI}?25l${CSI}0m${CSI}2J`;
const LEAVE = `${CSI}0m${CSI}?25h${CSI}?1049l`;
/** Where there is no other screen: what was drawn stays, and the shell goes on below it. */
const BELOW = `\r\n`;
/** What a terminal has that does not say, as on most serial lines. */
const USUAL = { columns: 80, rows: 24 };
/** ms until what did not fit is tried again; and how often at the end, when there is no later. */
const PAUSE = 20;
const LAST_TRIES = 25;

export class Terminal {
  private shown: readonly Line[] = [];
  private waiting: Uint8Array = new Uint8Array(0);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isTaken = false;
  private readonly fd = openOutput(1);

  /** Whether this is a terminal that can be drawn on. */
  static get isThere(): boolean {
    const { TERM } = process.env;
    return (
      process.stdin.isTTY === true &&
      process.stdout.isTTY === true &&
      TERM !== undefined &&
      TERM !== "" &&
      TERM !== "dumb"
    );
  }

  get size(): { readonly columns: number; readonly rows: number } {
    const { columns, rows } = process.stdout;
    return { columns: columns > 0 ? columns : USUAL.columns, rows: rows > 0 ? rows : USUAL.rows };
  }

  /** Whether the last picture is not out yet. */
  get isBusy(): boolean {
    return this.waiting.length > 0;
  }

  take(): void {
    if (this.isTaken) return;
    this.isTaken = true;
    process.stdin.setRawMode(true);
    process.stdin.resume();
    this.redraw();
    this.send(ENTER);
  }

  /** After the program was stopped: a shell may have done anything to it meanwhile. */
  takeAgain(): void {
    process.stdin.setRawMode(false);
    this.isTaken = false;
    this.take();
  }

  /** Gives it back as it was, before this returns: the program may end at once. */
  leave(): void {
    if (!this.isTaken) return;
    this.isTaken = false;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting = new TextEncoder().encode(`${CSI}${this.size.rows};1H${BELOW}${LEAVE}`);
    for (let tries = 0; this.isBusy && tries < LAST_TRIES; tries++) {
      if (!this.give()) Bun.sleepSync(PAUSE);
    }
    try {
      process.stdin.setRawMode(false);
    } catch {
      // The terminal is gone.
    }
    process.stdin.pause();
  }

  /** What is there may be anything: the next picture is drawn whole. */
  redraw(): void {
    this.shown = [];
  }

  /** @param lines as many as there are rows */
  draw(lines: readonly Line[]): void {
    if (!this.isTaken || this.isBusy) return;
    const isWhole = this.shown.length !== lines.length;
    const changed = lines.flatMap((line, i) => {
      const before = this.shown[i];
      if (!isWhole && before?.text === line.text && before.isReversed === line.isReversed) return [];
      const text = line.isReversed ? `${CSI}7m${line.text}${CSI}0m` : line.text;
      // First emptied: behind a full line, "to the end of the line" would be its last character.
      return [`${CSI}${i + 1};1H${CSI}2K${text}`];
    });
    this.shown = lines;
    if (changed.length > 0) this.send(`${isWhole ? `${CSI}2J` : ""}${changed.join("")}`);
  }

  private send(text: string): void {
    const bytes = new TextEncoder().encode(text);
    const all = new Uint8Array(this.waiting.length + bytes.length);
    all.set(this.waiting);
    all.set(bytes, this.waiting.length);
    this.waiting = all;
    if (this.timer === undefined) this.flush();
  }

  private flush(): void {
    this.timer = undefined;
    while (this.isBusy) {
      if (this.give()) continue;
      this.timer = setTimeout(() => this.flush(), PAUSE);
      return;
    }
  }

  /** @returns whether the terminal took some. One that is gone takes all. */
  private give(): boolean {
    try {
      this.waiting = this.waiting.subarray(writeSync(this.fd, this.waiting));
      return true;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EAGAIN") return false;
      this.waiting = new Uint8Array(0);
      return true;
    }
  }
}
