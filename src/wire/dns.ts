// DNS messages (RFC 1035 section 4): offsets from the first byte, and the check of their structure. It is stricter than
// decoders are: what a decoder could misread, or follow in circles, is refused before it sees it.

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

export const RCODE = { NO_ERROR: 0, FORMAT_ERROR: 1, NAME_ERROR: 3, NOT_IMPLEMENTED: 4 } as const;

export const RECORD_TYPE = { A: 1, CNAME: 5 } as const;
export const CLASS_IN = 1;

/** Bytes of a question behind its name, and of a record between its name and its data: type, class, TTL, length. */
const QUESTION_LENGTH = 4;
const RECORD_LENGTH = 10;
const RECORD = { TYPE: 0, CLASS: 2, DATA_LENGTH: 8 } as const;

/** Longest name on the wire (RFC 1035 section 3.1), and the two kinds of length bytes. */
const LONGEST_NAME = 255;
const LABEL_LIMIT = 0x40;
const POINTER = 0xc0;
const DOT = 0x2e;
const BAD_NAME = -1;

/** Where the parts of a sound message with one question are. */
export interface DnsLayout {
  /** End of the question: its name, type and class begin at DNS.HEADER_LENGTH. */
  readonly questionEnd: number;
  readonly answersEnd: number;
  /** Where each answer's type is that is no A or CNAME record of class IN. */
  readonly others: readonly number[];
}

/**
 * Checks a message with exactly one question: all names and lengths of all its records, the data of A and CNAME records,
 * and that nothing is left over.
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

  const others: number[] = [];
  let at = questionEnd;
  let answersEnd = questionEnd;
  for (const section of [DNS.ANSWERS, DNS.AUTHORITIES, DNS.ADDITIONALS]) {
    for (let left = view.getUint16(section); left > 0; left--) {
      const type = nameEnd(bytes, at);
      if (type === BAD_NAME || type + RECORD_LENGTH > bytes.length) return "a record is malformed";
      at = type + RECORD_LENGTH + view.getUint16(type + RECORD.DATA_LENGTH);
      if (at > bytes.length) return "a record is truncated";
      if (section !== DNS.ANSWERS) continue;
      if (view.getUint16(type + RECORD.CLASS) !== CLASS_IN) others.push(type);
      else if (!isKnown(view.getUint16(type + RECORD.TYPE))) others.push(type);
      else if (!hasSoundData(bytes, view, type, at)) return "a record's data is malformed";
    }
    if (section === DNS.ANSWERS) answersEnd = at;
  }
  return at === bytes.length ? { questionEnd, answersEnd, others } : "there are bytes behind the last record";
}

function isKnown(type: number): boolean {
  return type === RECORD_TYPE.A || type === RECORD_TYPE.CNAME;
}

/** @param type where the record's type is; its data reach up to `end` */
function hasSoundData(bytes: Uint8Array, view: DataView, type: number, end: number): boolean {
  const data = type + RECORD_LENGTH;
  return view.getUint16(type + RECORD.TYPE) === RECORD_TYPE.A ? end === data + 4 : nameEnd(bytes, data) === end;
}

/**
 * Follows a name to its end. Each pointer must lead further to the front than the one before (RFC 1035 section 4.1.4), so
 * that there are no circles; a label with a dot in it would read as two.
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
      const next = at + 1 + byte;
      if (length > LONGEST_NAME || bytes.subarray(at + 1, next).includes(DOT)) return BAD_NAME;
      at = next;
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
