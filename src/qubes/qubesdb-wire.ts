// QubesDB's messages, as they cross a vchan (qubes-core-qubesdb, include/qubesdb.h): a header of 72 bytes with the path in
// it, then the value.
import { ProtocolError } from "../xen/byte-stream.ts";

/** The vchan port on which dom0 serves each domain its database. */
export const QUBESDB_PORT = 111;

/** Message types; over a vchan only these occur. */
export const QDB = {
  WRITE: 1,
  MULTIREAD: 2,
  RM: 4,
  RESP_OK: 7,
  RESP_ERROR_NOENT: 8,
  RESP_ERROR: 9,
  RESP_MULTIREAD: 11,
} as const;

/** u8 type, path ended by NUL, three bytes of padding, u32 little-endian length of the value. */
export const QDB_HEADER_LENGTH = 72;
const TYPE = 0;
const PATH = 1;
const PATH_ROOM = 64;
const LENGTH = 68;

/** Longest value in bytes. Dom0's daemon ends itself over a longer one (daemon/db-cmds.c, verify_hdr). */
export const QDB_VALUE_LENGTH = 3071;

const PATH_PATTERN = /^[A-Za-z0-9_/.:@][A-Za-z0-9_/.:@-]*$/;

export interface QdbMessage {
  readonly type: number;
  /** Empty: the whole database, or its end. */
  readonly path: string;
  readonly value: string;
}

/** @returns why the path can't be one, or undefined */
export function pathProblem(path: string): string | undefined {
  if (path.length >= PATH_ROOM) return `is longer than ${PATH_ROOM - 1} characters`;
  return PATH_PATTERN.test(path) ? undefined : "has characters that QubesDB doesn't allow";
}

/** @throws RangeError when a path or a value can't be in the database */
export function encodeQdb({ type, path, value }: QdbMessage): Uint8Array {
  const problem = path === "" ? undefined : pathProblem(path);
  if (problem !== undefined) throw new RangeError(`QubesDB: path ${JSON.stringify(path)} ${problem}`);
  const data = new TextEncoder().encode(value);
  if (data.length > QDB_VALUE_LENGTH)
    throw new RangeError(`QubesDB: ${path}: ${data.length} bytes are too long a value`);
  if (data.includes(0)) throw new RangeError(`QubesDB: ${path}: the value has a NUL in it`);
  const bytes = new Uint8Array(QDB_HEADER_LENGTH + data.length);
  bytes[TYPE] = type;
  new TextEncoder().encodeInto(path, bytes.subarray(PATH));
  new DataView(bytes.buffer).setUint32(LENGTH, data.length, true);
  bytes.set(data, QDB_HEADER_LENGTH);
  return bytes;
}

/** @throws ProtocolError */
export function qdbValueLength(header: DataView): number {
  const length = header.getUint32(LENGTH, true);
  if (length > QDB_VALUE_LENGTH) throw new ProtocolError(`a value of ${length} bytes`);
  return length;
}

/** What stands behind the path's NUL is arbitrary. @throws ProtocolError */
export function decodeQdb(header: DataView, data: Uint8Array): QdbMessage {
  const room = new Uint8Array(header.buffer, header.byteOffset + PATH, PATH_ROOM);
  const end = room.indexOf(0);
  if (end < 0) throw new ProtocolError("a path without an end");
  const path = new TextDecoder("latin1").decode(room.subarray(0, end));
  const problem = path === "" ? undefined : pathProblem(path);
  if (problem !== undefined) throw new ProtocolError(`path ${JSON.stringify(path)} ${problem}`);
  if (data.includes(0)) throw new ProtocolError(`${path}: a value with a NUL in it`);
  return { type: header.getUint8(TYPE), path, value: new TextDecoder().decode(data) };
}
