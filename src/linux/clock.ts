// The machine's clock.
import { ptr } from "bun:ffi";
import { libc, must } from "./libc.ts";

const CLOCK_REALTIME = 0; // linux/time.h

/** @param seconds Unix time. @throws SystemError without the permission */
export function setClock(seconds: number): void {
  const time = new BigInt64Array([BigInt(Math.floor(seconds)), 0n]); // struct timespec
  must(libc.clock_settime(CLOCK_REALTIME, ptr(time)), "clock_settime");
}
