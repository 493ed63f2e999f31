// netlink(7): messages to the kernel's network configuration, and its answers. Numbers of messages and attributes themselves are
// in the machine's order; inside, each family has its own.
import { EAGAIN, errno, libc, must, SystemError } from "../libc.ts";
import { MSG_DONTWAIT } from "./socket.ts";

// linux/netlink.h
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLA_F_NESTED = 0x8000;
const NLA_F_NET_BYTEORDER = 0x4000;
const MESSAGE_HEADER = 16; // struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port
const ATTRIBUTE_HEADER = 4; // struct nlattr: u16 length, u16 type

/** As much as the kernel puts into one answer of a list (NLMSG_GOODSIZE and more: netlink_dump in net/netlink/af_netlink.c). */
const LONGEST_ANSWER = 32 * 1024;

/** What answers are read into, each time the same: the engine is slow to see how much memory it could have back. */
const answer = new Uint8Array(LONGEST_ANSWER);
const answerView = new DataView(answer.buffer);

/** In a list's answers, where an item's own header begins, and where the item ends. */
export type Item = (view: DataView, at: number, end: number) => void;

/**
 * Sends messages, of which those with NLM_F_ACK are answered.
 * @param what they are about, for the error
 * @throws SystemError: the first error among the answers
 */
export function request(fd: number, what: string, messages: Uint8Array): void {
  must(libc.write(fd, messages, messages.length), "write netlink");
  const error = firstError(fd);
  if (error !== 0) throw new SystemError(what, error);
}

/** Reads all answers, which are there when a write returns. @returns the first error number in them, or 0 */
function firstError(fd: number): number {
  const view = answerView;
  let first = 0;
  for (;;) {
    const length = libc.recv(fd, answer, answer.length, MSG_DONTWAIT);
    if (length < 0 && errno() === EAGAIN) return first;
    must(length, "recv netlink");
    for (let at = 0; at < length; at += view.getUint32(at, true)) {
      if (view.getUint16(at + 4, true) === NLMSG_ERROR) first ||= -view.getInt32(at + MESSAGE_HEADER, true);
    }
  }
}

/**
 * Asks for a list.
 * @param what it is of, for the error
 * @param question a message with NLM_F_DUMP
 * @param each is given every item, in memory that the next question takes: it must not ask one, and copies what it keeps
 * @returns whether the list is of one moment; if not, something changed while the kernel told of it: to be asked for again
 * @throws SystemError
 */
export function list(fd: number, what: string, question: Uint8Array, each: Item): boolean {
  must(libc.write(fd, question, question.length), "write netlink");
  const view = answerView;
  let isWhole = true;
  for (;;) {
    const length = must(libc.recv(fd, answer, answer.length, 0), "recv netlink");
    for (let at = 0; at < length; at += aligned(view.getUint32(at, true))) {
      const type = view.getUint16(at + 4, true);
      if ((view.getUint16(at + 6, true) & NLM_F_DUMP_INTR) !== 0) isWhole = false;
      if (type === NLMSG_DONE) return isWhole;
      if (type === NLMSG_ERROR) throw new SystemError(what, -view.getInt32(at + MESSAGE_HEADER, true));
      each(view, at + MESSAGE_HEADER, at + view.getUint32(at, true));
    }
  }
}

/** @returns the values of attributes that stand from `at` to `end`, by their type: views of the same memory */
export function attributes(view: DataView, at: number, end: number): Map<number, DataView> {
  return new Map(attributeList(view, at, end));
}

/** Likewise in their order, where a type may come more than once. */
export function attributeList(view: DataView, at: number, end: number): [type: number, value: DataView][] {
  const found: [number, DataView][] = [];
  for (let next = at; next + ATTRIBUTE_HEADER <= end; next += aligned(view.getUint16(next, true))) {
    const length = view.getUint16(next, true);
    if (length < ATTRIBUTE_HEADER) break;
    const value = new DataView(view.buffer, next + ATTRIBUTE_HEADER, length - ATTRIBUTE_HEADER);
    found.push([view.getUint16(next + 2, true) & ~(NLA_F_NESTED | NLA_F_NET_BYTEORDER), value]);
  }
  return found;
}

function aligned(length: number): number {
  return (length + 3) & ~3;
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
