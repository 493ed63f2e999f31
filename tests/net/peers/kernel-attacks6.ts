// kernel-attacks6.ts INTERFACE… [routed]: frames of open flows of IPv6 that differ in one thing, which somebody may have changed to
// get more of the kernel path than the slow path gives. It ends with the difference where the two differ. Prints of each kind how
// many frames of how many took the kernel path: of UDP and of TCP, there and back.
import { concat, fromHex, mac, payload } from "../../../lab/frames.ts";
import {
  AH,
  ah,
  DESTINATION,
  type Extension,
  extended6,
  fragment,
  HOP_BY_HOP,
  ip6,
  NO_NEXT,
  options,
  routing,
} from "../../../lab/frames6.ts";
import { GSO, vnet } from "../../../lab/offload.ts";
import { TCP, UDP } from "../../../lab/protocols.ts";
import { LAN, OUR_MAC, UPLINK, WORK } from "../../../lab/router-lab.ts";
import { LAN_GATEWAY_6, OUTSIDE_6, REMOTE_6, WORK_GATEWAY_6, WORK_HOST_6 } from "../../../lab/router-lab6.ts";
import { USUAL, type Way, Ways6 } from "../../support/kernel-ways6.ts";
import type { Frame } from "../../support/twins.ts";

const ways = new Ways6(process.argv.slice(2));
const { settings, lanHost } = ways;

/** Of a frame to be cut, bytes of payload: a program is tried with no longer ones than a page holds. */
const LONG = 3000;
/** Offsets in a frame; of UDP's length, TCP's header length and flags behind the ports. */
const [TYPE, VERSION, PAYLOAD, NEXT, HOPS, SOURCE, TO, PORTS] = [12, 14, 18, 20, 21, 22, 38, 54];
const [UDP_LENGTH, SEQUENCE, ACKNOWLEDGMENT, DATA_OFFSET, FLAGS] = [
  PORTS + 4,
  PORTS + 4,
  PORTS + 8,
  PORTS + 12,
  PORTS + 13,
];
const checksumAt = ({ protocol }: Way): number => PORTS + (protocol === UDP ? 6 : 16);
const headersOf = ({ protocol }: Way): number => (protocol === UDP ? 48 : 60);
/** Bytes of payload with which a packet is as long as the MTU. */
const fullOf = (way: Way): number =>
  settings.interfaces[way.isThere ? UPLINK : way.protocol === UDP ? WORK : LAN].mtu - headersOf(way);

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const set16 = (bytes: Uint8Array, at: number, value: number): Uint8Array =>
  bytes.with(at, (value >>> 8) & 255).with(at + 1, value & 255);
const put = (bytes: Uint8Array, at: number, what: Uint8Array): Uint8Array =>
  concat(bytes.subarray(0, at), what, bytes.subarray(at + what.length));
/** The frames that differ by one of so many bits. */
const flipped = (bytes: Uint8Array, at: number, bits: number): Uint8Array[] =>
  range(bits).map((bit) => bytes.with(at + (bit >>> 3), bytes[at + (bit >>> 3)] ^ (0x80 >>> (bit & 7))));
const padded = (bytes: Uint8Array, length: number): Uint8Array => concat(bytes, payload(length));
const cut = (way: Way, bytes: Uint8Array, gsoSize: number): Frame => ({
  iface: way.frame(0).iface,
  bytes,
  vnet: vnet({ gsoType: GSO.TCPV6, gsoSize, headerLength: 74 }),
});

const nothing = new Uint8Array(0);
const toDestination = options(DESTINATION, nothing);
const CHAINS: readonly (readonly Extension[])[] = [
  [options(HOP_BY_HOP, nothing)],
  [options(HOP_BY_HOP, fromHex("0502 0000"))],
  [toDestination],
  ...[135, 139, 140].map((kind) => [options(kind, nothing)]),
  [routing(0, 0)],
  [routing(4, 0)],
  [routing(4, 1)],
  [ah()],
  [[AH, fromHex("00 0000 0000 0000")]],
  [[NO_NEXT, fromHex("00 0000 0000 0000")]],
  [fragment(0, false)],
  [fragment(0, true)],
  [fragment(8, false)],
  [fragment(0, true), toDestination],
  [fragment(0, false), fragment(0, false)],
  [toDestination, options(HOP_BY_HOP, nothing)],
  [options(DESTINATION, new Uint8Array(254))],
  ...[7, 8, 9].map((count) => Array<Extension>(count).fill(toDestination)),
];

/** Whose address somebody may say is his, or whom he may want to reach. */
const ADDRESSES = [WORK_HOST_6, lanHost, WORK_GATEWAY_6, LAN_GATEWAY_6, OUTSIDE_6, REMOTE_6, "::", "::1", "ff02::1", "fe80::1", "::ffff:10.137.0.10"].map(ip6); // biome-ignore format: a list
const withAddresses = (bytes: Uint8Array, at: number): Uint8Array[] =>
  ADDRESSES.map((address) => put(bytes, at, address)).filter((other) => !Bun.deepEquals(other, bytes));

/** Lengths that an IPv6 header may say: too many, and too few for a UDP header and what that says, or for a TCP header. */
const wrongLengths = (bytes: Uint8Array, { protocol }: Way): number[] => [
  ...[0, 1, 7, bytes.length - PORTS + 1, 1500, 65_535],
  ...(protocol === UDP ? [USUAL + 7] : [8, 19]),
];

/** Checksums with which the frame leaves with about zero, which is all ones too; and those themselves. */
function checksumsAboutZero(bytes: Uint8Array, way: Way): number[] {
  const at = checksumAt(way);
  const word = (frame: Uint8Array) => frame[at] * 256 + frame[at + 1];
  const sent = ways.sent({ iface: way.frame(0).iface, bytes });
  if (sent === undefined) throw new Error("the frame was not forwarded");
  const change = word(bytes) - word(sent) + 0xffff;
  return [1, 0xfffe, 0xffff, ...[-2, -1, 0, 1, 2].map((off) => (change + off) % 0xffff || 0xffff)];
}

