// ICMP errors about packets of flows, on their way back to who sent those packets (RFC 5508 section 4): the quoted packet
// is turned into what its sender sent, the error's own addresses into what that sender may see. Errors that belong to no
// flow go nowhere.
import { delta32, updateChecksum } from "../../wire/checksum.ts";
import { checkIcmpSum, ICMP, writeIcmpSum } from "../../wire/icmp.ts";
import { checkQuotedIpv4, FRAGMENT_OFFSET, headerLength, IPV4, PROTOCOL } from "../../wire/ipv4.ts";
import { TCP } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { icmpPorts, isQuery, NO_PORTS } from "../packet.ts";
import { NO_FLOW } from "../tables/flows.ts";
import { malformed, VERDICT } from "../verdict.ts";
import type { State } from "./state.ts";

/** Bytes of the quoted packet's payload that an error must have (RFC 792), and that name its ports. */
const LEAST_QUOTED = 8;

export class IcmpRelay {
  /** The side of state.flow that the error in hand came from. */
  side = 0;

  constructor(private readonly state: State) {}

  /**
   * Translates the error in hand, all but its TTL.
   * @returns VERDICT.FORWARDED with state.flow and `side` set, or the verdict that drops it
   */
  translate(): number {
    const { view, packet } = this.state;
    const message = packet.transport;
    const quoted = message + ICMP.HEADER_LENGTH;
    const length = packet.length - ICMP.HEADER_LENGTH;
    if (packet.fragment !== 0) return VERDICT.FRAGMENT;
    const fault = checkIcmpSum(view, message, packet.length) || checkQuotedIpv4(view, quoted, length);
    if (fault !== 0) return malformed(fault);
    const sender = view.getInt32(quoted + IPV4.SOURCE);
    const transport = quoted + headerLength(view, quoted);
    const quotedLength = quoted + length - transport;
    const isLater = (view.getUint16(quoted + IPV4.FRAGMENT) & FRAGMENT_OFFSET) !== 0;
    if (sender !== packet.destination || isLater || quotedLength < LEAST_QUOTED) return VERDICT.ICMP_ORPHAN;
    const protocol = view.getUint8(quoted + IPV4.PROTOCOL);
    const ports = quotedPorts(view, transport, protocol);
    if (protocol === PROTOCOL.ICMP && ports === NO_PORTS) return VERDICT.ICMP_ORPHAN;
    // The quoted packet left where the error comes in: turned round, it is a packet of the flow's side there.
    const receiver = view.getInt32(quoted + IPV4.DESTINATION);
    const hit = this.state.find(receiver, sender, (ports << 16) | (ports >>> 16), protocol, packet.iface);
    if (hit === NO_FLOW) return VERDICT.ICMP_ORPHAN;
    const flow = hit >>> 1;
    const side = hit & 1;
    const sequence = view.getInt32(transport + TCP.SEQUENCE);
    if (protocol === PROTOCOL.TCP && !this.state.tcp.mayHaveSent(flow, side ^ 1, sequence)) return VERDICT.ICMP_ORPHAN;
    this.state.flow = flow;
    this.side = side;
    this.rewriteQuoted(flow, side, quoted, transport, quotedLength, protocol);
    this.rewriteOuter(flow, side);
    writeIcmpSum(view, message, packet.length);
    return VERDICT.FORWARDED;
  }

  /** The quoted packet becomes what the other side sent: addresses, ports, and both of its checksums. */
  private rewriteQuoted(
    flow: number,
    side: number,
    quoted: number,
    transport: number,
    length: number,
    protocol: number,
  ): void {
    const { view, flows } = this.state;
    const ports = flows.ports(flow, side ^ 1);
    const addresses =
      replace32(view, quoted + IPV4.SOURCE, flows.source(flow, side ^ 1)) +
      replace32(view, quoted + IPV4.DESTINATION, flows.destination(flow, side ^ 1));
    const header = quoted + IPV4.CHECKSUM;
    view.setUint16(header, updateChecksum(view.getUint16(header), addresses));
    if (protocol === PROTOCOL.TCP) {
      const delta = addresses + replace32(view, transport, ports);
      const field = transport + TCP.CHECKSUM;
      if (length >= TCP.CHECKSUM + 2) view.setUint16(field, updateChecksum(view.getUint16(field), delta));
    } else if (protocol === PROTOCOL.UDP) {
      const delta = addresses + replace32(view, transport, ports);
      const field = transport + UDP.CHECKSUM;
      const checksum = view.getUint16(field);
      if (checksum !== 0) view.setUint16(field, updateChecksum(checksum, delta) || 0xffff);
    } else if (protocol === PROTOCOL.ICMP) {
      const identifier = isQuery(view.getUint8(transport)) ? ports >>> 16 : ports & 0xffff;
      const before = view.getUint16(transport + ICMP.IDENTIFIER);
      view.setUint16(transport + ICMP.IDENTIFIER, identifier);
      const field = transport + ICMP.CHECKSUM;
      view.setUint16(field, updateChecksum(view.getUint16(field), delta32(before, identifier)));
    }
  }

  /**
   * The error goes to who sent the quoted packet. Its source stays when it is a router's, unless that router is inside and
   * the error leaves: no inside address may show there (RFC 5508 REQ-5).
   */
  private rewriteOuter(flow: number, side: number): void {
    const { view, flows, packet, neighbours, topology } = this.state;
    const isHost = packet.source === flows.source(flow, side);
    const egress = neighbours.interfaceOf[flows.hop(flow, side ^ 1)];
    const leaves = packet.iface !== topology.uplink && egress === topology.uplink;
    const source = isHost || leaves ? flows.destination(flow, side ^ 1) : packet.source;
    const delta =
      replace32(view, packet.ip + IPV4.SOURCE, source) +
      replace32(view, packet.ip + IPV4.DESTINATION, flows.source(flow, side ^ 1));
    const field = packet.ip + IPV4.CHECKSUM;
    view.setUint16(field, updateChecksum(view.getUint16(field), delta));
  }
}

/** @returns the ports word of a quoted packet, as Packet reads it */
function quotedPorts(view: DataView, at: number, protocol: number): number {
  if (protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP) return view.getInt32(at);
  if (protocol !== PROTOCOL.ICMP) return NO_PORTS;
  return icmpPorts(view.getUint8(at + ICMP.TYPE), view.getUint16(at + ICMP.IDENTIFIER));
}

function replace32(view: DataView, at: number, value: number): number {
  const before = view.getInt32(at);
  view.setInt32(at, value);
  return delta32(before, value);
}
