// The rewriting of a packet that leaves: addresses, ports, TTL, and checksums by what that changes in them (RFC 1624).
// Nothing else of a packet changes.
import { delta16, delta32, fold, updateChecksum } from "../../wire/checksum.ts";
import { crc32c } from "../../wire/crc32c.ts";
import { ICMP } from "../../wire/icmp.ts";
import { type Address, IPV4, PROTOCOL, TTL_DELTA } from "../../wire/ipv4.ts";
import { IPV6 } from "../../wire/ipv6.ts";
import { destinationPort, type Port, type Ports, sourcePort, swapPorts } from "../../wire/ports.ts";
import { TCP } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { ADDRESS_WORDS, type AddressBook, type Number6 } from "../address-book.ts";
import { isQuery, type Packet } from "../packet.ts";
import type { FlowTable } from "../tables/flows.ts";
import { type Flow, otherSide, type Side } from "../types.ts";
import { checksumDone, checksumField, checksumStart, needsChecksum } from "./vnet.ts";

/** Makes a packet from one side of a flow the inverse of what the other side sends. */
export function rewrite(
  view: DataView,
  flows: FlowTable,
  book: AddressBook,
  flow: Flow,
  side: Side,
  packet: Packet,
): void {
  const addresses = rewriteHeader(view, flows, book, flow, side, packet);
  const { protocol, transport, at } = packet;
  const ports = portsTowards(flows, flow, otherSide(side));
  if (protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP) {
    rewritePorts(view, at, transport, protocol, packet.ports, ports, addresses);
  } else if (packet.isIcmp) {
    const after = isQuery(view.getUint8(transport + ICMP.TYPE)) ? sourcePort(ports) : destinationPort(ports);
    rewriteEcho(view, at, transport, after, packet.isIpv6 ? addresses : 0);
  } else {
    rewriteOther(view, packet, addresses);
  }
}

/**
 * The IP header alone: all that changes in a later fragment.
 * @returns the delta of the addresses, for what else covers them
 */
export function rewriteHeader(
  view: DataView,
  flows: FlowTable,
  book: AddressBook,
  flow: Flow,
  side: Side,
  packet: Packet,
): number {
  const { ip, source, destination } = packet;
  const back = otherSide(side);
  if (packet.isIpv6) {
    const toSource = flows.destination(flow, back) as Number6;
    return rewriteAddresses6(view, ip, book, toSource, flows.source(flow, back) as Number6);
  }
  return rewriteAddresses(view, ip, source, destination, flows.destination(flow, back), flows.source(flow, back));
}

/** @returns the ports of packets that leave to a side */
export const portsTowards = (flows: FlowTable, flow: Flow, side: Side): Ports => swapPorts(flows.ports(flow, side));

/**
 * Addresses, TTL, and the header's checksum.
 * @param ip offset of the header
 * @param source, destination what it says; toSource, toDestination what it is to say
 * @returns the delta of the addresses, for what else covers them
 */
export const rewriteAddresses = (
  view: DataView,
  ip: number,
  source: Address,
  destination: Address,
  toSource: Address,
  toDestination: Address,
): number => {
  const addresses = delta32(source, toSource) + delta32(destination, toDestination);
  view.setInt32(ip + IPV4.SOURCE, toSource);
  view.setInt32(ip + IPV4.DESTINATION, toDestination);
  view.setUint8(ip + IPV4.TTL, view.getUint8(ip + IPV4.TTL) - 1);
  const field = ip + IPV4.CHECKSUM;
  view.setUint16(field, updateChecksum(view.getUint16(field), addresses + TTL_DELTA));
  return addresses;
};

/**
 * The same of IPv6, whose header has no checksum: addresses and hop limit.
 * @returns the delta of the addresses, not folded: below 2^20
 */
