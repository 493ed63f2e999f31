// What the dataplane remembers: its tables, the settings in force, the clock, and the packet in hand; and how a flow comes
// into all of these, and out of them again. The router and its helpers share one State.
import { PROTOCOL } from "../../wire/ipv4.ts";
import { Packet } from "../packet.ts";
import { RandomPool } from "../random.ts";
import type { Ring } from "../ring.ts";
import type { Settings } from "../settings.ts";
import { FLOW, FLOW_STATE, FLOW_WORDS, FlowTable, NO_FLOW, NO_MAPPING, placesWord } from "../tables/flows.ts";
import { MappingTable } from "../tables/mappings.ts";
import { NeighbourTable, NO_NEIGHBOUR } from "../tables/neighbours.ts";
import { Shares } from "../tables/quotas.ts";
import { TcpTracker } from "../tables/tcp.ts";
import { FlowTimeouts } from "../tables/timeouts.ts";
import { TimerWheel } from "../tables/timer-wheel.ts";
import { NOBODY, Topology } from "../topology.ts";
import { VERDICT } from "../verdict.ts";
import { IcmpErrors } from "./icmp-errors.ts";

/** What a new flow is made of; one object serves all, filled in by admission. */
export class NewFlow {
  client = 0;
  rule = 0;
  /** FLOW_STATE.OUTBOUND, INBOUND or DIRECT. */
  kind = 0;
  protocol = 0;
  /** What packets from side 0 carry, and what packets from side 1 do, whose destination follows from the kind. */
  source = 0;
  destination = 0;
  ports = 0;
  backSource = 0;
  backPorts = 0;
  /** The interfaces that the two sides are on. */
  iface = 0;
  backIface = 0;
  mapping = NO_MAPPING;
  /** One of TIMEOUT. */
  timeout = 0;
}

/** What specialists ask name servers on (IANA "domain"). */
export const DNS_PORT = 53;

export class State {
  readonly view: DataView;
  readonly random: RandomPool;
  readonly flows: FlowTable;
  readonly mappings: MappingTable;
  readonly tcp: TcpTracker;
  readonly timeouts: FlowTimeouts;
  readonly wheel: TimerWheel;
  readonly shares: Shares;
  readonly neighbours: NeighbourTable;
  readonly errors: IcmpErrors;
  readonly packet = new Packet();
  readonly newFlow = new NewFlow();
  topology: Topology;
  /** The clock: ms, and whole seconds. */
  now = 0;
  second = 0;
  /** Of the packet in hand: the rule that decided it (0: the policy, -1: none was asked), and its flow or NO_FLOW. */
  rule = -1;
  flow = NO_FLOW;
  /** Hears of flows that end. */
  onEnd: (flow: number) => void = () => {};
  private gatewayNeighbour = NO_NEIGHBOUR;

  constructor(
    readonly ring: Ring,
    settings: Settings,
    fillRandom: (words: Uint32Array) => void,
    flowRecords?: Int32Array,
  ) {
    const { maxFlows } = settings.nat;
    this.view = ring.view;
    this.random = new RandomPool(fillRandom);
    this.topology = new Topology(settings);
    this.flows = new FlowTable(maxFlows, this.random.next(), flowRecords);
    this.mappings = new MappingTable(maxFlows, this.random.next(), this.random);
    this.timeouts = new FlowTimeouts(this.flows);
    this.tcp = new TcpTracker(this.flows, this.timeouts);
    this.wheel = new TimerWheel(this.flows.words, FLOW_WORDS, FLOW.WHEEL);
    this.shares = new Shares(this.flows, this.tcp, this.timeouts);
    this.neighbours = new NeighbourTable(ring, this.topology);
    this.errors = new IcmpErrors(ring, this.topology);
    this.enforce();
  }

  /** @param now ms, never going back */
  setTime(now: number): void {
    this.now = now;
    this.second = Math.floor(now / 1000);
    this.neighbours.setTime(now);
    this.errors.setTime(now);
    if (this.gatewayNeighbour === NO_NEIGHBOUR) this.holdGateway();
  }

  /**
   * Puts new settings in force. The capacity of the flow table stays.
   * @param survives says whether a flow lives on under `topology`, and changes in it what the new settings number anew
   */
  apply(settings: Settings, survives: (flow: number, before: Topology, renumber: Int32Array) => boolean): void {
    const before = this.topology;
    const renumber = Int32Array.from(before.settings.interfaces, (iface) =>
      settings.interfaces.findIndex(({ name, index }) => name === iface.name && index === iface.index),
    );
    if (this.gatewayNeighbour !== NO_NEIGHBOUR) this.neighbours.release(this.gatewayNeighbour);
    this.topology = new Topology(settings);
    for (let flow = 0; flow < this.flows.end; flow++) {
      if (this.flows.used(flow) && !survives(flow, before, renumber)) this.end(flow);
    }
    this.neighbours.apply(this.topology, renumber);
    this.errors.apply(this.topology);
    const isSameAddress = before.uplinkAddress === this.topology.uplinkAddress;
    this.mappings.retire((address) => isSameAddress && this.topology.clientOf(address) !== NOBODY);
    this.enforce();
    this.holdGateway();
  }

  /** Puts settings in force that have the same layout as those before. */
  adopt(settings: Settings): void {
    this.topology.adopt(settings);
    this.timeouts.apply(settings.nat.timeouts);
    this.shares.setLimits(settings.clients);
  }

