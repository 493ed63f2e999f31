// The rewriting of a packet that leaves: addresses, ports, TTL, and checksums by what that changes in them (RFC 1624).
// Nothing else of a packet changes.
import { addDeltas, delta16, delta32, fold, updateChecksum } from "../wire/checksum.ts";
import { crc32c } from "../wire/crc32c.ts";
import { ICMP } from "../wire/icmp.ts";
import { IPV4, PROTOCOL, TTL_DELTA } from "../wire/ipv4.ts";
import { TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";
import type { FlowTable } from "./flows.ts";
import { isQuery, type Packet } from "./packet.ts";
import { checksumDone, checksumField, checksumStart, needsChecksum } from "./vnet.ts";

/** Makes a packet from one side of a flow the inverse of what the other side sends. */
export function rewrite(view: DataView, flows: FlowTable, flow: number, side: number, packet: Packet): void {
  const addresses = rewriteHeader(view, flows, flow, side, packet);
  const { protocol, transport, at } = packet;
  const back = flows.ports(flow, side ^ 1);
  const ports = (back << 16) | (back >>> 16);
  if (protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP) {
    const delta = addDeltas(addresses, delta32(packet.ports, ports));
    view.setInt32(transport, ports);
    if (protocol === PROTOCOL.UDP) updateUdpChecksum(view, at, transport + UDP.CHECKSUM, addresses, delta);
    else updateTransportChecksum(view, at, transport + TCP.CHECKSUM, addresses, delta);
  } else if (protocol === PROTOCOL.ICMP) {
    const before = view.getUint16(transport + ICMP.IDENTIFIER);
    const after = isQuery(view.getUint8(transport + ICMP.TYPE)) ? ports >>> 16 : ports & 0xffff;
    view.setUint16(transport + ICMP.IDENTIFIER, after);
    // It covers no addresses.
    const field = transport + ICMP.CHECKSUM;
    view.setUint16(field, updateChecksum(view.getUint16(field), delta16(before, after)));
  } else {
    rewriteOther(view, packet, addresses);
  }
}

/**
 * The IPv4 header alone: all that changes in a later fragment.
 * @returns the delta of the addresses, for what else covers them
 */
export function rewriteHeader(view: DataView, flows: FlowTable, flow: number, side: number, packet: Packet): number {
  const { ip } = packet;
  const source = flows.destination(flow, side ^ 1);
  const destination = flows.source(flow, side ^ 1);
  const addresses = addDeltas(delta32(packet.source, source), delta32(packet.destination, destination));
  view.setInt32(ip + IPV4.SOURCE, source);
  view.setInt32(ip + IPV4.DESTINATION, destination);
  view.setUint8(ip + IPV4.TTL, view.getUint8(ip + IPV4.TTL) - 1);
  const field = ip + IPV4.CHECKSUM;
  view.setUint16(field, updateChecksum(view.getUint16(field), addDeltas(addresses, TTL_DELTA)));
  return addresses;
}

function updateUdpChecksum(view: DataView, at: number, field: number, addresses: number, delta: number): void {
  if (view.getUint16(field) === 0 && !needsChecksum(view, at)) return; // RFC 768: there is none
  updateTransportChecksum(view, at, field, addresses, delta);
  if (view.getUint16(field) === 0 && !needsChecksum(view, at)) view.setUint16(field, 0xffff);
}

/** @param addresses, delta what the rewriting adds to the sum: of the addresses, and of everything that it covers */
function updateTransportChecksum(view: DataView, at: number, field: number, addresses: number, delta: number): void {
  const before = view.getUint16(field);
  // The sender may leave it to its interface: then the field holds the pseudo-header's sum, and the ports come later.
  view.setUint16(field, needsChecksum(view, at) ? fold(before + addresses) : updateChecksum(before, delta));
}

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
