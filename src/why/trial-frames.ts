// Frames of a trial, of either family: the packet that is tried, the answers of the hosts around to who asks for their MAC addresses,
// and what an answer to the packet says.
import { familyOf, formatEndpoint, formatIp, type IpAddress, sameIp } from "../base/ip.ts";
import { isQuery } from "../dataplane/packet.ts";
import type { Asked } from "../rules/mismatch.ts";
import { ARP, ARP_REPLY, ARP_REQUEST, writeArp } from "../wire/arp.ts";
import { pseudoHeaderSum6, sum } from "../wire/checksum.ts";
import { ETHERNET, ETHERTYPE, macHead, macTail, writeMac } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE, UNREACHABLE_CODE, writeIcmpSum } from "../wire/icmp.ts";
import { ICMPV6, ICMPV6_TYPE, isQuery6, UNREACHABLE6_CODE, writeIcmpv6Sum } from "../wire/icmpv6.ts";
import { DEFAULT_TTL, IPV4, PROTOCOL, readAddress, writeIpv4 } from "../wire/ipv4.ts";
import { ADDRESS6_LENGTH, copyAddress6, IPV6, NEXT_HEADER, writeIpv6 } from "../wire/ipv6.ts";
import { ND, OVERRIDE, SOLICITED, writeAdvertisement } from "../wire/ndp.ts";
import { SYN, TCP, writeTcp } from "../wire/tcp.ts";
import { UDP, writeUdp } from "../wire/udp.ts";

const IP = ETHERNET.HEADER_LENGTH;
const HEADERS = IP + IPV4.HEADER_LENGTH;
const HEADERS6 = IP + IPV6.HEADER_LENGTH;
const MESSAGE = HEADERS6 + ICMPV6.TYPE;

/** Where a packet comes from. */
export interface Origin {
  readonly mac: Uint8Array;
  readonly address: IpAddress;
  readonly port: number;
}

/** ICMP errors that the firewall answers clients with, by code of "unreachable". */
const PROHIBITIONS = new Map<number, string>([
  [UNREACHABLE_CODE.HOST_PROHIBITED, 'ICMP "host administratively prohibited"'],
  [UNREACHABLE_CODE.ADMIN_PROHIBITED, 'ICMP "administratively prohibited"'],
]);
const PROHIBITIONS6 = new Map<number, string>([
  [UNREACHABLE6_CODE.ADMIN_PROHIBITED, 'ICMPv6 "administratively prohibited"'],
]);

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** @returns the packet in a frame from its sender: of TCP a SYN, else without payload @param to MAC address that it is sent to */
export function frameOf(to: Uint8Array, origin: Origin, asked: Asked): Uint8Array {
  const { address } = origin;
  const { destination } = asked;
  const isIpv4 = typeof address === "number" && typeof destination === "number";
  const frame = isIpv4 ? frame4(address, destination, origin.port, asked) : frame6(origin, asked);
  frame.set(to, ETHERNET.DESTINATION);
  frame.set(origin.mac, ETHERNET.SOURCE);
  return frame;
}

function frame4(source: number, destination: number, port: number, { protocol, selector }: Asked): Uint8Array {
  const length = payloadLength(protocol, PROTOCOL.ICMP, IPV4.HEADER_LENGTH);
  const frame = new Uint8Array(HEADERS + length);
  const view = viewOf(frame);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.IPV4);
  writeIpv4(view, IP, 0, IPV4.HEADER_LENGTH + length, DEFAULT_TTL, protocol, source, destination);
  if (protocol === PROTOCOL.ICMP) {
    view.setUint8(HEADERS + ICMP.TYPE, selector);
    if (isQuery(selector)) view.setUint16(HEADERS + ICMP.IDENTIFIER, port);
    // Errors quote a packet: here one that nobody sent.
    const quoted = HEADERS + ICMP.HEADER_LENGTH;
    writeIpv4(view, quoted, 0, IPV4.HEADER_LENGTH + UDP.HEADER_LENGTH, DEFAULT_TTL, PROTOCOL.UDP, destination, source);
    writeIcmpSum(view, HEADERS, length);
  } else writePorts(view, HEADERS, protocol, (port << 16) | selector, length);
  return frame;
}

