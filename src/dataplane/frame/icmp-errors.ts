// ICMP errors that the firewall itself sends about packets it will not forward (RFC 792, RFC 1812 section 4.3, RFC 4443): never about
// errors, later fragments of IPv4, broadcasts or impossible sources, and no more than a trickle to each client.
import { pseudoHeaderSum6 } from "../../wire/checksum.ts";
import { ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail } from "../../wire/ethernet.ts";
import { HeaderChain } from "../../wire/header-chain.ts";
import { ICMP, ICMP_TYPE, UNREACHABLE_CODE, writeIcmpSum } from "../../wire/icmp.ts";
import { ICMPV6_TYPE, isError6, UNREACHABLE6_CODE, writeIcmpv6Sum } from "../../wire/icmpv6.ts";
import { type Address, FRAGMENT_OFFSET, headerLength, IPV4, PROTOCOL, readAddress } from "../../wire/ipv4.ts";
import { IPV6, isMulticast6, LEAST_MTU6, NEXT_HEADER, totalLength6 } from "../../wire/ipv6.ts";
import { NO_NUMBER } from "../address-book.ts";
import { beginPacket, PAYLOAD_AT, PAYLOAD6_AT } from "../own-frames.ts";
import { icmpPorts, NO_PORTS } from "../packet.ts";
import type { Ring } from "../ring.ts";
import { TokenBuckets } from "../tables/token-buckets.ts";
import { isMartian, type Topology } from "../topology.ts";
import { type Iface, NOBODY } from "../types.ts";

/** Which errors there are: type and code as ICMP has them, and as ICMPv6 has them (RFC 4443 sections 3.1 to 3.4). */
export const ERROR = {
  TIME_EXCEEDED: message(ICMP_TYPE.TIME_EXCEEDED, 0, ICMPV6_TYPE.TIME_EXCEEDED, 0),
  TOO_BIG: message(ICMP_TYPE.UNREACHABLE, UNREACHABLE_CODE.FRAGMENTATION_NEEDED, ICMPV6_TYPE.PACKET_TOO_BIG, 0),
  /** The next hop does not answer, or its interface is down. */
  NO_HOST: message(ICMP_TYPE.UNREACHABLE, UNREACHABLE_CODE.HOST, ICMPV6_TYPE.UNREACHABLE, UNREACHABLE6_CODE.ADDRESS),
  /** Rules refuse it, or there is no room. */
  PROHIBITED: prohibited(UNREACHABLE_CODE.ADMIN_PROHIBITED),
  /** It is for us, and nothing that we take. */
  HOST_PROHIBITED: prohibited(UNREACHABLE_CODE.HOST_PROHIBITED),
  /** It comes from an address that its link has no longer; there is none of IPv4. */
  SOURCE_POLICY: message(0, 0, ICMPV6_TYPE.UNREACHABLE, UNREACHABLE6_CODE.SOURCE_POLICY),
} as const;

/** ICMP's type << 24 | code << 16 | ICMPv6's type << 8 | code */
type ErrorMessage = number;

function message(type: number, code: number, type6: number, code6: number): ErrorMessage {
  return (type << 24) | (code << 16) | (type6 << 8) | code6;
}

function prohibited(code: number): ErrorMessage {
  return message(ICMP_TYPE.UNREACHABLE, code, ICMPV6_TYPE.UNREACHABLE, UNREACHABLE6_CODE.ADMIN_PROHIBITED);
}

/** RFC 1812 section 4.3.2.3: as much of the packet as fits in a datagram of 576 bytes. */
const LARGEST = 576;
/** The diffserv class in a TOS byte, without ECN (RFC 3168 section 5). */
const DSCP = 0xfc;

/** Errors to one client (or to the uplink): so many at once, and so many a second. */
const BURST = 50;
const PER_SECOND = 100;

export class IcmpErrors {
  /** By group: of the uplink, and of each client. */
  private readonly budgets = new TokenBuckets();
  private now = 0;
  private readonly chain = new HeaderChain();

