// Neighbour Discovery (RFC 4861) as a router without advertisements needs it: solicitations and advertisements of neighbours, the
// checks that all hosts owe them, and writing them. Redirects and advertisements of routers are not read: nobody is to route for us.
import { pseudoHeaderSum6 } from "./checksum.ts";
import { MAC_LENGTH, macHead, macTail, writeMac } from "./ethernet.ts";
import { FAULT, type Fault } from "./fault.ts";
import { checkIcmpv6Sum, ICMPV6, ICMPV6_TYPE, writeIcmpv6Sum } from "./icmpv6.ts";
import { IPV6, isMulticast6, isUnspecified6, NEXT_HEADER, writeIpv6 } from "./ipv6.ts";

/** Offsets from the ICMPv6 message's first byte (RFC 4861 sections 4.3, 4.4). */
export const ND = { FLAGS: 4, TARGET: 8, OPTIONS: 24 } as const;

/** Flags of an advertisement. */
export const ROUTER = 0x80;
export const SOLICITED = 0x40;
export const OVERRIDE = 0x20;

/** A message that has come from farther than this link has a lower one (RFC 4861 section 11.2). */
export const ND_HOP_LIMIT = 255;

/** Options (RFC 4861 section 4.6): type, then length in units of 8 bytes. */
const SOURCE_LINK_LAYER_ADDRESS = 1;
const TARGET_LINK_LAYER_ADDRESS = 2;
const OPTION_LENGTH = 8;
/** More options than so many are refused: no message has more than one or two. */
const MAX_OPTIONS = 16;

/** Bytes of the messages that we write: IPv6 header, message, and option if there is one. */
const BARE_LENGTH = IPV6.HEADER_LENGTH + ND.OPTIONS;
const WITH_OPTION_LENGTH = BARE_LENGTH + OPTION_LENGTH;

/** 33:33:xx:xx:xx:xx (RFC 2464 section 7), the first four bytes from the address's last four. */
export const groupMacHead = (lastWord: number): number => 0x33330000 | (lastWord >>> 16);
export const groupMacTail = (lastWord: number): number => lastWord & 0xffff;

/** The last four bytes of the solicited-node group ff02::1:ffxx:xxxx (RFC 4291 section 2.7.1) of an address, given its last four. */
export const solicitedWord = (lastWord: number): number => 0xff000000 | (lastWord & 0xffffff);
const GROUP_WORDS = [0xff020000 | 0, 0, 1] as const;

/** The last four bytes of ff02::1, all nodes. */
export const ALL_NODES_WORD = 1;

/** The message that was read last. One object serves all, so that none is allocated. */
export class NeighbourMessage {
  /** NEIGHBOUR_SOLICITATION or NEIGHBOUR_ADVERTISEMENT. */
  type = 0;
  /** Of an advertisement: ROUTER, SOLICITED, OVERRIDE. */
  flags = 0;
  /** Offsets of the addresses. */
  source = 0;
  target = 0;
  /** Whether the source is the unspecified address: who asks wants the address for himself (RFC 4862 section 5.4). */
  isProbe = false;
  /** Offset of the MAC address that it says its sender, or the target, has; 0 when it says none. */
  mac = 0;

  /**
   * Reads and checks a solicitation or an advertisement (RFC 4861 sections 7.1.1, 7.1.2).
   * @param ip offset of the IPv6 header
   * @param at offset of the ICMPv6 message
   * @param length bytes of the message
   * @param isFragmented whether the packet has a fragment header: such messages are nobody's (RFC 6980)
   */
  read(view: DataView, ip: number, at: number, length: number, isFragmented: boolean): Fault {
    if (view.getUint8(ip + IPV6.HOP_LIMIT) !== ND_HOP_LIMIT) return FAULT.ND_HOP_LIMIT;
    if (length < ND.OPTIONS) return FAULT.ND_TRUNCATED;
    const pseudo = pseudoHeaderSum6(view, ip + IPV6.SOURCE, NEXT_HEADER.ICMPV6, length);
    const fault = checkIcmpv6Sum(view, at, length, pseudo);
    if (fault !== 0) return fault;
    if (view.getUint8(at + ICMPV6.CODE) !== 0 || isFragmented) return FAULT.ND_FORMAT;
    this.type = view.getUint8(at + ICMPV6.TYPE);
    this.flags = view.getUint8(at + ND.FLAGS);
    this.source = ip + IPV6.SOURCE;
    this.target = at + ND.TARGET;
    this.isProbe = isUnspecified6(view, this.source);
    this.mac = 0;
    const isSolicitation = this.type === ICMPV6_TYPE.NEIGHBOUR_SOLICITATION;
    const wanted = isSolicitation ? SOURCE_LINK_LAYER_ADDRESS : TARGET_LINK_LAYER_ADDRESS;
    if (!this.readOptions(view, at + ND.OPTIONS, at + length, wanted)) return FAULT.ND_OPTIONS;
    if (isMulticast6(view, this.target) || isMulticast6(view, this.source)) return FAULT.ND_ADDRESSES;
    const toGroup = isMulticast6(view, ip + IPV6.DESTINATION);
    if (!isSolicitation)
      return this.isProbe || (toGroup && (this.flags & SOLICITED) !== 0) ? FAULT.ND_ADDRESSES : FAULT.NONE;
    if (this.isProbe && this.mac !== 0) return FAULT.ND_OPTIONS;
    return this.isProbe && !isSolicitedGroup(view, ip + IPV6.DESTINATION) ? FAULT.ND_ADDRESSES : FAULT.NONE;
  }

