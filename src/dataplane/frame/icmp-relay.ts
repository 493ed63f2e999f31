// ICMP errors about packets of flows, on their way back to who sent those packets (RFC 5508 section 4): the quoted packet
// is turned into what its sender sent, the error's own addresses into what that sender may see. Errors that belong to no
// flow go nowhere.
import { delta32, updateChecksum } from "../../wire/checksum.ts";
import { FAULT } from "../../wire/fault.ts";
import { checkIcmpSum, ICMP, ICMP_TYPE, plateauBelow, UNREACHABLE_CODE, writeIcmpSum } from "../../wire/icmp.ts";
import {
  checkQuotedIpv4,
  DONT_FRAGMENT,
  FRAGMENT_OFFSET,
  headerLength,
  IPV4,
  PROTOCOL,
  readAddress,
} from "../../wire/ipv4.ts";
import { destinationPort, type Ports, sourcePort, swapPorts } from "../../wire/ports.ts";
import { TCP } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { icmpPorts, isQuery, NO_PORTS } from "../packet.ts";
import { type FlowSide, flowOf, NO_FLOW_SIDE, otherSide, sideOf } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import type { State } from "./state.ts";

/** Bytes of the quoted packet's payload that an error must have (RFC 792), and that name its ports. */
const LEAST_QUOTED = 8;

export class IcmpRelay {
  constructor(private readonly state: State) {}

  /** @returns VERDICT.FORWARDED, or the verdict on an error that says nothing to be trusted: a fragment, a wrong checksum */
  check(): Verdict {
    const { view, packet } = this.state;
    if (packet.fragment !== 0) return VERDICT.FRAGMENT;
    const quoted = packet.transport + ICMP.HEADER_LENGTH;
    const fault =
      checkIcmpSum(view, packet.transport, packet.length) ||
      checkQuotedIpv4(view, quoted, packet.length - ICMP.HEADER_LENGTH);
    return fault === FAULT.NONE ? VERDICT.FORWARDED : malformed(fault);
  }

  /** @returns the flow that the error in hand, checked, is about, and the side that it comes from; or NO_FLOW_SIDE */
  find(): FlowSide {
    const { view, packet, tcp } = this.state;
    const quoted = packet.transport + ICMP.HEADER_LENGTH;
    const sender = readAddress(view, quoted + IPV4.SOURCE);
    const transport = quoted + headerLength(view, quoted);
    const isLater = (view.getUint16(quoted + IPV4.FRAGMENT) & FRAGMENT_OFFSET) !== 0;
    if (sender !== packet.destination || isLater) return NO_FLOW_SIDE;
    if (packet.transport + packet.length - transport < LEAST_QUOTED) return NO_FLOW_SIDE;
    const protocol = view.getUint8(quoted + IPV4.PROTOCOL);
    const ports = quotedPorts(view, transport, protocol);
    if (protocol === PROTOCOL.ICMP && ports === NO_PORTS) return NO_FLOW_SIDE;
    // The quoted packet left where the error comes in: turned round, it is a packet of the flow's side there.
    const receiver = readAddress(view, quoted + IPV4.DESTINATION);
    const found = this.state.find(receiver, sender, swapPorts(ports), protocol, packet.iface);
    if (found === NO_FLOW_SIDE || protocol !== PROTOCOL.TCP) return found;
    const sequence = view.getInt32(transport + TCP.SEQUENCE);
    const flow = flowOf(found);
    const side = otherSide(sideOf(found));
    const wasSent = tcp.mayHaveSent(flow, side, sequence) || tcp.awaitsAnswer(flow, side, sequence);
    return wasSent ? found : NO_FLOW_SIDE;
  }

