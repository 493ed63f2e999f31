// ICMP errors that the firewall itself sends about packets it will not forward (RFC 792, RFC 1812 section 4.3): never about
// errors, later fragments, broadcasts or impossible sources, and no more than a trickle to each client.
import { ETHERNET, isGroupMac, macHead, macTail } from "../../wire/ethernet.ts";
import { ICMP, writeIcmpSum } from "../../wire/icmp.ts";
import { type Address, FRAGMENT_OFFSET, headerLength, IPV4, PROTOCOL, readAddress } from "../../wire/ipv4.ts";
import { beginPacket, PAYLOAD_AT } from "../own-frames.ts";
import { icmpPorts, NO_PORTS } from "../packet.ts";
import type { Ring } from "../ring.ts";
import { TokenBuckets } from "../tables/token-buckets.ts";
import { isMartian, type Topology } from "../topology.ts";
import { type Iface, NOBODY } from "../types.ts";

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
   * @param at offset of the frame with a checked IPv4 header
   * @param detail the second word of the message: the next hop's MTU for "fragmentation needed", else 0
   * @returns whether an error was sent
   */
  send(iface: Iface, at: number, type: number, code: number, detail = 0): boolean {
    const view = this.ring.view;
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
    const frameLength = PAYLOAD_AT + length;
    if (own === source) {
      this.returnedAt = out;
      this.returnedLength = frameLength;
    } else {
      this.ring.send(iface, out, frameLength);
    }
    return true;
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
    const client = iface === uplink ? NOBODY : this.topology.clientOf(source);
    const group = client === NOBODY ? parties.group(parties.uplink) : parties.ofClient(client);
    return this.budgets.take(group, PER_SECOND, BURST, this.now);
  }
}
