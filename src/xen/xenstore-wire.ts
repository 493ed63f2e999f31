// XenStore's messages (Xen's public/io/xs_wire.h and docs/misc/xenstore.txt): a header of four little-endian words, then
// the payload. Paths and tokens end in NUL; the value of a write or read has no end of its own.
import { ProtocolError } from "./byte-stream.ts";

/** Message types, as far as they are used. */
export const XS = {
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
} as const;

/** u32 type, request, transaction, length of the payload. */
export const XS_HEADER_LENGTH = 16;
const TYPE = 0;
const REQUEST = 4;
const TRANSACTION = 8;
const LENGTH = 12;

/** XENSTORE_PAYLOAD_MAX */
export const XS_PAYLOAD_LENGTH = 4096;

export interface XsMessage {
  readonly type: number;
  /** Number that the answer to a request repeats. */
  readonly request: number;
  /** Zero: none. */
  readonly transaction: number;
  readonly payload: Uint8Array;
}

/** @throws RangeError when the payload is longer than the protocol allows */
export function encodeXs({ type, request, transaction, payload }: XsMessage): Uint8Array {
  if (payload.length > XS_PAYLOAD_LENGTH) throw new RangeError(`${payload.length} bytes are too much for XenStore`);
  const bytes = new Uint8Array(XS_HEADER_LENGTH + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(TYPE, type, true);
  view.setUint32(REQUEST, request, true);
  view.setUint32(TRANSACTION, transaction, true);
  view.setUint32(LENGTH, payload.length, true);
  bytes.set(payload, XS_HEADER_LENGTH);
  return bytes;
}

/** @throws ProtocolError */
export function xsPayloadLength(header: DataView): number {
  const length = header.getUint32(LENGTH, true);
  if (length > XS_PAYLOAD_LENGTH) throw new ProtocolError(`XenStore: a payload of ${length} bytes`);
  return length;
}

export function decodeXs(header: DataView, payload: Uint8Array): XsMessage {
  return {
    type: header.getUint32(TYPE, true),
    request: header.getUint32(REQUEST, true),
    transaction: header.getUint32(TRANSACTION, true),
    payload,
  };
}

/** @returns the strings of a payload in which each ends in NUL */
export function splitStrings(payload: Uint8Array): string[] {
  const text = new TextDecoder().decode(payload);
  return text === "" ? [] : text.replace(/\0$/, "").split("\0");
}
