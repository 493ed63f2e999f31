// ARP (RFC 826, RFC 1122 section 2.3.2): what we answer, what we believe and note of neighbours, how one is asked for, and who is told of
// our addresses (RFC 5227).
import { ARP, ARP_REPLY, ARP_REQUEST, checkArp, writeArp } from "../../wire/arp.ts";
import { ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail, writeMac } from "../../wire/ethernet.ts";
import { type Address, readAddress } from "../../wire/ipv4.ts";
import { isIpv6 } from "../address-book.ts";
import { SHARE } from "../line-shares.ts";
import { beginFrame } from "../own-frames.ts";
import { type Ring, VNET_LENGTH } from "../ring.ts";
import type { Topology } from "../topology.ts";
import { type Iface, type Neighbour, NO_NEIGHBOUR, NOBODY } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import { linkOf } from "./links.ts";
import { GONE, type NeighbourTable } from "./neighbours.ts";

/** ff:ff:ff:ff:ff:ff. */
const BROADCAST_HEAD = -1;
const BROADCAST_TAIL = 0xffff;

/** RFC 5227 section 1.1: an address of ours that is new somewhere is told twice, a tick or two apart. */
const ANNOUNCEMENTS = 2;

export class Arp {
  /** Addresses of ours that are to be told again on an interface, and how often. */
  private announcing: { iface: Iface; readonly address: Address; left: number }[] = [];

  constructor(
    private readonly ring: Ring,
    private readonly neighbours: NeighbourTable,
  ) {}

  private get topology(): Topology {
    return this.neighbours.topology;
  }

  /** Handles an ARP packet: answers requests that are ours to answer, in place, and learns what was asked for. */
  receive(iface: Iface, at: number, length: number): Verdict {
    const { neighbours } = this;
    const view = this.ring.view;
    const arp = at + ETHERNET.HEADER_LENGTH;
    const fault = checkArp(view, arp, length - ETHERNET.HEADER_LENGTH);
    if (fault !== 0) return malformed(fault);
    const sender = readAddress(view, arp + ARP.SENDER_IP);
    const target = readAddress(view, arp + ARP.TARGET_IP);
    if (!this.isGenuine(iface, at, sender)) return VERDICT.ARP_SPOOFED;
    const isReply = view.getUint16(arp + ARP.OPERATION) === ARP_REPLY;
    const asksUs = !isReply && this.answersFor(iface, sender, target);
    let known = sender === 0 ? NO_NEIGHBOUR : neighbours.find(iface, sender);
    // A neighbour is noted when we asked, or when a client asks us and so will want an answer soon (RFC 826). Not when a
    // host on the uplink does: none of them is to fill the table.
    if (known === NO_NEIGHBOUR && asksUs && sender !== 0 && iface !== this.topology.uplink) {
      known = neighbours.note(iface, sender);
    }
    if (known !== NO_NEIGHBOUR) {
      neighbours.learn(known, macHead(view, arp + ARP.SENDER_MAC), macTail(view, arp + ARP.SENDER_MAC));
    }
    if (!asksUs) return known === NO_NEIGHBOUR ? VERDICT.ARP_NOT_FOR_US : VERDICT.ARP_TAKEN;
    this.answer(iface, at, target, sender);
    return VERDICT.ANSWERED;
  }

  /** Broadcasts a request for a neighbour. */
  ask(n: Neighbour): void {
    const { neighbours } = this;
    const iface = neighbours.interfaceOf[n];
    const address = neighbours.addressOf(n);
    this.request(iface, this.topology.ownAddressFor(iface, address), address);
  }

  /** Tells once more what is to be told twice. To be called about once a second. */
  tick(): void {
    if (this.announcing.length > 0) this.announce();
  }

  /** Takes over other numbers of interfaces. @param renumber the new number of each old interface, or GONE */
  follow(renumber: Int32Array): void {
    for (const told of this.announcing) told.iface = (renumber[told.iface] ?? GONE) as Iface;
    this.announcing = this.announcing.filter(({ iface }) => iface !== GONE);
  }

  /**
   * Where an address of ours is new, or our MAC address or the link is, tells everybody there.
   * @param before what was in force; nothing, when the program starts: then all of them are told, for it may have had another MAC
   * address when it ran last
   */
  followInterfaces(before?: Topology): void {
    const { topology } = this;
    for (const [i, { isDown }] of topology.settings.interfaces.entries()) {
      const iface = i as Iface;
      this.announcing = this.announcing.filter((told) => told.iface !== iface);
      if (isDown) continue;
      const link = linkOf(topology, iface, before);
      const told = (link.before !== undefined && before?.ownAddressesOn(link.before)) || [];
      for (const address of topology.ownAddressesOn(iface)) {
        if (!told.includes(address)) this.announcing.push({ iface, address, left: ANNOUNCEMENTS });
      }
    }
    this.announce();
  }