/** On each other interface, to our MAC address there and here. */
function elsewhere(bytes: Uint8Array, way: Way): Frame[] {
  const others = [UPLINK, WORK, LAN].filter((iface) => iface !== way.frame(0).iface);
  return others.flatMap((iface) => [
    { iface, bytes },
    { iface, bytes: put(bytes, 0, mac(OUR_MAC[iface])) },
  ]);
}

type Attack = (bytes: Uint8Array, way: Way) => readonly (Uint8Array | Frame)[];

const ATTACKS: Readonly<Record<string, Attack>> = {
  "extension headers": (bytes) => CHAINS.map((chain) => concat(bytes.subarray(0, VERSION), extended6(bytes.subarray(VERSION), chain))),
  "a hop limit of 0 or 1": (bytes) => [0, 1].map((hops) => bytes.with(HOPS, hops)),
  "one of 2 or 255": (bytes) => [2, 255].map((hops) => bytes.with(HOPS, hops)),
  "another version": (bytes) => flipped(bytes, VERSION, 4),
  "a traffic class, a flow label": (bytes) => flipped(bytes, VERSION, 32).slice(4),
  "another next header": (bytes) => range(256).map((next) => bytes.with(NEXT, next)).filter((other) => other[NEXT] !== bytes[NEXT]),
  "another EtherType": (bytes) => flipped(bytes, TYPE, 16),
  "a tag": (bytes) => ["8100 0000", "8100 0005", "88a8 0000"].map((tag) => concat(bytes.subarray(0, TYPE), fromHex(tag), bytes.subarray(TYPE))),
  "a wrong payload length": (bytes, way) => wrongLengths(bytes, way).map((length) => set16(bytes, PAYLOAD, length)),
  "padding": (bytes) => [1, 6, 46].map((length) => padded(bytes, length)),
  "padding of what is to be cut": (bytes, way) => [1, 9].map((length) => cut(way, padded(bytes, length), 8)),
  "to be cut": (bytes, way) => [8, 39, 40, 41].map((size) => cut(way, bytes, size)),
  "to be cut too small": (bytes, way) => [1, 7].map((size) => cut(way, bytes, size)),
  "as long as the MTU": (_, way) => [way.frame(fullOf(way)).bytes],
  "longer": (_, way) => [1, 2, 100].map((more) => way.frame(fullOf(way) + more).bytes),
  "to be cut to the MTU": (_, way) => [cut(way, way.frame(LONG).bytes, fullOf(way))],
  "to be cut longer": (_, way) => [1, 100].map((more) => cut(way, way.frame(LONG).bytes, fullOf(way) + more)),
  "no checksum": (bytes, way) => [set16(bytes, checksumAt(way), 0)],
  "a checksum about zero": (bytes, way) => checksumsAboutZero(bytes, way).map((sum) => set16(bytes, checksumAt(way), sum)),
  "another source": (bytes) => flipped(bytes, SOURCE, 128),
  "another destination": (bytes) => flipped(bytes, TO, 128),
  "somebody's source": (bytes) => withAddresses(bytes, SOURCE),
  "somebody's destination": (bytes) => withAddresses(bytes, TO),
  "other ports": (bytes) => flipped(bytes, PORTS, 32),
  "to another MAC address": (bytes) => flipped(bytes, 0, 48),
  "from another MAC address": (bytes) => flipped(bytes, 6, 48),
  "on another interface": elsewhere,
  "cut short": (bytes) => range(bytes.length).map((length) => bytes.subarray(0, length)),
  "UDP shorter than its packet": (bytes) => [8, 9, USUAL + 7].map((length) => set16(bytes, UDP_LENGTH, length)),
  "UDP of a wrong length": (bytes) => [0, 1, 7, USUAL + 9, 65_535].map((length) => set16(bytes, UDP_LENGTH, length)),
  "TCP with another header length": (bytes) => range(16).map((length) => bytes.with(DATA_OFFSET, length << 4)),
  "TCP flags": (bytes) => range(256).map((flags) => bytes.with(FLAGS, flags)),
  "TCP out of the window": (bytes) => flipped(bytes, SEQUENCE, 12),
  "TCP that acknowledges what was not sent": (bytes) => flipped(bytes, ACKNOWLEDGMENT, 12),
}; // biome-ignore format: a table

const isOf = (what: string, { protocol }: Way): boolean =>
  !(what.startsWith("UDP") && protocol !== UDP) && !(what.startsWith("TCP") && protocol !== TCP);

/** @returns how many frames of how many took the kernel path, each of a flow that does */
function tryAttack(what: string, attack: Attack): string {
  let frames = 0;
  let taken = 0;
  ways.open();
  for (let i = 0; i < ways.all.length; i++) {
    if (!isOf(what, ways.all[i])) continue;
    const { length } = attack(ways.all[i].frame(USUAL).bytes, ways.all[i]);
    for (let n = 0; n < length; n++) {
      ways.open();
      const { iface, bytes } = ways.all[i].frame(USUAL);
      const changed = attack(bytes, ways.all[i])[n];
      if (ways.takes(changed instanceof Uint8Array ? { iface, bytes: changed } : changed)) taken++;
      ways.twins.compareTables();
      frames++;
    }
  }
  return `${taken} of ${frames}`;
}

const outcomes = Object.entries(ATTACKS).map(([what, attack]) => [what, tryAttack(what, attack)]);
console.log(JSON.stringify(Object.fromEntries(outcomes)));
