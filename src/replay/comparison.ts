// What a capture's router sent, held against what we would have sent: packets of IPv4 and IPv6, matched by what a correct router can't
// choose (packet-key.ts); messages between neighbours are each router's own. A packet without its like after some seconds is a difference.
import { formatIp, type IpAddress } from "../base/ip.ts";
import type { Settings } from "../dataplane/settings.ts";
import { ETHERNET, ETHERTYPE } from "../wire/ethernet.ts";
import { IPV4 } from "../wire/ipv4.ts";
import { ADDRESS6_LENGTH, IPV6 } from "../wire/ipv6.ts";
import { NO_KEY, PacketKeys } from "./packet-key.ts";

const PATIENCE_SECONDS = 5;
/** Packets that wait for their like, at most; then the oldest is a difference before its time. */
const MOST_WAITING = 1 << 14;
/** Differences that are told one by one. */
const MOST_TOLD = 10;
const IP = ETHERNET.HEADER_LENGTH;

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
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly protocol: number;
  readonly length: number;
  hasMet: boolean;
}

export class Comparison {
  private readonly keys: PacketKeys;
  private readonly names: readonly string[];
  /** Packets that have not had their like, by key: all of one key are of the same side, the oldest first. */
  private readonly open = new Map<number, Waiting[]>();
  /** In the order in which they came; those before `oldest` have been looked at. */
  private waiting: Waiting[] = [];
  private oldest = 0;
  private same = 0;
  private readonly only = { [OURS]: 0, [THEIRS]: 0 };
  private readonly told: string[] = [];

  constructor(settings: Settings) {
    this.keys = new PacketKeys(settings);
    this.names = settings.interfaces.map(({ name }) => name);
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
    const key = this.keyOf(iface, bytes, at, captured);
    if (key === NO_KEY) return false;
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
      ...endsOf(bytes, at),
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
    const ends = `${formatIp(source)} > ${formatIp(destination)}`;
    return `  only by ${who}: ${place} at ${moment}: ${ends} protocol ${protocol}, ${length} bytes`;
  }

  private keyOf(iface: number, bytes: Buffer, at: number, captured: number): number {
    const type = captured < IP ? 0 : bytes.readUInt16BE(at + ETHERNET.TYPE);
    if (type === ETHERTYPE.IPV4 && captured >= IP + IPV4.HEADER_LENGTH) {
      return this.keys.keyOf4(iface, bytes, at, captured);
    }
    if (type === ETHERTYPE.IPV6 && captured >= IP + IPV6.HEADER_LENGTH) {
      return this.keys.keyOf6(iface, bytes, at, captured);
    }
    return NO_KEY;
  }
}

/** Of a packet whose header is there. Of IPv6 the protocol is what its header names. */
function endsOf(bytes: Buffer, at: number): Pick<Waiting, "source" | "destination" | "protocol" | "length"> {
  const ip = at + IP;
  if (bytes.readUInt16BE(at + ETHERNET.TYPE) === ETHERTYPE.IPV4) {
    return {
      source: bytes.readUInt32BE(ip + IPV4.SOURCE),
      destination: bytes.readUInt32BE(ip + IPV4.DESTINATION),
      protocol: bytes[ip + IPV4.PROTOCOL],
      length: bytes.readUInt16BE(ip + IPV4.TOTAL_LENGTH),
    };
  }
  const address = (offset: number) => Uint8Array.from(bytes.subarray(ip + offset, ip + offset + ADDRESS6_LENGTH));
  return {
    source: address(IPV6.SOURCE),
    destination: address(IPV6.DESTINATION),
    protocol: bytes[ip + IPV6.NEXT_HEADER],
    length: IPV6.HEADER_LENGTH + bytes.readUInt16BE(ip + IPV6.PAYLOAD_LENGTH),
  };
}
