// Frames as nobody should send them, and the judge of what a router makes of them: whatever comes in, only sound frames
// may go out, to whom they may go, and no byte of memory but the frame's own and the router's own may change.

import { ARP_TYPE, checksum, IPV4_TYPE, ip, mac, toHex, wrongChecksums } from "../../lab/frames.ts";
import { ICMP, TCP, UDP } from "../../lab/protocols.ts";
import type { Random } from "../../lab/random.ts";
import { LAN, OUR_MAC, OUTSIDE, shown, UPLINK, WORK, WORK_HOST } from "../../lab/router-lab.ts";
import type { MemoryRing, SentFrame } from "../../src/dataplane/memory-ring.ts";
import { RESERVED_LENGTH, VNET_LENGTH } from "../../src/dataplane/ring.ts";

const POISON = new Uint8Array(1 << 19).fill(0xee);
const IP = 14;

/** Writes the header checksum of the IPv4 packet in a frame, however wrong its lengths are. */
export function repairHeader(frame: Uint8Array): void {
  const end = IP + Math.max((frame[IP] & 15) * 4, 20);
  if (frame.length < end) return;
  frame.fill(0, IP + 10, IP + 12);
  const sum = checksum(frame.subarray(IP, end));
  frame.set([sum >>> 8, sum & 255], IP + 10);
}

/** How frames of a family are spoilt, beside what is done to those of any. */
export interface Spoiler {
  /** Changes one of the fields that say how long something is, what it is, or where it begins. */
  lie(frame: Uint8Array, random: Random): void;
  /** Makes another frame of one: each is as likely as what is done to any. */
  readonly others: readonly ((frame: Uint8Array, random: Random) => Uint8Array)[];
  /** Writes the checksum without which nobody looks further. */
  repair(frame: Uint8Array): void;
}

/** @returns a frame made of a sound one by changing, cutting, lengthening, lying about lengths, and what the family has beside */
export function spoil(frame: Uint8Array, random: Random, { lie, others, repair }: Spoiler): Uint8Array {
  let changed: Uint8Array = frame.slice();
  const way = random.below(5 + others.length);
  switch (way) {
    case 0:
      return frame.slice(0, random.below(frame.length + 1));
    case 1:
      for (let i = 1 + random.below(4); i > 0; i--) changed[random.below(frame.length)] = random.below(256);
      return changed;
    case 2:
      for (let i = 1 + random.below(4); i > 0; i--) {
        const at = IP + random.below(frame.length - IP);
        changed[at] = random.chance(0.5) ? random.below(256) : changed[at] ^ (1 << random.below(8));
      }
      break;
    case 3:
      lie(changed, random);
      break;
    case 4: {
      const longer = new Uint8Array(frame.length + random.below(40)).fill(random.below(256));
      longer.set(frame);
      return longer;
    }
    default:
      changed = others[way - 5](frame, random);
  }
  if (random.chance(0.8)) repair(changed);
  return changed;
}

/** The frame of an IPv4 packet, spoilt. */
export function mutate(frame: Uint8Array, random: Random): Uint8Array {
  return spoil(frame, random, { lie, others: [cut], repair: repairHeader });
}

/** Cut, and the total length says so: the packet is whole, but what it carries isn't. */
function cut(frame: Uint8Array, random: Random): Uint8Array {
  const shorter = frame.slice(0, IP + 20 + random.below(frame.length - IP - 19));
  shorter.set([(shorter.length - IP) >>> 8, (shorter.length - IP) & 255], IP + 2);
  repairHeader(shorter);
  return shorter;
}

/** Changes one of the fields that say how long something is, or where it begins. */
function lie(frame: Uint8Array, random: Random): void {
  const transport = IP + (frame[IP] & 15) * 4;
  switch (random.below(5)) {
    case 0:
      frame[IP] = 0x40 | random.below(16);
      return;
    case 1:
      frame.set([random.chance(0.7) ? 0 : random.below(256), random.below(256)], IP + 2);
      return;
    case 2:
      frame.set([random.below(256), random.below(256)], IP + 6);
      return;
    case 3:
      if (transport + 13 < frame.length) frame[transport + 12] = random.below(256);
      return;
    default:
      if (transport + 6 < frame.length)
        frame.set([random.chance(0.7) ? 0 : random.below(256), random.below(256)], transport + 4);
  }
}

