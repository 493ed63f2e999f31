// The machine's clocks.
import { libc, must } from "./libc.ts";

// linux/time.h
const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;
const CLOCK_THREAD_CPUTIME_ID = 3;

/** @param seconds Unix time. @throws SystemError without the permission */
export function setClock(seconds: number): void {
  const time = new BigInt64Array([BigInt(Math.floor(seconds)), 0n]); // struct timespec
  must(libc.clock_settime(CLOCK_REALTIME, time), "clock_settime");
}

/** struct timespec: seconds and ns, 64 bits each, of which the low 32 are enough. */
const timespec = new Int32Array(4);

/** @returns the monotonic clock, which the kernel's programs read too, in ns; of 2^53 and more the last digits are lost */
export function monotonicTime(): number {
  libc.clock_gettime(CLOCK_MONOTONIC, timespec);
  return timespec[0] * 1e9 + timespec[2];
}

/** @returns what this thread has run so far, in ns */
export function threadTime(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, timespec);
  return timespec[0] * 1e9 + timespec[2];
}
