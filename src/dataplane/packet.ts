// One packet while it is being handled: what its headers say, read once and checked. One object serves all packets, of both families,
// so that none is allocated and functions need not pass a dozen numbers on.
import { updateChecksum } from "../wire/checksum.ts";
import { ETHERNET, ETHERTYPE } from "../wire/ethernet.ts";
import { FAULT, type Fault } from "../wire/fault.ts";
import { HAS_EXTENSION, HeaderChain } from "../wire/header-chain.ts";
import { checkIcmp, ICMP, ICMP_TYPE } from "../wire/icmp.ts";
import { checkIcmpv6, ICMPV6, ICMPV6_TYPE, isError6 } from "../wire/icmpv6.ts";
import {
  type Address,
  checkIpv4,
  FRAGMENT_OFFSET,
  headerLength,
  IPV4,
  MORE_FRAGMENTS,
  PROTOCOL,
  readAddress,
  TTL_DELTA,
} from "../wire/ipv4.ts";
import { checkIpv6, FRAGMENT6, FRAGMENT6_MORE, IPV6, NEXT_HEADER, totalLength6 } from "../wire/ipv6.ts";
import { joinPorts, type Port, type Ports } from "../wire/ports.ts";
import { checkTcp } from "../wire/tcp.ts";
import { checkUdp, UDP } from "../wire/udp.ts";
import { type AddressBook, NO_NUMBER, type Number6 } from "./address-book.ts";
import type { Iface } from "./types.ts";

/** What the packet carries, as far as a router cares. */
export const KIND = {
  /** It can belong to a flow: TCP, UDP, an ICMP query or its reply, and every protocol without ports. ICMP means ICMPv6 too. */
  FLOW: 0,
  /** An ICMP error, about a packet of a flow. */
  ICMP_ERROR: 1,
  /** An ICMP message of another type. */
  ICMP_OTHER: 2,
  /** A fragment but the first: no transport header. */
  LATER_FRAGMENT: 3,
} as const;

/** Longest payload of an IPv4 packet. */
const LONGEST = 65535 - IPV4.HEADER_LENGTH;

export const NO_PORTS = 0 as Ports;

export class Packet {
  /** Number of the interface that it came in on, or that it is taken to have come in on. */
  iface = 0 as Iface;
  /** Offset of its frame, of its IP header, and of its payload behind all headers of IP: the transport header. */
  at = 0;
  ip = 0;
  transport = 0;
  /** Bytes of the payload. */
  length = 0;
  /** Whether it is of IPv6: then its addresses are numbers of the address book, held as long as it is in hand. */
  isIpv6 = false;
  /** Of IPv6: its headers. */
  readonly chain = new HeaderChain();
  kind: number = KIND.FLOW;
  protocol = 0;
  source = 0 as Address;
  destination = 0 as Address;
  /** `icmpPorts` of ICMP; NO_PORTS of protocols without ports. */
  ports = NO_PORTS;
  /** FlowTable's hash of what it carries, once its flow has been looked for. */
  hash = 0;
  /** More-fragments bit and offset (in units of 8 bytes) of a fragment, as IPv4 has them; 0 for a whole packet. */
  fragment = 0;
  /** Of a fragment: bytes that it carries of its packet; and what tells its packet from others of the same addresses, int32. */
  carried = 0;
  identification = 0;

  /** @param book gives IPv6 addresses their numbers */
  constructor(private readonly book: AddressBook) {}

  /**
   * Reads and checks the packet in a frame, of IPv4 or IPv6 as its EtherType says.
   * @param length bytes of the frame
   * @returns a FAULT number, 0 when all is well
   */
  parse(view: DataView, iface: Iface, at: number, length: number): Fault {
    this.letGo();
    if (view.getUint16(at + ETHERNET.TYPE) === ETHERTYPE.IPV6) return this.parse6(view, iface, at, length);
    return this.parse4(view, iface, at, length);
  }

  /** Lets go of the addresses of a packet that is in hand no more. Then they are not to be asked for. */
  letGo(): void {
    if (!this.isIpv6) return;
    this.isIpv6 = false;
    this.book.release(this.source as Number6);
    this.book.release(this.destination as Number6);
    this.source = 0 as Address;
    this.destination = 0 as Address;
  }

  /** Whether there was room for both addresses: an address that has no number is NO_NUMBER, as the unspecified one is. */
  get hasNumbers(): boolean {
    return this.source !== NO_NUMBER && this.destination !== NO_NUMBER;
  }