/** @throws Error when a byte changed that is neither the frame's nor the router's to change */
export function checkMemory(ring: MemoryRing, at: number, length: number, isThorough: boolean): void {
  const ours = ring.bytes.length - RESERVED_LENGTH - VNET_LENGTH;
  const end = isThorough ? ours : Math.min(at + length + 512, ours);
  const isSame = (from: number, to: number) =>
    Buffer.compare(ring.bytes.subarray(from, to), POISON.subarray(0, to - from)) === 0;
  if (!isSame(0, at - VNET_LENGTH) || !isSame(at + length, end)) throw new Error("memory of others has changed");
}

/**
 * @param received the frame that came in
 * @throws Error when what was sent is not sound, or goes where it may not go
 */
export function checkSent(sent: SentFrame, received: Uint8Array, verdict: string): void {
  const fault = verdict.startsWith("dropped: malformed") ? "anything" : faultOf(sent, received, verdict);
  if (fault !== undefined) {
    throw new Error(`${verdict}: sent ${fault}:\n${shown(sent.iface, sent.bytes)}\nfor\n${toHex(received)}`);
  }
}

function faultOf({ iface, bytes }: SentFrame, received: Uint8Array, verdict: string): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < IP) return "less than an Ethernet header";
  if (toHex(bytes.subarray(6, 12)) !== toHex(mac(OUR_MAC[iface]))) return "from a MAC address that is not ours";
  const type = view.getUint16(12);
  if (type === ARP_TYPE) return bytes.length === 42 ? undefined : "ARP of another length";
  if (type !== IPV4_TYPE) return "neither ARP nor IPv4";
  if ((bytes[0] & 1) !== 0) return "to a group";
  if (bytes.length < IP + 20) return "less than an IPv4 header";
  const header = (bytes[IP] & 15) * 4;
  const total = view.getUint16(IP + 2);
  if (bytes[IP] >>> 4 !== 4 || header < 20 || total < header || total !== bytes.length - IP)
    return "wrong IPv4 lengths";
  if (bytes[IP + 8] === 0) return "TTL 0";
  // With a first fragment go those that have waited for it.
  const isFragment = (view.getUint16(IP + 6) & 0x3fff) !== 0;
  if (verdict === "forwarded" && !isFragment && bytes.length > received.length) return "more than was received";
  return (
    transportFault(bytes, view, IP + header, total - header) ??
    addressFault(iface, view) ??
    sumFault(bytes, received, verdict)
  );
}

function transportFault(bytes: Uint8Array, view: DataView, at: number, length: number): string | undefined {
  const fragment = view.getUint16(IP + 6) & 0x3fff;
  if ((fragment & 0x1fff) !== 0) return undefined;
  switch (bytes[IP + 9]) {
    case ICMP:
      return length < 8 ? "short ICMP" : undefined;
    case TCP: {
      if (length < 20) return "short TCP";
      const offset = (bytes[at + 12] >>> 4) * 4;
      return offset < 20 || offset > length ? "wrong TCP data offset" : undefined;
    }
    case UDP: {
      if (length < 8) return "short UDP";
      const said = view.getUint16(at + 4);
      return said < 8 || (fragment === 0 && said > length) ? "wrong UDP length" : undefined;
    }
    default:
      return undefined;
  }
}

/** Inside addresses never show outside; inside, each frame goes to one who lives there. */
function addressFault(iface: number, view: DataView): string | undefined {
  const source = view.getUint32(IP + 12);
  const destination = view.getUint32(IP + 16);
  const isLan = destination >>> 8 === ip("192.168.1.0") >>> 8;
  if (iface === UPLINK && source !== ip(OUTSIDE)) return "from a foreign address";
  if (iface === UPLINK && (isLan || destination === ip(WORK_HOST) || destination === ip(OUTSIDE)))
    return "to the inside";
  if (iface === WORK && destination !== ip(WORK_HOST)) return "to another than this client";
  if (iface === LAN && !isLan) return "to another than this network's hosts";
  return undefined;
}

/** Checksums may be wrong only where they were wrong before. */
function sumFault(bytes: Uint8Array, received: Uint8Array, verdict: string): string | undefined {
  const wrong = wrongChecksums(bytes.subarray(IP));
  if (wrong.length === 0) return undefined;
  const isSound = received.length > IP + 20 && wrongChecksums(received.subarray(IP)).length === 0;
  // Who answers ARP gets what has waited for it, with the checksum that it came with.
  const isAnswer = received[12] === ARP_TYPE >>> 8 && received[13] === (ARP_TYPE & 255);
  return (verdict !== "forwarded" && !isAnswer) || wrong.includes("IPV4") || (isSound && !isAnswer)
    ? `wrong checksums of ${wrong}`
    : undefined;
}
