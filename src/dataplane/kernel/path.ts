// Which flows take the kernel path: open ones are entered, in both directions, with the first of their frames that comes to
// this thread, with all that the programs of kernel/programs need to know. When anything changes that entries were made of,
// those hold no more, at once, and their flows are entered anew. The flows' records are the same memory for the programs as for
// this thread: TCP's state and the deadline go on there, whoever handles a packet.
import { PROTOCOL } from "../../wire/ipv4.ts";
import { DNS_PORT, destinationPort, sourcePort } from "../../wire/ports.ts";
import type { KernelPath as RouterKernelPath } from "../frame/router.ts";
import type { RuleChanges } from "../frame/rule-changes.ts";
import type { State } from "../frame/state.ts";
import type { Parties } from "../parties.ts";
import { ENDING, FLOW_STATE, TIMEOUT_MASK } from "../tables/flow-state.ts";
import {
  type Client,
  type Flow,
  type Iface,
  type Neighbour,
  NO_FLOW,
  otherSide,
  type Party,
  type Side,
} from "../types.ts";
import { OURSELVES, USABLE } from "../waiting/neighbours.ts";
import { Announcements, beginGeneration } from "./announcements.ts";
import { Dependencies } from "./dependencies.ts";
import type { KernelEntries } from "./entries.ts";
import { EntryWriter, neededState } from "./entry-writer.ts";
import type { Gate } from "./gates.ts";
import { controlOf, entriesOf, type KernelPrograms } from "./loader.ts";
import { NO_PLACE, Places } from "./places.ts";
import { CONTROL, RECORDS_AT_ONCE } from "./programs/layout.ts";

const SIDES: readonly Side[] = [0, 1];

/** Asks for what flows that want to be entered need. */
export interface Wants {
  /** The next map of records: `grow` when it is in place. */
  records?(): void;
  /** The map of IPv6's addresses: `takeAddresses` when the programs know it. Without this, flows of IPv6 are not entered. */
  addresses?(): void;
}

export class KernelPath implements RouterKernelPath {
  private readonly control: Int32Array;
  private readonly announcements: Announcements;
  private readonly dependencies: Dependencies;
  /** The one that flows are entered in; and of the flow in hand the count of its client, and its party. */
  private generation = 0;
  private clientCount = 0;
  private party = 0 as Party;
  private readonly places: Places;
  /** Flows with lower numbers have records that the programs know; and whether more are on their way. */
  private known = RECORDS_AT_ONCE;
  private isGrowing = false;
  /** Whether memory for IPv6's addresses was asked for. */
  private hasAsked = false;
  private readonly entries: KernelEntries;
  private readonly writer: EntryWriter;
  // By place and side, 2 * place + side, of flows that are entered:
  /** The kernel's number of the interface that it is on. */
  private readonly ingress: Int32Array;
  /** The generation that it was entered in last, or 0; and the bits of its flow's STATE that it was entered for. */
  private readonly entered: Int32Array;
  private readonly enteredState: Int32Array;

  constructor(
    private readonly state: State,
    private readonly changes: RuleChanges,
    programs: KernelPrograms,
    /** Of the interface's socket; undefined where that has no filter. */
    private readonly gateOf: (iface: Iface) => Gate | undefined,
    private readonly wants: Wants = {},
  ) {
    const { places } = programs;
    this.control = controlOf(programs);
    this.announcements = new Announcements(this.control);
    this.dependencies = new Dependencies(this.control);
    this.entries = entriesOf(programs);
    this.writer = new EntryWriter(state, programs.maps.keys.addresses);
    this.places = new Places(places, state.flows.capacity, state.timeouts);
    this.ingress = new Int32Array(2 * places);
    this.entered = new Int32Array(2 * places);
    this.enteredState = new Int32Array(2 * places);
    this.revoke();
    this.follow(state.topology.parties);
  }

  follow(parties: Parties): void {
    this.places.follow(parties);
  }

  /** The programs know the next map of records. */
  grow(): void {
    this.known += RECORDS_AT_ONCE;
    this.isGrowing = false;
  }

  /** The programs know the map of IPv6's addresses. @param words its memory */
  takeAddresses(words: Int32Array): void {
    this.entries.addresses = words;
  }

  /** From now on no entry holds. */
  revoke(): void {
    beginGeneration(this.control);
  }

  revokeClient(client: Client): void {
    this.dependencies.clientChanged(client);
  }

  revokeNeighbour(neighbour: Neighbour): void {
    this.dependencies.neighbourChanged(neighbour);
  }

  /** A change that control had announced has been carried out, or refused. */
  carryOut(): void {
    this.announcements.carryOut();
  }

  /** Moves the clock of the flows' deadlines. @param second whole seconds, as State has it */
  setSecond(second: number): void {
    this.control[CONTROL.SECOND >> 2] = second;
  }

  /**
   * Enters a flow, as far as it is not, and its packets may go this way as things are. They do not overtake those that are on their
   * way to the socket: kernel/gates.ts.
   */
  enter(flow: Flow): void {
    this.generation = Atomics.load(this.control, CONTROL.GENERATION >> 2);
    this.clientCount = this.dependencies.ofClient(this.state.flows.client(flow));
    if (this.announcements.arePending || !this.mayEnter(flow)) return;
    for (const side of SIDES) this.enterSide(flow, side);
  }

