// What the dataplane remembers: its tables, the settings in force, the clock, and the packet in hand; and how a flow comes
// into all of these, and out of them again. The router and its helpers share one State.
import { type Address, PROTOCOL } from "../../wire/ipv4.ts";
import { DNS_PORT, destinationPort, type Ports, sourcePort } from "../../wire/ports.ts";
import { AddressBook, drawAddressKeys, isIpv6, NO_NUMBER, type Number6 } from "../address-book.ts";
import { drawHashKeys, KeyedHash } from "../keyed-hash.ts";
import { Packet } from "../packet.ts";
import { MappingTable, MOST_MAPPINGS } from "../ports/mappings.ts";
import { RandomPool } from "../random.ts";
import type { Ring } from "../ring.ts";
import type { Settings } from "../settings.ts";
import { FLOW, FLOW_WORDS, type FlowFields, MAX_NEIGHBOURS } from "../tables/flow-records.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import { FlowTable } from "../tables/flows.ts";
import { Quotas } from "../tables/quotas.ts";
import { RuleHits } from "../tables/rule-hits.ts";
import { TcpTracker } from "../tables/tcp.ts";
import { FlowTimeouts } from "../tables/timeouts.ts";
import { TimerWheel } from "../tables/timer-wheel.ts";
import { Topology } from "../topology.ts";
import {
  type Client,
  type Flow,
  type FlowSide,
  flowOf,
  type Iface,
  type Mapping,
  type Neighbour,
  NO_FLOW,
  NO_FLOW_SIDE,
  NO_MAPPING,
  NO_NEIGHBOUR,
  NOBODY,
  type Party,
  type Side,
  sideOf,
} from "../types.ts";
import { Arp } from "../waiting/arp.ts";
import { NeighbourDiscovery } from "../waiting/discovery.ts";
import { NeighbourTable, OURSELVES } from "../waiting/neighbours.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { Scrub } from "./scrub.ts";
import { Splitter } from "./split.ts";

/** Addresses of IPv6 at a time that are no flow's remote, mapping's or neighbour's: of settings, fragments and the packet in hand. */
const OTHER_ADDRESSES = 4096;

/** In place of a frame's offset. */
export const NOWHERE = -1;

export class State {
  readonly view: DataView;
  readonly random: RandomPool;
  readonly flows: FlowTable;
  readonly mappings: MappingTable;
  readonly tcp: TcpTracker;
  readonly timeouts: FlowTimeouts;
  readonly wheel: TimerWheel;
  readonly quotas: Quotas;
  readonly neighbours: NeighbourTable;
  readonly arp: Arp;
  readonly discovery: NeighbourDiscovery;
  readonly errors: IcmpErrors;
  readonly book: AddressBook;
  readonly packet: Packet;
  readonly ruleHits = new RuleHits();
  readonly splitter: Splitter;
  readonly scrub: Scrub;
  readonly keyed: KeyedHash;
  topology: Topology;
  /** The clock: ms, and whole seconds. */
  now = 0;
  second = 0;
  /** Of the last frame, for who asks the router: the rule that decided it (0: the policy, -1: none), its flow or NO_FLOW. */
  lastRule = -1;
  /** Whose rule that is. */
  lastClient: Client = NOBODY;
  lastFlow = NO_FLOW;
  /** Says whether a flow may live on by the settings in force: if not, it has been ended. */
  admits: (flow: Flow) => boolean = () => true;
  /** Hears of flows that end. */
  onEnd: (flow: Flow) => void = () => {};
  /** The frame that the fast path has just found to be of no flow: where it is, and the hash of what it carries. */
  unknownAt = NOWHERE;
  unknownHash = 0;
  private gatewayNeighbour = NO_NEIGHBOUR;
  private gateway6Neighbour = NO_NEIGHBOUR;