  /**
   * The last error about the second half of a hairpin, from our uplink address to itself. It is not sent, but the router has it
   * come in again as from the uplink, once it is done with the packet: the offset of its frame, and its length or 0 for none.
   * A field, since all that may send an error lies between here and there.
   */
  returnedAt = 0;
  returnedLength = 0;

  constructor(
    private readonly ring: Ring,
    private topology: Topology,
  ) {
    this.follow(topology);
  }

  follow(topology: Topology): void {
    this.topology = topology;
    this.budgets.grow(topology.parties.groups);
  }

  /** @param now ms of the clock */
  setTime(now: number): void {
    this.now = now;
  }

  /**
   * Answers the sender of a packet, as it came in, with an error.
   * @param at offset of the frame with a checked IP header
   * @param error one of ERROR
   * @param detail the second word of the message: the next hop's MTU of TOO_BIG, else 0
   * @returns whether an error was sent
   */
  send(iface: Iface, at: number, error: ErrorMessage, detail = 0): boolean {
    const { view } = this.ring;
    if (view.getUint16(at + ETHERNET.TYPE) === ETHERTYPE.IPV6) {
      return this.send6(iface, at, (error >>> 8) & 0xff, error & 0xff, detail);
    }
    return this.send4(iface, at, error >>> 24, (error >>> 16) & 0xff, detail);
  }

  /**
   * Tells the sender of an IPv6 packet what of its headers is at fault (RFC 4443 section 3.4).
   * @param pointer offset of that in the packet
   * @param toMulticast whether it is told of a packet to a multicast address too
   */
  sendProblem(iface: Iface, at: number, code: number, pointer: number, toMulticast: boolean): boolean {
    return this.send6(iface, at, ICMPV6_TYPE.PARAMETER_PROBLEM, code, pointer, toMulticast);
  }

  private send4(iface: Iface, at: number, type: number, code: number, detail: number): boolean {
    const { view } = this.ring;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const source = readAddress(view, ip + IPV4.SOURCE);
    if (isGroupMac(view, at) || !this.isAnswerable(view, ip, source)) return false;
    if (!this.takeToken(iface, source)) return false;

    const head = macHead(view, at + ETHERNET.SOURCE);
    const tail = macTail(view, at + ETHERNET.SOURCE);
    const quoted = Math.min(view.getUint16(ip + IPV4.TOTAL_LENGTH), LARGEST - IPV4.HEADER_LENGTH - ICMP.HEADER_LENGTH);
    const length = ICMP.HEADER_LENGTH + quoted;
    const own = this.topology.ownAddressFor(iface, source);
    // RFC 5508 section 7.7, which replaces RFC 1812 section 4.3.2.5 for NATs.
    const tos = view.getUint8(ip + IPV4.TOS) & DSCP;
    const out = beginPacket(this.ring, this.topology, iface, head, tail, tos, PROTOCOL.ICMP, own, source, length);
    const message = out + PAYLOAD_AT;
    view.setUint8(message + ICMP.TYPE, type);
    view.setUint8(message + ICMP.CODE, code);
    view.setUint32(message + ICMP.IDENTIFIER, detail);
    this.ring.bytes.copyWithin(message + ICMP.HEADER_LENGTH, ip, ip + quoted);
    writeIcmpSum(view, message, length);
    this.transmit(iface, out, PAYLOAD_AT + length, own === source);
    return true;
  }