  private parse4(view: DataView, iface: Iface, at: number, length: number): Fault {
    const ip = at + ETHERNET.HEADER_LENGTH;
    const fault = checkIpv4(view, ip, length - ETHERNET.HEADER_LENGTH);
    if (fault !== 0) return fault;
    const header = headerLength(view, ip);
    this.iface = iface;
    this.at = at;
    this.ip = ip;
    this.transport = ip + header;
    this.length = view.getUint16(ip + IPV4.TOTAL_LENGTH) - header;
    this.protocol = view.getUint8(ip + IPV4.PROTOCOL);
    this.source = readAddress(view, ip + IPV4.SOURCE);
    this.destination = readAddress(view, ip + IPV4.DESTINATION);
    this.fragment = view.getUint16(ip + IPV4.FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET);
    this.kind = KIND.FLOW;
    this.ports = NO_PORTS;
    if (this.fragment !== 0) {
      this.carried = this.length;
      this.identification = (this.protocol << 16) | view.getUint16(ip + IPV4.IDENTIFICATION);
      const misplaced = this.checkFragment();
      if (misplaced !== 0 || this.kind === KIND.LATER_FRAGMENT) return misplaced;
    }
    return this.parseTransport(view);
  }

  private parse6(view: DataView, iface: Iface, at: number, length: number): Fault {
    const ip = at + ETHERNET.HEADER_LENGTH;
    const { chain } = this;
    const fault = checkIpv6(view, ip, length - ETHERNET.HEADER_LENGTH);
    if (fault !== 0) return fault;
    this.iface = iface;
    this.at = at;
    this.ip = ip;
    this.isIpv6 = true;
    this.source = this.book.takeAt(view, ip + IPV6.SOURCE);
    this.destination = this.book.takeAt(view, ip + IPV6.DESTINATION);
    this.ports = NO_PORTS;
    this.fragment = 0;
    this.kind = KIND.FLOW;
    const total = totalLength6(view, ip);
    // Until they are known: what is said of a packet whose headers are at fault.
    this.transport = ip + IPV6.HEADER_LENGTH;
    this.length = total - IPV6.HEADER_LENGTH;
    this.protocol = view.getUint8(ip + IPV6.NEXT_HEADER);
    const defect = chain.walk(view, ip, total);
    if (defect !== 0) return defect;
    this.transport = chain.transport;
    this.length = chain.length;
    this.protocol = chain.protocol;
    if (chain.fragment !== 0) {
      const more = (chain.fragment & FRAGMENT6_MORE) === 0 ? 0 : MORE_FRAGMENTS;
      this.fragment = (chain.fragment >>> 3) | more;
      this.carried = ip + total - chain.fragmentAt - FRAGMENT6.LENGTH;
      this.identification = chain.identification;
      if ((this.fragment & FRAGMENT_OFFSET) !== 0) {
        this.kind = KIND.LATER_FRAGMENT;
        return FAULT.NONE;
      }
    }
    return this.parseTransport(view);
  }

  /** @returns bytes of the packet: header and payload */
  get total(): number {
    return this.transport - this.ip + this.length;
  }

  private parseTransport(view: DataView): Fault {
    const at = this.transport;
    if (this.protocol === PROTOCOL.TCP) {
      const fault = checkTcp(view, at, this.length);
      if (fault !== 0) return fault;
      this.ports = view.getInt32(at) as Ports;
    } else if (this.protocol === PROTOCOL.UDP) {
      // A first fragment carries the length of the whole datagram.
      const fault = checkUdp(view, at, this.length, this.fragment === 0 ? this.length : LONGEST);
      if (fault !== 0) return fault;
      this.ports = view.getInt32(at) as Ports;
      // It must have a checksum (RFC 8200 section 8.1).
      if (this.isIpv6 && view.getUint16(at + UDP.CHECKSUM) === 0) return FAULT.UDP_CHECKSUM;
    } else if (this.protocol === PROTOCOL.ICMP && !this.isIpv6) {
      const fault = checkIcmp(this.length);
      if (fault !== 0) return fault;
      this.classifyIcmp(view.getUint8(at + ICMP.TYPE), view.getUint16(at + ICMP.IDENTIFIER));
    } else if (this.protocol === NEXT_HEADER.ICMPV6 && this.isIpv6) {
      const fault = checkIcmpv6(this.length);
      if (fault !== 0) return fault;
      this.classifyIcmpv6(view.getUint8(at + ICMPV6.TYPE), view.getUint16(at + ICMPV6.IDENTIFIER));
    }
    return FAULT.NONE;
  }

