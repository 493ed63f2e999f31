// The rewriting of a packet that leaves: addresses, ports, TTL, and checksums by the deltas that its flow has ready
// (RFC 1624). Nothing else of a packet changes.
import { addDeltas, delta32, fold, updateChecksum } from "../wire/checksum.ts";
import { crc32c } from "../wire/crc32c.ts";
import { ICMP } from "../wire/icmp.ts";
import { IPV4, PROTOCOL, TTL_DELTA } from "../wire/ipv4.ts";
import { TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";
import { FLOW } from "./flows.ts";
import { isQuery, type Packet } from "./packet.ts";
import { checksumDone, checksumField, checksumStart, needsChecksum } from "./vnet.ts";

/** Makes a packet from one side of a flow the inverse of what the other side sends. @param record the flow's first word */
export function rewrite(view: DataView, words: Int32Array, record: number, side: number, packet: Packet): void {
  const delta = words[record + FLOW.DELTA[0] + side];
  const other = record + (side === 0 ? 3 : 0);
  rewriteHeader(view, words, record, side, packet);
  const { protocol, transport } = packet;
  const ports = words[other + FLOW.PORTS];
  if (protocol === PROTOCOL.TCP) {
    view.setInt32(transport, (ports << 16) | (ports >>> 16));
    const field = transport + TCP.CHECKSUM;
    if (needsChecksum(view, packet.at)) updatePartialSum(view, field, delta);
    else view.setUint16(field, updateChecksum(view.getUint16(field), delta & 0xffff));
  } else if (protocol === PROTOCOL.UDP) {
    view.setInt32(transport, (ports << 16) | (ports >>> 16));
    updateUdpChecksum(view, packet.at, transport + UDP.CHECKSUM, delta);
  } else if (protocol === PROTOCOL.ICMP) {
    const query = isQuery(view.getUint8(transport + ICMP.TYPE));
    view.setUint16(transport + ICMP.IDENTIFIER, query ? ports & 0xffff : ports >>> 16);
    const field = transport + ICMP.CHECKSUM;
    view.setUint16(field, updateChecksum(view.getUint16(field), delta & 0xffff));
  } else {
    rewriteOther(view, packet, delta);
  }
}

/** The IPv4 header alone: all that changes in a later fragment. */
export function rewriteHeader(view: DataView, words: Int32Array, record: number, side: number, { ip }: Packet): void {
  const other = record + (side === 0 ? 3 : 0);
  view.setInt32(ip + IPV4.SOURCE, words[other + FLOW.DESTINATION]);
  view.setInt32(ip + IPV4.DESTINATION, words[other + FLOW.SOURCE]);
  view.setUint8(ip + IPV4.TTL, view.getUint8(ip + IPV4.TTL) - 1);
  const field = ip + IPV4.CHECKSUM;
  view.setUint16(field, updateChecksum(view.getUint16(field), words[record + FLOW.DELTA[0] + side] >>> 16));
}

/** @returns the DELTA word for packets from one side: what their rewriting adds to the sums of their two headers */
export function deltaWord(words: Int32Array, record: number, side: number, protocol: number): number {
  const from = record + FLOW.SIDE[side];
  const to = record + FLOW.SIDE[side ^ 1];
  const addresses = addDeltas(
    delta32(words[from + FLOW.SOURCE], words[to + FLOW.DESTINATION]),
    delta32(words[from + FLOW.DESTINATION], words[to + FLOW.SOURCE]),
  );
  const ports = delta32(words[from + FLOW.PORTS], words[to + FLOW.PORTS]); // their order doesn't matter to a sum
  // An ICMP checksum covers no addresses.
  const transport = protocol === PROTOCOL.ICMP ? ports : addDeltas(addresses, ports);
  return (addDeltas(addresses, TTL_DELTA) << 16) | transport;
}

function updateUdpChecksum(view: DataView, at: number, field: number, delta: number): void {
  const checksum = view.getUint16(field);
  if (needsChecksum(view, at)) updatePartialSum(view, field, delta);
  else if (checksum !== 0) view.setUint16(field, updateChecksum(checksum, delta & 0xffff) || 0xffff); // RFC 768: 0 is none
}

/** The sender left the checksum to its interface: the field holds the pseudo-header's sum; the ports come later. */
function updatePartialSum(view: DataView, field: number, delta: number): void {
  view.setUint16(field, fold(view.getUint16(field) + addDeltas(delta >>> 16, ~TTL_DELTA & 0xffff)));
}

/** Protocols without ports; some have a checksum over the addresses all the same, or one that is not the Internet's. */
function rewriteOther(view: DataView, packet: Packet, delta: number): void {
  const { protocol, transport, length, at } = packet;
  if (protocol === PROTOCOL.DCCP || protocol === PROTOCOL.UDP_LITE) {
    // Both have it where UDP has (RFC 4340 section 5.1, RFC 3828 section 3.1).
    if (length < UDP.HEADER_LENGTH) return;
    const field = transport + UDP.CHECKSUM;
    if (needsChecksum(view, at)) updatePartialSum(view, field, delta);
    else view.setUint16(field, updateChecksum(view.getUint16(field), delta & 0xffff));
  } else if (protocol === PROTOCOL.SCTP && needsChecksum(view, at)) {
    // An interface would put an Internet checksum there: SCTP's is a CRC (RFC 9260 section 6.8), so it is done here.
    const field = checksumField(view, at);
    const start = checksumStart(view, at);
    view.setUint32(field, 0);
    view.setUint32(field, crc32c(view, start, transport + length - start), true);
    checksumDone(view, at);
  }
}
