// Frames of IPv6 as nobody should send them, and the judge of what a router makes of them, as hostile.ts has both of IPv4. It reads
// headers in a way of its own.
import { checksum, mac, toHex } from "../../lab/frames.ts";
import { AH, DESTINATION, FRAGMENT, HOP_BY_HOP, IPV6_TYPE, ip6, ROUTING } from "../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import type { Random } from "../../lab/random.ts";
import { LAN, OUR_MAC, shown, UPLINK, WORK } from "../../lab/router-lab.ts";
import { OUTSIDE_6, WORK_HOST_6 } from "../../lab/router-lab6.ts";
import type { SentFrame } from "../../src/dataplane/memory-ring.ts";
import type { Judge } from "./bombardment.ts";
import { checkSent, spoil } from "./hostile.ts";
import { ACCEPTED } from "./samples6.ts";

const IP = 14;
const HEADER = 40;
const SOURCE = IP + 8;
const TARGET = IP + 24;
const FIRST = IP + HEADER;

/** Mobility, HIP and Shim6 say what is behind them as the others do. */
const HEADERS = new Set([HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION, 135, 139, 140]);

/** What is behind all extension headers. */
interface Upper {
  readonly protocol: number;
  readonly at: number;
  /** It may be a part only: nothing is to be said of its checksum. */
  readonly isFragment: boolean;
  /** It is a fragment behind the first, which has no upper header. */
  readonly isLater: boolean;
  /** What no frame that leaves may have: hop-by-hop options that are not first, segments that are left. */
  readonly oddity: string | undefined;
}

/** @returns undefined where a header is not whole */
function upperOf(frame: Uint8Array): Upper | undefined {
  let [protocol, at, isFragment, oddity]: [number, number, boolean, string | undefined] = [
    frame[IP + 6],
    FIRST,
    false,
    undefined,
  ];
  for (;;) {
    const isHeader = HEADERS.has(protocol);
    if (!isHeader) return { protocol, at, isFragment, isLater: false, oddity };
    if (at + 8 > frame.length) return undefined;
    if (protocol === HOP_BY_HOP && at !== FIRST) oddity = "hop-by-hop options behind others";
    if (protocol === ROUTING && frame[at + 3] !== 0) oddity = "a routing header with segments left";
    const next = frame[at];
    if (protocol === FRAGMENT) {
      const field = frame[at + 2] * 256 + frame[at + 3];
      if ((field & 0xfff9) !== 0) isFragment = true;
      if (field >= 8) return { protocol: next, at: at + 8, isFragment, isLater: true, oddity };
      at += 8;
    } else {
      at += protocol === AH ? (frame[at + 1] + 2) * 4 : (frame[at + 1] + 1) * 8;
    }
    protocol = next;
    if (at > frame.length) return undefined;
  }
}

const SUM_AT = new Map([
  [TCP, 16],
  [UDP, 6],
  [ICMPV6, 2],
]);

/** @returns the sum over an upper layer, its checksum field included: 0 where that is right */
function sumOf(frame: Uint8Array, { protocol, at }: Upper, end: number): number {
  const summed = new Uint8Array(40 + Math.max(0, end - at));
  summed.set(frame.subarray(SOURCE, SOURCE + 32));
  new DataView(summed.buffer).setUint32(32, Math.max(0, end - at));
  summed[39] = protocol;
  summed.set(frame.subarray(at, end), 40);
  return checksum(summed);
}

/** Writes the checksum of what a frame carries, however wrong its lengths are. */
function repairSum(frame: Uint8Array): void {
  const upper = frame.length < FIRST ? undefined : upperOf(frame);
  const offset = upper && SUM_AT.get(upper.protocol);
  if (upper === undefined || offset === undefined || upper.isLater) return;
  const end = Math.min(FIRST + frame[IP + 4] * 256 + frame[IP + 5], frame.length);
  const place = upper.at + offset;
  if (place + 2 > end) return;
  frame.fill(0, place, place + 2);
  const sum = sumOf(frame, upper, end) || 0xffff;
  frame.set([sum >>> 8, sum & 255], place);
}

/** The frame of an IPv6 packet, spoilt; twice as often as otherwise by a header that is put into it. */
export function mutate6(frame: Uint8Array, random: Random): Uint8Array {
  return spoil(frame, random, { lie, others: [withHeader, withHeader, cut], repair: repairSum });
}

