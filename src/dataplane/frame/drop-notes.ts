// What the drop ring is told of a frame: what the frame said as it came in, read from the packet in hand, or from the frame where that
// is no sound packet.
import { ARP } from "../../wire/arp.ts";
import { ETHERNET, ETHERTYPE } from "../../wire/ethernet.ts";
import { ICMP, ICMP_TYPE } from "../../wire/icmp.ts";
import { ICMPV6_TYPE } from "../../wire/icmpv6.ts";
import { type Address, FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS, PROTOCOL, readAddress } from "../../wire/ipv4.ts";
import { FRAGMENT6, IPV6, NEXT_HEADER } from "../../wire/ipv6.ts";
import type { Ports } from "../../wire/ports.ts";
import { TCP } from "../../wire/tcp.ts";
import { ADDRESS_WORDS, isIpv6, NO_NUMBER } from "../address-book.ts";
import { KIND, NO_PORTS } from "../packet.ts";
import type { Settings } from "../settings.ts";
import { DROP_ADDRESSES, HAS } from "../tables/drop-records.ts";
import { Drop, Drops } from "../tables/drops.ts";
import type { Topology } from "../topology.ts";
import { type Client, type Flow, type Iface, NO_FLOW, NOBODY, otherSide, type Side } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import { NOWHERE, type State } from "./state.ts";

const IP = ETHERNET.HEADER_LENGTH;
/** Bytes that ports take, and those up to TCP's flags. */
const PORTS_LENGTH = 4;
const FLAGS_END = TCP.FLAGS + 1;

export class DropNotes {
  readonly drops: Drops;
  private readonly drop = new Drop();
  /** The first of the parties that are an interface: senders who are none of its clients'. */
  private strangers = 0;
  /** Settings that it follows still, where others are in force. */
  private before: Settings | undefined;

  constructor(private readonly state: State) {
    this.drops = new Drops(state.keyed);
    this.numberParties(new Int32Array(0));
  }

  /** The topology is another one: `catchUp`, which takes a while, is called before the next note. @param before the settings until now */
  leaveBehind(before: Settings): void {
    this.before = before;
  }

  /** Follows the topology. */
  catchUp(): void {
    if (this.before === undefined) return;
    const { interfaces } = this.state.topology.settings;
    const renumber = this.before.interfaces.map(({ name }) => interfaces.findIndex((iface) => iface.name === name));
    this.before = undefined;
    this.numberParties(Int32Array.from(renumber));
  }

  /**
   * Notes what became of a frame that the router has just handled, and did not forward.
   * @param iface where it came in @param at, length of the frame, without a tag of VLAN 0
   */
  note(verdict: Verdict, iface: Iface, at: number, length: number): void {
    const { drop, state } = this;
    this.catchUp();
    drop.verdict = verdict;
    drop.iface = iface;
    drop.rule = state.lastRule;
    if (state.packet.at !== NOWHERE) this.readPacket(iface);
    else this.readFrame(at, length);
    this.finish(state.lastFlow);
    this.drops.note(drop);
  }

  /**
   * Notes a frame that was lost in transmission: what lies there is what was to be sent.
   * @param flow its flow, or NO_FLOW
   */
  noteLost(verdict: Verdict, iface: Iface, at: number, length: number, flow: Flow): void {
    const { drop } = this;
    this.catchUp();
    drop.verdict = verdict;
    drop.iface = iface;
    drop.rule = -1;
    this.readFrame(at, length);
    this.undoTranslation(flow);
    this.finish(flow);
    this.drops.note(drop);
  }

  /** Whose it is, by what it says. */
  private finish(flow: Flow): void {
    const { drop, state } = this;
    const { topology, flows } = state;
    const iface = drop.iface as Iface;
    const source = drop.source as Address;
    const client = iface === topology.uplink ? NOBODY : topology.clientOn(iface, source);
    drop.party = this.partyOf(topology, iface, client, source);
    drop.client = flow === NO_FLOW ? client : flows.client(flow);
    drop.isLogged = drop.verdict === VERDICT.REFUSED && client !== NOBODY && topology.client(client).log;
    if (drop.isIpv6) this.tellAddresses();
  }

