// CPU time that work takes, as /proc/stat tells it. How long a CPU idled the kernel measures; what it did otherwise it samples
// at each tick, so that the kinds of a short time are rough, and their sum is taken from the idling.
import { readFileSync } from "node:fs";

/** sysconf(_SC_CLK_TCK), units a second: 100 on every Linux on x86-64. */
const UNITS = 100;

/** Seconds of CPU time. */
export interface CpuTime {
  readonly user: number;
  readonly system: number;
  /** Interrupts, above all the network's receiving side. */
  readonly softirq: number;
  readonly idle: number;
}

/** All CPUs, in order, since the machine's start. */
export interface Reading {
  /** Seconds, of a monotonic clock. */
  readonly at: number;
  readonly cpus: readonly CpuTime[];
}

export function readCpus(): Reading {
  const at = performance.now() / 1000;
  const lines = readFileSync("/proc/stat", "utf8").match(/^cpu\d+ .*$/gm) ?? [];
  return { at, cpus: lines.map(parseCpu) };
}

/** Fields as proc(5) has them: user nice system idle iowait irq softirq. */
function parseCpu(line: string): CpuTime {
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0] = line
    .split(" ")
    .slice(1)
    .map((field) => Number(field) / UNITS);
  return { user: user + nice, system, softirq: irq + softirq, idle: idle + iowait };
}

/** @returns what all CPUs together did of one kind between two readings, in seconds */
export function spent(before: Reading, after: Reading, kind: keyof CpuTime): number {
  const sums = [before, after].map(({ cpus }) => cpus.reduce((sum, cpu) => sum + cpu[kind], 0));
  return (sums[1] ?? 0) - (sums[0] ?? 0);
}

/** Time for the kernel to clear away what a benchmark has left (namespaces, closed connections), and to look, in ms. */
const SETTLE = 3000;
const LOOK = 2000;

/** @returns how many CPUs are busy while nothing of ours runs, on average */
export async function busyAtRest(): Promise<number> {
  await Bun.sleep(SETTLE);
  const before = readCpus();
  await Bun.sleep(LOOK);
  const after = readCpus();
  return after.cpus.length - spent(before, after, "idle") / (after.at - before.at);
}

/** @returns seconds that all CPUs but one were busy between two readings */
export function busyBeside(cpu: number, before: Reading, after: Reading): number {
  const busy = after.cpus.map(({ idle }, i) => after.at - before.at - (idle - (before.cpus[i]?.idle ?? 0)));
  return busy.filter((_, i) => i !== cpu).reduce((sum, seconds) => sum + Math.max(0, seconds), 0);
}