  /**
   * Judges the MTU that the error in hand states, if it is "fragmentation needed": nobody sends that but about a packet with DF that
   * is longer (RFC 5927 section 7.2). One of 0 is a router's from before RFC 1191; it becomes the plateau below the packet's length,
   * and what is lower than the settings' least becomes that: whoever guesses the ports of a flow must not have it cut up at will.
   * @returns VERDICT.FORWARDED, or the verdict on one that can't be true
   */
  judgeMtu(): Verdict {
    const { view, packet, topology } = this.state;
    const { transport } = packet;
    const isAboutMtu =
      view.getUint8(transport + ICMP.TYPE) === ICMP_TYPE.UNREACHABLE &&
      view.getUint8(transport + ICMP.CODE) === UNREACHABLE_CODE.FRAGMENTATION_NEEDED;
    if (!isAboutMtu) return VERDICT.FORWARDED;
    const quoted = transport + ICMP.HEADER_LENGTH;
    const length = view.getUint16(quoted + IPV4.TOTAL_LENGTH);
    const field = transport + ICMP.NEXT_HOP_MTU;
    const stated = view.getUint16(field);
    const mtu = Math.max(stated === 0 ? plateauBelow(length) : stated, topology.settings.nat.minPathMtu);
    const mayBeCut = (view.getUint16(quoted + IPV4.FRAGMENT) & DONT_FRAGMENT) === 0;
    if (mayBeCut || length <= mtu) return VERDICT.ICMP_MTU;
    view.setUint16(field, mtu);
    return VERDICT.FORWARDED;
  }

  /** Translates the error in hand, all but its TTL. @param from the flow that it is about, and the side that it comes from */
  rewrite(from: FlowSide): void {
    const { view, packet } = this.state;
    this.rewriteQuoted(from, packet.transport + ICMP.HEADER_LENGTH);
    this.rewriteOuter(from);
    writeIcmpSum(view, packet.transport, packet.length);
  }

  /** The quoted packet becomes what the other side sent: addresses, ports, and both of its checksums. */
  private rewriteQuoted(from: FlowSide, quoted: number): void {
    const { view, flows, packet } = this.state;
    const flow = flowOf(from);
    const back = otherSide(sideOf(from));
    const protocol = view.getUint8(quoted + IPV4.PROTOCOL);
    const transport = quoted + headerLength(view, quoted);
    const length = packet.transport + packet.length - transport;
    const ports = flows.ports(flow, back);
    const addresses =
      replace32(view, quoted + IPV4.SOURCE, flows.source(flow, back)) +
      replace32(view, quoted + IPV4.DESTINATION, flows.destination(flow, back));
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
      const identifier = isQuery(view.getUint8(transport)) ? sourcePort(ports) : destinationPort(ports);
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
  private rewriteOuter(from: FlowSide): void {
    const { view, flows, packet, neighbours, topology } = this.state;
    const flow = flowOf(from);
    const side = sideOf(from);
    const back = otherSide(side);
    const isHost = packet.source === flows.source(flow, side);
    const egress = neighbours.interfaceOf[flows.neighbour(flow, back)];
    const leaves = packet.iface !== topology.uplink && egress === topology.uplink;
    const source = isHost || leaves ? flows.destination(flow, back) : packet.source;
    const delta =
      replace32(view, packet.ip + IPV4.SOURCE, source) +
      replace32(view, packet.ip + IPV4.DESTINATION, flows.source(flow, back));
    const field = packet.ip + IPV4.CHECKSUM;
    view.setUint16(field, updateChecksum(view.getUint16(field), delta));
  }
}

/** @returns the ports word of a quoted packet, as Packet reads it */
function quotedPorts(view: DataView, at: number, protocol: number): Ports {
  if (protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP) return view.getInt32(at) as Ports;
  if (protocol !== PROTOCOL.ICMP) return NO_PORTS;
  return icmpPorts(view.getUint8(at + ICMP.TYPE), view.getUint16(at + ICMP.IDENTIFIER));
}

function replace32(view: DataView, at: number, value: number): number {
  const before = view.getInt32(at);
  view.setInt32(at, value);
  return delta32(before, value);
}