  private enterSide(flow: Flow, side: Side): void {
    const { topology, neighbours, flows } = this.state;
    const protocol = flows.protocol(flow);
    const stateWord = flows.state(flow);
    const needed = neededState(protocol, side);
    if ((stateWord & needed.mask) !== needed.value) return;
    const iface = neighbours.interfaceOf[flows.neighbour(flow, side)];
    const gate = this.gateOf(iface);
    if (gate === undefined || this.state.scrub.isAsked(iface) || !this.hasPlace(flow)) return;
    const number = this.number(flow, side);
    if (this.isEntered(flow, side) && !this.entries.mayOpen(number, gate)) return;
    this.entered[number] = this.generation;
    this.enteredState[number] = stateWord & ENTERED_STATE;
    this.findWhere(flow, side, topology.settings.interfaces[iface].index);
    this.writer.writeKey(flow, side, this.ingress[number]);
    this.writer.write(flow, side, number, this.generation, this.changesOf(flow, side));
    if (flows.isIpv6(flow)) this.entries.putAddresses(number, this.writer.addresses);
    // Where there is no room for one, its packets come here.
    this.entries.put(number, this.writer.entry, this.generation, gate, this.yields);
  }

  /** Whether it has a place, or gets one now. */
  private hasPlace(flow: Flow): boolean {
    const { places, state } = this;
    this.party = state.quotas.partyOf(flow);
    if (places.of(flow) !== NO_PLACE) {
      places.own(flow, this.party);
      return true;
    }
    if (flow >= this.known) {
      if (this.isGrowing) return false;
      this.isGrowing = true;
      this.wants.records?.();
      return false;
    }
    if (places.isFull) {
      const victim = places.victim(this.party, state.now, state.second);
      if (victim === NO_FLOW) return false;
      this.leave(victim);
    }
    places.give(flow, this.party);
    return true;
  }

  /** Whether another entry gives way to the one in hand where the index has no room. */
  private readonly yields = (number: number): boolean => {
    return this.places.yields(number >>> 1, this.party, this.state.second);
  };

  /** @returns number of a flow's entry: it has a place */
  private number(flow: Flow, side: Side): number {
    return 2 * this.places.of(flow) + side;
  }

  /** Where its packets come in: a flow stays on its interfaces while it lives, but one that is made anew has another number. */
  private findWhere(flow: Flow, side: Side, index: number): void {
    const number = this.number(flow, side);
    if (this.ingress[number] === index) return;
    if (this.ingress[number] !== 0) this.leaveIndex(flow, side);
    this.ingress[number] = index;
  }

  private isEntered(flow: Flow, side: Side): boolean {
    const number = this.number(flow, side);
    if (this.entered[number] !== this.generation || this.entries.changes(number) !== this.changesOf(flow, side))
      return false;
    return this.enteredState[number] === (this.state.flows.state(flow) & ENTERED_STATE);
  }

  /** @returns what CHANGES of its entry is to be */
  private changesOf(flow: Flow, side: Side): number {
    return (this.clientCount + this.dependencies.ofNeighbour(this.state.flows.neighbour(flow, otherSide(side)))) | 0;
  }

  /** Forgets a flow, which ends, or has to give way. */
  leave(flow: Flow): void {
    if (this.places.of(flow) === NO_PLACE) return;
    for (const side of SIDES) if (this.entered[this.number(flow, side)] !== 0) this.leaveSide(flow, side);
    this.places.giveBack(flow);
  }

  private leaveSide(flow: Flow, side: Side): void {
    this.leaveIndex(flow, side);
    this.entered[this.number(flow, side)] = 0;
    this.ingress[this.number(flow, side)] = 0;
  }

  /** Takes a side's entry out of the index, by the key that it was put in under. */
  private leaveIndex(flow: Flow, side: Side): void {
    const number = this.number(flow, side);
    this.writer.writeKey(flow, side, this.ingress[number]);
    this.entries.remove(number, this.writer.entry);
  }

  /** What fast-path.ts asks of a flow, as far as it is the same for all its packets. */
  private mayEnter(flow: Flow): boolean {
    const { flows, neighbours, topology } = this.state;
    if (!topology.settings.nat.kernelPath) return false;
    for (const side of SIDES) {
      const neighbour = flows.neighbour(flow, side);
      if (neighbour === OURSELVES || neighbours.state[neighbour] < USABLE) return false;
      if (topology.isDown[neighbours.interfaceOf[neighbour]] === 1) return false;
    }
    const protocol = flows.protocol(flow);
    if (protocol !== PROTOCOL.TCP && (protocol !== PROTOCOL.UDP || this.isDns(flow))) return false;
    if (!flows.isUsed(flow) || !this.changes.isJudged(flow)) return false;
    return !flows.isIpv6(flow) || this.hasAddresses();
  }

  /** Whether there is memory for addresses of IPv6. The first flow that needs it asks for it. */
  private hasAddresses(): boolean {
    if (this.entries.addresses === undefined && !this.hasAsked) {
      this.hasAsked = true;
      this.wants.addresses?.();
    }
    return this.entries.addresses !== undefined;
  }

  /** Name servers' answers may be held; and such a flow is over when it has begun. */
  private isDns(flow: Flow): boolean {
    const { flows } = this.state;
    for (const side of SIDES) {
      const ports = flows.ports(flow, side);
      if (sourcePort(ports) === DNS_PORT || destinationPort(ports) === DNS_PORT) return true;
    }
    return false;
  }
}

/** What else an entry depends on. */
const ENTERED_STATE = ENDING | FLOW_STATE.ASSURED | FLOW_STATE.USED | TIMEOUT_MASK;
