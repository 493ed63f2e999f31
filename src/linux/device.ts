// Character devices: opened so that reading never blocks.
import { constants, openSync } from "node:fs";
import { EAGAIN, errno, libc, must, SystemError } from "./libc.ts";

/** @returns a descriptor. @throws Error when the device is not there or may not be opened */
export function openDevice(path: string): number {
  return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
}

/** @returns how many bytes were read; none when there are none now. @throws SystemError */
export function readDevice(fd: number, into: Uint8Array, path: string): number {
  const length = libc.read(fd, into, into.length);
  if (length >= 0) return length;
  if (errno() === EAGAIN) return 0;
  throw new SystemError(`read ${path}`, errno());
}

/** Writes all of the bytes. @throws SystemError */
export function writeDevice(fd: number, bytes: Uint8Array, path: string): void {
  for (let at = 0; at < bytes.length; ) {
    const rest = bytes.subarray(at);
    at += must(libc.write(fd, rest, rest.length), `write ${path}`);
  }
}

/** @returns the number of an ioctl that is declared without a direction (asm-generic/ioctl.h, _IOC_NONE) */
export function ioctlNumber(type: string, number: number, size: number): number {
  return (size << 16) | (type.charCodeAt(0) << 8) | number;
}

/** @returns what the call returned. @throws SystemError */
export function deviceControl(fd: number, request: number, argument: DataView<ArrayBuffer>, name: string): number {
  return must(libc.ioctl(fd, request, argument), name);
}
