// The few functions of the C library that the program calls, through bun:ffi, and what they say when they fail. What they take a
// pointer to is handed to them as a view, which lives as long as the call; memory of our own mapping as a number (also addresses.ts).
// Constants are those of Linux on x86-64 and arm64, with the header they come from.
import { dlopen, type Pointer, read } from "bun:ffi";
import { constants } from "node:os";

/** The raw functions, named and typed as in their manual pages; failure is -1, the reason is `errno()`. */
export const libc = dlopen("libc.so.6", {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "buffer", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  connect: { args: ["i32", "buffer", "u32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "buffer", "u32"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "buffer", "buffer"], returns: "i32" },
  getsockname: { args: ["i32", "buffer", "buffer"], returns: "i32" },
  send: { args: ["i32", "buffer", "u64", "i32"], returns: "i32" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i32" },
  sendmmsg: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
  poll: { args: ["buffer", "u64", "i32"], returns: "i32" },
  eventfd: { args: ["u32", "i32"], returns: "i32" },
  read: { args: ["i32", "buffer", "u64"], returns: "i32" },
  write: { args: ["i32", "buffer", "u64"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "buffer"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  dup: { args: ["i32"], returns: "i32" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  unshare: { args: ["i32"], returns: "i32" },
  setns: { args: ["i32", "i32"], returns: "i32" },
  syscall: { args: ["i64", "i64", "i64", "i64", "i64"], returns: "i64" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  capset: { args: ["buffer", "buffer"], returns: "i32" },
  execve: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  _exit: { args: ["i32"], returns: "void" },
  clock_settime: { args: ["i32", "buffer"], returns: "i32" },
  clock_gettime: { args: ["i32", "buffer"], returns: "i32" },
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "i64" },
  memcpy: { args: ["ptr", "ptr", "u64"], returns: "void" },
  munmap: { args: ["ptr", "u64"], returns: "i32" },
  __errno_location: { args: [], returns: "ptr" },
}).symbols;

/**
 * A call that the C library has no function for.
 * @param args as many as it takes, at most four
 * @returns what the kernel returned; -1 when it fails
 */
export function systemCall(number: number, ...args: readonly number[]): number {
  const [a = 0, b = 0, c = 0, d = 0] = args;
  return Number(libc.syscall(number, a, b, c, d));
}

/** Error numbers that the program treats differently (asm-generic/errno.h). */
export const { EADDRINUSE, EAGAIN, EBADF, EINTR, EACCES, ECONNREFUSED, ENOENT, ENETDOWN, ENODEV, ENXIO, ENOBUFS } =
  constants.errno;

const ERROR_NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

// errno lives in the thread: each worker evaluates this module for itself.
const errnoAt = libc.__errno_location();

/**
 * To be asked before another call is made; the engine, its collector too, leaves it as it is meanwhile (tests/linux/libc.test.ts).
 * @returns the error number of this thread's last failed call
 */
export function errno(): number {
  return errnoAt === null ? 0 : read.i32(errnoAt);
}

/** A system call's failure: the message names the call and the error, `code` is the error's name. */
export class SystemError extends Error {
  readonly code: string;

  constructor(call: string, number: number) {
    const code = ERROR_NAMES.get(number) ?? `error ${number}`;
    super(`${call}: ${code}`);
    this.name = "SystemError";
    this.code = code;
  }
}

/**
 * @param result what the call returned
 * @param call how the error names it: function, and on what
 * @returns the result, where it is not a failure
 * @throws SystemError
 */
export function must(result: number, call: string): number {
  if (result < 0) throw new SystemError(call, errno());
  return result;
}

// linux/mman.h, asm-generic/mman-common.h
const PROT_NONE = 0;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

function mmap(address: number, length: number, protection: number, flags: number, fd: number, offset = 0): number {
  return must(Number(libc.mmap(pointer(address), length, protection, flags, fd, offset)), `mmap ${length} bytes`);
}

/** A number that is known to be an address. */
export function pointer(address: number): Pointer {
  return address as Pointer;
}

/** Address space without memory: touching it is a fault until something is mapped there. @returns its address */
export function reserveAddresses(length: number): number {
  return mmap(0, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

/** Zeroed memory at a page-aligned address inside a reservation. Pages cost memory once they are touched. */
export function mapMemory(address: number, length: number): void {
  mmap(address, length, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
}

/** A file's memory, from its beginning, shared, at a page-aligned address inside a reservation. */
export function mapFile(address: number, length: number, fd: number): void {
  mmap(address, length, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, fd);
}

/** Memory that a device gives out, shared, from an offset in its file on. @returns its address */
export function mapDevice(fd: number, offset: number, length: number): number {
  return mmap(0, length, PROT_READ_WRITE, MAP_SHARED, fd, offset);
}

/** Gives back what was mapped inside a reservation; the addresses stay reserved. */
export function unmapToReservation(address: number, length: number): void {
  mmap(address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1);
}

/** Gives back a reservation and all that is mapped in it, or a device's memory. */
export function releaseAddresses(address: number, length: number): void {
  must(libc.munmap(pointer(address), length), "munmap");
}

/** A name as a NUL-terminated C string. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
