// Neighbour Discovery (RFC 4861): what we answer, what we believe and note of neighbours, how one is asked for; our own addresses, probed
// for and told. Nobody's advertisement of a router is taken, nor a redirect: who routes for us the settings alone say.
import { ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail } from "../../wire/ethernet.ts";
import { HAS_EXTENSION } from "../../wire/header-chain.ts";
import { ICMPV6_TYPE } from "../../wire/icmpv6.ts";
import type { Address } from "../../wire/ipv4.ts";
import { copyAddress6, IPV6, isLinkLocal6, isMulticast6 } from "../../wire/ipv6.ts";
import {
  ALL_NODES_WORD,
  groupMacHead,
  groupMacTail,
  ND,
  NeighbourMessage,
  OVERRIDE,
  ROUTER,
  SOLICITED,
  solicitedWord,
  writeAdvertisement,
  writeAllNodes,
  writeSolicitation,
  writeSolicitedGroup,
} from "../../wire/ndp.ts";
import { type AddressBook, isIpv6, NO_NUMBER, type Number6 } from "../address-book.ts";
import { SHARE } from "../line-shares.ts";
import { beginFrame } from "../own-frames.ts";
import type { Ring } from "../ring.ts";
import type { PinnedMac, Topology } from "../topology.ts";
import { type Client, type Iface, type Neighbour, NO_NEIGHBOUR, NOBODY } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import type { LinkMessage } from "./link-message.ts";
import { linkOf } from "./links.ts";
import { Listener } from "./listener.ts";
import { type NeighbourTable, USABLE } from "./neighbours.ts";
import { isShared, type OwnAddress, OwnAddresses } from "./own-addresses.ts";

const IP = ETHERNET.HEADER_LENGTH;
const TARGET = IP + IPV6.HEADER_LENGTH + ND.TARGET;

export class NeighbourDiscovery {
  /** Called when somebody else has an address of ours on the uplink: it is not used. @param head, tail his MAC address */
  onDuplicate: (address: Number6, head: number, tail: number) => void = () => {};
  /** Called when our address on the uplink was somebody else's, and it is looked anew whether it is, or we have another or none. */
  onFreed: () => void = () => {};

  private readonly own: OwnAddresses;
  private readonly listener: Listener;
  private readonly message = new NeighbourMessage();

  constructor(
    private readonly ring: Ring,
    private readonly neighbours: NeighbourTable,
    private readonly book: AddressBook,
  ) {
    this.own = new OwnAddresses(book, neighbours.topology);
    this.listener = new Listener(ring, neighbours, this.own, book);
  }

  private get topology(): Topology {
    return this.neighbours.topology;
  }

  /**
   * Handles a message that is of one link alone (`isOfLink6`), whose frame is for us or for a group.
   * @param packet whose header chain is sound, and at least the message's first eight bytes there; its checksum has not been looked at
   */
  receive(packet: LinkMessage): Verdict {
    const { view } = this.ring;
    const { transport } = packet;
    const isToUs =
      isMulticast6(view, packet.ip + IPV6.DESTINATION) ||
      this.own.find(packet.iface, packet.destination as Number6) !== undefined;
    if (!isToUs) return VERDICT.ND_NOT_FOR_US;
    const type = view.getUint8(transport);
    if (type === ICMPV6_TYPE.LISTENER_QUERY) return this.listener.receive(packet);
    const isSolicitation = type === ICMPV6_TYPE.NEIGHBOUR_SOLICITATION;
    if (!isSolicitation && type !== ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT) return VERDICT.ICMP_TYPE;
    const isFragmented = (packet.chain.has & HAS_EXTENSION.FRAGMENT) !== 0;
    const fault = this.message.read(view, packet.ip, transport, packet.length, isFragmented);
    if (fault !== 0) return malformed(fault);
    return isSolicitation ? this.solicited(packet) : this.advertised(packet);
  }

