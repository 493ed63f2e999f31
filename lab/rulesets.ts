// Random rulesets as the dataplane has them, and packets that lie in and around what they match: for comparing ways of
// judging, and for measuring them.
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Conditions, type Match, type Match6 } from "../src/dataplane/rules/match.ts";
import { ICMP, ICMPV6, TCP, UDP } from "./protocols.ts";
import type { Random } from "./random.ts";

const DNS_SERVERS = [0x0a8b0101, 0x0a8b0102, 0xc0000201];
const DNS_SERVERS6 = [
  [0x20010db8, 0, 0, 0x53],
  [0xfd0924ef, 0x41790000, 0, 0x0a8b0101],
].map(bytesOfWords);

/** A packet, as far as rules look at it. */
export interface Judged {
  readonly protocol: number;
  readonly destination: number;
  readonly selector: number;
}

/** The same of IPv6; the destination as four int32. */
export interface Judged6 {
  readonly protocol: number;
  readonly destination: readonly [number, number, number, number];
  readonly selector: number;
}

/**
 * A match of any kind: prefixes of all lengths, single ports and ranges, protocols, ICMP types, DNS servers.
 * @param narrow how long a prefix must be for a match without a single port or type. With 0, some match covers almost
 * everything, and nothing behind it is ever reached.
 */
export function randomMatch(random: Random, rule: number, narrow: number): Match {
  const accept = random.chance(0.5);
  if (random.chance(0.05)) {
    return { ...dnsConditions(random), rule, accept, address: random.pick(DNS_SERVERS), prefix: 32 };
  }
  const prefix = random.below(33);
  return { ...conditions(random, prefix >= narrow, ICMP), rule, accept, address: random.next(), prefix };
}

/** As `randomMatch`; most addresses are as they are given out: sites of few providers, with hosts that are counted from the first. */
function randomMatch6(random: Random, rule: number, narrow: number): Match6 {
  const accept = random.chance(0.5);
  if (random.chance(0.05)) {
    return { ...dnsConditions(random), rule, accept, address: random.pick(DNS_SERVERS6), prefix: 128 };
  }
  const prefix = random.chance(0.5) ? random.pick([48, 56, 64, 64, 128, 128]) : random.below(129);
  return { ...conditions(random, prefix >= narrow, ICMPV6), rule, accept, address: randomAddress6(random), prefix };
}

function conditions(random: Random, isNarrow: boolean, icmp: number): Omit<Conditions, "rule" | "accept"> {
  const protocol = random.pick([ANY_PROTOCOL, TCP, TCP, TCP, TCP, UDP, UDP, UDP, icmp, icmp]);
  const single = !isNarrow || random.chance(0.5);
  const wide = !single && random.chance(0.3);
  const [low = 0, high = 0] = [randomPort(random), single ? 0 : randomPort(random)].sort((one, other) => one - other);
  return {
    protocol: single && protocol === ANY_PROTOCOL ? UDP : protocol,
    portLow: wide || protocol === ANY_PROTOCOL ? 0 : single ? high : low,
    portHigh: wide || protocol === ANY_PROTOCOL ? 65535 : high,
    icmpType: protocol === icmp && (single || random.chance(0.7)) ? random.below(20) : ANY_ICMP_TYPE,
  };
}

function randomAddress6(random: Random): Uint8Array {
  const [a, b, c, d] = [random.next(), random.next(), random.next(), random.next()];
  return bytesOfWords(
    random.pick([
      [a, b, c, d],
      [0x20000000 | (a & 0x0fffffff), b, c, d],
      [0x20010db8, b, 0, d & 0xff],
      [0x26000000 | (a & 0xff0000), b & 0xffffff00, 0, d & 0xffff],
      [0x2a001450, 0x40000000 | (b & 0xfff), c, d],
      [0xfd0924ef, 0x41790000, 0, 0x0a890000 | (d & 0xffff)],
    ]),
  );
}

/** @param words of an address, 32 bits each */
export function bytesOfWords(words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of words.entries()) view.setUint32(i * 4, word);
  return bytes;
}

/** @returns int32 */
export function wordsOfBytes(bytes: Uint8Array): [number, number, number, number] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)];
}

/** @param narrow as `randomMatch` takes it */
export function randomMatches(random: Random, length: number, narrow: number): Match[] {
  return Array.from({ length }, (_, i) => randomMatch(random, i + 1, narrow));
}

/** @param narrow as `randomMatch` takes it */
export function randomMatches6(random: Random, length: number, narrow: number): Match6[] {
  return Array.from({ length }, (_, i) => randomMatch6(random, i + 1, narrow));
}

/** @returns a packet that lies in or next to what one of the matches is about, or anywhere */
export function randomPacket(random: Random, matches: readonly Match[]): Judged {
  const match = random.pick(matches);
  const destination = random.chance(0.8) ? addressAround(random, match) : random.next() | 0;
  return { ...packetAround(random, match, ICMP), destination };
}

/** As `randomPacket`. */
export function randomPacket6(random: Random, matches: readonly Match6[]): Judged6 {
  const match = random.pick(matches);
  const destination = random.chance(0.8) ? addressAround6(random, match) : wordsOfBytes(randomAddress6(random));
  return { ...packetAround(random, match, ICMPV6), destination };
}

function packetAround(random: Random, match: Conditions, icmp: number): Omit<Judged, "destination"> {
  const protocol = random.chance(0.8) ? match.protocol : random.pick([ICMP, TCP, UDP, 47, 0, 255, ICMPV6]);
  return {
    protocol: protocol === ANY_PROTOCOL ? random.pick([icmp, TCP, UDP, 47, 50]) : protocol,
    selector: protocol === icmp ? random.pick([match.icmpType & 255, random.below(256)]) : portAround(random, match),
  };
}

function dnsConditions(random: Random): Omit<Conditions, "rule" | "accept"> {
  return { protocol: random.pick([TCP, UDP]), portLow: 53, portHigh: 53, icmpType: ANY_ICMP_TYPE };
}

function randomPort(random: Random): number {
  return random.pick([0, 53, 80, 443, 65535, random.below(1024), random.below(65536), random.below(65536)]);
}

/** @returns int32: the first or last address of the prefix, the one before or behind it, or any in it */
function addressAround(random: Random, { address, prefix }: Match): number {
  const size = 2 ** (32 - prefix);
  const first = address - (address % size);
  return random.pick([first, first - 1, first + size - 1, first + size, first + random.below(size)]) | 0;
}

function addressAround6(random: Random, { address, prefix }: Match6): [number, number, number, number] {
  const size = 1n << BigInt(128 - prefix);
  const first = BigInt(`0x${Buffer.from(address).toString("hex")}`) & -size;
  const anywhere = [0, 1, 2, 3].reduce((sum) => (sum << 32n) | BigInt(random.next()), 0n);
  const near = random.pick([first, first - 1n, first + size - 1n, first + size, first + (anywhere & (size - 1n))]);
  const hex = BigInt.asUintN(128, near).toString(16).padStart(32, "0");
  return wordsOfBytes(Uint8Array.from(Buffer.from(hex, "hex")));
}

function portAround(random: Random, { portLow, portHigh }: Conditions): number {
  const inside = portLow + random.below(portHigh - portLow + 1);
  return random.pick([portLow, portLow - 1, portHigh, portHigh + 1, inside, inside]) & 0xffff;
}
