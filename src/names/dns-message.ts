// Questions for a name's addresses, and what may be believed of the answers.
import type { Family, IpAddress } from "../base/ip.ts";
import { AAAA_LENGTH, CLASS_IN, checkDns, DNS, DNS_FLAG, nameAt, nameBytes, RECORD_TYPE } from "../wire/dns.ts";

/** What an answer says. Names are as `nameAt` makes them. */
export interface DnsAnswer {
  /** What was asked for: the addresses of that name, of one family. */
  readonly name: string;
  readonly family: Family;
  readonly rcode: number;
  /** Whether there is more than the datagram holds. */
  readonly truncated: boolean;
  readonly addresses: ReadonlyMap<string, readonly AddressRecord[]>;
  readonly aliases: ReadonlyMap<string, AliasRecord>;
}

export interface AddressRecord {
  readonly address: IpAddress;
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

/** Letters, digits, `-` and `_` in labels of 1 to 63, 253 altogether: what names of hosts, and of services, consist of. */
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/i;

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

/** What has the addresses of a family. */
const RECORD_TYPES = { 4: RECORD_TYPE.A, 6: RECORD_TYPE.AAAA } as const;

/** Recursion desired; and an OPT record of EDNS version 0 without options, for a payload size (RFC 6891 section 6.1). */
const RECURSION_DESIRED = 0x0100;
const OPT_LENGTH = 11;

/**
 * A question for A or AAAA records. Its number, and which of its letters are capitals, are random (draft-vixie-dnsext-dns0x20):
 * who doesn't see the question can't repeat them.
 * @param name as `nameAt` makes it
 * @param payloadSize for UDP, or undefined: without EDNS0
 * @param capitals whether there are any
 */
export function makeQuestion(name: string, family: Family, payloadSize: PayloadSize, capitals: boolean): Uint8Array {
  const asked = nameBytes(capitals ? randomCase(name) : name);
  const questionEnd = DNS.HEADER_LENGTH + asked.length + 4;
  const message = new Uint8Array(questionEnd + (payloadSize === undefined ? 0 : OPT_LENGTH));
  const view = viewOf(message);
  view.setUint16(DNS.ID, crypto.getRandomValues(new Uint16Array(1))[0]);
  view.setUint16(DNS.FLAGS, RECURSION_DESIRED);
  view.setUint16(DNS.QUESTIONS, 1);
  message.set(asked, DNS.HEADER_LENGTH);
  view.setUint16(questionEnd - 4, RECORD_TYPES[family]);
  view.setUint16(questionEnd - 2, CLASS_IN);
  if (payloadSize === undefined) return message;
  view.setUint16(DNS.ADDITIONALS, 1);
  view.setUint16(questionEnd + 1, RECORD_TYPE.OPT); // behind the root's name
  view.setUint16(questionEnd + 3, payloadSize);
  return message;
}

/**
 * @param message what came, from anyone
 * @returns what it answers, or why it is no answer to any question for addresses
 */
export function readAnswer(message: Uint8Array): DnsAnswer | string {
  const layout = checkDns(message);
  if (typeof layout === "string") return layout;
  const view = viewOf(message);
  const flags = view.getUint16(DNS.FLAGS);
  if ((flags & DNS_FLAG.RESPONSE) === 0) return "it is a question itself";
  if ((flags & DNS_FLAG.OPCODE) !== 0) return "it is none to a standard query";
  const { questionEnd, answers } = layout;
  const wanted = view.getUint16(questionEnd - 4);
  const isAboutAddresses = wanted === RECORD_TYPE.A || wanted === RECORD_TYPE.AAAA;
  if (!isAboutAddresses || view.getUint16(questionEnd - 2) !== CLASS_IN) return "it is not about addresses";
  const addresses = new Map<string, AddressRecord[]>();
  const aliases = new Map<string, AliasRecord>();
  for (const { type, owner, data, ttl: seconds } of answers) {
    const name = nameAt(message, owner);
    const ttl = seconds > MAX_TTL ? 0 : seconds;
    if (type === wanted) {
      const known = addresses.get(name) ?? [];
      known.push({ address: addressAt(message, view, type, data), ttl });
      addresses.set(name, known);
    } else if (type === RECORD_TYPE.CNAME && !aliases.has(name)) {
      // The first alias of a name counts, for there must be no other (RFC 2181 section 10.1).
      aliases.set(name, { target: nameAt(message, data), ttl });
    }
  }
  const rcode = flags & DNS_FLAG.RCODE;
  const truncated = (flags & DNS_FLAG.TRUNCATED) !== 0;
  const family = wanted === RECORD_TYPE.A ? 4 : 6;
  return { name: nameAt(message, DNS.HEADER_LENGTH), family, rcode, truncated, addresses, aliases };
}

function addressAt(message: Uint8Array, view: DataView, type: number, at: number): IpAddress {
  return type === RECORD_TYPE.A ? view.getUint32(at) : message.slice(at, at + AAAA_LENGTH);
}

/**
 * @param question one that was sent
 * @param message sound, as `readAnswer` says
 * @returns what of it the message does not repeat: its number, its question, or only the question's capitals
 */
export function fitOf(question: Uint8Array, message: Uint8Array): "number" | "question" | "capitals" | "fits" {
  if (Buffer.compare(question.subarray(0, DNS.FLAGS), message.subarray(0, DNS.FLAGS)) !== 0) return "number";
  const length = questionLength(question);
  const asked = question.subarray(DNS.HEADER_LENGTH, length);
  const repeated = message.subarray(DNS.HEADER_LENGTH, length);
  if (Buffer.compare(asked, repeated) === 0) return "fits";
  return Buffer.compare(asked.map(smallLetter), repeated.map(smallLetter)) === 0 ? "capitals" : "question";
}

/** Lengths of labels are no capitals: they are below 64. */
function smallLetter(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
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