  /** Somebody asks for an address: for ours, as a rule. */
  private solicited({ iface, at, source }: LinkMessage): Verdict {
    const { message, neighbours } = this;
    const target = this.targetNumber();
    const own = this.own.find(iface, target);
    if (!this.isGenuine(iface, at, message.source, message.isProbe ? NO_NUMBER : source)) return VERDICT.ND_SPOOFED;
    if (message.isProbe && own?.isTentative) return this.yieldTo(own, iface, at);
    const asksUs = own !== undefined && !own.isTentative && !own.isDuplicate;
    let known = message.isProbe || source === NO_NUMBER ? NO_NEIGHBOUR : neighbours.find(iface, source);
    // As with ARP: a neighbour is noted when a client asks us and so will want an answer soon.
    if (known === NO_NEIGHBOUR && asksUs && message.mac !== 0 && this.clientOn(iface, source) !== NOBODY) {
      known = neighbours.note(iface, source);
    }
    if (known !== NO_NEIGHBOUR) this.hear(known, OVERRIDE);
    if (!asksUs) return known === NO_NEIGHBOUR ? VERDICT.ND_NOT_FOR_US : VERDICT.ND_TAKEN;
    this.answer(iface, at, own.number);
    return VERDICT.ANSWERED;
  }

  /** Somebody says that he has an address. */
  private advertised({ iface, at, source }: LinkMessage): Verdict {
    const { message } = this;
    const target = this.targetNumber();
    const own = this.own.find(iface, target);
    if (own?.isTentative && !this.isOurMac(iface, at)) return this.yieldTo(own, iface, at);
    if (this.own.find(iface, source as Number6) !== undefined) return VERDICT.ND_SPOOFED;
    if (!this.isGenuine(iface, at, message.target, target)) return VERDICT.ND_SPOOFED;
    const known = target === NO_NUMBER ? NO_NEIGHBOUR : this.neighbours.find(iface, target);
    if (known === NO_NEIGHBOUR) return VERDICT.ND_NOT_FOR_US;
    this.hear(known, message.flags);
    return VERDICT.ND_TAKEN;
  }