  constructor(
    readonly ring: Ring,
    settings: Settings,
    fillRandom: (words: Uint32Array) => void,
    flowRecords?: Int32Array,
  ) {
    const { maxFlows } = settings.nat;
    this.view = ring.view;
    this.random = new RandomPool(fillRandom);
    const keyed = new KeyedHash(drawHashKeys(() => this.random.next()));
    this.keyed = keyed;
    // Of a flow's addresses only the remote one can be of nobody whose number is bounded elsewhere.
    const addresses = maxFlows + Math.min(maxFlows, MOST_MAPPINGS) + MAX_NEIGHBOURS + OTHER_ADDRESSES;
    const book = new AddressBook(
      addresses,
      drawAddressKeys(() => this.random.next()),
    );
    this.book = book;
    this.packet = new Packet(book);
    this.topology = new Topology(settings, undefined, book);
    this.flows = new FlowTable(maxFlows, keyed, flowRecords, book);
    this.mappings = new MappingTable(maxFlows, keyed, this.random, book);
    this.mappings.follow(this.topology.parties, settings.clients.length);
    this.reservePorts();
    this.timeouts = new FlowTimeouts(this.flows);
    this.tcp = new TcpTracker(this.flows);
    this.wheel = new TimerWheel(this.flows.words, FLOW_WORDS, FLOW.WHEEL);
    this.timeouts.apply(settings.nat.timeouts);
    this.flows.external = this.topology.uplinkAddress;
    this.leaveFrom6(this.topology.ipv6.uplinkAddress);
    this.quotas = new Quotas(this.flows, this.mappings, this.tcp, this.timeouts, this.topology);
    this.neighbours = new NeighbourTable(ring, this.topology, this.flows, keyed, (flow) => this.admits(flow), book);
    this.arp = new Arp(ring, this.neighbours);
    this.discovery = new NeighbourDiscovery(ring, this.neighbours, book);
    this.neighbours.solicit = (n) => {
      if (isIpv6(this.neighbours.addressOf(n))) this.discovery.ask(n);
      else this.arp.ask(n);
    };
    this.errors = new IcmpErrors(ring, this.topology);
    this.splitter = new Splitter(ring);
    this.scrub = new Scrub(this.view, this.random, this.topology);
  }

  /** Counts the rule that decided about the frame in hand, if one did. Called in admission itself, it made new flows 15 % slower. */
  countRule(): void {
    if (this.lastRule >= 0) this.ruleHits.note(this.lastClient, this.lastRule, this.now);
  }

  /** @param now ms, never going back */
  setTime(now: number): void {
    this.now = now;
    this.second = Math.floor(now / 1000);
    this.neighbours.setTime(now);
    this.errors.setTime(now);
    if (this.gatewayNeighbour === NO_NEIGHBOUR) this.holdGateways();
  }

  /**
   * Puts new settings in force, as far as that must be at once. The capacity of the flow table stays, and so does every flow, which is to
   * be judged before its next packet; `settle` is for those that live on.
   * @param topology made of them
   */
  follow(topology: Topology): void {
    const before = this.topology;
    const { settings } = topology;
    const renumber = Int32Array.from(before.settings.interfaces, (iface) =>
      settings.interfaces.findIndex(({ name }) => name === iface.name),
    );
    this.letGatewaysGo();
    this.topology = topology;
    this.neighbours.follow(topology, renumber);
    this.arp.follow(renumber);
    this.discovery.follow(before, renumber);
    this.errors.follow(topology);
    this.scrub.apply(topology);
    this.timeouts.apply(settings.nat.timeouts);
    this.quotas.follow(topology);
    this.mappings.follow(topology.parties, settings.clients.length);
    this.reservePorts();
    if (this.flows.external6 === NO_NUMBER) this.leaveFrom6(topology.ipv6.uplinkAddress);
    if (this.isMoving) this.mappings.clear();
    this.holdGateways();
    before.release();
  }