  /**
   * The flow that a packet belongs to: it fits, and it came in where that side is.
   * @returns flow << 1 | side, or NO_FLOW
   */
  find(source: number, destination: number, ports: number, protocol: number, iface: number): number {
    const hit = this.flows.find(source, destination, ports, protocol);
    if (hit === NO_FLOW) return NO_FLOW;
    return this.neighbours.interfaceOf[this.flows.hop(hit >>> 1, hit & 1)] === iface ? hit : NO_FLOW;
  }

  /**
   * Makes the flow that `newFlow` describes; `flow` names it. It holds its mapping.
   * @returns VERDICT.FORWARDED, or the verdict that refuses it; then nothing is left of it
   */
  open(): number {
    const made = this.newFlow;
    const hop = this.hold(made.iface, made.source);
    const backHop = this.hold(made.backIface, made.backSource);
    const flow = hop === NO_NEIGHBOUR || backHop === NO_NEIGHBOUR ? NO_FLOW : this.flows.allocate();
    if (flow === NO_FLOW) {
      if (hop !== NO_NEIGHBOUR) this.neighbours.release(hop);
      if (backHop !== NO_NEIGHBOUR) this.neighbours.release(backHop);
      if (made.mapping !== NO_MAPPING) this.mappings.dropUnused(made.mapping);
      return hop === NO_NEIGHBOUR || backHop === NO_NEIGHBOUR ? VERDICT.NEIGHBOURS_FULL : VERDICT.TABLE_FULL;
    }
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    words[at + FLOW.SOURCE] = made.source;
    words[at + FLOW.DESTINATION] = made.destination;
    words[at + FLOW.PORTS] = made.ports;
    words[at + FLOW.BACK_SOURCE] = made.backSource;
    words[at + FLOW.BACK_PORTS] = made.backPorts;
    words[at + FLOW.PLACES] = placesWord(made.protocol, hop, backHop);
    words[at + FLOW.STATE] |= made.kind | (made.mapping === NO_MAPPING ? 0 : FLOW_STATE.MAPPED);
    words[at + FLOW.CLIENT_RULE] = (made.client << 16) | made.rule;
    this.timeouts.set(flow, made.timeout);
    words[at + FLOW.DEADLINE] = this.second + 1 + this.timeouts.of(flow);
    if (made.mapping !== NO_MAPPING && this.mappings.retain(made.mapping)) this.shares.mapped(made.client);
    this.flows.link(flow);
    this.shares.add(flow);
    this.wheel.file(flow, words[at + FLOW.DEADLINE]);
    this.flow = flow;
    return VERDICT.FORWARDED;
  }

  /** Ends a flow, whichever state it is in, and its mapping with the last one. */
  end(flow: number): void {
    const { flows } = this;
    this.onEnd(flow);
    this.wheel.remove(flow);
    this.shares.remove(flow);
    this.neighbours.dropFlow(flow);
    this.neighbours.release(flows.hop(flow, 0));
    this.neighbours.release(flows.hop(flow, 1));
    if (flows.has(flow, FLOW_STATE.MAPPED)) this.releaseMapping(flow);
    flows.remove(flow);
  }

  /** Moves a flow's deadline, by traffic; the wheel is told only when it comes earlier than the wheel expects. */
  refresh(flow: number, timeoutBefore: number): void {
    const timeout = this.timeouts.of(flow);
    // The second that has begun does not count: timeouts are minima (RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-1).
    const deadline = this.second + 1 + timeout;
    this.flows.words[flow * FLOW_WORDS + FLOW.DEADLINE] = deadline;
    if (timeout < timeoutBefore) this.wheel.file(flow, deadline);
  }

  private releaseMapping(flow: number): void {
    const { flows, mappings } = this;
    const protocol = flows.protocol(flow);
    const isInbound = flows.has(flow, FLOW_STATE.INBOUND);
    const port = isInbound ? flows.ports(flow, 0) & 0xffff : flows.ports(flow, 1) & 0xffff;
    const remotePort = isInbound ? flows.ports(flow, 0) >>> 16 : flows.ports(flow, 1) >>> 16;
    // RFC 4787 REQ-5a: a question to a name server is over with its answer.
    const lingers = protocol === PROTOCOL.UDP && remotePort !== DNS_PORT;
    const isLast = mappings.release(mappings.findExternal(protocol, port), lingers, this.second);
    if (isLast) this.shares.unmapped(flows.client(flow));
  }

  /** @returns the neighbour that packets to a host out of an interface are handed to, held; or NO_NEIGHBOUR */
  private hold(iface: number, address: number): number {
    const { topology } = this;
    if (iface !== topology.uplink) return this.neighbours.hold(iface, address);
    if (address === topology.uplinkAddress) return this.neighbours.holdOurselves();
    return this.neighbours.hold(iface, topology.uplinkNextHop(address));
  }

  /** The gateway's MAC address is asked for as soon as there is a clock, and kept while these settings are in force. */
  private holdGateway(): void {
    this.gatewayNeighbour = this.neighbours.hold(this.topology.uplink, this.topology.gateway);
  }

  private enforce(): void {
    const { topology } = this;
    this.flows.external = topology.uplinkAddress;
    this.timeouts.apply(topology.settings.nat.timeouts);
    this.mappings.reserve(topology.settings.forwards);
    this.shares.apply(topology, this.mappings, this.now);
  }
}
