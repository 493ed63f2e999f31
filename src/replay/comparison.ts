// What a capture's router sent, held against what we would have sent: IPv4 packets only, matched by what a correct router can't
// choose. Left out are MAC addresses, the IP identification and checksums; of what leaves by the uplink's address, its port or
// ICMP identifier; of ICMP errors, all but who tells whom what about which packet. Only the first bytes are looked at, so that
// captures with different snapshot lengths compare. A packet without its like after some seconds is a difference.
import { formatAddress } from "../base/address.ts";
import type { Settings } from "../dataplane/settings.ts";
import { ETHERNET, ETHERTYPE } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE } from "../wire/icmp.ts";
import { FRAGMENT_OFFSET, IPV4, PROTOCOL } from "../wire/ipv4.ts";
import { TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";

/** Bytes of a frame that are looked at. */
const LOOKED_AT = 96;
const PATIENCE_SECONDS = 5;
/** Packets that wait for their like, at most; then the oldest is a difference before its time. */
const MOST_WAITING = 1 << 14;
/** Differences that are told one by one. */
const MOST_TOLD = 10;
const IP = ETHERNET.HEADER_LENGTH;
const ICMP_QUERIES: readonly number[] = [ICMP_TYPE.ECHO, ICMP_TYPE.ECHO_REPLY];

const OURS = -1;
const THEIRS = 1;

interface Waiting {
  readonly key: number;
  readonly by: typeof OURS | typeof THEIRS;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly iface: number;
  /** Of the router's, its place in the capture. */
  readonly number: number;
  readonly source: number;
  readonly destination: number;
  readonly protocol: number;
  readonly length: number;
  hasMet: boolean;
}

export class Comparison {
  private readonly uplink: number;
  private readonly uplinkAddress: number;
  private readonly names: readonly string[];
  /** Packets that have not had their like, by key: all of one key are of the same side, the oldest first. */
  private readonly open = new Map<number, Waiting[]>();
  /** In the order in which they came; those before `oldest` have been looked at. */
  private waiting: Waiting[] = [];
  private oldest = 0;
  private same = 0;
  private readonly only = { [OURS]: 0, [THEIRS]: 0 };
  private readonly told: string[] = [];
  private first = 0;
  private second = 0;

  constructor({ uplink, interfaces }: Settings) {
    this.uplink = uplink.iface;
    this.uplinkAddress = uplink.address | 0;
    this.names = interfaces.map(({ name }) => name);
  }

  /** We sent a frame. @param captured bytes of it that come from a capture */
  ours(iface: number, seconds: number, nanoseconds: number, bytes: Buffer, at: number, captured: number): void {
    this.note(OURS, iface, seconds, nanoseconds, bytes, at, captured, 0);
  }

  /** The capture's router sent a frame. @returns whether we have sent its like already */
  theirs(
    iface: number,
    seconds: number,
    nanoseconds: number,
    bytes: Buffer,
    at: number,
    captured: number,
    number: number,
  ): boolean {
    return this.note(THEIRS, iface, seconds, nanoseconds, bytes, at, captured, number);
  }

  /** All is over: what waits for its like waits in vain. */
  end(): void {
    this.giveUp(Number.POSITIVE_INFINITY, 0);
  }

  /** @returns how it came out, after `end` */
  counts(): { readonly same: number; readonly onlyByRouter: number; readonly onlyByUs: number } {
    return { same: this.same, onlyByRouter: this.only[THEIRS], onlyByUs: this.only[OURS] };
  }

  /** @returns the same as a line, and one for each of the first differences */
  lines(): string[] {
    const { same, only, told } = this;
    const more = only[OURS] + only[THEIRS] - told.length;
    const sum = `compared: ${same} packets the same, ${only[THEIRS]} only by the router, ${only[OURS]} only by us`;
    return [sum, ...told, ...(more > 0 ? [`  and ${more} more`] : [])];
  }

  private note(
    by: typeof OURS | typeof THEIRS,
    iface: number,
    seconds: number,
    nanoseconds: number,
    bytes: Buffer,
    at: number,
    captured: number,
    number: number,
  ): boolean {
    if (captured < IP + IPV4.HEADER_LENGTH || bytes.readUInt16BE(at + ETHERNET.TYPE) !== ETHERTYPE.IPV4) return false;
    const key = this.keyOf(iface, bytes, at, Math.min(captured, LOOKED_AT));
    const open = this.open.get(key) ?? [];
    if (open.length > 0 && open[0].by !== by) {
      this.meet(key, open);
      this.same++;
      return true;
    }
    const one = {
      key,
      by,
      seconds,
      nanoseconds,
      iface,
      number,
      hasMet: false,
      source: bytes.readUInt32BE(at + IP + IPV4.SOURCE),
      destination: bytes.readUInt32BE(at + IP + IPV4.DESTINATION),
      protocol: bytes[at + IP + IPV4.PROTOCOL],
      length: bytes.readUInt16BE(at + IP + IPV4.TOTAL_LENGTH),
    };
    this.open.set(key, open);
    open.push(one);
    this.waiting.push(one);
    this.giveUp(seconds - PATIENCE_SECONDS, MOST_WAITING);
    return false;
  }

  /** The oldest of a key waits no more. */
  private meet(key: number, open: Waiting[]): void {
    const one = open.shift();
    if (one !== undefined) one.hasMet = true;
    if (open.length === 0) this.open.delete(key);
  }

  /** Makes differences of those that have waited since before a moment, and of the oldest where more than `most` wait. */
  private giveUp(before: number, most: number): void {
    while (this.oldest < this.waiting.length) {
      const one = this.waiting[this.oldest];
      if (one.seconds >= before && this.waiting.length - this.oldest <= most) break;
      this.oldest++;
      if (one.hasMet) continue;
      this.meet(one.key, this.open.get(one.key) ?? []);
      this.only[one.by]++;
      if (this.told.length < MOST_TOLD) this.told.push(this.describe(one));
    }
    if (this.oldest < MOST_WAITING) return;
    this.waiting = this.waiting.slice(this.oldest);
    this.oldest = 0;
  }

  /** `  only by us: eth1 at 1.000000000: 192.0.2.254 > 198.51.100.80 protocol 6, 60 bytes` */
  private describe({
    by,
    seconds,
    nanoseconds,
    iface,
    number,
    source,
    destination,
    protocol,
    length,
  }: Waiting): string {
    const who = by === OURS ? "us" : "the router";
    const place = by === OURS ? this.names[iface] : `${this.names[iface]} #${number}`;
    const moment = `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
    const ends = `${formatAddress(source)} > ${formatAddress(destination)}`;
    return `  only by ${who}: ${place} at ${moment}: ${ends} protocol ${protocol}, ${length} bytes`;
  }

  /** @returns a number of 53 bits that packets which are the same have in common */
  private keyOf(iface: number, bytes: Buffer, at: number, length: number): number {
    this.first = iface + 1;
    this.second = 0x9e3779b9;
    const transport = IP + headerOf(bytes, at);
    const protocol = bytes[at + IP + IPV4.PROTOCOL];
    const isError = protocol === PROTOCOL.ICMP && length > transport && !ICMP_QUERIES.includes(bytes[at + transport]);
    this.mix(bytes, at + IP + IPV4.SOURCE, at + IP + IPV4.SOURCE + 8);
    this.mixByte(protocol);
    if (isError) {
      this.mix(bytes, at + transport + ICMP.TYPE, at + transport + ICMP.CODE + 1);
      const quoted = transport + ICMP.HEADER_LENGTH;
      // Of the quoted packet, the end that is translated is left out.
      const end = iface === this.uplink ? IPV4.SOURCE : IPV4.DESTINATION;
      if (length >= quoted + IPV4.HEADER_LENGTH) this.mix(bytes, at + quoted + end, at + quoted + end + 4);
    } else {
      this.mixHeader(bytes, at);
      this.mixContent(iface, protocol, bytes, at, transport, length);
    }
    return (this.first >>> 0) * 0x200000 + (this.second >>> 11);
  }

  /** Type of service, length, fragment word, TTL. */
  private mixHeader(bytes: Buffer, at: number): void {
    this.mix(bytes, at + IP + 1, at + IP + IPV4.TOTAL_LENGTH + 2);
    this.mix(bytes, at + IP + IPV4.FRAGMENT, at + IP + IPV4.TTL + 1);
  }

  private mixContent(
    iface: number,
    protocol: number,
    bytes: Buffer,
    at: number,
    transport: number,
    length: number,
  ): void {
    const isFirst = (bytes.readUInt16BE(at + IP + IPV4.FRAGMENT) & FRAGMENT_OFFSET) === 0;
    const isMapped = iface === this.uplink && bytes.readInt32BE(at + IP + IPV4.SOURCE) === this.uplinkAddress;
    for (let i = transport; i < length; i++) {
      if (isFirst && isChosen(protocol, i - transport, isMapped)) continue;
      this.mixByte(bytes[at + i]);
    }
  }

  private mix(bytes: Buffer, from: number, to: number): void {
    for (let i = from; i < to; i++) this.mixByte(bytes[i]);
  }

  private mixByte(byte: number): void {
    this.first = Math.imul(this.first ^ byte, 0x01000193);
    this.second = Math.imul(this.second ^ byte, 0x5bd1e995) ^ (this.second >>> 15);
  }
}

/** @param offset in the transport header @returns whether a router may choose what is there, or has to compute it */
function isChosen(protocol: number, offset: number, isMapped: boolean): boolean {
  switch (protocol) {
    case PROTOCOL.TCP:
      return (isMapped && offset < 2) || offset === TCP.CHECKSUM || offset === TCP.CHECKSUM + 1;
    case PROTOCOL.UDP:
      return (isMapped && offset < 2) || offset === UDP.CHECKSUM || offset === UDP.CHECKSUM + 1;
    case PROTOCOL.ICMP:
      return (offset >= 2 && offset < 4) || (isMapped && offset >= 4 && offset < 6);
    default:
      return false;
  }
}

function headerOf(bytes: Buffer, at: number): number {
  return (bytes[at + IP] & 15) * 4;
}