/** Cut, and the payload length says so: the packet is whole, but what it carries isn't. */
function cut(frame: Uint8Array, random: Random): Uint8Array {
  const shorter = frame.slice(0, FIRST + random.below(frame.length - FIRST + 1));
  shorter.set([(shorter.length - FIRST) >>> 8, (shorter.length - FIRST) & 255], IP + 4);
  return shorter;
}

/** Changes one of the fields that say how long something is, what it is, or where it begins. */
function lie(frame: Uint8Array, random: Random): void {
  const next = [0, 6, 17, 43, 44, 47, 51, 58, 59, 60, 135, random.below(256)];
  const lies: readonly (() => void)[] = [
    () => frame.set([random.chance(0.7) ? 0 : random.below(256), random.below(256)], IP + 4),
    () => frame.fill(random.pick(next), IP + 6, IP + 7),
    () => frame.fill(random.below(4), IP + 7, IP + 8),
    () => frame.fill(random.pick(next), FIRST, FIRST + 1),
    () => frame.fill(random.below(random.pick([4, 256])), FIRST + 1, FIRST + 2),
    () => frame.set([random.below(random.pick([1, 256])), random.below(256)], FIRST + 2),
    () => frame.set([random.chance(0.7) ? 0 : random.below(256), random.below(256)], FIRST + 4),
    () => frame.fill(random.below(256), FIRST + 12, FIRST + 13),
  ];
  if (frame.length >= FIRST + 13) random.pick(lies)();
}

/** Puts a header of random content behind the IPv6 header, sound or not. */
function withHeader(frame: Uint8Array, random: Random): Uint8Array {
  const kind = random.pick([HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION]);
  const length = kind === FRAGMENT ? 8 : 8 * (1 + random.below(random.pick([1, 3])));
  const header = Uint8Array.from({ length }, () => (random.chance(0.7) ? 0 : random.below(256)));
  header[0] = frame[IP + 6];
  header[1] = kind === AH ? length / 4 - 2 : length / 8 - 1;
  if (random.chance(0.1)) header[1] = random.below(256);
  if (kind === FRAGMENT)
    header.set([0, 0, random.pick([0, 0, random.below(4)]), random.pick([0, 1, 8, 9, random.below(256)])]);
  if ((kind === HOP_BY_HOP || kind === DESTINATION) && random.chance(0.6)) header.set([1, length - 4], 2);
  const longer = new Uint8Array(frame.length + length);
  longer.set(frame.subarray(0, FIRST));
  longer.set(header, FIRST);
  longer.set(frame.subarray(FIRST), FIRST + length);
  longer.set([((longer.length - FIRST) >>> 8) & 255, (longer.length - FIRST) & 255], IP + 4);
  longer[IP + 6] = kind;
  return longer;
}

/** RFC 4443 sections 3.4 and 3.1: what some faults are answered with; and who sends from an address that his network does not have. */
const PARAMETER_PROBLEM = 4;
const UNREACHABLE = 1;
const SOURCE_POLICY = 5;

const OUR_MACS = OUR_MAC.map(mac);
const OUTSIDE = ip6(OUTSIDE_6);
const WORK_ADDRESS = ip6(WORK_HOST_6);

const isSame = (frame: Uint8Array, at: number, bytes: Uint8Array): boolean =>
  bytes.every((byte, i) => frame[at + i] === byte);
const isOfLink = (frame: Uint8Array, at: number): boolean =>
  frame[at] === 0xff || (frame[at] === 0xfe && frame[at + 1] >>> 6 === 2);

const SPOOFED = "dropped: source address spoofed";

/** Whether a frame tells the sender of another, and nobody else, that his address is not of his network (RFC 7084 L-14). */
function isSenderTold(frame: Uint8Array, { protocol, at }: Upper, received: Uint8Array): boolean {
  const isSo = protocol === ICMPV6 && frame[at] === UNREACHABLE && frame[at + 1] === SOURCE_POLICY;
  return isSo && isSame(frame, 0, received.subarray(6, 12)) && isSame(frame, TARGET, received.subarray(SOURCE, TARGET));
}

