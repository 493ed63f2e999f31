// What a client's settings have changed in the packets that it sends, beside NAT, or refuse, as pf's "scrub" does: IP options
// refused, a random identification, a least TTL, DSCP cleared. Such packets take the slow path only: here is all that knows of it.
import { delta16, updateChecksum } from "../../wire/checksum.ts";
import { ETHERNET } from "../../wire/ethernet.ts";
import { type Address, IPV4 } from "../../wire/ipv4.ts";
import { IPV6 } from "../../wire/ipv6.ts";
import type { Packet } from "../packet.ts";
import type { RandomPool } from "../random.ts";
import { MAX_INTERFACES } from "../ring.ts";
import type { ScrubSettings } from "../settings.ts";
import type { Topology } from "../topology.ts";
import { column, type Iface, NOBODY } from "../types.ts";

/** ECN's bits of the TOS byte (RFC 3168 section 5), which stay. */
const ECN = 3;
/** The traffic class in IPv6's first two bytes. */
const CLASS_SHIFT = 4;
const CLASS = 0xff << CLASS_SHIFT;

/** @returns whether a client's settings ask for any of it */
const asksForScrub = ({ dropOptions, randomId, minTtl, clearDscp }: ScrubSettings): boolean =>
  dropOptions || randomId || minTtl > 0 || clearDscp;

export class Scrub {
  /** By interface: 1 where a client is that asks for something. */
  private readonly asked = column<Iface>(new Uint8Array(MAX_INTERFACES));
  /** Whether there is a client that refuses options. */
  private refusesAny = false;
  private topology: Topology;

  constructor(
    private readonly view: DataView,
    private readonly random: RandomPool,
    topology: Topology,
  ) {
    this.topology = topology;
    this.apply(topology);
  }

  /** Takes new settings. */
  apply(topology: Topology): void {
    this.topology = topology;
    this.refusesAny = false;
    for (let iface = 0 as Iface; iface < this.asked.length; iface++) this.asked[iface] = 0;
    for (const { iface, scrub } of topology.settings.clients) {
      if (asksForScrub(scrub)) this.asked[iface as Iface] = 1;
      if (scrub.dropOptions) this.refusesAny = true;
    }
  }

  /** @returns whether frames that come in on an interface may have to be changed: they take no path but the slow one */
  isAsked(iface: Iface): boolean {
    return this.asked[iface] === 1;
  }

  /** @returns whether a packet, as it came in, has options, and is from a client that may send none */
  isRefused(packet: Packet): boolean {
    if (!this.refusesAny || !packet.hasOptions || !this.isAsked(packet.iface)) return false;
    const client = this.topology.clientOn(packet.iface, packet.source);
    return client !== NOBODY && this.topology.client(client).scrub.dropOptions;
  }

  /** @returns whether a packet has options, and a client at an address is to get none */
  isRefusedTo(address: Address, packet: Packet): boolean {
    if (!this.refusesAny || !packet.hasOptions) return false;
    const client = this.topology.clientOf(address);
    return client !== NOBODY && this.topology.client(client).scrub.dropOptions;
  }

  /** Changes a packet that is about to leave, its TTL lowered already, as the client asks that it came from. @param packet as it came in */
  change(packet: Packet): void {
    if (!this.isAsked(packet.iface)) return;
    const client = this.topology.clientOn(packet.iface, packet.source);
    if (client === NOBODY) return;
    const { randomId, minTtl, clearDscp } = this.topology.client(client).scrub;
    const { view } = this;
    const ip = packet.at + ETHERNET.HEADER_LENGTH;
    if (packet.isIpv6) {
      this.change6(ip, minTtl, clearDscp);
      return;
    }
    // Fragments of one packet have to have the same identification.
    if (randomId && packet.fragment === 0) this.set16(ip, IPV4.IDENTIFICATION, this.random.below(0x10000));
    if (clearDscp) {
      const word = view.getUint16(ip);
      this.set16(ip, 0, (word & 0xff00) | (word & ECN));
    }
    const ttlProtocol = view.getUint16(ip + IPV4.TTL);
    if (ttlProtocol >>> 8 < minTtl) this.set16(ip, IPV4.TTL, (minTtl << 8) | (ttlProtocol & 0xff));
  }

  /** Of IPv6, which has no identification but in fragments, and no checksum: hop limit and traffic class (RFC 8200 section 3). */
  private change6(ip: number, least: number, clearDscp: boolean): void {
    const { view } = this;
    const first = view.getUint16(ip);
    if (clearDscp) view.setUint16(ip, (first & ~CLASS) | (first & (ECN << CLASS_SHIFT)));
    if (view.getUint8(ip + IPV6.HOP_LIMIT) < least) view.setUint8(ip + IPV6.HOP_LIMIT, least);
  }

  /** Changes a word of a header, and its checksum with it. */
  private set16(ip: number, at: number, value: number): void {
    const { view } = this;
    const field = ip + IPV4.CHECKSUM;
    view.setUint16(field, updateChecksum(view.getUint16(field), delta16(view.getUint16(ip + at), value)));
    view.setUint16(ip + at, value);
  }
}