  /** ARP announcements (RFC 5227 section 2.3): requests for our own address, which whoever knows us takes our MAC address from. */
  private announce(): void {
    for (const told of this.announcing) {
      this.request(told.iface, told.address, told.address);
      told.left--;
    }
    this.announcing = this.announcing.filter(({ left }) => left > 0);
  }

  /**
   * A sender must be who the settings say is on that interface; 0 is a probe of one's own address (RFC 5227). Who it is, the ARP
   * packet says and not the frame's source address (RFC 826): a virtual router sends the one from the other (RFC 9568 section
   * 8.1.2). Of a client that is pinned to its MAC address both are.
   */
  private isGenuine(iface: Iface, at: number, sender: Address): boolean {
    const view = this.ring.view;
    const senderMac = at + ETHERNET.HEADER_LENGTH + ARP.SENDER_MAC;
    const head = macHead(view, senderMac);
    const tail = macTail(view, senderMac);
    if (isGroupMac(view, senderMac) || isGroupMac(view, at + ETHERNET.SOURCE)) return false; // they are nobody's
    if (sender !== 0 && isIpv6(sender)) return false; // 0.0.0.0/8 is nobody's, and not to be taken for numbers of IPv6 addresses
    if (iface === this.topology.uplink) {
      const pin = sender === this.topology.gateway ? this.topology.gatewayMac : undefined;
      if (pin !== undefined && (pin.head !== head || pin.tail !== tail)) return false;
      return sender === 0 || (!this.topology.isOwn(sender) && this.topology.mayBeOutside(sender));
    }
    if (sender === 0) return true;
    const client = this.topology.clientOn(iface, sender);
    if (client === NOBODY) return false;
    if (!this.topology.hasPinnedMac(view, client, at)) return false;
    const pin = this.topology.pinned[client];
    return pin === undefined || (pin.head === head && pin.tail === tail);
  }

  /**
   * On the uplink we answer for our address, to hosts of a network for their gateway. A point-to-point client may believe
   * in any netmask, so it gets an answer for every address but the clients' own on that interface (Qubes' convention).
   */
  private answersFor(iface: Iface, sender: Address, target: Address): boolean {
    const topology = this.topology;
    if (iface === topology.uplink) return target === topology.uplinkAddress;
    const asker = sender === 0 ? topology.firstOn(iface) : topology.clientOn(iface, sender);
    if (asker === NOBODY) return false;
    if (topology.clientMask[asker] !== -1) return target === topology.clientGateway[asker];
    return target !== sender && topology.clientOn(iface, target) === NOBODY;
  }

  private answer(iface: Iface, at: number, target: Address, sender: Address): void {
    const view = this.ring.view;
    const arp = at + ETHERNET.HEADER_LENGTH;
    const head = macHead(view, arp + ARP.SENDER_MAC);
    const tail = macTail(view, arp + ARP.SENDER_MAC);
    const ourHead = this.topology.macHead[iface];
    const ourTail = this.topology.macTail[iface];
    writeMac(view, at + ETHERNET.DESTINATION, head, tail);
    writeMac(view, at + ETHERNET.SOURCE, ourHead, ourTail);
    writeArp(view, arp, ARP_REPLY, ourHead, ourTail, target, head, tail, sender);
    this.ring.bytes.fill(0, at - VNET_LENGTH, at); // what the asker left to be done does not hold for the answer
    this.ring.share = SHARE.OURSELVES;
    this.ring.send(iface, at, ETHERNET.HEADER_LENGTH + ARP.LENGTH);
  }

  private request(iface: Iface, own: Address, address: Address): void {
    const head = this.topology.macHead[iface];
    const tail = this.topology.macTail[iface];
    const at = beginFrame(this.ring, this.topology, iface, BROADCAST_HEAD, BROADCAST_TAIL, ETHERTYPE.ARP);
    writeArp(this.ring.view, at + ETHERNET.HEADER_LENGTH, ARP_REQUEST, head, tail, own, 0, 0, address);
    this.ring.share = SHARE.OURSELVES;
    this.ring.send(iface, at, ETHERNET.HEADER_LENGTH + ARP.LENGTH);
  }
}