function frame6({ address, port }: Origin, { protocol, destination, selector }: Asked): Uint8Array {
  const length = payloadLength(protocol, NEXT_HEADER.ICMPV6, IPV6.HEADER_LENGTH);
  const frame = new Uint8Array(HEADERS6 + length);
  const view = viewOf(frame);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.IPV6);
  writeIpv6(view, IP, 0, length, protocol, DEFAULT_TTL);
  frame.set(bytesOf(address), IP + IPV6.SOURCE);
  frame.set(bytesOf(destination), IP + IPV6.DESTINATION);
  if (protocol === NEXT_HEADER.ICMPV6) {
    view.setUint8(HEADERS6 + ICMPV6.TYPE, selector);
    if (isQuery6(selector)) view.setUint16(HEADERS6 + ICMPV6.IDENTIFIER, port);
    const quoted = HEADERS6 + ICMPV6.HEADER_LENGTH;
    writeIpv6(view, quoted, 0, UDP.HEADER_LENGTH, PROTOCOL.UDP, DEFAULT_TTL);
    copyAddress6(view, IP + IPV6.DESTINATION, view, quoted + IPV6.SOURCE);
    copyAddress6(view, IP + IPV6.SOURCE, view, quoted + IPV6.DESTINATION);
    const pseudo = pseudoHeaderSum6(view, IP + IPV6.SOURCE, NEXT_HEADER.ICMPV6, length);
    writeIcmpv6Sum(view, HEADERS6, length, pseudo);
    return frame;
  }
  writePorts(view, HEADERS6, protocol, (port << 16) | selector, length);
  // Without a checksum there is no UDP in IPv6 (RFC 8200 section 8.1).
  const at = protocol === PROTOCOL.TCP ? TCP.CHECKSUM : UDP.CHECKSUM;
  const pseudo = pseudoHeaderSum6(view, IP + IPV6.SOURCE, protocol, length);
  if (protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP) {
    view.setUint16(HEADERS6 + at, ~sum(view, HEADERS6, length, pseudo) & 0xffff || 0xffff);
  }
  return frame;
}

function writePorts(view: DataView, at: number, protocol: number, ports: number, length: number): void {
  if (protocol === PROTOCOL.TCP) writeTcp(view, at, ports, 0, 0, SYN, 65535);
  else if (protocol === PROTOCOL.UDP) writeUdp(view, at, ports, length);
}

/** @param icmp the family's ICMP @param header bytes of its IP header */
function payloadLength(protocol: number, icmp: number, header: number): number {
  if (protocol === PROTOCOL.TCP) return TCP.HEADER_LENGTH;
  if (protocol === icmp) return ICMP.HEADER_LENGTH + header + UDP.HEADER_LENGTH;
  return UDP.HEADER_LENGTH;
}

function bytesOf(address: IpAddress): Uint8Array {
  if (typeof address === "number") throw new Error("an IPv4 address in an IPv6 packet");
  return address;
}

/** @returns the answer of the host whose MAC address is asked for, by ARP or a solicitation; undefined where the frame does not ask */
export function neighbourReply(request: Uint8Array, hostMac: Uint8Array): Uint8Array | undefined {
  const view = viewOf(request);
  if (view.getUint16(ETHERNET.TYPE) === ETHERTYPE.ARP) return arpReply(view, hostMac);
  return isIcmpv6(view) && view.getUint8(MESSAGE) === ICMPV6_TYPE.NEIGHBOUR_SOLICITATION
    ? advertisement(view, hostMac)
    : undefined;
}

function arpReply(request: DataView, hostMac: Uint8Array): Uint8Array | undefined {
  if (request.getUint16(IP + ARP.OPERATION) !== ARP_REQUEST) return undefined;
  const reply = new Uint8Array(IP + ARP.LENGTH);
  const view = viewOf(reply);
  const [them, us] = writeMacs(view, request, hostMac);
  const asked = readAddress(request, IP + ARP.TARGET_IP);
  const asker = readAddress(request, IP + ARP.SENDER_IP);
  writeArp(view, IP, ARP_REPLY, them.head, them.tail, asked, us.head, us.tail, asker);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.ARP);
  return reply;
}

function advertisement(request: DataView, hostMac: Uint8Array): Uint8Array {
  const reply = new Uint8Array(HEADERS6 + ND.OPTIONS + 8);
  const view = viewOf(reply);
  const [them] = writeMacs(view, request, hostMac);
  view.setUint16(ETHERNET.TYPE, ETHERTYPE.IPV6);
  copyAddress6(request, HEADERS6 + ND.TARGET, view, IP + IPV6.SOURCE);
  copyAddress6(request, HEADERS6 + ND.TARGET, view, HEADERS6 + ND.TARGET);
  copyAddress6(request, IP + IPV6.SOURCE, view, IP + IPV6.DESTINATION);
  writeAdvertisement(view, IP, SOLICITED | OVERRIDE, them.head, them.tail);
  return reply;
}