  private send6(iface: Iface, at: number, type: number, code: number, detail: number, toMulticast = false): boolean {
    const { view, bytes } = this.ring;
    const { ipv6 } = this.topology;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const from = ip + IPV6.SOURCE;
    const source = ipv6.book.find(
      view.getInt32(from),
      view.getInt32(from + 4),
      view.getInt32(from + 8),
      view.getInt32(from + 12),
    );
    if (source === NO_NUMBER || !this.isAnswerable6(at, toMulticast) || ipv6.isMartian(source)) return false;
    const own = this.topology.ownAddressFor(iface, source);
    if (own === NO_NUMBER || !this.takeToken(iface, source)) return false;
    const head = macHead(view, at + ETHERNET.SOURCE);
    const tail = macTail(view, at + ETHERNET.SOURCE);
    const quoted = Math.min(totalLength6(view, ip), LEAST_MTU6 - IPV6.HEADER_LENGTH - ICMP.HEADER_LENGTH);
    const length = ICMP.HEADER_LENGTH + quoted;
    const trafficClass = (view.getUint16(ip) >>> 4) & DSCP;
    const protocol = NEXT_HEADER.ICMPV6;
    const out = beginPacket(this.ring, this.topology, iface, head, tail, trafficClass, protocol, own, source, length);
    const message = out + PAYLOAD6_AT;
    view.setUint8(message + ICMP.TYPE, type);
    view.setUint8(message + ICMP.CODE, code);
    view.setUint32(message + ICMP.IDENTIFIER, detail);
    bytes.copyWithin(message + ICMP.HEADER_LENGTH, ip, ip + quoted);
    const addresses = out + ETHERNET.HEADER_LENGTH + IPV6.SOURCE;
    writeIcmpv6Sum(view, message, length, pseudoHeaderSum6(view, addresses, protocol, length));
    this.transmit(iface, out, PAYLOAD6_AT + length, own === source);
    return true;
  }

  private transmit(iface: Iface, out: number, length: number, toOurselves: boolean): void {
    if (toOurselves) {
      this.returnedAt = out;
      this.returnedLength = length;
    } else {
      this.ring.send(iface, out, length);
    }
  }

  /**
   * RFC 4443 section 2.4 e. Of a group frame nothing is told, but where options ask for it. Nothing either about what carries nothing
   * (RFC 8200 section 4.7), as Linux has it.
   */
  private isAnswerable6(at: number, toMulticast: boolean): boolean {
    const { view } = this.ring;
    const ip = at + ETHERNET.HEADER_LENGTH;
    if (!toMulticast && (isGroupMac(view, at) || isMulticast6(view, ip + IPV6.DESTINATION))) return false;
    const { chain } = this;
    // One whose headers are at fault has been judged by how far they go.
    if (chain.walk(view, ip, totalLength6(view, ip)) !== 0) return true;
    if (chain.protocol === NEXT_HEADER.NONE) return false;
    if (chain.protocol !== NEXT_HEADER.ICMPV6 || (chain.fragment & ~1) !== 0) return true;
    if (chain.length < 1) return false;
    const type = view.getUint8(chain.transport);
    return !isError6(type) && type !== ICMPV6_TYPE.REDIRECT;
  }

  /** RFC 1812 section 4.3.2.7. */
  private isAnswerable(view: DataView, ip: number, source: Address): boolean {
    if ((view.getUint16(ip + IPV4.FRAGMENT) & FRAGMENT_OFFSET) !== 0) return false;
    if (view.getInt32(ip + IPV4.DESTINATION) >>> 28 >= 14) return false; // multicast, broadcast
    if (isMartian(source)) return false;
    if (view.getUint8(ip + IPV4.PROTOCOL) !== PROTOCOL.ICMP) return true;
    const header = headerLength(view, ip);
    if (view.getUint16(ip + IPV4.TOTAL_LENGTH) < header + ICMP.HEADER_LENGTH) return false;
    return icmpPorts(view.getUint8(ip + header + ICMP.TYPE), 0) !== NO_PORTS; // queries and their replies
  }

  /** @returns whether this sender may get one more answer now: errors and resets come from one budget */
  takeToken(iface: Iface, source: Address): boolean {
    const { parties, uplink } = this.topology;
    const client = iface === uplink ? NOBODY : this.topology.clientFor(iface, source);
    const group = client === NOBODY ? parties.group(parties.uplink) : parties.ofClient(client);
    return this.budgets.take(group, PER_SECOND, BURST, this.now);
  }
}