  /** Ports that forwards have are no mapping's, by family. */
  private reservePorts(): void {
    const { forwards, clients } = this.topology.settings;
    this.mappings.reserve(forwards.filter(({ to }) => to !== undefined));
    const ofOurs = forwards.filter(({ to6, client }) => to6 !== undefined && clients[client]?.ipv6?.nat !== "route");
    this.mappings.reserve(ofOurs, true);
  }

  /** A flow that has been judged by the settings in force, and whose record follows them, is counted for whom it is now. */
  settle(flow: Flow): void {
    const { flows, neighbours, topology } = this;
    const party = this.quotas.settle(flow, topology);
    const mapping = this.mappingOf(flow);
    if (mapping !== NO_MAPPING) {
      this.mappings.give(mapping, topology.host(flows.client(flow), this.mappings.address(mapping)));
    }
    for (let side: Side = 0; ; side = 1) {
      const neighbour = flows.neighbour(flow, side);
      neighbours.settle(neighbour);
      neighbours.own(neighbour, party);
      if (side === 1) return;
    }
  }

  /**
   * Whether we have another address on the uplink than the flows that there are, all of which end: until they have, there are no new ones
   * to and from there, for their records do not tell which they have.
   */
  get isMoving(): boolean {
    const { external, external6 } = this.flows;
    const { uplinkAddress, ipv6 } = this.topology;
    return external !== uplinkAddress || (external6 !== NO_NUMBER && external6 !== ipv6.uplinkAddress);
  }

  /** Flows and mappings of our address from before have ended. */
  hasMoved(): void {
    this.mappings.hasCleared();
    this.flows.external = this.topology.uplinkAddress;
    this.leaveFrom6(this.topology.ipv6.uplinkAddress);
  }

  /** Flows of IPv6 have this address of ours on the uplink from now on, which outlives settings as long as they do. */
  private leaveFrom6(address: Number6): void {
    this.book.retain(address);
    this.book.release(this.flows.external6);
    this.flows.external6 = address;
  }

  /**
   * Takes over what has changed about interfaces, whose numbers and all else are as before: no flow is touched. `followingLinks` comes
   * after it.
   */
  followInterfaces(topology: Topology): void {
    const before = this.topology;
    this.topology = topology;
    before.release();
    this.errors.follow(topology);
    this.neighbours.topology = topology;
  }

  /**
   * Asks anew for those who are on an interface that is there again, and tells those on each who we are, as far as they don't know.
   * @param before what was in force; nothing, when the program starts
   */
  followLinks(before?: Topology): void {
    this.neighbours.followInterfaces(before);
    this.arp.followInterfaces(before);
    this.discovery.followInterfaces(before, this.now);
  }

  /** The same a little at a time, beginning with nothing. */
  *followingLinks(before: Topology): Generator<void> {
    yield;
    this.neighbours.followInterfaces(before);
    this.arp.followInterfaces(before);
    yield;
    this.discovery.followInterfaces(before, this.now);
  }

  /** Puts settings in force that have the same layout as those before. */
  replaceRules(settings: Settings): void {
    this.topology.replaceRules(settings);
    this.scrub.apply(this.topology);
    this.timeouts.apply(settings.nat.timeouts);
    this.quotas.setLimits(settings.clients);
  }

  /** As `find` does, for the packet in hand, whose hash is kept: if there is no such flow, one may be made. */
  findPacket(): FlowSide {
    const { packet } = this;
    const { source, destination, ports, protocol, iface } = packet;
    if (packet.at === this.unknownAt) {
      this.unknownAt = NOWHERE;
      packet.hash = this.unknownHash;
      return NO_FLOW_SIDE;
    }
    packet.hash = this.flows.hash(source, destination, ports, protocol);
    const found = this.flows.findHashed(packet.hash, source, destination, ports, protocol);
    return this.isOn(iface, found) ? found : NO_FLOW_SIDE;
  }

