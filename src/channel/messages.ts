// What goes over the channel, after docs/CONTROL.md: requests one way, replies the other, each an item of a CBOR sequence. What comes in
// is looked at here, and nowhere else taken for what it should be.
import type { Fields, Value } from "./cbor.ts";

export const VERSION = 1;

/** The operation that comes first: each end says what it speaks. */
export const HELLO = "hello";
/** Operations about a stream that there is already, by its id. They have no reply of their own. */
export const CREDIT = "credit";
export const CANCEL = "cancel";

/** Records that may be sent before the first credit comes, where the request does not say; and most that may be open at once. */
export const FIRST_CREDIT = 64;
export const MOST_CREDIT = 65_536;

const MOST_ID = 0xffff_ffff;

export interface Request {
  readonly id: number;
  readonly op: string;
  readonly args: Partial<Fields>;
  /** Records that the client takes: at first, or of CREDIT beyond those before. */
  readonly credit: number;
}

export interface Failure {
  /** One of ERRORS. */
  readonly code: ErrorCode;
  readonly text: string;
}

export const ERRORS = [
  "protocol", // what came is not what docs/CONTROL.md allows: the connection ends
  "version", // no version that both speak: the connection ends
  "busy", // there are as many connections as there may be, or requests of this one: it ends, or the request is not begun
  "operation", // no such operation
  "arguments", // an argument that is missing, unknown, or not what it should be
  "configuration", // it has errors: a line for each
  "failed", // the firewall could not do it
] as const;
export type ErrorCode = (typeof ERRORS)[number];

export type Reply =
  /** A record of the stream; `lost` records before it were not sent, since the client was too slow. */
  | { readonly id: number; readonly data: Value; readonly lost?: number }
  /** The stream is over: so many records were sent, so many lost. */
  | { readonly id: number; readonly end: { readonly records: number; readonly lost: number } }
  /** It is over before its end. Without an id: the connection is. */
  | { readonly id: number | null; readonly error: Failure };

/** What the other end has asked for, or sent, can't be answered. */
export class ChannelError extends Error {
  constructor(
    readonly code: ErrorCode,
    text: string,
  ) {
    super(text);
  }
}

/** @throws ChannelError */
export function readRequest(value: Value): Request {
  const { id, op, args = {}, credit = FIRST_CREDIT, ...others } = fieldsOf(value);
  const unknown = Object.keys(others);
  if (unknown.length > 0) throw protocol(`a request with the key ${JSON.stringify(unknown[0])}`);
  if (!isCount(id, MOST_ID)) throw protocol("a request without an id");
  if (typeof op !== "string") throw protocol("a request without an op");
  if (!isCount(credit, MOST_CREDIT)) throw protocol("a credit that is no number of records");
  return { id, op, args: fieldsOf(args), credit };
}

/** @throws ChannelError */
export function readReply(value: Value): Reply {
  const { id, data, lost, end, error } = fieldsOf(value);
  if (error !== undefined) {
    if (id !== null && !isCount(id, MOST_ID)) throw protocol("an error without an id");
    return { id, error: readFailure(fieldsOf(error)) };
  }
  if (!isCount(id, MOST_ID)) throw protocol("a reply without an id");
  if (end !== undefined) {
    const { records, lost: all } = fieldsOf(end);
    if (!isCount(records) || !isCount(all)) throw protocol("an end without counts");
    return { id, end: { records, lost: all } };
  }
  if (data === undefined) throw protocol("a reply without data");
  if (lost === undefined) return { id, data };
  if (!isCount(lost)) throw protocol("lost records that are no number");
  return { id, data, lost };
}

/** @returns a map. @throws ChannelError where it is none */
export function fieldsOf(value: Value | undefined): Partial<Fields> {
  if (value === null || typeof value !== "object" || Array.isArray(value) || value instanceof Uint8Array) {
    throw protocol("something else in place of a map");
  }
  return value as Fields;
}

function readFailure({ code, text }: Partial<Fields>): Failure {
  const known = ERRORS.find((one) => one === code);
  if (known === undefined || typeof text !== "string") throw protocol("an error that says nothing");
  return { code: known, text };
}

function isCount(value: Value | undefined, most = Number.MAX_SAFE_INTEGER): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= most;
}

function protocol(text: string): ChannelError {
  return new ChannelError("protocol", text);
}
