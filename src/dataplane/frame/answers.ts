// What the firewall itself says to hosts, beside ARP and ICMP errors: echo replies, and the RST that tells a client that
// its TCP connection is gone.
import { delta16, pseudoHeaderSum, pseudoHeaderSum6, sum, updateChecksum } from "../../wire/checksum.ts";
import { ETHERNET, ETHERTYPE, macHead, macTail, writeMac } from "../../wire/ethernet.ts";
import { checkIcmpSum, ICMP, ICMP_TYPE } from "../../wire/icmp.ts";
import { checkIcmpv6Sum, ICMPV6_TYPE } from "../../wire/icmpv6.ts";
import { type Address, DEFAULT_TTL, IPV4, PROTOCOL } from "../../wire/ipv4.ts";
import { IPV6 } from "../../wire/ipv6.ts";
import { type Ports, swapPorts } from "../../wire/ports.ts";
import { ACK, RST, SYN, TCP, tcpHeaderLength, writeTcp } from "../../wire/tcp.ts";
import type { Number6 } from "../address-book.ts";
import { beginPacket, PAYLOAD_AT, PAYLOAD6_AT } from "../own-frames.ts";
import type { Flow, Iface, Side } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import { USABLE } from "../waiting/neighbours.ts";
import { ERROR } from "./icmp-errors.ts";
import type { State } from "./state.ts";

export class Answers {
  constructor(private readonly state: State) {}

  /** A client's packet to an address of ours that is no flow's: echo requests are answered, all else is refused. */
  toFirewall(): Verdict {
    const { packet, errors } = this.state;
    if (packet.isIcmp) return this.echo(VERDICT.TO_FIREWALL);
    errors.send(packet.iface, packet.at, ERROR.HOST_PROHIBITED);
    return VERDICT.TO_FIREWALL;
  }

  /**
   * Answers an echo request to us in place (RFC 1122 section 3.2.2.6, RFC 4443 section 4.2). One in fragments is answered fragment
   * by fragment, as others are forwarded: nothing is put together or kept. A reply differs from its request only in the first one.
   * @param otherwise verdict on anything else
   */
  echo(otherwise: Verdict): Verdict {
    const { view, packet } = this.state;
    const { transport, length } = packet;
    const request = packet.isIpv6 ? ICMPV6_TYPE.ECHO : ICMP_TYPE.ECHO;
    const reply = packet.isIpv6 ? ICMPV6_TYPE.ECHO_REPLY : ICMP_TYPE.ECHO_REPLY;
    if (!packet.isIcmp || view.getUint8(transport + ICMP.TYPE) !== request) return otherwise;
    if (packet.fragment === 0) {
      const fault = packet.isIpv6
        ? checkIcmpv6Sum(
            view,
            transport,
            length,
            pseudoHeaderSum6(view, packet.ip + IPV6.SOURCE, packet.protocol, length),
          )
        : checkIcmpSum(view, transport, length);
      if (fault !== 0) return malformed(fault);
    }
    // What covers all fragments is as right or wrong behind us as it was before. Which address is whose, no sum tells.
    const checksum = view.getUint16(transport + ICMP.CHECKSUM);
    view.setUint8(transport + ICMP.TYPE, reply);
    view.setUint16(transport + ICMP.CHECKSUM, updateChecksum(checksum, delta16(request << 8, reply << 8)));
    if (packet.isIpv6 && packet.fragment === 0 && packet.chain.has !== 0) this.dropExtensions();
    return this.sendBack();
  }

  /** Takes the extension headers off the packet in hand, which is whole: they were its sender's, and say nothing of the answer. */
  private dropExtensions(): void {
    const { view, packet, ring } = this.state;
    const { ip, transport, length } = packet;
    packet.transport = ip + IPV6.HEADER_LENGTH;
    ring.bytes.copyWithin(packet.transport, transport, transport + length);
    view.setUint16(ip + IPV6.PAYLOAD_LENGTH, length);
    view.setUint8(ip + IPV6.NEXT_HEADER, packet.protocol);
  }

  /** Sends the packet in hand, or another fragment of one that is being answered, back to its sender, in place. */
  sendBack(): Verdict {
    const { view, topology, packet, ring, splitter } = this.state;
    const { iface, at } = packet;
    if (packet.isIpv6) this.turnRound6();
    else this.turnRound();
    writeMac(view, at, macHead(view, at + ETHERNET.SOURCE), macTail(view, at + ETHERNET.SOURCE));
    writeMac(view, at + ETHERNET.SOURCE, topology.macHead[iface], topology.macTail[iface]);
    if (packet.total <= topology.mtu[iface]) {
      ring.send(iface, at, ETHERNET.HEADER_LENGTH + packet.total);
      return VERDICT.ANSWERED;
    }
    if (packet.isIpv6) return VERDICT.TOO_BIG; // larger than what that interface takes: nobody there has sent it whole
    splitter.begin(at, topology.mtu[iface]);
    while (splitter.next()) ring.send(iface, splitter.at, splitter.length);
    return VERDICT.ANSWERED;
  }

