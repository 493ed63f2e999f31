// What the program says while it runs: terse lines on standard output, each with the machine's uptime in front as the
// kernel's own lines have it, and the time of day where that is known. The last lines are kept, for who asks for them later.
import { readFileSync } from "node:fs";
import { LineOutput, openOutput } from "./line-output.ts";

/** A clock that nobody has set begins in 1970, or at its maker's date. */
const CERTAINLY_PAST = Date.UTC(2025, 0, 1);

/** Lines of a long report that are printed in one go, before others of the thread have their turn. */
const SLICE = 100;

let opened: LineOutput | undefined;
let isReporting = false;

/** Lines that are kept. */
const MOST_KEPT = 512;

/** A line of the log. */
export interface LogEntry {
  /** Unix time, and since the machine's start, in seconds. */
  readonly time: number;
  readonly uptime: number;
  readonly text: string;
}

/** What is kept of the log: entries are numbered from 0 on, and the oldest go. */
export class KeptLog {
  private readonly entries: LogEntry[] = [];
  private count = 0;
  private readonly waiting = new Set<() => void>();

  /** Number of the oldest entry that is kept, and one more than the number of the last. */
  get first(): number {
    return this.count - this.entries.length;
  }

  get end(): number {
    return this.count;
  }

  /** @param number from `first` to `end` - 1 */
  entry(number: number): LogEntry {
    return this.entries[number - this.first];
  }

  add(entry: LogEntry): void {
    this.entries.push(entry);
    if (this.entries.length > MOST_KEPT) this.entries.shift();
    this.count++;
    for (const wake of this.waiting) wake();
  }

  /** Settles when there is an entry of this number, or the signal is aborted. */
  async until(number: number, signal: AbortSignal): Promise<void> {
    while (this.count <= number && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const wake = () => resolve();
      this.waiting.add(wake);
      signal.addEventListener("abort", wake);
      await promise;
      signal.removeEventListener("abort", wake);
      this.waiting.delete(wake);
    }
  }
}

export const keptLog = new KeptLog();

/** Never waits: what the reader does not take stays in a small buffer, and is lost beyond it. */
export function log(line: string): void {
  keptLog.add({ time: Date.now() / 1000, uptime: Number(uptimeNow()), text: line });
  print(line);
}

function print(line: string): void {
  output().write(`${stamp(uptimeNow(), Date.now())} ${line}`);
}

/**
 * Prints a report of any length, as fast as the reader takes it: lines are asked for when there is room for them, and the thread
 * goes on with its work in between. While one is being printed, another is not begun.
 */
export async function logAll(lines: Iterable<string>): Promise<void> {
  if (isReporting) return;
  isReporting = true;
  try {
    let count = 0;
    for (const line of lines) {
      print(line);
      if (++count % SLICE > 0) continue;
      await output().flushed();
      await new Promise(setImmediate);
    }
  } finally {
    isReporting = false;
  }
}

function output(): LineOutput {
  if (opened === undefined) {
    const created = new LineOutput(openOutput(1));
    process.on("exit", () => created.flush());
    opened = created;
  }
  return opened;
}

function uptimeNow(): string {
  const [uptime = ""] = readFileSync("/proc/uptime", "utf8").split(" ");
  return uptime;
}

/** `[  4920.12 2026-03-01T11:32:10Z]`. @param uptime in seconds, as /proc/uptime has it @param now Unix time in ms */
export function stamp(uptime: string, now: number): string {
  const time = now < CERTAINLY_PAST ? "" : ` ${new Date(now).toISOString().replace(/\.\d+Z$/, "Z")}`;
  return `[${uptime.padStart(9)}${time}]`;
}
