// ICMP errors about packets of flows, on their way back to who sent those packets (RFC 5508 section 4, and likewise ICMPv6): the
// quoted packet is turned into what its sender sent, the error's own addresses into what that sender may see. Errors that belong
// to no flow go nowhere.
import { delta32, pseudoHeaderSum6, updateChecksum } from "../../wire/checksum.ts";
import { FAULT, type Fault } from "../../wire/fault.ts";
import { HeaderChain } from "../../wire/header-chain.ts";
import { checkIcmpSum, ICMP, ICMP_TYPE, plateauBelow, UNREACHABLE_CODE, writeIcmpSum } from "../../wire/icmp.ts";
import { checkIcmpv6Sum, ICMPV6, ICMPV6_TYPE, writeIcmpv6Sum } from "../../wire/icmpv6.ts";
import {
  type Address,
  checkQuotedIpv4,
  DONT_FRAGMENT,
  FRAGMENT_OFFSET,
  headerLength,
  IPV4,
  PROTOCOL,
  readAddress,
} from "../../wire/ipv4.ts";
import {
  checkQuotedIpv6,
  FRAGMENT6_OFFSET,
  IPV6,
  LEAST_MTU6,
  NEXT_HEADER,
  sameAddress6,
  totalLength6,
} from "../../wire/ipv6.ts";
import { destinationPort, type Ports, sourcePort, swapPorts } from "../../wire/ports.ts";
import { TCP } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { isIpv6, NO_NUMBER, type Number6 } from "../address-book.ts";
import { icmpPorts, icmpv6Ports, isQuery, NO_PORTS } from "../packet.ts";
import { type FlowSide, flowOf, NO_FLOW_SIDE, otherSide, sideOf } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import { replaceAddress6 } from "./rewrite.ts";
import type { State } from "./state.ts";

/** Bytes of the quoted packet's payload that an error must have (RFC 792), and that name its ports. */
const LEAST_QUOTED = 8;

export class IcmpRelay {
  // Of the packet that the error in hand quotes, once it is checked: offsets of its IP header and of its transport header, what it
  // carries, and whether it is a later fragment.
  private quoted = 0;
  private transport = 0;
  private protocol = 0;
  private isLater = false;
  private readonly chain = new HeaderChain();

  constructor(private readonly state: State) {}

  /** @returns VERDICT.FORWARDED, or the verdict on an error that says nothing to be trusted: a fragment, a wrong checksum */
  check(): Verdict {
    const { packet } = this.state;
    if (packet.fragment !== 0) return VERDICT.FRAGMENT;
    this.quoted = packet.transport + ICMP.HEADER_LENGTH;
    const fault = packet.isIpv6 ? this.check6() : this.check4();
    return fault === FAULT.NONE ? VERDICT.FORWARDED : malformed(fault);
  }

  private check4(): Fault {
    const { view, packet } = this.state;
    const { quoted } = this;
    const fault =
      checkIcmpSum(view, packet.transport, packet.length) ||
      checkQuotedIpv4(view, quoted, packet.length - ICMP.HEADER_LENGTH);
    if (fault !== 0) return fault;
    this.transport = quoted + headerLength(view, quoted);
    this.protocol = view.getUint8(quoted + IPV4.PROTOCOL);
    this.isLater = (view.getUint16(quoted + IPV4.FRAGMENT) & FRAGMENT_OFFSET) !== 0;
    return FAULT.NONE;
  }

  private check6(): Fault {
    const { view, packet } = this.state;
    const { chain, quoted } = this;
    const { transport, length } = packet;
    const pseudo = pseudoHeaderSum6(view, packet.ip + IPV6.SOURCE, packet.protocol, length);
    const there = length - ICMPV6.HEADER_LENGTH;
    const fault = checkIcmpv6Sum(view, transport, length, pseudo) || checkQuotedIpv6(view, quoted, there);
    if (fault !== 0) return fault;
    const cut = chain.walk(view, quoted, Math.min(there, totalLength6(view, quoted)));
    if (cut !== 0) return cut;
    this.transport = chain.transport;
    this.protocol = chain.protocol;
    this.isLater = (chain.fragment & FRAGMENT6_OFFSET) !== 0;
    return FAULT.NONE;
  }

