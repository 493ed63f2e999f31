// What the program says while it runs: terse lines on standard output, each with the machine's uptime in front as the
// kernel's own lines have it, and the time of day where that is known.
import { readFileSync } from "node:fs";
import { LineOutput, openOutput } from "./line-output.ts";

/** A clock that nobody has set begins in 1970, or at its maker's date. */
const CERTAINLY_PAST = Date.UTC(2025, 0, 1);

/** Lines of a long report that are printed in one go, before others of the thread have their turn. */
const SLICE = 100;

let opened: LineOutput | undefined;
let isReporting = false;

/** Never waits: what the reader does not take stays in a small buffer, and is lost beyond it. */
export function log(line: string): void {
  output().write(`${stampNow()} ${line}`);
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
      log(line);
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

function stampNow(): string {
  const [uptime = ""] = readFileSync("/proc/uptime", "utf8").split(" ");
  return stamp(uptime, Date.now());
}

/** `[  4920.12 2026-03-01T11:32:10Z]`. @param uptime in seconds, as /proc/uptime has it @param now Unix time in ms */
export function stamp(uptime: string, now: number): string {
  const time = now < CERTAINLY_PAST ? "" : ` ${new Date(now).toISOString().replace(/\.\d+Z$/, "Z")}`;
  return `[${uptime.padStart(9)}${time}]`;
}
