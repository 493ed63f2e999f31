// What a frame is, for people and for programs: its addresses, ports and flags, read from any bytes. It judges nothing: the router
// does. Whatever is not there, because the frame is cut or lies, is left out.
import { formatAddress, formatAddress6, formatMac } from "../base/address.ts";
import { ARP, ARP_REPLY, ARP_REQUEST } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, MAC_LENGTH, VLAN_ID, VLAN_TAG_LENGTH } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE, UNREACHABLE_CODE } from "../wire/icmp.ts";
import { ICMPV6_TYPE, isError6 } from "../wire/icmpv6.ts";
import { DONT_FRAGMENT, FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS, PROTOCOL } from "../wire/ipv4.ts";
import { FRAGMENT6, FRAGMENT6_MORE, FRAGMENT6_OFFSET, IPV6, NEXT_HEADER } from "../wire/ipv6.ts";
import { ND } from "../wire/ndp.ts";
import { flagNames, TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";

export interface EthernetSummary {
  readonly source: string;
  readonly destination: string;
  /** EtherType behind the tags: `0x0800`. */
  readonly type: string;
  /** Of the outermost tag. */
  readonly vlan?: number;
}

export interface ArpSummary {
  readonly protocol: "arp";
  readonly operation: "request" | "reply" | number;
  readonly source: string;
  readonly destination: string;
  /** What the sender says that its MAC address is. */
  readonly senderMac: string;
}

/** Of a packet of either family: addresses tell which. */
export interface IpSummary {
  /** `tcp`, `udp`, `icmp` or, of IPv6, `icmp6`, or a number. */
  readonly protocol: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** Of TCP, the lowest bit first. */
  readonly flags?: readonly string[];
  readonly icmp?: IcmpSummary;
  /** Of IPv6 the hop limit. */
  readonly ttl: number;
  /** Bytes of the packet, as its header says. */
  readonly length: number;
  readonly dontFragment?: true;
  /** Of a fragment: bytes of the packet before it, and whether more follow. */
  readonly fragment?: { readonly offset: number; readonly more: boolean };
}

export interface IcmpSummary {
  readonly type: number;
  readonly code: number;
  /** Of echo and timestamp. */
  readonly identifier?: number;
  readonly sequence?: number;
  /** Of "fragmentation needed", and of IPv6's "packet too big". */
  readonly mtu?: number;
  /** The packet that an error is about. */
  readonly about?: IpSummary;
  /** Of Neighbour Discovery: whose MAC address is asked for, or told. */
  readonly target?: string;
}

export interface FrameSummary {
  readonly ethernet?: EthernetSummary;
  readonly packet?: ArpSummary | IpSummary;
}

export const PROTOCOL_NAMES = new Map<number, string>([
  [PROTOCOL.ICMP, "icmp"],
  [PROTOCOL.TCP, "tcp"],
  [PROTOCOL.UDP, "udp"],
]);
export const PROTOCOL_NAMES_6 = new Map<number, string>([
  [NEXT_HEADER.ICMPV6, "icmp6"],
  [PROTOCOL.TCP, "tcp"],
  [PROTOCOL.UDP, "udp"],
]);
/** Types of ICMPv6, and of ICMP, with an identifier and a sequence number; and of those that quote a packet. */
export const QUERIES_6: readonly number[] = [ICMPV6_TYPE.ECHO, ICMPV6_TYPE.ECHO_REPLY];
export const QUERIES: readonly number[] = [
  ICMP_TYPE.ECHO_REPLY,
  ICMP_TYPE.ECHO,
  ICMP_TYPE.TIMESTAMP,
  ICMP_TYPE.TIMESTAMP_REPLY,
];
export const ERRORS: readonly number[] = [
  ICMP_TYPE.UNREACHABLE,
  ICMP_TYPE.SOURCE_QUENCH,
  ICMP_TYPE.REDIRECT,
  ICMP_TYPE.TIME_EXCEEDED,
  ICMP_TYPE.PARAMETER_PROBLEM,
];

/** @param at, captured where a frame is, with an Ethernet header, and how much of it is there */
export function summarise(bytes: Buffer, at: number, captured: number): FrameSummary {
  if (captured < ETHERNET.HEADER_LENGTH) return {};
  let type = at + ETHERNET.TYPE;
  const end = at + captured;
  let vlan: number | undefined;
  while (isTag(bytes.readUInt16BE(type)) && type + VLAN_TAG_LENGTH + 2 <= end) {
    vlan ??= bytes.readUInt16BE(type + 2) & VLAN_ID;
    type += VLAN_TAG_LENGTH;
  }
  const etherType = bytes.readUInt16BE(type);
  const ethernet = {
    source: macAt(bytes, at + ETHERNET.SOURCE),
    destination: macAt(bytes, at + ETHERNET.DESTINATION),
    type: hexOf(etherType),
    ...(vlan !== undefined && { vlan }),
  };
  const packet = packetOf(bytes, type + 2, end, etherType);
  return packet === undefined ? { ethernet } : { ethernet, packet };
}

export function isArp(packet: ArpSummary | IpSummary): packet is ArpSummary {
  return packet.protocol === "arp";
}

function packetOf(bytes: Buffer, at: number, end: number, type: number): ArpSummary | IpSummary | undefined {
  if (type === ETHERTYPE.ARP) return end - at < ARP.LENGTH ? undefined : arpOf(bytes, at);
  return ipOf(bytes, at, end, type, true);
}

function ipOf(bytes: Buffer, at: number, end: number, type: number, hasQuote: boolean): IpSummary | undefined {
  if (type === ETHERTYPE.IPV6) return ipv6Of(bytes, at, end, hasQuote);
  return type === ETHERTYPE.IPV4 ? ipv4Of(bytes, at, end, hasQuote) : undefined;
}

function arpOf(bytes: Buffer, at: number): ArpSummary {
  const operation = bytes.readUInt16BE(at + ARP.OPERATION);
  const word = operation === ARP_REQUEST ? "request" : operation === ARP_REPLY ? "reply" : operation;
  return {
    protocol: "arp",
    operation: word,
    source: addressAt(bytes, at + ARP.SENDER_IP),
    destination: addressAt(bytes, at + ARP.TARGET_IP),
    senderMac: macAt(bytes, at + ARP.SENDER_MAC),
  };
}

/** @param hasQuote whether an ICMP error's packet is looked at: not that of one that is quoted itself */
function ipv4Of(bytes: Buffer, at: number, end: number, hasQuote: boolean): IpSummary | undefined {
  if (end - at < IPV4.HEADER_LENGTH) return undefined;
  const number = bytes[at + IPV4.PROTOCOL];
  const word = bytes.readUInt16BE(at + IPV4.FRAGMENT);
  const offset = (word & FRAGMENT_OFFSET) * 8;
  const more = (word & MORE_FRAGMENTS) !== 0;
  const length = bytes.readUInt16BE(at + IPV4.TOTAL_LENGTH);
  const header = (bytes[at] & 15) * 4;
  const stop = Math.min(end, at + length);
  return {
    protocol: PROTOCOL_NAMES.get(number) ?? String(number),
    source: addressAt(bytes, at + IPV4.SOURCE),
    destination: addressAt(bytes, at + IPV4.DESTINATION),
    ...(offset === 0 && header >= IPV4.HEADER_LENGTH && transportOf(bytes, at + header, stop, number, hasQuote)),
    ttl: bytes[at + IPV4.TTL],
    length,
    ...((word & DONT_FRAGMENT) !== 0 && { dontFragment: true }),
    ...((offset > 0 || more) && { fragment: { offset, more } }),
  };
}

/** As `ipv4Of`. Extension headers are passed over, those that the router would refuse too. */
function ipv6Of(bytes: Buffer, at: number, end: number, hasQuote: boolean): IpSummary | undefined {
  if (end - at < IPV6.HEADER_LENGTH || bytes[at] >>> 4 !== 6) return undefined;
  const length = IPV6.HEADER_LENGTH + bytes.readUInt16BE(at + IPV6.PAYLOAD_LENGTH);
  const stop = Math.min(end, at + length);
  const { protocol, transport, fragment } = layersOf(bytes, at, stop);
  const isFirst = fragment === undefined || fragment.offset === 0;
  return {
    protocol: PROTOCOL_NAMES_6.get(protocol) ?? String(protocol),
    source: address6At(bytes, at + IPV6.SOURCE),
    destination: address6At(bytes, at + IPV6.DESTINATION),
    ...(isFirst && transportOf(bytes, transport, stop, protocol, hasQuote, true)),
    ttl: bytes[at + IPV6.HOP_LIMIT],
    length,
    ...(fragment !== undefined && { fragment }),
  };
}

/** Headers that say how long they are: by next-header value, bytes of a unit, and the units that they leave out of the number. */
export const EXTENSIONS: ReadonlyMap<number, readonly [unit: number, more: number]> = new Map([
  [NEXT_HEADER.HOP_BY_HOP, [8, 1]],
  [NEXT_HEADER.ROUTING, [8, 1]],
  [NEXT_HEADER.DESTINATION, [8, 1]],
  [NEXT_HEADER.AH, [4, 2]], // RFC 4302 section 2.2
]);
/** More than these nobody has in a row. */
export const MOST_EXTENSIONS = 8;

/**
 * @param at, end where an IPv6 header is, and where what is there ends
 * @returns the upper layer's protocol and offset, and where a fragment header is, as far as the headers in front of it are there
 */
export function layersOf(bytes: Buffer, at: number, end: number) {
  let protocol = bytes[at + IPV6.NEXT_HEADER];
  let transport = at + IPV6.HEADER_LENGTH;
  let fragment: IpSummary["fragment"];
  let fragmentAt: number | undefined;
  for (let i = 0; i < MOST_EXTENSIONS && transport + 8 <= end; i++) {
    if (protocol === NEXT_HEADER.FRAGMENT) {
      const word = bytes.readUInt16BE(transport + FRAGMENT6.OFFSET);
      fragmentAt = transport;
      fragment = { offset: word & FRAGMENT6_OFFSET, more: (word & FRAGMENT6_MORE) !== 0 };
    }
    const [unit, more] = EXTENSIONS.get(protocol) ?? [0, 0];
    const length = protocol === NEXT_HEADER.FRAGMENT ? FRAGMENT6.LENGTH : unit * (bytes[transport + 1] + more);
    if (length === 0) break;
    protocol = bytes[transport];
    transport += length;
    if (fragment !== undefined && fragment.offset > 0) break;
  }
  return { protocol, transport, fragment, fragmentAt };
}

function transportOf(
  bytes: Buffer,
  at: number,
  end: number,
  protocol: number,
  hasQuote: boolean,
  isOfIpv6 = false,
): Partial<IpSummary> | undefined {
  if (isOfIpv6 && protocol === NEXT_HEADER.ICMPV6) {
    return end - at < ICMP.HEADER_LENGTH ? undefined : icmp6Of(bytes, at, end, hasQuote);
  }
  if (protocol === PROTOCOL.ICMP) return end - at < ICMP.HEADER_LENGTH ? undefined : icmpOf(bytes, at, end, hasQuote);
  if (protocol !== PROTOCOL.TCP && protocol !== PROTOCOL.UDP) return undefined;
  if (end - at < UDP.SOURCE_PORT + 4) return undefined;
  const ports = {
    sourcePort: bytes.readUInt16BE(at + UDP.SOURCE_PORT),
    destinationPort: bytes.readUInt16BE(at + UDP.DESTINATION_PORT),
  };
  if (protocol === PROTOCOL.UDP || end - at <= TCP.FLAGS) return ports;
  return { ...ports, flags: flagNames(bytes[at + TCP.FLAGS]) };
}

function icmpOf(bytes: Buffer, at: number, end: number, hasQuote: boolean): Partial<IpSummary> {
  const type = bytes[at + ICMP.TYPE];
  const code = bytes[at + ICMP.CODE];
  if (QUERIES.includes(type)) {
    const [identifier, sequence] = [bytes.readUInt16BE(at + ICMP.IDENTIFIER), bytes.readUInt16BE(at + 6)];
    return { icmp: { type, code, identifier, sequence } };
  }
  const isTooBig = type === ICMP_TYPE.UNREACHABLE && code === UNREACHABLE_CODE.FRAGMENTATION_NEEDED;
  const about = hasQuote && ERRORS.includes(type) ? ipv4Of(bytes, at + ICMP.HEADER_LENGTH, end, false) : undefined;
  return {
    icmp: {
      type,
      code,
      ...(isTooBig && { mtu: bytes.readUInt16BE(at + ICMP.NEXT_HOP_MTU) }),
      ...(about !== undefined && { about }),
    },
  };
}

const OF_NEIGHBOURS: readonly number[] = [ICMPV6_TYPE.NEIGHBOUR_SOLICITATION, ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT];

function icmp6Of(bytes: Buffer, at: number, end: number, hasQuote: boolean): Partial<IpSummary> {
  const [type, code] = [bytes[at + ICMP.TYPE], bytes[at + ICMP.CODE]];
  if (QUERIES_6.includes(type)) {
    const [identifier, sequence] = [bytes.readUInt16BE(at + ICMP.IDENTIFIER), bytes.readUInt16BE(at + 6)];
    return { icmp: { type, code, identifier, sequence } };
  }
  if (OF_NEIGHBOURS.includes(type) && end - at >= ND.OPTIONS) {
    return { icmp: { type, code, target: address6At(bytes, at + ND.TARGET) } };
  }
  const isTooBig = type === ICMPV6_TYPE.PACKET_TOO_BIG;
  const about = hasQuote && isError6(type) ? ipv6Of(bytes, at + ICMP.HEADER_LENGTH, end, false) : undefined;
  return { icmp: { type, code, ...(isTooBig && { mtu: bytes.readUInt32BE(at + 4) }), ...(about && { about }) } };
}

function isTag(type: number): boolean {
  return type === ETHERTYPE.VLAN || type === ETHERTYPE.SERVICE_VLAN;
}

function addressAt(bytes: Buffer, at: number): string {
  return formatAddress(bytes.readUInt32BE(at));
}

function address6At(bytes: Buffer, at: number): string {
  return formatAddress6(bytes.subarray(at, at + 16));
}

function macAt(bytes: Buffer, at: number): string {
  return formatMac(bytes.subarray(at, at + MAC_LENGTH));
}

function hexOf(word: number): string {
  return `0x${word.toString(16).padStart(4, "0")}`;
}