  /**
   * The flow that a packet belongs to: it fits, and it came in where that side is.
   * @returns the flow and that side, or NO_FLOW_SIDE
   */
  find(source: Address, destination: Address, ports: Ports, protocol: number, iface: Iface): FlowSide {
    const found = this.flows.find(source, destination, ports, protocol);
    return this.isOn(iface, found) ? found : NO_FLOW_SIDE;
  }

  private isOn(iface: Iface, found: FlowSide): boolean {
    if (found === NO_FLOW_SIDE) return false;
    return this.neighbours.interfaceOf[this.flows.neighbour(flowOf(found), sideOf(found))] === iface;
  }

  /** @returns the interface that a side of a flow is on */
  interfaceOf(flow: Flow, side: Side): Iface {
    return this.neighbours.interfaceOf[this.flows.neighbour(flow, side)];
  }

  /** @returns the address of the host that packets to a side are handed to; undefined where they come back to us */
  nextHopOf(flow: Flow, side: Side): Address | undefined {
    const neighbour = this.flows.neighbour(flow, side);
    return neighbour === OURSELVES ? undefined : this.neighbours.addressOf(neighbour);
  }

  /**
   * Makes a flow, which begins to use its mapping.
   * @param party who opens it
   * @param neighbour0, neighbour1 whom packets to side 0 and to side 1 are handed to, held for it
   * @returns NO_FLOW when the table is full
   */
  open(fields: FlowFields, party: Party, mapping: Mapping, neighbour0: Neighbour, neighbour1: Neighbour): Flow {
    const { flows } = this;
    const flow = flows.allocate();
    if (flow === NO_FLOW) return NO_FLOW;
    flows.fill(flow, fields, neighbour0, neighbour1);
    const deadline = this.second + 1 + this.timeouts.of(flow);
    flows.setDeadline(flow, deadline);
    if (mapping !== NO_MAPPING) this.mappings.retain(mapping, this.isClients(flow));
    if (isIpv6(fields.source)) this.retainAddresses(flow);
    flows.link(flow, fields.hash, fields.backHash);
    this.quotas.add(flow, party);
    this.wheel.file(flow, deadline);
    return flow;
  }

  /** Ends a flow, whichever state it is in, and its mapping with the last one. @param mayLinger whether that may stay a while */
  end(flow: Flow, mayLinger = true): void {
    const { flows } = this;
    this.onEnd(flow);
    this.wheel.remove(flow);
    this.quotas.remove(flow);
    this.neighbours.release(flows.neighbour(flow, 0));
    this.neighbours.release(flows.neighbour(flow, 1));
    if (flows.hasState(flow, FLOW_STATE.MAPPED)) this.releaseMapping(flow, mayLinger);
    const source = flows.source(flow, 0);
    if (!isIpv6(source)) {
      flows.remove(flow);
      return;
    }
    const destination = flows.destination(flow, 0) as Number6;
    const backSource = flows.source(flow, 1) as Number6;
    flows.remove(flow); // first: it is found by its addresses
    this.book.release(source);
    this.book.release(destination);
    this.book.release(backSource);
  }

  /** The addresses that a flow's record has; that which packets from side 1 go to is one of them, or ours. */
  private retainAddresses(flow: Flow): void {
    const { flows, book } = this;
    book.retain(flows.source(flow, 0) as Number6);
    book.retain(flows.destination(flow, 0) as Number6);
    book.retain(flows.source(flow, 1) as Number6);
  }

  /** Ends a flow that new settings refuse. Its mapping does not linger: under endpoint-independent filtering things would go on by it. */
  endRefused(flow: Flow): void {
    const mapping = this.mappingOf(flow);
    if (mapping !== NO_MAPPING) this.mappings.forgetRelease(mapping);
    this.end(flow, false);
  }

  /** Moves a flow's deadline, by traffic; the wheel is told only when it comes earlier than the wheel expects. */
  refresh(flow: Flow, timeoutBefore: number): void {
    const timeout = this.timeouts.of(flow);
    // The second that has begun does not count: timeouts are minima (RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-1).
    const deadline = this.second + 1 + timeout;
    this.flows.setDeadline(flow, deadline);
    if (timeout < timeoutBefore) this.wheel.file(flow, deadline);
  }