  /** Until here addresses of IPv6 were numbers, as flows have them. Those that nobody holds any more stand there as the frame had them. */
  private tellAddresses(): void {
    const { drop } = this;
    const { book } = this.state;
    const { addresses: words } = drop;
    this.spell(drop.source as Address, 0);
    this.spell(drop.destination as Address, 4);
    drop.source = book.sum(words[0], words[1], words[2], words[3]);
    drop.destination = book.sum(words[4], words[5], words[6], words[7]);
  }

  private spell(address: Address, at: number): void {
    if (!isIpv6(address) || address === NO_NUMBER) return;
    for (let i = 0; i < ADDRESS_WORDS; i++) this.drop.addresses[at + i] = this.state.book.word(address, i);
  }

  /** A packet whose header is sound, whatever became of the frame since. */
  private readPacket(iface: Iface): void {
    const { drop } = this;
    const { packet, lastFlow } = this.state;
    drop.isIpv6 = packet.isIpv6;
    if (packet.isIpv6) this.readAddresses6(packet.ip);
    drop.etherType = packet.isIpv6 ? ETHERTYPE.IPV6 : ETHERTYPE.IPV4;
    drop.protocol = packet.protocol;
    drop.source = packet.source;
    drop.destination = packet.destination;
    drop.ports = packet.ports;
    drop.flags = 0;
    drop.has = packet.fragment === 0 ? HAS.ADDRESSES : HAS.ADDRESSES | HAS.FRAGMENT;
    if (packet.kind !== KIND.LATER_FRAGMENT) this.readTransport(packet.transport, packet.length);
    // The second half of a hairpin, that our own address seems to have sent.
    if (packet.iface !== iface) this.undoTranslation(lastFlow);
  }

  /** @param at of an IPv6 header */
  private readAddresses6(at: number): void {
    const { view } = this.state;
    const { addresses } = this.drop;
    for (let i = 0; i < DROP_ADDRESSES; i++) addresses[i] = view.getInt32(at + IPV6.SOURCE + 4 * i);
  }

  private readFrame(at: number, length: number): void {
    const { drop } = this;
    const { view } = this.state;
    const content = at + IP;
    const etherType = length < IP ? 0 : view.getUint16(at + ETHERNET.TYPE);
    drop.etherType = etherType;
    drop.protocol = 0;
    drop.source = 0;
    drop.destination = 0;
    drop.ports = 0;
    drop.flags = 0;
    drop.has = 0;
    drop.isIpv6 = false;
    if (etherType === ETHERTYPE.IPV6 && length >= IP + IPV6.HEADER_LENGTH) this.readFrame6(content, length - IP);
    if (etherType === ETHERTYPE.ARP && length >= IP + ARP.LENGTH) {
      drop.has = HAS.ADDRESSES;
      const wasAnswered = drop.verdict === VERDICT.ANSWERED; // in place: the answer lies there
      drop.source = view.getInt32(content + (wasAnswered ? ARP.TARGET_IP : ARP.SENDER_IP));
      drop.destination = view.getInt32(content + (wasAnswered ? ARP.SENDER_IP : ARP.TARGET_IP));
    }
    if (etherType !== ETHERTYPE.IPV4 || length < IP + IPV4.HEADER_LENGTH) return;
    const header = (view.getUint8(content) & 15) << 2;
    const fragment = view.getUint16(content + IPV4.FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET);
    drop.has = fragment === 0 ? HAS.ADDRESSES : HAS.ADDRESSES | HAS.FRAGMENT;
    drop.protocol = view.getUint8(content + IPV4.PROTOCOL);
    drop.source = readAddress(view, content + IPV4.SOURCE);
    drop.destination = readAddress(view, content + IPV4.DESTINATION);
    if ((fragment & FRAGMENT_OFFSET) === 0 && header >= IPV4.HEADER_LENGTH) {
      this.readTransport(content + header, length - IP - header);
    }
  }

