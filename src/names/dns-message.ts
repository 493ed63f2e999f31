// Questions for a name's addresses, and what may be believed of the answers. The library dns-packet writes and reads the
// messages, and it reads only what has passed our own checks (wire/dns.ts).
import { decode, encode, RECURSION_DESIRED } from "dns-packet";
import { parseAddress } from "../base/address.ts";
import { CLASS_IN, checkDns, DNS, DNS_FLAG, RECORD_TYPE } from "../wire/dns.ts";

/** What an answer says. Names are in lower case, without a dot at the end. */
export interface DnsAnswer {
  /** What was asked for. */
  readonly name: string;
  readonly rcode: number;
  /** Whether there is more than the datagram holds. */
  readonly truncated: boolean;
  readonly addresses: ReadonlyMap<string, readonly AddressRecord[]>;
  readonly aliases: ReadonlyMap<string, AliasRecord>;
}

export interface AddressRecord {
  /** uint32, host order. */
  readonly address: number;
  /** Seconds. */
  readonly ttl: number;
}

/** A CNAME record. */
export interface AliasRecord {
  readonly target: string;
  readonly ttl: number;
}

/** Where a chain of aliases leads within one answer. */
export interface ChainEnd {
  readonly name: string;
  /** The smallest on the way, in seconds. */
  readonly ttl: number;
}

/** Aliases that are followed for one name: as many as common resolvers follow, and more than anybody needs. */
export const LONGEST_CHAIN = 8;

/** A UDP payload size to announce (RFC 6891 section 6.2.3), or without EDNS0. */
export type PayloadSize = number | undefined;

/** Longest message that is looked at. More was not asked for, and clients don't ask for more either. */
const LONGEST_MESSAGE = 4096;

/** Letters, digits, `-` and `_` in labels of 1 to 63, 253 altogether: what names of hosts, and of services, consist of. */
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/i;

/** A type of the range for private use (RFC 6895 section 3.1), which dns-packet does not look into. */
const OPAQUE_TYPE = 0xff00;

/** The largest TTL; one with the top bit set counts as 0 (RFC 2181 section 8). */
const MAX_TTL = 0x7fffffff;

/** @returns the name as it is compared: ASCII in lower case (RFC 4343), without a dot at the end. */
export function canonicalName(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()).replace(/\.$/, "");
}

/** @returns whether it is one that can be asked for */
export function isHostName(name: string): boolean {
  return HOST_NAME.test(name);
}

/**
 * A question for A records. Its number, and which of its letters are capitals, are random (draft-vixie-dnsext-dns0x20):
 * who doesn't see the question can't repeat them.
 * @param name a host name
 */