  /** Ends a flow, whose place another is to take. @returns its mapping, held until `letGo`, or NO_MAPPING */
  endForAnother(flow: Flow): Mapping {
    const mapping = this.mappingOf(flow);
    if (mapping !== NO_MAPPING) this.mappings.retain(mapping);
    this.end(flow);
    return mapping;
  }

  letGo(mapping: Mapping): void {
    if (mapping !== NO_MAPPING) this.mappings.release(mapping, false, this.second);
  }

  private mappingOf(flow: Flow): Mapping {
    const { flows } = this;
    if (!flows.hasState(flow, FLOW_STATE.MAPPED)) return NO_MAPPING;
    return this.mappings.findExternal(
      flows.protocol(flow),
      destinationPort(this.outsidePorts(flow)),
      flows.isIpv6(flow),
    );
  }

  private releaseMapping(flow: Flow, mayLinger: boolean): void {
    const { flows, mappings } = this;
    const protocol = flows.protocol(flow);
    const ports = this.outsidePorts(flow);
    // RFC 4787 REQ-5a: a question to a name server is over with its answer. REQ-6a: whoever sends from outside keeps no mapping alive.
    const lingers =
      mayLinger &&
      protocol === PROTOCOL.UDP &&
      sourcePort(ports) !== DNS_PORT &&
      !flows.hasState(flow, FLOW_STATE.INBOUND);
    const mapping = mappings.findExternal(protocol, destinationPort(ports), flows.isIpv6(flow));
    mappings.release(mapping, lingers, this.second, this.isClients(flow));
  }

  /** Whether a flow is its client's doing: it opened it, or has answered. */
  private isClients(flow: Flow): boolean {
    return !this.flows.hasState(flow, FLOW_STATE.INBOUND) || this.flows.hasState(flow, FLOW_STATE.ASSURED);
  }

  /** To be called when a flow's ASSURED bit has changed. */
  assure(flow: Flow): void {
    this.quotas.move(flow);
    if (!this.flows.hasState(flow, FLOW_STATE.INBOUND)) return;
    const mapping = this.mappingOf(flow);
    if (mapping !== NO_MAPPING) this.mappings.keep(mapping, this.isClients(flow));
  }

  /** @returns the ports of packets from the remote of a flow that is translated */
  private outsidePorts(flow: Flow): Ports {
    return this.flows.ports(flow, this.flows.hasState(flow, FLOW_STATE.INBOUND) ? 0 : 1);
  }

  /** @returns the neighbour that packets to a host out of an interface are handed to, held for a party; or NO_NEIGHBOUR */
  hold(iface: Iface, address: Address, party: Party): Neighbour {
    const { topology } = this;
    if (iface !== topology.uplink) return this.neighbours.hold(iface, address, party);
    if (address === topology.uplinkAddressLike(address)) return this.neighbours.holdOurselves();
    return this.neighbours.hold(iface, topology.uplinkNextHop(address), party);
  }

  /** The gateways' MAC addresses are asked for as soon as there is a clock, and kept while these settings are in force. */
  private holdGateways(): void {
    const { uplink, gateway, ipv6, parties } = this.topology;
    this.gatewayNeighbour = this.neighbours.hold(uplink, gateway, parties.ourselves);
    if (ipv6.gateway === NO_NUMBER) return;
    this.gateway6Neighbour = this.neighbours.hold(uplink, ipv6.gateway, parties.ourselves);
  }

  private letGatewaysGo(): void {
    if (this.gatewayNeighbour !== NO_NEIGHBOUR) this.neighbours.release(this.gatewayNeighbour);
    if (this.gateway6Neighbour !== NO_NEIGHBOUR) this.neighbours.release(this.gateway6Neighbour);
    this.gateway6Neighbour = NO_NEIGHBOUR;
  }
}