  /** @returns the flow that the error in hand, checked, is about, and the side that it comes from; or NO_FLOW_SIDE */
  find(): FlowSide {
    const { view, packet, tcp } = this.state;
    const { transport, protocol } = this;
    if (this.isLater || !this.isToSender()) return NO_FLOW_SIDE;
    if (packet.transport + packet.length - transport < LEAST_QUOTED) return NO_FLOW_SIDE;
    const ports = this.quotedPorts();
    if (this.isOfIcmp && ports === NO_PORTS) return NO_FLOW_SIDE;
    const receiver = this.quotedReceiver();
    if (isIpv6(receiver) && (receiver === NO_NUMBER || !packet.isIpv6)) return NO_FLOW_SIDE;
    // The quoted packet left where the error comes in: turned round, it is a packet of the flow's side there.
    const found = this.state.find(receiver, packet.destination, swapPorts(ports), protocol, packet.iface);
    if (found === NO_FLOW_SIDE || protocol !== PROTOCOL.TCP) return found;
    const sequence = view.getInt32(transport + TCP.SEQUENCE);
    const flow = flowOf(found);
    const side = otherSide(sideOf(found));
    const wasSent = tcp.mayHaveSent(flow, side, sequence) || tcp.awaitsAnswer(flow, side, sequence);
    return wasSent ? found : NO_FLOW_SIDE;
  }

  /** Whether the error goes to who sent the quoted packet. */
  private isToSender(): boolean {
    const { view, packet } = this.state;
    if (packet.isIpv6) return sameAddress6(view, this.quoted + IPV6.SOURCE, view, packet.ip + IPV6.DESTINATION);
    return readAddress(view, this.quoted + IPV4.SOURCE) === packet.destination;
  }