export function makeQuestion(name: string, payloadSize: PayloadSize): Uint8Array {
  const edns = {
    type: "OPT" as const,
    name: ".",
    udpPayloadSize: payloadSize ?? 0,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  const [id] = crypto.getRandomValues(new Uint16Array(1));
  return encode({
    type: "query",
    id,
    flags: RECURSION_DESIRED,
    questions: [{ type: "A", class: "IN", name: randomCase(name) }],
    additionals: payloadSize === undefined ? [] : [edns],
  });
}

/**
 * @param message what came, from anyone
 * @returns what it answers, or why it is no answer to any question for addresses
 */
export function readAnswer(message: Uint8Array): DnsAnswer | string {
  if (message.length > LONGEST_MESSAGE) return "it is too long";
  const layout = checkDns(message);
  if (typeof layout === "string") return layout;
  const view = viewOf(message);
  const flags = view.getUint16(DNS.FLAGS);
  if ((flags & DNS_FLAG.RESPONSE) === 0) return "it is a question itself";
  if ((flags & DNS_FLAG.OPCODE) !== 0) return "it is none to a standard query";
  const { questionEnd, answersEnd, others } = layout;
  if (view.getUint16(questionEnd - 4) !== RECORD_TYPE.A || view.getUint16(questionEnd - 2) !== CLASS_IN) {
    return "it is not about IPv4 addresses";
  }
  // Only what has been checked in depth is left for dns-packet to read.
  const readable = Buffer.from(message.slice(0, answersEnd));
  readable.writeUInt32BE(0, DNS.AUTHORITIES);
  for (const type of others) readable.writeUInt16BE(OPAQUE_TYPE, type);
  const isTruncated = (flags & DNS_FLAG.TRUNCATED) !== 0;
  try {
    return { ...readRecords(readable), rcode: flags & DNS_FLAG.RCODE, truncated: isTruncated };
  } catch {
    return "it can't be decoded";
  }
}

/**
 * @param question one that was sent
 * @param message sound, as `readAnswer` says
 * @returns why the message does not answer it, if so: number and question must be the same, capitals included
 */
export function mismatch(question: Uint8Array, message: Uint8Array): string | undefined {
  const length = questionLength(question);
  if (Buffer.compare(question.subarray(0, DNS.FLAGS), message.subarray(0, DNS.FLAGS)) !== 0) {
    return "it has another number than the question";
  }
  const repeated = message.subarray(DNS.HEADER_LENGTH, length);
  const isSame = Buffer.compare(question.subarray(DNS.HEADER_LENGTH, length), repeated) === 0;
  return isSame ? undefined : "it repeats another question";
}

/**
 * @returns the code of an error without a question in it, as servers send that can't read ours (RFC 1035 section 4.1.1);
 * undefined if it isn't that
 */
export function bareError(question: Uint8Array, message: Uint8Array): number | undefined {
  if (message.length < DNS.HEADER_LENGTH) return undefined;
  const view = viewOf(message);
  const flags = view.getUint16(DNS.FLAGS);
  const isError = (flags & DNS_FLAG.RESPONSE) !== 0 && (flags & DNS_FLAG.RCODE) !== 0;
  const isOurs = view.getUint16(DNS.ID) === viewOf(question).getUint16(DNS.ID);
  return isError && isOurs && view.getUint16(DNS.QUESTIONS) === 0 ? flags & DNS_FLAG.RCODE : undefined;
}

/**
 * Follows aliases as far as the answer has them.
 * @param chain the names so far, the last of them where to begin; those on the way are added
 * @returns where they end, or undefined where they go round in circles or on and on
 */
export function followAliases(answer: DnsAnswer, chain: string[]): ChainEnd | undefined {
  let name = chain[chain.length - 1];
  let ttl = MAX_TTL;
  for (;;) {
    const alias = answer.aliases.get(name);
    if (alias === undefined) return { name, ttl };
    if (chain.length > LONGEST_CHAIN || chain.includes(alias.target)) return undefined;
    name = alias.target;
    chain.push(name);
    ttl = Math.min(ttl, alias.ttl);
  }
}

/** Records of hosts; the first alias of a name counts, for there must be no other (RFC 2181 section 10.1). */
function readRecords(readable: Buffer): Pick<DnsAnswer, "name" | "addresses" | "aliases"> {
  const { questions = [], answers = [] } = decode(readable);
  const addresses = new Map<string, AddressRecord[]>();
  const aliases = new Map<string, AliasRecord>();
  for (const record of answers) {
    const name = canonicalName(record.name);
    if (record.type === "A") {
      const address = parseAddress(record.data);
      if (address === undefined) continue;
      const known = addresses.get(name) ?? [];
      known.push({ address, ttl: ttlOf(record.ttl) });
      addresses.set(name, known);
    } else if (record.type === "CNAME") {
      const target = canonicalName(record.data);
      if (isHostName(target) && !aliases.has(name)) aliases.set(name, { target, ttl: ttlOf(record.ttl) });
    }
  }
  return { name: canonicalName(questions[0].name), addresses, aliases };
}

function ttlOf(ttl = 0): number {
  return ttl > MAX_TTL ? 0 : ttl;
}

function questionLength(question: Uint8Array): number {
  const layout = checkDns(question);
  if (typeof layout === "string") throw new Error(`a question of ours is malformed: ${layout}`);
  return layout.questionEnd;
}

function randomCase(name: string): string {
  const bits = crypto.getRandomValues(new Uint8Array(name.length));
  return Array.from(name, (letter, i) => ((bits[i] & 1) === 0 ? letter.toLowerCase() : letter.toUpperCase())).join("");
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