/** @param lan the network of "lan", a /64; `isRouted` whether it is to be seen outside */
export function judge6(lan: string, isRouted: boolean): Judge {
  const network = ip6(lan).subarray(0, 8);

  /** Inside addresses never show outside but where they are routed; inside, each frame goes to one who lives there. */
  function addressFault(iface: number, frame: Uint8Array): string | undefined {
    const isInside =
      isSame(frame, TARGET, network) || isSame(frame, TARGET, WORK_ADDRESS) || isSame(frame, TARGET, OUTSIDE);
    const isSourceOurs = isSame(frame, SOURCE, OUTSIDE) || (isRouted && isSame(frame, SOURCE, network));
    if (iface === UPLINK) {
      if (!isSourceOurs && !isOfLink(frame, SOURCE)) return "from a foreign address";
      return isInside ? "to the inside" : undefined;
    }
    if (isOfLink(frame, TARGET)) return undefined;
    if (iface === WORK && !isSame(frame, TARGET, WORK_ADDRESS)) return "to another than this client";
    if (iface === LAN && !isSame(frame, TARGET, network)) return "to another than this network's hosts";
    return undefined;
  }

  function faultOf(
    { iface, bytes }: SentFrame,
    received: Uint8Array,
    verdict: string,
    from: number,
  ): string | undefined {
    if (bytes.length < FIRST) return "less than an IPv6 header";
    if (!isSame(bytes, 6, OUR_MACS[iface])) return "from a MAC address that is not ours";
    if (bytes[IP] >>> 4 !== 6 || bytes[IP + 4] * 256 + bytes[IP + 5] !== bytes.length - FIRST)
      return "wrong IPv6 lengths";
    if (bytes[IP + 7] === 0) return "hop limit 0";
    const isForwarded = verdict === "forwarded";
    if (isForwarded && (isOfLink(bytes, SOURCE) || isOfLink(bytes, TARGET))) return "what is of a link alone";
    const upper = upperOf(bytes);
    if (upper === undefined) return "headers that are not whole";
    // With a first fragment go those that have waited for it.
    if (isForwarded && !upper.isFragment && bytes.length > received.length) return "more than was received";
    const isProblem = upper.protocol === ICMPV6 && bytes[upper.at] === PARAMETER_PROBLEM;
    if (verdict.startsWith("dropped: malformed") && !isProblem) return "anything but what the problem is";
    const isToldOfSource = iface === LAN && verdict === SPOOFED && isSenderTold(bytes, upper, received);
    return (
      upper.oddity ??
      (isToldOfSource ? undefined : addressFault(iface, bytes)) ??
      sumFault(bytes, upper, received, isForwarded) ??
      (isForwarded && from === WORK && iface === UPLINK ? ruleFault(bytes, upper) : undefined)
    );
  }

  return (sent, received, verdict, from) => {
    // By IPv4 our gateway is asked for, too.
    if (sent.bytes.length >= IP && sent.bytes[12] * 256 + sent.bytes[13] !== IPV6_TYPE) {
      checkSent(sent, received, verdict);
      return;
    }
    const fault = faultOf(sent, received, verdict, from);
    if (fault === undefined) return;
    throw new Error(`${verdict}: sent ${fault}:\n${shown(sent.iface, sent.bytes)}\nfor\n${toHex(received)}`);
  };
}

/** Checksums may be wrong only where they were wrong before. */
function sumFault(frame: Uint8Array, upper: Upper, received: Uint8Array, isForwarded: boolean): string | undefined {
  if (upper.isFragment || !SUM_AT.has(upper.protocol) || sumOf(frame, upper, frame.length) === 0) return undefined;
  const before = upperOf(received);
  const end = FIRST + received[IP + 4] * 256 + received[IP + 5];
  const wasWrong = before !== undefined && sumOf(received, before, end) !== 0;
  return isForwarded && wasWrong ? undefined : "a wrong checksum";
}

/** The rules of "work" speak of the upper layer, wherever it is; errors go with the flow that they are about. */
function ruleFault(frame: Uint8Array, { protocol, at, isLater }: Upper): string | undefined {
  if (isLater || (protocol === ICMPV6 && frame[at] < 128)) return undefined;
  const selector = protocol === ICMPV6 ? frame[at] : frame[at + 2] * 256 + frame[at + 3];
  const isAccepted = ACCEPTED.some(({ protocol: mine, low, high }) => {
    const hasPorts = mine !== 47;
    return protocol === mine && (!hasPorts || (selector >= low && selector <= high));
  });
  return isAccepted ? undefined : `what no rule accepts: protocol ${protocol}, ${selector}`;
}
