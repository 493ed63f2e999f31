// ICMP errors that the firewall itself sends about packets it will not forward (RFC 792, RFC 1812 section 4.3): never about
// errors, later fragments, broadcasts or impossible sources, and no more than a trickle to each client.
import { ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail, writeMac } from "../../wire/ethernet.ts";
import { ICMP, writeIcmpSum } from "../../wire/icmp.ts";
import { FRAGMENT_OFFSET, headerLength, IPV4, PROTOCOL, writeIpv4 } from "../../wire/ipv4.ts";
import { icmpPorts, NO_PORTS } from "../packet.ts";
import type { Ring } from "../ring.ts";
import { isMartian, NOBODY, type Topology } from "../topology.ts";

/** RFC 1812 section 4.3.2.3: as much of the packet as fits in a datagram of 576 bytes. */
const LARGEST = 576;
/** The diffserv class in a TOS byte, without ECN (RFC 3168 section 5). */
const DSCP = 0xfc;
const TTL = 64;

/** Errors to one client (or to the uplink): so many at once, and so many a second. */
const BURST = 50;
const PER_SECOND = 100;

export class IcmpErrors {
  private tokens: Float64Array;
  private filled: Float64Array;
  private now = 0;

  /**
   * The last error about the second half of a hairpin, from our uplink address to itself, which is not sent but comes in
   * again as from the uplink: the offset of its frame, and its length or 0 for none.
   */
  returnedAt = 0;
  returnedLength = 0;

  constructor(
    private readonly ring: Ring,
    private topology: Topology,
  ) {
    this.tokens = bucketsFor(topology);
    this.filled = new Float64Array(this.tokens.length);
  }

  apply(topology: Topology): void {
    this.topology = topology;
    this.tokens = bucketsFor(topology);
    this.filled = new Float64Array(this.tokens.length).fill(this.now);
  }

  /** @param now ms of the clock */
  setTime(now: number): void {
    this.now = now;
  }

  /**
   * Answers the sender of a packet, as it came in, with an error.
   * @param at offset of the frame with a checked IPv4 header
   * @param detail the second word of the message: the next hop's MTU for "fragmentation needed", else 0
   * @returns whether an error was sent
   */
  send(iface: number, at: number, type: number, code: number, detail = 0): boolean {
    const view = this.ring.view;
    const ip = at + ETHERNET.HEADER_LENGTH;
    const source = view.getInt32(ip + IPV4.SOURCE);
    if (isGroupMac(view, at) || !this.isAnswerable(view, ip, source)) return false;
    if (!this.takeToken(iface, source)) return false;

    const head = macHead(view, at + ETHERNET.SOURCE);
    const tail = macTail(view, at + ETHERNET.SOURCE);
    const quoted = Math.min(view.getUint16(ip + IPV4.TOTAL_LENGTH), LARGEST - IPV4.HEADER_LENGTH - ICMP.HEADER_LENGTH);
    const out = this.ring.reserve();
    const outIp = out + ETHERNET.HEADER_LENGTH;
    const message = outIp + IPV4.HEADER_LENGTH;
    writeMac(view, out + ETHERNET.DESTINATION, head, tail);
    writeMac(view, out + ETHERNET.SOURCE, this.topology.macHead[iface], this.topology.macTail[iface]);
    view.setUint16(out + ETHERNET.TYPE, ETHERTYPE.IPV4);
    const total = IPV4.HEADER_LENGTH + ICMP.HEADER_LENGTH + quoted;
    const own = this.topology.ownAddressFor(iface, source);
    // RFC 5508 section 7.7, which replaces RFC 1812 section 4.3.2.5 for NATs.
    const tos = view.getUint8(ip + IPV4.TOS) & DSCP;
    writeIpv4(view, outIp, tos, total, TTL, PROTOCOL.ICMP, own, source);
    view.setUint8(message + ICMP.TYPE, type);
    view.setUint8(message + ICMP.CODE, code);
    view.setUint32(message + ICMP.IDENTIFIER, detail);
    this.ring.bytes.copyWithin(message + ICMP.HEADER_LENGTH, ip, ip + quoted);
    writeIcmpSum(view, message, ICMP.HEADER_LENGTH + quoted);
    const frameLength = ETHERNET.HEADER_LENGTH + total;
    if (own === source) {
      this.returnedAt = out;
      this.returnedLength = frameLength;
    } else {
      this.ring.send(iface, out, frameLength);
    }
    return true;
  }

  /** RFC 1812 section 4.3.2.7. */
  private isAnswerable(view: DataView, ip: number, source: number): boolean {
    if ((view.getUint16(ip + IPV4.FRAGMENT) & FRAGMENT_OFFSET) !== 0) return false;
    if (view.getInt32(ip + IPV4.DESTINATION) >>> 28 >= 14) return false; // multicast, broadcast
    if (isMartian(source)) return false;
    if (view.getUint8(ip + IPV4.PROTOCOL) !== PROTOCOL.ICMP) return true;
    const header = headerLength(view, ip);
    if (view.getUint16(ip + IPV4.TOTAL_LENGTH) < header + ICMP.HEADER_LENGTH) return false;
    return icmpPorts(view.getUint8(ip + header + ICMP.TYPE), 0) !== NO_PORTS; // queries and their replies
  }

  /** @returns whether this sender may get one more answer now: errors and resets come from one budget */
  takeToken(iface: number, source: number): boolean {
    const client = iface === this.topology.uplink ? NOBODY : this.topology.clientOf(source);
    const bucket = client + 1; // 0: the uplink
    const gained = ((this.now - this.filled[bucket]) / 1000) * PER_SECOND;
    const tokens = Math.min(BURST, this.tokens[bucket] + gained);
    this.filled[bucket] = this.now;
    this.tokens[bucket] = tokens >= 1 ? tokens - 1 : tokens;
    return tokens >= 1;
  }
}

function bucketsFor(topology: Topology): Float64Array {
  return new Float64Array(topology.clientNetwork.length + 1).fill(BURST);
}
