// What the program says while it runs: terse lines on standard output, each with the machine's uptime in front as the
// kernel's own lines have it.
import { readFileSync } from "node:fs";

export function log(line: string): void {
  const [uptime] = readFileSync("/proc/uptime", "utf8").split(" ");
  process.stdout.write(`[${uptime.padStart(9)}] ${line}\n`);
}
