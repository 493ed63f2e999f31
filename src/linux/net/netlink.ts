// netlink(7): messages to the kernel's network configuration, and its answers. Numbers of messages and attributes themselves are
// in the machine's order; inside, each family has its own.
import { ptr } from "bun:ffi";
import { EAGAIN, errno, libc, must, SystemError } from "../libc.ts";
import { MSG_DONTWAIT } from "./socket.ts";

// linux/netlink.h
const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLA_F_NESTED = 0x8000;
const MESSAGE_HEADER = 16; // struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port
const ATTRIBUTE_HEADER = 4; // struct nlattr: u16 length, u16 type

/**
 * Sends messages, of which those with NLM_F_ACK are answered.
 * @param what they are about, for the error
 * @throws SystemError: the first error among the answers
 */
export function request(fd: number, what: string, messages: Uint8Array): void {
  must(libc.write(fd, ptr(messages), messages.length), "write netlink");
  const error = firstError(fd);
  if (error !== 0) throw new SystemError(what, error);
}

/** Reads all answers, which are there when a write returns. @returns the first error number in them, or 0 */
function firstError(fd: number): number {
  const bytes = new Uint8Array(8192);
  const view = new DataView(bytes.buffer);
  let first = 0;
  for (;;) {
    const length = libc.recv(fd, ptr(bytes), bytes.length, MSG_DONTWAIT);
    if (length < 0 && errno() === EAGAIN) return first;
    must(length, "recv netlink");
    for (let at = 0; at < length; at += view.getUint32(at, true)) {
      if (view.getUint16(at + 4, true) === NLMSG_ERROR) first ||= -view.getInt32(at + MESSAGE_HEADER, true);
    }
  }
}

/** @param header of the family, a multiple of four bytes @param attributes as `attribute` returns them */
export function message(type: number, flags: number, header: Uint8Array, ...attributes: Uint8Array[]): Uint8Array {
  const bytes = concat(new Uint8Array(MESSAGE_HEADER), header, ...attributes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, NLM_F_REQUEST | flags, true);
  return bytes;
}

/** @returns the attribute, padded to a multiple of four bytes, which its length does not count */
export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((ATTRIBUTE_HEADER + value.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, ATTRIBUTE_HEADER + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, ATTRIBUTE_HEADER);
  return bytes;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