  /** @returns whether options are well formed; notes the one that is wanted, the first if there are several */
  private readOptions(view: DataView, at: number, end: number, wanted: number): boolean {
    for (let count = 0; at < end; count++) {
      if (count === MAX_OPTIONS || at + OPTION_LENGTH > end) return false;
      const length = view.getUint8(at + 1) * OPTION_LENGTH;
      if (length === 0 || at + length > end) return false;
      if (view.getUint8(at) === wanted && this.mac === 0) {
        if (length !== OPTION_LENGTH) return false; // RFC 2464 section 6
        this.mac = at + OPTION_LENGTH - MAC_LENGTH;
      }
      at += length;
    }
    return true;
  }
}

/** @returns whether an address is a solicited-node group: ff02::1:ff00:0/104 */
export function isSolicitedGroup(view: DataView, at: number): boolean {
  if (view.getUint8(at + 12) !== 0xff) return false;
  return (
    view.getInt32(at) === GROUP_WORDS[0] &&
    view.getInt32(at + 4) === GROUP_WORDS[1] &&
    view.getInt32(at + 8) === GROUP_WORDS[2]
  );
}

/** Writes the solicited-node group of an address, given its last four bytes, at an offset. */
export function writeSolicitedGroup(view: DataView, at: number, lastWord: number): void {
  for (let i = 0; i < GROUP_WORDS.length; i++) view.setInt32(at + i * 4, GROUP_WORDS[i]);
  view.setInt32(at + 12, solicitedWord(lastWord));
}

/** Writes ff02::1 at an offset. */
export function writeAllNodes(view: DataView, at: number): void {
  view.setInt32(at, GROUP_WORDS[0]);
  view.setInt32(at + 4, 0);
  view.setInt32(at + 8, 0);
  view.setInt32(at + 12, ALL_NODES_WORD);
}

/**
 * Completes a solicitation, of which the addresses stand where they belong: source, destination, and target at
 * IPV6.HEADER_LENGTH + ND.TARGET.
 * @param at offset of the IPv6 header
 * @param head, tail our MAC address; it is told unless the source is the unspecified address
 * @returns bytes of the packet
 */
export function writeSolicitation(view: DataView, at: number, head: number, tail: number): number {
  const isProbe = isUnspecified6(view, at + IPV6.SOURCE);
  return writeMessage(
    view,
    at,
    ICMPV6_TYPE.NEIGHBOUR_SOLICITATION,
    0,
    isProbe ? 0 : SOURCE_LINK_LAYER_ADDRESS,
    head,
    tail,
  );
}

/**
 * Completes an advertisement, of which the addresses stand where they belong, as of a solicitation.
 * @param flags ROUTER, SOLICITED, OVERRIDE
 * @param head, tail the target's MAC address
 * @returns bytes of the packet
 */
export function writeAdvertisement(view: DataView, at: number, flags: number, head: number, tail: number): number {
  return writeMessage(view, at, ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT, flags, TARGET_LINK_LAYER_ADDRESS, head, tail);
}

/** @param option its type, 0 for none */
function writeMessage(
  view: DataView,
  at: number,
  type: number,
  flags: number,
  option: number,
  head: number,
  tail: number,
): number {
  const total = option === 0 ? BARE_LENGTH : WITH_OPTION_LENGTH;
  const length = total - IPV6.HEADER_LENGTH;
  const message = at + IPV6.HEADER_LENGTH;
  writeIpv6(view, at, 0, length, NEXT_HEADER.ICMPV6, ND_HOP_LIMIT);
  view.setUint16(message + ICMPV6.TYPE, type << 8);
  view.setUint32(message + ND.FLAGS, flags << 24);
  if (option !== 0) {
    view.setUint16(message + ND.OPTIONS, (option << 8) | 1);
    writeMac(view, message + ND.OPTIONS + OPTION_LENGTH - MAC_LENGTH, head, tail);
  }
  writeIcmpv6Sum(view, message, length, pseudoHeaderSum6(view, at + IPV6.SOURCE, NEXT_HEADER.ICMPV6, length));
  return total;
}

/**
 * Writes the link-local address that an interface makes of its MAC address (RFC 4291 appendix A, RFC 2464 section 5):
 * fe80::fcff:ffff:feff:ffff of fe:ff:ff:ff:ff:ff.
 * @param mac offset of the MAC address in its view
 */
export function writeLinkLocal(view: DataView, at: number, macs: DataView, mac: number): void {
  const head = macHead(macs, mac);
  view.setInt32(at, 0xfe800000);
  view.setInt32(at + 4, 0);
  view.setInt32(at + 8, ((head ^ 0x02000000) & 0xffffff00) | 0xff);
  view.setInt32(at + 12, 0xfe000000 | ((head & 0xff) << 16) | macTail(macs, mac));
}