  /** Whether its header says more than it must: options of IPv4, or extension headers but those of fragments. */
  get hasOptions(): boolean {
    if (this.isIpv6) return (this.chain.has & ~HAS_EXTENSION.FRAGMENT) !== 0;
    return this.transport - this.ip !== IPV4.HEADER_LENGTH;
  }

  /** @returns its TTL, or hop limit */
  hopsLeft(view: DataView): number {
    return view.getUint8(this.isIpv6 ? this.ip + IPV6.HOP_LIMIT : this.ip + IPV4.TTL);
  }

  /** Lowers that by one, before the packet leaves. */
  lowerHops(view: DataView): void {
    const { ip } = this;
    if (this.isIpv6) {
      view.setUint8(ip + IPV6.HOP_LIMIT, view.getUint8(ip + IPV6.HOP_LIMIT) - 1);
      return;
    }
    view.setUint8(ip + IPV4.TTL, view.getUint8(ip + IPV4.TTL) - 1);
    const field = ip + IPV4.CHECKSUM;
    view.setUint16(field, updateChecksum(view.getUint16(field), TTL_DELTA));
  }

  /** Whether it is a message of ICMP, or of ICMPv6. */
  get isIcmp(): boolean {
    return this.protocol === (this.isIpv6 ? NEXT_HEADER.ICMPV6 : PROTOCOL.ICMP);
  }

  private classifyIcmpv6(type: number, identifier: number): void {
    this.ports = icmpv6Ports(type, identifier);
    if (this.ports !== NO_PORTS) return;
    const isKnownError = isError6(type) && type >= ICMPV6_TYPE.UNREACHABLE && type <= ICMPV6_TYPE.PARAMETER_PROBLEM;
    this.kind = isKnownError ? KIND.ICMP_ERROR : KIND.ICMP_OTHER;
  }

  private classifyIcmp(type: number, identifier: number): void {
    this.ports = icmpPorts(type, identifier);
    if (this.ports !== NO_PORTS) return;
    const isError =
      type === ICMP_TYPE.UNREACHABLE || type === ICMP_TYPE.TIME_EXCEEDED || type === ICMP_TYPE.PARAMETER_PROBLEM;
    this.kind = isError ? KIND.ICMP_ERROR : KIND.ICMP_OTHER;
  }

  /** All fragments but the last end on a boundary of 8 (RFC 791 section 3.2). */
  private checkFragment(): Fault {
    const offset = (this.fragment & FRAGMENT_OFFSET) * 8;
    const isLast = (this.fragment & MORE_FRAGMENTS) === 0;
    if (this.length === 0) return FAULT.IPV4_FRAGMENT;
    if (!isLast && (this.length & 7) !== 0) return FAULT.IPV4_FRAGMENT;
    if (offset === 0) return FAULT.NONE;
    // Bytes of the TCP header in a later fragment would say anew what the first one said (RFC 1858, RFC 3128).
    if (this.protocol === PROTOCOL.TCP && offset < 20) return FAULT.IPV4_FRAGMENT;
    this.kind = KIND.LATER_FRAGMENT;
    return FAULT.NONE;
  }
}

/** @returns whether a type of ICMP, or of ICMPv6, asks for an answer that carries its identifier back */
export function isQuery(type: number): boolean {
  return type === ICMP_TYPE.ECHO || type === ICMP_TYPE.TIMESTAMP || type === ICMPV6_TYPE.ECHO;
}

/** `icmpPorts` of ICMPv6. */
export function icmpv6Ports(type: number, identifier: number): Ports {
  if (type === ICMPV6_TYPE.ECHO) return joinPorts(identifier as Port, type as Port);
  if (type === ICMPV6_TYPE.ECHO_REPLY) return joinPorts(ICMPV6_TYPE.ECHO as number as Port, identifier as Port);
  return NO_PORTS;
}

/**
 * ICMP queries in the form of ports: the asker's identifier as its port, the query's type as the answerer's, so that rules
 * and flows treat them as they treat UDP.
 * @returns them, or NO_PORTS for messages that are neither query nor reply
 */
export function icmpPorts(type: number, identifier: number): Ports {
  switch (type) {
    case ICMP_TYPE.ECHO:
    case ICMP_TYPE.TIMESTAMP:
      return joinPorts(identifier as Port, type as Port);
    case ICMP_TYPE.ECHO_REPLY:
      return joinPorts(ICMP_TYPE.ECHO as number as Port, identifier as Port);
    case ICMP_TYPE.TIMESTAMP_REPLY:
      return joinPorts(ICMP_TYPE.TIMESTAMP as number as Port, identifier as Port);
    default:
      return NO_PORTS;
  }
}