  /** @returns NO_NUMBER of an IPv6 address that nobody has a flow with */
  private quotedReceiver(): Address {
    const { view, packet, book } = this.state;
    if (!packet.isIpv6) return readAddress(view, this.quoted + IPV4.DESTINATION);
    const at = this.quoted + IPV6.DESTINATION;
    return book.find(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12));
  }

  /** Whether the quoted packet is one of ICMP, or of ICMPv6. */
  private get isOfIcmp(): boolean {
    return this.protocol === (this.state.packet.isIpv6 ? NEXT_HEADER.ICMPV6 : PROTOCOL.ICMP);
  }

  /** @returns the ports word of the quoted packet, as Packet reads it */
  private quotedPorts(): Ports {
    const { view, packet } = this.state;
    const { protocol, transport } = this;
    if (protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP) return view.getInt32(transport) as Ports;
    if (!this.isOfIcmp) return NO_PORTS;
    const type = view.getUint8(transport + ICMP.TYPE);
    const identifier = view.getUint16(transport + ICMP.IDENTIFIER);
    return packet.isIpv6 ? icmpv6Ports(type, identifier) : icmpPorts(type, identifier);
  }

  /**
   * Judges the MTU that the error in hand states, if it does: nobody sends that but about a packet that is longer, and that may not be
   * cut (RFC 5927 section 7.2).
   * @returns VERDICT.FORWARDED, or the verdict on one that can't be true
   */
  judgeMtu(): Verdict {
    return this.state.packet.isIpv6 ? this.judgeMtu6() : this.judgeMtu4();
  }

  /**
   * An MTU of 0 is a router's from before RFC 1191; it becomes the plateau below the packet's length, and what is lower than the
   * settings' least becomes that: whoever guesses the ports of a flow must not have it cut up at will.
   */
  private judgeMtu4(): Verdict {
    const { view, packet, topology } = this.state;
    const { transport } = packet;
    const { quoted } = this;
    const isAboutMtu =
      view.getUint8(transport + ICMP.TYPE) === ICMP_TYPE.UNREACHABLE &&
      view.getUint8(transport + ICMP.CODE) === UNREACHABLE_CODE.FRAGMENTATION_NEEDED;
    if (!isAboutMtu) return VERDICT.FORWARDED;
    const length = view.getUint16(quoted + IPV4.TOTAL_LENGTH);
    const field = transport + ICMP.NEXT_HOP_MTU;
    const stated = view.getUint16(field);
    const mtu = Math.max(stated === 0 ? plateauBelow(length) : stated, topology.settings.nat.minPathMtu);
    const mayBeCut = (view.getUint16(quoted + IPV4.FRAGMENT) & DONT_FRAGMENT) === 0;
    if (mayBeCut || length <= mtu) return VERDICT.ICMP_MTU;
    view.setUint16(field, mtu);
    return VERDICT.FORWARDED;
  }

  /** No IPv6 link has less than 1280: who believed in less would cut himself up for nothing (RFC 8201 section 4). */
  private judgeMtu6(): Verdict {
    const { view, packet } = this.state;
    const { transport } = packet;
    if (view.getUint8(transport + ICMPV6.TYPE) !== ICMPV6_TYPE.PACKET_TOO_BIG) return VERDICT.FORWARDED;
    const stated = view.getUint32(transport + ICMPV6.MTU);
    const isTrue = stated >= LEAST_MTU6 && totalLength6(view, this.quoted) > stated;
    return isTrue ? VERDICT.FORWARDED : VERDICT.ICMP_MTU;
  }

  /** Translates the error in hand, all but its TTL. @param from the flow that it is about, and the side that it comes from */
  rewrite(from: FlowSide): void {
    const { view, packet } = this.state;
    const { ip, transport, length } = packet;
    this.rewriteQuoted(from);
    this.rewriteOuter(from);
    if (packet.isIpv6) {
      writeIcmpv6Sum(view, transport, length, pseudoHeaderSum6(view, ip + IPV6.SOURCE, packet.protocol, length));
    } else {
      writeIcmpSum(view, transport, length);
    }
  }

  /** The quoted packet becomes what the other side sent: addresses, ports, and its checksums. */
  private rewriteQuoted(from: FlowSide): void {
    const { view, flows, packet } = this.state;
    const { quoted, transport, protocol } = this;
    const flow = flowOf(from);
    const back = otherSide(sideOf(from));
    const length = packet.transport + packet.length - transport;
    const ports = flows.ports(flow, back);
    const addresses = this.replaceAddresses(quoted, flows.source(flow, back), flows.destination(flow, back));
    if (protocol === PROTOCOL.TCP) {
      const delta = addresses + replace32(view, transport, ports);
      const field = transport + TCP.CHECKSUM;
      if (length >= TCP.CHECKSUM + 2) view.setUint16(field, updateChecksum(view.getUint16(field), delta));
    } else if (protocol === PROTOCOL.UDP) {
      const delta = addresses + replace32(view, transport, ports);
      const field = transport + UDP.CHECKSUM;
      const checksum = view.getUint16(field);
      if (checksum !== 0) view.setUint16(field, updateChecksum(checksum, delta) || 0xffff);
    } else if (this.isOfIcmp) {
      const identifier = isQuery(view.getUint8(transport)) ? sourcePort(ports) : destinationPort(ports);
      const before = view.getUint16(transport + ICMP.IDENTIFIER);
      view.setUint16(transport + ICMP.IDENTIFIER, identifier);
      const field = transport + ICMP.CHECKSUM;
      const delta = delta32(before, identifier) + (packet.isIpv6 ? addresses : 0);
      view.setUint16(field, updateChecksum(view.getUint16(field), delta));
    }
  }

  /**
   * The error goes to who sent the quoted packet. Its source stays when it is a router's, unless that router is inside and
   * the error leaves: no inside address may show there (RFC 5508 REQ-5); a network that is routed to us is not hidden.
   */
  private rewriteOuter(from: FlowSide): void {
    const { flows, packet, neighbours, topology } = this.state;
    const flow = flowOf(from);
    const side = sideOf(from);
    const back = otherSide(side);
    const isHost = packet.source === flows.source(flow, side);
    const egress = neighbours.interfaceOf[flows.neighbour(flow, back)];
    const leaves = packet.iface !== topology.uplink && egress === topology.uplink;
    const source = isHost || leaves ? flows.destination(flow, back) : packet.source;
    this.replaceAddresses(packet.ip, source, flows.source(flow, back));
  }

  /** Writes both addresses of an IP header, and its checksum if it has one. @returns the delta of the addresses */
  private replaceAddresses(ip: number, source: Address, destination: Address): number {
    const { view, packet, book } = this.state;
    if (packet.isIpv6) {
      return (
        replaceAddress6(view, ip + IPV6.SOURCE, book, source as Number6) +
        replaceAddress6(view, ip + IPV6.DESTINATION, book, destination as Number6)
      );
    }
    const delta = replace32(view, ip + IPV4.SOURCE, source) + replace32(view, ip + IPV4.DESTINATION, destination);
    const field = ip + IPV4.CHECKSUM;
    view.setUint16(field, updateChecksum(view.getUint16(field), delta));
    return delta;
  }
}

function replace32(view: DataView, at: number, value: number): number {
  const before = view.getInt32(at);
  view.setInt32(at, value);
  return delta32(before, value);
}