const rewriteAddresses6 = (
  view: DataView,
  ip: number,
  book: AddressBook,
  toSource: Number6,
  toDestination: Number6,
): number => {
  const addresses =
    replaceAddress6(view, ip + IPV6.SOURCE, book, toSource) +
    replaceAddress6(view, ip + IPV6.DESTINATION, book, toDestination);
  view.setUint8(ip + IPV6.HOP_LIMIT, view.getUint8(ip + IPV6.HOP_LIMIT) - 1);
  return addresses;
};

/** @returns the delta of what stood there, not folded: below 2^19 */
export const replaceAddress6 = (view: DataView, at: number, book: AddressBook, address: Number6): number => {
  const { words } = book;
  const word = address * ADDRESS_WORDS;
  const delta =
    delta32(view.getInt32(at), words[word]) +
    delta32(view.getInt32(at + 4), words[word + 1]) +
    delta32(view.getInt32(at + 8), words[word + 2]) +
    delta32(view.getInt32(at + 12), words[word + 3]);
  view.setInt32(at, words[word]);
  view.setInt32(at + 4, words[word + 1]);
  view.setInt32(at + 8, words[word + 2]);
  view.setInt32(at + 12, words[word + 3]);
  return delta;
};

/**
 * Ports and checksum of TCP or UDP.
 * @param at, transport offsets of the frame and of the transport header
 * @param before, after the ports
 * @param addresses the delta that `rewriteAddresses` returned
 */
export const rewritePorts = (
  view: DataView,
  at: number,
  transport: number,
  protocol: number,
  before: Ports,
  after: Ports,
  addresses: number,
): void => {
  view.setInt32(transport, after);
  const isUdp = protocol === PROTOCOL.UDP;
  const field = transport + (isUdp ? UDP.CHECKSUM : TCP.CHECKSUM);
  if (isUdp && view.getUint16(field) === 0 && !needsChecksum(view, at)) return; // RFC 768: there is none
  updateTransportChecksum(view, at, field, addresses, addresses + delta32(before, after));
  if (isUdp && view.getUint16(field) === 0 && !needsChecksum(view, at)) view.setUint16(field, 0xffff);
};

/**
 * Identifier and checksum of a query of ICMP or its reply; those of ICMPv6 stand at the same places (RFC 4443 section 2.1).
 * @param addresses the delta of what of the addresses its checksum covers: of ICMP none
 */
export const rewriteEcho = (view: DataView, at: number, transport: number, after: Port, addresses: number): void => {
  const delta = addresses + delta16(view.getUint16(transport + ICMP.IDENTIFIER), after);
  view.setUint16(transport + ICMP.IDENTIFIER, after);
  updateTransportChecksum(view, at, transport + ICMP.CHECKSUM, addresses, delta);
};

/** @param addresses, delta what the rewriting adds to the sum: of the addresses, and of everything that it covers */
const updateTransportChecksum = (view: DataView, at: number, field: number, addresses: number, delta: number): void => {
  const before = view.getUint16(field);
  // The sender may leave it to its interface: then the field holds the pseudo-header's sum, and the ports come later.
  view.setUint16(field, needsChecksum(view, at) ? fold(before + addresses) : updateChecksum(before, delta));
};

/** Protocols without ports; some have a checksum over the addresses all the same, or one that is not the Internet's. */
function rewriteOther(view: DataView, packet: Packet, addresses: number): void {
  const { protocol, transport, length, at } = packet;
  if (protocol === PROTOCOL.DCCP || protocol === PROTOCOL.UDP_LITE) {
    // Both have it where UDP has (RFC 4340 section 5.1, RFC 3828 section 3.1).
    if (length < UDP.HEADER_LENGTH) return;
    updateTransportChecksum(view, at, transport + UDP.CHECKSUM, addresses, addresses);
  } else if (protocol === PROTOCOL.SCTP && needsChecksum(view, at)) {
    // An interface would put an Internet checksum there: SCTP's is a CRC (RFC 9260 section 6.8), so it is done here.
    const field = checksumField(view, at);
    const start = checksumStart(view, at);
    view.setUint32(field, 0);
    view.setUint32(field, crc32c(view, start, transport + length - start), true);
    checksumDone(view, at);
  }
}
