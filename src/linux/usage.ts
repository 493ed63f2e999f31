// What this program itself uses, as /proc has it (proc(5)): in the restricted process there is nothing else that tells.
import { readFileSync } from "node:fs";

/** In bytes. */
export interface MemoryUse {
  /** What is in memory: of files too, which others may share. */
  readonly resident: number;
  /** What is no file's. */
  readonly anonymous: number;
}

/** Ticks a second: USER_HZ, the same on every kernel (asm-generic/param.h). */
const TICKS = 100;
/** Fields of /proc/self/stat behind the name in parentheses, counted from 0: utime and stime. */
const USER = 11;
const SYSTEM = 12;

/** @param status text of /proc/self/status */
export function memoryUse(status = readFileSync("/proc/self/status", "utf8")): MemoryUse {
  const field = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, "m").exec(status)?.[1] ?? 0);
  return { resident: field("VmRSS"), anonymous: field("RssAnon") };
}

/** @param stat text of /proc/self/stat @returns seconds of processors, of all threads, in user mode and in the kernel */
export function processorTime(stat = readFileSync("/proc/self/stat", "utf8")): number {
  // Whoever names a program may put anything into its parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[USER]) + Number(fields[SYSTEM])) / TICKS;
}
