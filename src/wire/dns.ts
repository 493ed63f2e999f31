// DNS messages (RFC 1035 section 4): offsets from the first byte, the check of their structure, and names. A message is checked
// whole before anything of it is read.

export const DNS = {
  ID: 0,
  FLAGS: 2,
  QUESTIONS: 4,
  ANSWERS: 6,
  AUTHORITIES: 8,
  ADDITIONALS: 10,
  HEADER_LENGTH: 12,
} as const;

/** Of the word at DNS.FLAGS. */
export const DNS_FLAG = { RESPONSE: 0x8000, OPCODE: 0x7800, TRUNCATED: 0x0200, RCODE: 0x000f } as const;

export const RCODE = { NO_ERROR: 0, FORMAT_ERROR: 1, SERVER_FAILURE: 2, NAME_ERROR: 3, NOT_IMPLEMENTED: 4 } as const;

export const RECORD_TYPE = { A: 1, CNAME: 5, AAAA: 28, OPT: 41 } as const; // AAAA: RFC 3596
export const CLASS_IN = 1;

/** Bytes of a question behind its name, and of a record between its name and its data: type, class, TTL, length. */
const QUESTION_LENGTH = 4;
const RECORD_LENGTH = 10;
const RECORD = { TYPE: 0, CLASS: 2, TTL: 4, DATA_LENGTH: 8 } as const;

/** Data of A and AAAA records. */
const A_LENGTH = 4;
export const AAAA_LENGTH = 16;

/** Longest name on the wire (RFC 1035 section 3.1), and the two kinds of length bytes. */
const LONGEST_NAME = 255;
const LABEL_LIMIT = 0x40;
const POINTER = 0xc0;
const BAD_NAME = -1;

/** Where the parts of a sound message with one question are. */
export interface DnsLayout {
  /** End of the question: its name, type and class begin at DNS.HEADER_LENGTH. */
  readonly questionEnd: number;
  /** The answers that are A, AAAA or CNAME records of class IN. */
  readonly answers: readonly DnsRecord[];
}

export interface DnsRecord {
  /** RECORD_TYPE.A, AAAA or CNAME. */
  readonly type: number;
  /** Offsets of the owner's name, and of the data: an address, or a name. */
  readonly owner: number;
  readonly data: number;
  /** uint32, in seconds. */
  readonly ttl: number;
}

/**
 * Checks a message with exactly one question: all names and lengths of all its records, and the data of A, AAAA and CNAME records.
 * What comes behind the last record belongs to nobody, and is let pass: some servers append bytes.
 * @param bytes the whole message
 * @returns what is wrong, or where its parts are
 */
export function checkDns(bytes: Uint8Array): DnsLayout | string {
  if (bytes.length < DNS.HEADER_LENGTH) return "the header is truncated";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(DNS.QUESTIONS) !== 1) return "there is not one question";
  const name = nameEnd(bytes, DNS.HEADER_LENGTH);
  const questionEnd = name + QUESTION_LENGTH;
  if (name === BAD_NAME || questionEnd > bytes.length) return "the question is malformed";

  const answers: DnsRecord[] = [];
  let at = questionEnd;
  for (const section of [DNS.ANSWERS, DNS.AUTHORITIES, DNS.ADDITIONALS]) {
    for (let left = view.getUint16(section); left > 0; left--) {
      const owner = at;
      const head = nameEnd(bytes, owner);
      if (head === BAD_NAME || head + RECORD_LENGTH > bytes.length) return "a record is malformed";
      const data = head + RECORD_LENGTH;
      at = data + view.getUint16(head + RECORD.DATA_LENGTH);
      if (at > bytes.length) return "a record is truncated";
      const type = view.getUint16(head + RECORD.TYPE);
      if (section !== DNS.ANSWERS || view.getUint16(head + RECORD.CLASS) !== CLASS_IN || !isKnown(type)) continue;
      if (!hasSoundData(bytes, type, data, at)) return "a record's data is malformed";
      answers.push({ type, owner, data, ttl: view.getUint32(head + RECORD.TTL) });
    }
  }
  return { questionEnd, answers };
}

function isKnown(type: number): boolean {
  return type === RECORD_TYPE.A || type === RECORD_TYPE.AAAA || type === RECORD_TYPE.CNAME;
}

/** @param end where the data end */
function hasSoundData(bytes: Uint8Array, type: number, data: number, end: number): boolean {
  if (type === RECORD_TYPE.CNAME) return nameEnd(bytes, data) === end;
  return end === data + (type === RECORD_TYPE.A ? A_LENGTH : AAAA_LENGTH);
}

/**
 * @param bytes a message that `checkDns` finds sound
 * @returns the name at an offset, as names are compared: ASCII in lower case (RFC 4343), labels joined by dots, none at the end;
 * bytes other than letters, digits, `-` and `_` as `\\DDD` (RFC 1035 section 5.1), so that no two names read alike
 */
export function nameAt(bytes: Uint8Array, start: number): string {
  const labels: string[] = [];
  for (let at = start; at < bytes.length && bytes[at] !== 0; ) {
    const length = bytes[at];
    if (length >= POINTER) {
      at = ((length & ~POINTER) << 8) | bytes[at + 1];
      continue;
    }
    labels.push(Array.from(bytes.subarray(at + 1, at + 1 + length), textOf).join(""));
    at += 1 + length;
  }
  return labels.join(".");
}

function textOf(byte: number): string {
  const letter = String.fromCharCode(byte).toLowerCase();
  return /[a-z0-9_-]/.test(letter) && byte < 0x80 ? letter : `\\${String(byte).padStart(3, "0")}`;
}

/** @param name as `nameAt` makes it, in whatever capitals @returns its bytes in a message */
export function nameBytes(name: string): Uint8Array {
  const labels = (name === "" ? [] : name.split(".")).map((label) => {
    const text = label.replace(/\\(\d{3})/g, (_, code) => String.fromCharCode(Number(code)));
    return Buffer.concat([Buffer.of(text.length), Buffer.from(text, "latin1")]);
  });
  return Buffer.concat([...labels, Buffer.of(0)]);
}

/**
 * Follows a name to its end. Each pointer must lead further to the front than the one before (RFC 1035 section 4.1.4), so
 * that there are no circles.
 * @returns the offset behind the name where it stands, or BAD_NAME
 */
function nameEnd(bytes: Uint8Array, start: number): number {
  let end = 0;
  let limit = start;
  let length = 1;
  for (let at = start; at < bytes.length; ) {
    const byte = bytes[at];
    if (byte === 0) return end || at + 1;
    if (byte < LABEL_LIMIT) {
      length += 1 + byte;
      if (length > LONGEST_NAME) return BAD_NAME;
      at += 1 + byte;
    } else {
      if (byte < POINTER || at + 1 >= bytes.length) return BAD_NAME;
      end ||= at + 2;
      at = ((byte & ~POINTER) << 8) | bytes[at + 1];
      if (at >= limit) return BAD_NAME;
      limit = at;
    }
  }
  return BAD_NAME;
}