  /** @param at of what seems to be an IPv6 header. Of extension headers the fragment's alone is looked behind */
  private readFrame6(at: number, length: number): void {
    const { drop } = this;
    const { view, book } = this.state;
    if (view.getUint8(at) >>> 4 !== 6) return;
    this.readAddresses6(at);
    const { addresses: words } = drop;
    drop.isIpv6 = true;
    drop.source = book.find(words[0], words[1], words[2], words[3]);
    drop.destination = book.find(words[4], words[5], words[6], words[7]);
    const first = view.getUint8(at + IPV6.NEXT_HEADER);
    const isFragment = first === NEXT_HEADER.FRAGMENT && length >= IPV6.HEADER_LENGTH + FRAGMENT6.LENGTH;
    drop.has = isFragment ? HAS.ADDRESSES | HAS.FRAGMENT : HAS.ADDRESSES;
    drop.protocol = isFragment ? view.getUint8(at + IPV6.HEADER_LENGTH) : first;
    if (!isFragment) this.readTransport(at + IPV6.HEADER_LENGTH, length - IPV6.HEADER_LENGTH);
  }

  /** Ports and flags, as far as they are there. Where a format's check has failed they are what they seem to be. */
  private readTransport(at: number, length: number): void {
    const { drop } = this;
    const { view, packet } = this.state;
    const { protocol } = drop;
    if (protocol === PROTOCOL.TCP || protocol === PROTOCOL.UDP) {
      if (length < PORTS_LENGTH) return;
      drop.has |= HAS.PORTS;
      if (drop.ports === NO_PORTS) drop.ports = view.getInt32(at);
      if (protocol === PROTOCOL.UDP || length < FLAGS_END) return;
      drop.has |= HAS.FLAGS;
      drop.flags = view.getUint8(at + TCP.FLAGS);
    } else if (protocol === (drop.isIpv6 ? NEXT_HEADER.ICMPV6 : PROTOCOL.ICMP) && length >= ICMP.HEADER_LENGTH) {
      drop.has |= HAS.FLAGS;
      const type = view.getUint8(at + ICMP.TYPE);
      drop.flags = drop.verdict === VERDICT.ANSWERED ? requestOf(type, drop.isIpv6) : type;
      if (packet.at !== NOWHERE && packet.ports !== NO_PORTS) drop.has |= HAS.PORTS;
    }
  }

  /** Of a packet as it leaves to a flow's other side: how it came in. */
  private undoTranslation(flow: Flow): void {
    if (flow === NO_FLOW) return;
    if (!this.undo(flow, 0)) this.undo(flow, 1);
  }

  /** @returns whether the packet came from that side */
  private undo(flow: Flow, side: Side): boolean {
    const { drop } = this;
    const { flows } = this.state;
    const to = otherSide(side);
    if (drop.source !== flows.destination(flow, to) || drop.destination !== flows.source(flow, to)) return false;
    drop.source = flows.source(flow, side);
    drop.destination = flows.destination(flow, side);
    if ((drop.has & HAS.PORTS) !== 0) drop.ports = flows.ports(flow, side) as Ports;
    return true;
  }

  private partyOf(topology: Topology, iface: Iface, client: Client, source: Address): number {
    const { uplink, parties } = topology;
    if (iface === uplink) return parties.uplink;
    return client === NOBODY ? this.strangers + iface : topology.host(client, source);
  }

  /** Beside the parties that all tables know, each interface has one, in a group of its own: senders who are none of its clients. */
  private numberParties(renumber: Int32Array): void {
    const { topology } = this.state;
    const { parties, settings } = topology;
    const { groups, groupOf } = parties;
    const interfaces = settings.interfaces.length;
    this.strangers = groupOf.length;
    const all = new Int32Array(groupOf.length + interfaces);
    all.set(groupOf);
    for (let iface = 0; iface < interfaces; iface++) all[groupOf.length + iface] = groups + iface;
    const { words } = this.drops;
    const { book } = this.state;
    this.drops.reset(groups + interfaces, all, renumber, (iface, hash, six) => {
      if (iface < 0) return parties.ourselves;
      // For as long as it takes to say whose it is, somebody holds the address.
      const held = six < 0 ? NO_NUMBER : book.take(words[six], words[six + 1], words[six + 2], words[six + 3]);
      const source = six < 0 ? (hash as Address) : held;
      const party = this.partyOf(topology, iface as Iface, topology.clientOn(iface as Iface, source), source);
      book.release(held);
      return party;
    });
  }
}

/** A request that was answered has become the answer. @param type that it has now */
function requestOf(type: number, isOfIpv6: boolean): number {
  if (!isOfIpv6) return ICMP_TYPE.ECHO;
  return type === ICMPV6_TYPE.ECHO_REPLY ? ICMPV6_TYPE.ECHO : type;
}
