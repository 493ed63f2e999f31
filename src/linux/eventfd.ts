// eventfd(2): how one thread wakes another out of poll(2).
import { libc, must } from "./libc.ts";

const EFD_CLOEXEC = 0x80000; // sys/eventfd.h
const EFD_NONBLOCK = 0x800;

const ONE = new BigUint64Array([1n]);
const drained = new BigUint64Array(1);

/** @returns a descriptor, readable in poll(2) from `signal` to `drain`. */
export function openEvent(): number {
  return must(libc.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
}

export function signalEvent(fd: number): void {
  must(libc.write(fd, ONE, ONE.byteLength), "write eventfd");
}

export function drainEvent(fd: number): void {
  libc.read(fd, drained, drained.byteLength);
}
