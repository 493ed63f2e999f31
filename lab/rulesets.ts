// Random rulesets as the dataplane has them, and packets that lie in and around what they match: for comparing ways of
// judging, and for measuring them.
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Match } from "../src/dataplane/rules/match.ts";
import type { Random } from "./random.ts";

const ICMP = 1;
const TCP = 6;
const UDP = 17;
const DNS_SERVERS = [0x0a8b0101, 0x0a8b0102, 0xc0000201];

/** A packet, as far as rules look at it. */
export interface Judged {
  readonly protocol: number;
  readonly destination: number;
  readonly selector: number;
}

/**
 * A match of any kind: prefixes of all lengths, single ports and ranges, protocols, ICMP types, DNS servers.
 * @param narrow how long a prefix must be for a match without a single port or type. With 0, some match covers almost
 * everything, and nothing behind it is ever reached.
 */
export function randomMatch(random: Random, rule: number, narrow: number): Match {
  const accept = random.chance(0.5);
  if (random.chance(0.05)) return { ...dnsTarget(random), rule, accept };
  const prefix = random.below(33);
  const protocol = random.pick([ANY_PROTOCOL, TCP, TCP, TCP, TCP, UDP, UDP, UDP, ICMP, ICMP]);
  const single = prefix < narrow || random.chance(0.5);
  const wide = !single && random.chance(0.3);
  const [low = 0, high = 0] = [randomPort(random), single ? 0 : randomPort(random)].sort((one, other) => one - other);
  return {
    rule,
    accept,
    address: random.next(),
    prefix,
    protocol: single && protocol === ANY_PROTOCOL ? UDP : protocol,
    portLow: wide || protocol === ANY_PROTOCOL ? 0 : single ? high : low,
    portHigh: wide || protocol === ANY_PROTOCOL ? 65535 : high,
    icmpType: protocol === ICMP && (single || random.chance(0.7)) ? random.below(20) : ANY_ICMP_TYPE,
  };
}

/** @param narrow as `randomMatch` takes it */
export function randomMatches(random: Random, length: number, narrow: number): Match[] {
  return Array.from({ length }, (_, i) => randomMatch(random, i + 1, narrow));
}

/** @returns a packet that lies in or next to what one of the matches is about, or anywhere */
export function randomPacket(random: Random, matches: readonly Match[]): Judged {
  const match = random.pick(matches);
  const protocol = random.chance(0.8) ? match.protocol : random.pick([ICMP, TCP, UDP, 47, 0, 255]);
  return {
    protocol: protocol === ANY_PROTOCOL ? random.pick([ICMP, TCP, UDP, 47, 50]) : protocol,
    destination: random.chance(0.8) ? addressAround(random, match) : random.next() | 0,
    selector: protocol === ICMP ? random.pick([match.icmpType & 255, random.below(256)]) : portAround(random, match),
  };
}

function dnsTarget(random: Random): Omit<Match, "rule" | "accept"> {
  const address = random.pick(DNS_SERVERS);
  const protocol = random.pick([TCP, UDP]);
  return { address, prefix: 32, protocol, portLow: 53, portHigh: 53, icmpType: ANY_ICMP_TYPE };
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

function portAround(random: Random, { portLow, portHigh }: Match): number {
  const inside = portLow + random.below(portHigh - portLow + 1);
  return random.pick([portLow, portLow - 1, portHigh, portHigh + 1, inside, inside]) & 0xffff;
}
