// What ends a verb that goes on by itself: signals, and a reader that is gone.
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { PollSet } from "../linux/poll.ts";

const STANDARD_OUTPUT = 1;
/** ms between two looks whether anybody reads: a pipe says so by itself only to who writes, and there may be nothing to write for long. */
const LOOK = 500;

/**
 * Hears SIGINT, SIGTERM, and SIGHUP, which comes when the terminal goes, and does not count where it is ignored, as nohup(1) has it.
 * @param stop is called for each of them
 */
export function onStopSignal(stop: () => void): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  if (!isIgnored(constants.signals.SIGHUP)) process.on("SIGHUP", stop);
}

/** Settles when a signal asks to end, as `onStopSignal` has them. */
export function stopSignal(): Promise<void> {
  return new Promise(onStopSignal);
}

/** proc_pid_status(5): SigIgn is a mask in hexadecimal, its lowest bit signal 1. */
function isIgnored(signal: number): boolean {
  const [, mask = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  return (BigInt(`0x${mask}`) & (1n << BigInt(signal - 1))) !== 0n;
}

/** @param gone is called once, when nobody is left who could read what is printed @returns ends the look-out */
export function onReaderGone(gone: () => void): () => void {
  const output = new PollSet([STANDARD_OUTPUT]);
  const timer = setInterval(() => {
    output.wait(0);
    if (!output.failed(0)) return;
    clearInterval(timer);
    gone();
  }, LOOK);
  timer.unref();
  return () => clearInterval(timer);
}
