// What the program says while it runs: terse lines on standard output, each with the machine's uptime in front as the
// kernel's own lines have it, and the time of day where that is known.
import { readFileSync } from "node:fs";

/** A clock that nobody has set begins in 1970, or at its maker's date. */
const CERTAINLY_PAST = Date.UTC(2025, 0, 1);

export function log(line: string): void {
  const [uptime = ""] = readFileSync("/proc/uptime", "utf8").split(" ");
  process.stdout.write(`${stamp(uptime, Date.now())} ${line}\n`);
}

/** Lines that are logged at a time: where whoever reads them is slow, writing keeps waiting. */
const LINES_AT_ONCE = 200;

/** Logs many lines, and does not keep the thread from what else it has to do. */
export async function logAll(lines: Iterable<string>): Promise<void> {
  let count = 0;
  for (const line of lines) {
    log(line);
    if (++count % LINES_AT_ONCE === 0) await new Promise(setImmediate);
  }
}

/** `[  4920.12 2026-03-01T11:32:10Z]`. @param uptime in seconds, as /proc/uptime has it @param now Unix time in ms */
export function stamp(uptime: string, now: number): string {
  const time = now < CERTAINLY_PAST ? "" : ` ${new Date(now).toISOString().replace(/\.\d+Z$/, "Z")}`;
  return `[${uptime.padStart(9)}${time}]`;
}
