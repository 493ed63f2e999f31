// Qrexec's messages (qubes-core-qrexec, libqrexec/qrexec.h; https://www.qubes-os.org/doc/qrexec-internals/): u32 type and
// u32 length, little-endian, then the body. Texts in bodies end in NUL.
import { ProtocolError } from "../xen/byte-stream.ts";

/** The vchan port on which a domain's agent serves dom0. */
export const QREXEC_PORT = 512;

/** Message types. */
export const QREXEC = {
  DATA_STDIN: 0x190,
  DATA_STDOUT: 0x191,
  DATA_STDERR: 0x192,
  DATA_EXIT_CODE: 0x193,
  EXEC_CMDLINE: 0x200,
  JUST_EXEC: 0x201,
  SERVICE_CONNECT: 0x202,
  SERVICE_REFUSED: 0x203,
  TRIGGER_SERVICE: 0x210,
  CONNECTION_TERMINATED: 0x211,
  TRIGGER_SERVICE3: 0x212,
  HELLO: 0x300,
} as const;

/** Protocol versions that are spoken. */
export const VERSIONS = { least: 2, most: 3 };

export const QREXEC_HEADER_LENGTH = 8;
const MOST_BODY = 65536 + 8; // a command line of 65535 bytes behind its domain and port

/** Room for a name in a TRIGGER_SERVICE3: of its target and of the call. Version 2 has less, and room for the service. */
const ROOM = { target: 64, ident: 32, targetV2: 32, serviceV2: 64 };

export interface QrexecMessage {
  readonly type: number;
  readonly body: Uint8Array;
}

/** Where a call's data go, and what it is: a command line, or the name that we gave our call. */
export interface ExecParams {
  readonly domain: number;
  readonly port: number;
  readonly text: string;
}

/** @returns most bytes in one data message */
export function chunkLength(version: number): number {
  return version < 3 ? 4096 : 65536;
}

export function encodeQrexec(type: number, body: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(QREXEC_HEADER_LENGTH + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, body.length, true);
  bytes.set(body, QREXEC_HEADER_LENGTH);
  return bytes;
}

/** @throws ProtocolError */
export function qrexecBodyLength(header: DataView): number {
  const length = header.getUint32(4, true);
  if (length > MOST_BODY) throw new ProtocolError(`qrexec: a message of ${length} bytes`);
  return length;
}

export function decodeQrexec(header: DataView, body: Uint8Array): QrexecMessage {
  return { type: header.getUint32(0, true), body };
}

/** A body that is one number: a version, or an exit status. */
export function encodeNumber(type: number, value: number): Uint8Array {
  return encodeQrexec(type, words(value));
}

/** @throws ProtocolError */
export function decodeNumber(body: Uint8Array): number {
  if (body.length !== 4) throw new ProtocolError(`qrexec: a number of ${body.length} bytes`);
  return new DataView(body.buffer, body.byteOffset).getUint32(0, true);
}

export function encodeExec(type: number, { domain, port, text }: ExecParams): Uint8Array {
  return encodeQrexec(type, Buffer.concat([words(domain, port), terminated(text)]));
}

/** @throws ProtocolError */
export function decodeExec(body: Uint8Array): ExecParams {
  if (body.length < 9) throw new ProtocolError(`qrexec: a command in ${body.length} bytes`);
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  return { domain: view.getUint32(0, true), port: view.getUint32(4, true), text: textOf(body.subarray(8)) };
}

/** That the data connection of a call has ended. */
export function encodeTerminated(domain: number, port: number): Uint8Array {
  return encodeQrexec(QREXEC.CONNECTION_TERMINATED, words(domain, port));
}

/**
 * Our call of another domain's service.
 * @param ident what the answer names it by
 */
export function encodeTrigger(version: number, target: string, service: string, ident: string): Uint8Array {
  if (version < 3) {
    const fields = [field(service, ROOM.serviceV2), field(target, ROOM.targetV2), field(ident, ROOM.ident)];
    return encodeQrexec(QREXEC.TRIGGER_SERVICE, Buffer.concat(fields));
  }
  const fields = [field(target, ROOM.target), field(ident, ROOM.ident), terminated(service)];
  return encodeQrexec(QREXEC.TRIGGER_SERVICE3, Buffer.concat(fields));
}

/** @returns the text up to its NUL */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint32(i * 4, value, true);
  return bytes;
}

function terminated(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

function field(text: string, room: number): Uint8Array {
  const bytes = terminated(text);
  if (bytes.length > room) throw new RangeError(`qrexec: ${JSON.stringify(text)} is longer than ${room - 1} bytes`);
  const padded = new Uint8Array(room);
  padded.set(bytes);
  return padded;
}
