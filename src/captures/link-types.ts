// Link types (tcpdump.org/linktypes.html): those whose frames a router can be given, and how frames without an Ethernet
// header get one. A header is written in place, over the one that the frame has and over what stands in front of it.
import { ETHERNET, ETHERTYPE, MAC_LENGTH } from "../wire/ethernet.ts";
import { DIRECTION, type FrameInHand } from "./frame.ts";
import type { Window } from "./window.ts";

export const LINK_ETHERNET = 1;
/** Linux cooked captures, of `tcpdump -i any`. */
const SLL = 113;
const SLL2 = 276;
/** IP without any header: some systems' numbers for it, then the files' own. */
const RAW = [12, 14, 101, 228, 229];

/** Where a cooked header has what is needed, and how long it is. */
const COOKED = {
  [SLL]: { packetType: 0, addressLength: 4, address: 6, protocol: 14, length: 16, typeBytes: 2 },
  [SLL2]: { packetType: 10, addressLength: 11, address: 12, protocol: 0, length: 20, typeBytes: 1 },
} as const;
/** Packet types of cooked headers (linux/if_packet.h): to us, to all, to a group, to another host, from us. */
const PACKET = { HOST: 0, BROADCAST: 1, MULTICAST: 2, OTHER_HOST: 3, OUTGOING: 4 } as const;

const NAMES = new Map([
  [0, "loopback of BSD"],
  [LINK_ETHERNET, "Ethernet"],
  ...RAW.map((type): [number, string] => [type, "raw IP"]),
  [105, "IEEE 802.11"],
  [SLL, "Linux cooked, as of tcpdump -i any"],
  [127, "IEEE 802.11 with radiotap"],
  [147, "of a user's own"],
  [149, "MTP2"],
  [189, "USB of Linux"],
  [192, "per-packet information"],
  [220, "USB of Linux, memory-mapped"],
  [249, "USB of Windows"],
  [SLL2, "Linux cooked v2, as of tcpdump -i any"],
]);

/** @returns `113 (Linux cooked, as of tcpdump -i any)` */
export function linkTypeText(type: number): string {
  const name = NAMES.get(type);
  return name === undefined ? String(type) : `${type} (${name})`;
}

/** Whether `toEthernet` can do something with a frame of this link type. */
export function isUsable(type: number): boolean {
  return type === LINK_ETHERNET || type === SLL || type === SLL2 || RAW.includes(type);
}

/** The two ends that a header names where the capture doesn't. */
export interface Ends {
  /** Our MAC address on the interface. */
  readonly ours: Uint8Array;
  /** The MAC address of whoever sends to us from an IPv4 address, as uint32 in host order. */
  peer(address: number): Uint8Array;
}

/** Nobody's: the destination of frames to other hosts, and of multicasts that a cooked header doesn't name. */
const OTHER_HOST = Uint8Array.of(2, 0, 0, 0, 0, 0xff);
const BROADCAST = new Uint8Array(MAC_LENGTH).fill(0xff);
const MULTICAST = Uint8Array.of(1, 0, 0x5e, 0, 0, 0);

/**
 * Gives the frame in hand an Ethernet header, if it has none. The window is its own only until the next frame.
 * @returns whether the source address comes from the capture
 */
export function toEthernet(window: Window, frame: FrameInHand, ends: Ends): boolean {
  if (frame.linkType === LINK_ETHERNET) return true;
  if (frame.linkType === SLL || frame.linkType === SLL2) return fromCooked(window, frame, frame.linkType, ends);
  fromRaw(window, frame, ends);
  return false;
}

function fromRaw({ view, bytes }: Window, frame: FrameInHand, ends: Ends): void {
  const version = frame.captured > 0 ? view.getUint8(frame.at) >>> 4 : 4;
  const source = frame.captured >= 16 ? view.getUint32(frame.at + 12) : 0;
  shift(frame, 0);
  bytes.set(ends.ours, frame.at + ETHERNET.DESTINATION);
  bytes.set(ends.peer(source), frame.at + ETHERNET.SOURCE);
  view.setUint16(frame.at + ETHERNET.TYPE, version === 6 ? ETHERTYPE.IPV6 : ETHERTYPE.IPV4);
}

function fromCooked({ view, bytes }: Window, frame: FrameInHand, type: typeof SLL | typeof SLL2, ends: Ends): boolean {
  const { packetType, addressLength, address, protocol, length, typeBytes } = COOKED[type];
  if (frame.captured < length) return false; // too short for a header of Ethernet too: the router says so
  const { at } = frame;
  const kind = typeBytes === 2 ? view.getUint16(at + packetType) : view.getUint8(at + packetType);
  const hasAddress = (typeBytes === 2 ? view.getUint16(at + addressLength) : view.getUint8(at + addressLength)) === 6;
  const ethertype = view.getUint16(at + protocol);
  const source = frame.captured >= length + 16 ? view.getUint32(at + length + 12) : 0;
  const sender = hasAddress ? bytes.subarray(at + address, at + address + MAC_LENGTH) : ends.peer(source);
  shift(frame, length);
  // The sender's address goes first: it lies where the header is written to.
  bytes.set(sender, frame.at + ETHERNET.SOURCE);
  bytes.set(destinationOf(kind, ends), frame.at + ETHERNET.DESTINATION);
  view.setUint16(frame.at + ETHERNET.TYPE, ethertype);
  frame.direction = kind === PACKET.OUTGOING ? DIRECTION.OUTBOUND : DIRECTION.INBOUND;
  return hasAddress;
}

function destinationOf(packetType: number, { ours }: Ends): Uint8Array {
  if (packetType === PACKET.HOST || packetType === PACKET.OUTGOING) return ours;
  if (packetType === PACKET.BROADCAST) return BROADCAST;
  return packetType === PACKET.MULTICAST ? MULTICAST : OTHER_HOST;
}

/** @param length bytes of the header that an Ethernet header takes the place of */
function shift(frame: FrameInHand, length: number): void {
  const more = ETHERNET.HEADER_LENGTH - length;
  frame.at -= more;
  frame.captured += more;
  frame.original += more;
}