  /** @returns the number of the target, or NO_NUMBER if nobody holds it: then it is neither ours nor a neighbour's */
  private targetNumber(): Number6 {
    const { view } = this.ring;
    const at = this.message.target;
    return this.book.find(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12));
  }

  /**
   * Takes what the message says of a neighbour's MAC address (RFC 4861 sections 7.2.3, 7.2.5). Only an answer shows that the neighbour
   * hears us. Another MAC address than the one known is not believed at once, as section 7.2.5 would have it, but when he is silent where
   * he was: else anybody on the link could take the gateway's place by a word.
   */
  private hear(n: Neighbour, flags: number): void {
    const { neighbours, message } = this;
    const { view } = this.ring;
    const isKnown = neighbours.state[n] >= USABLE;
    const isAnswer = (flags & SOLICITED) !== 0;
    if (message.mac === 0) {
      // An answer to who knows the MAC address need not say it.
      if (isAnswer && isKnown) neighbours.learn(n, neighbours.head[n], neighbours.tail[n]);
      return;
    }
    const head = macHead(view, message.mac);
    const tail = macTail(view, message.mac);
    const isNews = isKnown && (neighbours.head[n] !== head || neighbours.tail[n] !== tail);
    if (isNews && isAnswer && neighbours.isAskedAnew(n)) neighbours.learn(n, head, tail);
    else if (isNews && (flags & OVERRIDE) !== 0) neighbours.doubt(n, head, tail);
    else if (isNews) neighbours.confirm(n);
    else if (isAnswer || !isKnown) neighbours.learn(n, head, tail);
  }

  /**
   * Who says something must be who the settings say is on that interface. Hosts of a network have link-local addresses too; a client
   * that is one host has none (Qubes OS drops them, and its probes).
   * @param address offset of the address that he says is his; `number` its number, if somebody holds it
   */
  private isGenuine(iface: Iface, at: number, address: number, number: Address): boolean {
    const { message, topology } = this;
    const { view } = this.ring;
    const source = at + ETHERNET.SOURCE;
    if (isGroupMac(view, source) || (message.mac !== 0 && isGroupMac(view, message.mac))) return false; // they are nobody's
    if (this.isOurMac(iface, at) || this.own.find(iface, number as Number6) !== undefined) return false;
    if (iface === topology.uplink) {
      if (number === NO_NUMBER) return true;
      return this.hasMac(topology.gatewayPin(number)) && !topology.isOwn(number) && topology.mayBeOutside(number);
    }
    const isOfLink = message.isProbe || isLinkLocal6(view, address);
    if (isOfLink) return isShared(topology, iface);
    const client = this.clientOn(iface, number);
    if (client === NOBODY || !topology.hasPinnedMac(view, client, at)) return false;
    return this.hasMac(topology.pinned[client]);
  }

  private clientOn(iface: Iface, number: Address): Client {
    if (number === NO_NUMBER || iface === this.topology.uplink) return NOBODY;
    return this.topology.clientOn(iface, number);
  }

  /** Whether the message says no other MAC address than that one. */
  private hasMac(pin: PinnedMac | undefined): boolean {
    const { mac } = this.message;
    if (pin === undefined || mac === 0) return true;
    return macHead(this.ring.view, mac) === pin.head && macTail(this.ring.view, mac) === pin.tail;
  }

  /** Whether a frame of ours has come back to us (RFC 7527). */
  private isOurMac(iface: Iface, at: number): boolean {
    const { view } = this.ring;
    const source = at + ETHERNET.SOURCE;
    return (
      macHead(view, source) === this.topology.macHead[iface] && macTail(view, source) === this.topology.macTail[iface]
    );
  }

  /** Somebody else has an address that we were about to use. */
  private yieldTo(own: OwnAddress, iface: Iface, at: number): Verdict {
    if (this.isOurMac(iface, at)) return VERDICT.ND_SPOOFED;
    own.isTentative = false;
    own.isDuplicate = true;
    own.probes = 0;
    own.announcements = 0;
    if (!own.isLinkLocal) {
      this.neighbours.barUplink6(true);
      this.neighbours.holdUplink6(false);
    }
    const source = at + ETHERNET.SOURCE;
    this.onDuplicate(own.number, macHead(this.ring.view, source), macTail(this.ring.view, source));
    return VERDICT.ND_TAKEN;
  }

  /** Answers who asked last: who probes for an address of ours, as all others on the link, hears that it is taken (section 7.2.4). */
  private answer(iface: Iface, at: number, target: Number6): void {
    const { message, ring } = this;
    const { view } = ring;
    if (message.isProbe) {
      this.tell(iface, target);
      return;
    }
    const mac = message.mac === 0 ? at + ETHERNET.SOURCE : message.mac;
    const head = macHead(view, mac);
    const tail = macTail(view, mac);
    const out = beginFrame(ring, this.topology, iface, head, tail, ETHERTYPE.IPV6);
    copyAddress6(view, message.source, view, out + IP + IPV6.DESTINATION);
    this.advertise(iface, out, target, ROUTER | SOLICITED | OVERRIDE);
  }

  /** Tells all on a link that an address is ours (section 7.2.6). */
  private tell(iface: Iface, target: Number6): void {
    const { ring } = this;
    const head = groupMacHead(ALL_NODES_WORD);
    const out = beginFrame(ring, this.topology, iface, head, groupMacTail(ALL_NODES_WORD), ETHERTYPE.IPV6);
    writeAllNodes(ring.view, out + IP + IPV6.DESTINATION);
    this.advertise(iface, out, target, ROUTER | OVERRIDE);
  }

  private advertise(iface: Iface, out: number, target: Number6, flags: number): void {
    const { ring, topology } = this;
    this.book.write(ring.view, out + IP + IPV6.SOURCE, target);
    this.book.write(ring.view, out + TARGET, target);
    const length = writeAdvertisement(ring.view, out + IP, flags, topology.macHead[iface], topology.macTail[iface]);
    ring.share = SHARE.OURSELVES;
    ring.send(iface, out, IP + length);
  }

  /** Asks for a neighbour: all who may be he; or himself, when his MAC address is known and only to be confirmed (section 7.3.3). */
  ask(n: Neighbour): void {
    const { neighbours, topology } = this;
    const iface = neighbours.interfaceOf[n];
    const target = neighbours.addressOf(n);
    if (!isIpv6(target)) return;
    const source = this.sourceFor(iface, target);
    const own = this.own.find(iface, source);
    if (source === NO_NUMBER || own?.isTentative || own?.isDuplicate) return;
    const isKnown = neighbours.state[n] >= USABLE && !neighbours.isAskedAnew(n);
    const group = solicitedWord(this.book.word(target, 3));
    const head = isKnown ? neighbours.head[n] : groupMacHead(group);
    const tail = isKnown ? neighbours.tail[n] : groupMacTail(group);
    const out = beginFrame(this.ring, topology, iface, head, tail, ETHERTYPE.IPV6);
    this.solicit(iface, out, source, target, !isKnown);
  }

  /** @returns our address to ask from: of the scope that the other one is of, so that he has us on his link */
  private sourceFor(iface: Iface, target: Number6): Number6 {
    const { topology, own } = this;
    const isOfLink = this.book.word(target, 0) >>> 22 === 0xfe80 >>> 6;
    const linkLocal = own.linkLocal(iface);
    if (isOfLink && linkLocal !== NO_NUMBER && own.find(iface, linkLocal)?.isDuplicate !== true) return linkLocal;
    return topology.ownAddressFor(iface, target) as Number6;
  }

  /** @param source NO_NUMBER for the unspecified address: a probe */
  private solicit(iface: Iface, out: number, source: Number6, target: Number6, toGroup: boolean): void {
    const { ring, book, topology } = this;
    const { view } = ring;
    const destination = out + IP + IPV6.DESTINATION;
    book.write(view, out + IP + IPV6.SOURCE, source);
    if (toGroup) writeSolicitedGroup(view, destination, book.word(target, 3));
    else book.write(view, destination, target);
    book.write(view, out + TARGET, target);
    const length = writeSolicitation(view, out + IP, topology.macHead[iface], topology.macTail[iface]);
    ring.share = SHARE.OURSELVES;
    ring.send(iface, out, IP + length);
  }

  /** Probes for addresses, tells of them, reports their groups. To be called about once a second. @param now ms of the clock */
  tick(now: number): void {
    const { interfaces } = this.topology.settings;
    for (let iface = 0 as Iface; iface < interfaces.length; iface++) {
      const list = this.own.on(iface);
      for (let i = 0; i < list.length; i++) this.tickOne(iface, list[i]);
    }
    this.listener.tick(now);
  }

  private tickOne(iface: Iface, own: OwnAddress): void {
    if (own.isTentative) {
      if (own.probes > 0) this.probe(iface, own);
      else if (--own.ticks === 0) this.use(iface, own);
    }
    if (own.isTentative || own.announcements === 0) return;
    own.announcements--;
    this.tell(iface, own.number);
  }

  /** Nobody else has shown that he has it. */
  private use(iface: Iface, own: OwnAddress): void {
    own.isTentative = false;
    if (own.isLinkLocal)
      this.listener.reportAnew(iface); // what came from no address may not have been heard
    else this.neighbours.holdUplink6(false);
    this.neighbours.askAnew6(iface);
  }

  private probe(iface: Iface, own: OwnAddress): void {
    own.probes--;
    const group = solicitedWord(this.book.word(own.number, 3));
    const out = beginFrame(this.ring, this.topology, iface, groupMacHead(group), groupMacTail(group), ETHERTYPE.IPV6);
    this.solicit(iface, out, NO_NUMBER, own.number, true);
  }

  /**
   * Takes over other settings, in which interfaces may be numbered anew: an address of ours that is to be probed for is used by no frame
   * that comes before `followInterfaces`, which does the rest.
   * @param before what was in force @param renumber the new number of each old interface, or a negative one
   */
  follow(before: Topology, renumber: Int32Array): void {
    this.own.follow(renumber);
    this.listener.follow(renumber);
    this.followOwn(before);
  }

  private followOwn(before: Topology | undefined): void {
    const { topology, neighbours } = this;
    this.own.followInterfaces(topology, before);
    const outside = this.own.find(topology.uplink, topology.ipv6.uplinkAddress);
    neighbours.holdUplink6(outside?.isTentative === true);
    if (outside?.isDuplicate !== true && neighbours.barUplink6(false)) this.onFreed();
  }

  /**
   * Where an address of ours is new, or our MAC address or the link is, probes for it, or tells everybody there.
   * @param before what was in force; nothing, when the program starts
   */
  followInterfaces(before: Topology | undefined, now: number): void {
    const { topology } = this;
    this.followOwn(before);
    this.listener.followInterfaces(topology, (iface) => linkOf(topology, iface, before).before === undefined);
    this.tick(now);
  }
}