/** Addresses a frame to who sent the request. @returns its two MAC addresses: the host's, and the firewall's */
function writeMacs(view: DataView, request: DataView, hostMac: Uint8Array) {
  const us = { head: macHead(request, ETHERNET.SOURCE), tail: macTail(request, ETHERNET.SOURCE) };
  const them = { head: macHead(viewOf(hostMac), 0), tail: macTail(viewOf(hostMac), 0) };
  writeMac(view, ETHERNET.DESTINATION, us.head, us.tail);
  writeMac(view, ETHERNET.SOURCE, them.head, them.tail);
  return [them, us] as const;
}

/** @returns whether a frame is one of those that a packet leads to: no message between neighbours, nor of our own groups */
export function isOfFlow(frame: Uint8Array): boolean {
  const view = viewOf(frame);
  const type = view.getUint16(ETHERNET.TYPE);
  if (type !== ETHERTYPE.IPV6) return type === ETHERTYPE.IPV4;
  if (view.getUint8(IP + IPV6.NEXT_HEADER) === NEXT_HEADER.HOP_BY_HOP) return false;
  return !isIcmpv6(view) || !OF_NEIGHBOURS.includes(view.getUint8(MESSAGE));
}

const OF_NEIGHBOURS: readonly number[] = [
  ICMPV6_TYPE.NEIGHBOUR_SOLICITATION,
  ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_TYPE.LISTENER_REPORT_2,
];

/** @returns whether a packet in a frame is for an address */
export function isTo(frame: Uint8Array, address: IpAddress): boolean {
  const view = viewOf(frame);
  const isIpv4 = view.getUint16(ETHERNET.TYPE) === ETHERTYPE.IPV4;
  if (isIpv4 !== (familyOf(address) === 4)) return false;
  const at = IP + IPV6.DESTINATION;
  const destination = isIpv4 ? view.getUint32(IP + IPV4.DESTINATION) : frame.slice(at, at + ADDRESS6_LENGTH);
  return sameIp(destination, address);
}

/**
 * @param frame with an IPv6 packet that leaves because of the one that was asked about
 * @returns what its receiver sees as its source, and who that is where it is another than was asked for
 */
export function ends6(frame: Uint8Array, { protocol, destination }: Asked): { mapped: string; reached?: string } {
  const view = viewOf(frame);
  const addressAt = (offset: number) => frame.slice(IP + offset, IP + offset + ADDRESS6_LENGTH);
  const [from, to] = [addressAt(IPV6.SOURCE), addressAt(IPV6.DESTINATION)];
  const hasPorts = protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP;
  const textOf = (address: Uint8Array, at: number) =>
    hasPorts ? formatEndpoint(address, view.getUint16(HEADERS6 + at)) : formatIp(address);
  const id = protocol === NEXT_HEADER.ICMPV6 ? ` id ${view.getUint16(HEADERS6 + ICMPV6.IDENTIFIER)}` : "";
  return { mapped: textOf(from, 0) + id, ...(!sameIp(to, destination) && { reached: textOf(to, 2) }) };
}

/** @returns what a packet that goes back to the sender says, if it is an answer */
export function answerOf(frame: Uint8Array): string | undefined {
  const view = viewOf(frame);
  return view.getUint16(ETHERNET.TYPE) === ETHERTYPE.IPV4 ? answer4(view) : answer6(view);
}

function answer4(view: DataView): string | undefined {
  const protocol = view.getUint8(IP + IPV4.PROTOCOL);
  if (protocol === PROTOCOL.TCP) return "RST";
  if (protocol !== PROTOCOL.ICMP) return undefined;
  const type = view.getUint8(HEADERS + ICMP.TYPE);
  if (type === ICMP_TYPE.ECHO_REPLY) return "an echo reply";
  return type === ICMP_TYPE.UNREACHABLE ? PROHIBITIONS.get(view.getUint8(HEADERS + ICMP.CODE)) : undefined;
}

function answer6(view: DataView): string | undefined {
  if (view.getUint8(IP + IPV6.NEXT_HEADER) === PROTOCOL.TCP) return "RST";
  if (!isIcmpv6(view)) return undefined;
  const type = view.getUint8(MESSAGE);
  if (type === ICMPV6_TYPE.ECHO_REPLY) return "an echo reply";
  return type === ICMPV6_TYPE.UNREACHABLE ? PROHIBITIONS6.get(view.getUint8(HEADERS6 + ICMPV6.CODE)) : undefined;
}

function isIcmpv6(view: DataView): boolean {
  return (
    view.getUint16(ETHERNET.TYPE) === ETHERTYPE.IPV6 && view.getUint8(IP + IPV6.NEXT_HEADER) === NEXT_HEADER.ICMPV6
  );
}
