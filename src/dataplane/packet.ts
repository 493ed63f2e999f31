// One IPv4 packet while it is being handled: what its headers say, read once and checked. One object serves all packets,
// so that none is allocated and functions need not pass a dozen numbers on.
import { ETHERNET } from "../wire/ethernet.ts";
import { FAULT, type Fault } from "../wire/fault.ts";
import { checkIcmp, ICMP, ICMP_TYPE } from "../wire/icmp.ts";
import {
  type Address,
  checkIpv4,
  FRAGMENT_OFFSET,
  headerLength,
  IPV4,
  MORE_FRAGMENTS,
  PROTOCOL,
  readAddress,
} from "../wire/ipv4.ts";
import { joinPorts, type Port, type Ports } from "../wire/ports.ts";
import { checkTcp } from "../wire/tcp.ts";
import { checkUdp } from "../wire/udp.ts";
import type { Iface } from "./types.ts";

/** What the packet carries, as far as a router cares. */
export const KIND = {
  /** It can belong to a flow: TCP, UDP, an ICMP query or its reply, and every protocol without ports. */
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
  /** Offset of its frame, of its IPv4 header, and of its payload: the transport header. */
  at = 0;
  ip = 0;
  transport = 0;
  /** Bytes of the payload. */
  length = 0;
  kind: number = KIND.FLOW;
  protocol = 0;
  source = 0 as Address;
  destination = 0 as Address;
  /** `icmpPorts` of ICMP; NO_PORTS of protocols without ports. */
  ports = NO_PORTS;
  /** FlowTable's hash of what it carries, once its flow has been looked for. */
  hash = 0;
  /** More-fragments bit and offset (in units of 8 bytes) of a fragment; 0 for a whole packet. */
  fragment = 0;

  /**
   * Reads and checks the packet in a frame.
   * @param length bytes of the frame
   * @returns a FAULT number, 0 when all is well
   */
  parse(view: DataView, iface: Iface, at: number, length: number): Fault {
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
      const misplaced = this.checkFragment();
      if (misplaced !== 0 || this.kind === KIND.LATER_FRAGMENT) return misplaced;
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
    } else if (this.protocol === PROTOCOL.ICMP) {
      const fault = checkIcmp(this.length);
      if (fault !== 0) return fault;
      this.classifyIcmp(view.getUint8(at + ICMP.TYPE), view.getUint16(at + ICMP.IDENTIFIER));
    }
    return FAULT.NONE;
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

/** @returns whether an ICMP type asks for an answer that carries its identifier back */
export function isQuery(type: number): boolean {
  return type === ICMP_TYPE.ECHO || type === ICMP_TYPE.TIMESTAMP;
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
