// What the dataplane remembers: its tables, the settings in force, the clock, and the packet in hand; and how a flow comes
// into all of these, and out of them again. The router and its helpers share one State.
import { FLOW, FLOW_WORDS, FlowTable, flowKey, NO_FLOW, NO_MAPPING } from "./flows.ts";
import { IcmpErrors } from "./icmp-errors.ts";
import { MappingTable } from "./mappings.ts";
import { NeighbourTable, NO_NEIGHBOUR } from "./neighbours.ts";
import { Packet } from "./packet.ts";
import { RandomPool } from "./random.ts";
import { deltaWord } from "./rewrite.ts";
import type { Ring } from "./ring.ts";
import type { Settings } from "./settings.ts";
import { Shares } from "./shares.ts";
import { TcpTracker } from "./tcp-state.ts";
import { TimerWheel } from "./timer-wheel.ts";
import { Topology } from "./topology.ts";
import { VERDICT } from "./verdict.ts";

/** What a new flow is made of; one object serves all, filled in by admission. */
export class NewFlow {
  client = 0;
  rule = 0;
  /** FLOW_STATE.INBOUND, DIRECT or 0. */
  kind = 0;
  protocol = 0;
  /** The two sides: interface, and what packets that arrive from there carry. */
  readonly iface = [0, 0];
  readonly source = [0, 0];
  readonly destination = [0, 0];
  readonly ports = [0, 0];
  mapping = NO_MAPPING;
  timeout = 0;
}

export class State {
  readonly view: DataView;
  readonly flows: FlowTable;
  readonly mappings: MappingTable;
  readonly tcp: TcpTracker;
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
  private gatewayNeighbour = NO_NEIGHBOUR;

  constructor(
    readonly ring: Ring,
    settings: Settings,
    fillRandom: (words: Uint32Array) => void,
  ) {
    const random = new RandomPool(fillRandom);
    const { maxFlows, timeouts } = settings.nat;
    this.view = ring.view;
    this.topology = new Topology(settings);
    this.flows = new FlowTable(maxFlows, random.next());
    this.mappings = new MappingTable(maxFlows, random.next(), random);
    this.tcp = new TcpTracker(this.flows, timeouts);
    this.wheel = new TimerWheel(maxFlows);
    this.shares = new Shares(this.flows, this.tcp);
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
  }

  /**
   * Puts new settings in force. The capacity of the flow table stays.
   * @param survives says whether a flow lives on under `topology`, and changes in it what the new settings number anew
   */
  apply(settings: Settings, survives: (flow: number, before: Topology, renumber: Int32Array) => boolean): void {
    const before = this.topology;
    const renumber = Int32Array.from(before.settings.interfaces, (iface) =>
      settings.interfaces.findIndex(({ name }) => name === iface.name),
    );
    if (this.gatewayNeighbour !== NO_NEIGHBOUR) this.neighbours.release(this.gatewayNeighbour);
    this.topology = new Topology(settings);
    for (let flow = 0; flow < this.flows.capacity; flow++) {
      if (this.flows.used(flow) && !survives(flow, before, renumber)) this.end(flow);
    }
    this.neighbours.apply(this.topology, renumber);
    this.errors.apply(this.topology);
    this.tcp.setTimeouts(settings.nat.timeouts);
    this.enforce();
  }

  /**
   * Makes the flow that `newFlow` describes; `flow` names it. Its mapping is held by it.
   * @returns VERDICT.FORWARDED, or the verdict that refuses it; then nothing is left of it
   */
  open(): number {
    const made = this.newFlow;
    const flow = this.flows.allocate();
    if (flow === NO_FLOW) return VERDICT.TABLE_FULL;
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    words[at + FLOW.STATE] |= made.kind;
    words[at + FLOW.KEY] = flowKey(made.protocol, made.iface[0], made.iface[1]);
    words[at + FLOW.CLIENT_RULE] = (made.client << 16) | made.rule;
    words[at + FLOW.TIMEOUT] = made.timeout;
    words[at + FLOW.DEADLINE] = this.second + made.timeout;
    for (let side = 0; side < 2; side++) {
      words[at + FLOW.SIDE[side] + FLOW.SOURCE] = made.source[side];
      words[at + FLOW.SIDE[side] + FLOW.DESTINATION] = made.destination[side];
      words[at + FLOW.SIDE[side] + FLOW.PORTS] = made.ports[side];
    }
    for (let side = 0; side < 2; side++) {
      words[at + FLOW.DELTA[side]] = deltaWord(words, at, side, made.protocol);
      const neighbour = this.neighbourOf(made.iface[side ^ 1], made.source[side ^ 1]);
      if (neighbour === NO_NEIGHBOUR && made.source[side ^ 1] !== this.topology.uplinkAddress) {
        if (side === 1) this.letGo(words[at + FLOW.NEIGHBOUR[0]]);
        this.flows.discard(flow);
        return VERDICT.NEIGHBOURS_FULL;
      }
      words[at + FLOW.NEIGHBOUR[side]] = neighbour;
    }
    words[at + FLOW.MAPPING] = made.mapping;
    if (made.mapping !== NO_MAPPING) this.mappings.retain(made.mapping);
    this.flows.link(flow);
    this.shares.add(flow);
    this.wheel.file(flow, words[at + FLOW.DEADLINE]);
    this.flow = flow;
    return VERDICT.FORWARDED;
  }

  /** Ends a flow, whichever state it is in, and its mapping with the last one. */
  end(flow: number): void {
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    this.wheel.remove(flow);
    this.shares.remove(flow);
    this.letGo(words[at + FLOW.NEIGHBOUR[0]]);
    this.letGo(words[at + FLOW.NEIGHBOUR[1]]);
    const mapping = words[at + FLOW.MAPPING];
    if (mapping !== NO_MAPPING && this.mappings.release(mapping)) {
      this.shares.unmapped(words[at + FLOW.CLIENT_RULE] >>> 16);
    }
    this.flows.remove(flow);
  }

  /** Moves a flow's deadline, by traffic; the wheel is told only when it comes earlier than the wheel expects. */
  refresh(flow: number, timeoutBefore: number): void {
    const words = this.flows.words;
    const at = flow * FLOW_WORDS;
    const timeout = words[at + FLOW.TIMEOUT];
    words[at + FLOW.DEADLINE] = this.second + timeout;
    if (timeout < timeoutBefore) this.wheel.file(flow, this.second + timeout);
  }

  /** @returns the neighbour that packets to a host out of an interface are handed to; none for our own address */
  private neighbourOf(iface: number, address: number): number {
    const { topology } = this;
    if (iface !== topology.uplink) return this.neighbours.hold(iface, address);
    if (address === topology.uplinkAddress) return NO_NEIGHBOUR;
    return this.neighbours.hold(iface, topology.uplinkNextHop(address));
  }

  private letGo(neighbour: number): void {
    if (neighbour !== NO_NEIGHBOUR) this.neighbours.release(neighbour);
  }

  /** The gateway's MAC address is asked for at once, and kept while these settings are in force. */
  private enforce(): void {
    const { topology } = this;
    this.gatewayNeighbour = this.neighbours.hold(topology.uplink, topology.gateway);
    this.mappings.reserve(topology.settings.forwards);
    this.shares.apply(topology, this.mappings, this.now);
  }
}