  private turnRound(): void {
    const { view, packet } = this.state;
    const { ip } = packet;
    view.setInt32(ip + IPV4.SOURCE, packet.destination);
    view.setInt32(ip + IPV4.DESTINATION, packet.source);
    const ttl = view.getUint8(ip + IPV4.TTL);
    const checksum = view.getUint16(ip + IPV4.CHECKSUM);
    view.setUint8(ip + IPV4.TTL, DEFAULT_TTL);
    view.setUint16(ip + IPV4.CHECKSUM, updateChecksum(checksum, delta16(ttl << 8, DEFAULT_TTL << 8)));
  }

  private turnRound6(): void {
    const { view, packet, book } = this.state;
    const { ip } = packet;
    book.write(view, ip + IPV6.SOURCE, packet.destination as Number6);
    book.write(view, ip + IPV6.DESTINATION, packet.source as Number6);
    view.setUint8(ip + IPV6.HOP_LIMIT, DEFAULT_TTL);
  }

  /** Tells a client that its segment belongs to no connection, as its end would (RFC 9293 section 3.10.7.1). */
  reset(): void {
    const { view, packet, errors } = this.state;
    const { at, transport, iface } = packet;
    const flags = view.getUint8(transport + TCP.FLAGS);
    if ((flags & RST) !== 0 || !errors.takeToken(iface, packet.source)) return;
    const hasAck = (flags & ACK) !== 0;
    const payload = packet.length - tcpHeaderLength(view, transport) + ((flags & SYN) >>> 1) + (flags & 1);
    const sequence = hasAck ? view.getInt32(transport + TCP.ACKNOWLEDGMENT) : 0;
    const acknowledgment = hasAck ? 0 : (view.getInt32(transport + TCP.SEQUENCE) + payload) | 0;
    const bits = hasAck ? RST : RST | ACK;
    const head = macHead(view, at + ETHERNET.SOURCE);
    const tail = macTail(view, at + ETHERNET.SOURCE);
    const out = this.begin(iface, head, tail, packet.destination, packet.source);
    this.sendTcp(iface, out, swapPorts(packet.ports), sequence, acknowledgment, bits);
  }

  /** Tells the client at one side of a TCP flow that its connection is cut: with the one RST that it will believe. */
  cut(flow: Flow, side: Side): void {
    const { flows, neighbours, tcp } = this.state;
    const neighbour = flows.neighbour(flow, side);
    if (neighbours.state[neighbour] < USABLE) return;
    const iface = neighbours.interfaceOf[neighbour];
    const head = neighbours.head[neighbour];
    const tail = neighbours.tail[neighbour];
    const out = this.begin(iface, head, tail, flows.destination(flow, side), flows.source(flow, side));
    this.sendTcp(iface, out, swapPorts(flows.ports(flow, side)), tcp.expected(flow, side), 0, RST);
  }

  /** @returns the offset of a new frame, complete up to its TCP header */
  private begin(iface: Iface, head: number, tail: number, source: Address, destination: Address): number {
    const { topology, ring } = this.state;
    const length = TCP.HEADER_LENGTH;
    return beginPacket(ring, topology, iface, head, tail, 0, PROTOCOL.TCP, source, destination, length);
  }

  /** Completes a frame with a TCP segment without payload, and sends it. */
  private sendTcp(
    iface: Iface,
    out: number,
    ports: Ports,
    sequence: number,
    acknowledgment: number,
    flags: number,
  ): void {
    const { view, ring } = this.state;
    const ip = out + ETHERNET.HEADER_LENGTH;
    const isIpv6 = view.getUint16(out + ETHERNET.TYPE) === ETHERTYPE.IPV6;
    const payloadAt = isIpv6 ? PAYLOAD6_AT : PAYLOAD_AT;
    const tcp = out + payloadAt;
    writeTcp(view, tcp, ports, sequence, acknowledgment, flags, 0);
    const source = view.getInt32(ip + IPV4.SOURCE);
    const pseudo = isIpv6
      ? pseudoHeaderSum6(view, ip + IPV6.SOURCE, PROTOCOL.TCP, TCP.HEADER_LENGTH)
      : pseudoHeaderSum(source, view.getInt32(ip + IPV4.DESTINATION), PROTOCOL.TCP, TCP.HEADER_LENGTH);
    view.setUint16(tcp + TCP.CHECKSUM, ~sum(view, tcp, TCP.HEADER_LENGTH, pseudo) & 0xffff);
    ring.send(iface, out, payloadAt + TCP.HEADER_LENGTH);
  }
}
