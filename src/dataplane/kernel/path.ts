// Which flows take the kernel path: open ones are entered, in both directions, with the first of their frames that comes to
// this thread, with all that the programs of kernel/filter.ts need to know. When anything changes that
// entries were made of, those hold no more, at once, and their flows are entered anew. The flows' records are the same memory for the programs as
// for this thread: TCP's state and the deadline go on there, whoever handles a packet.
import { ETHERNET, writeMac } from "../../wire/ethernet.ts";
import { PROTOCOL } from "../../wire/ipv4.ts";
import { DNS_PORT, destinationPort, sourcePort } from "../../wire/ports.ts";
import { portsTowards } from "../frame/rewrite.ts";
import type { KernelPath as RouterKernelPath } from "../frame/router.ts";
import type { RuleChanges } from "../frame/rule-changes.ts";
import type { State } from "../frame/state.ts";
import { BOTH_SYNS_AGREED, ENDING, FLOW_STATE, TIMEOUT_MASK } from "../tables/flow-state.ts";
import { SIDE_WORDS } from "../tables/tcp.ts";
import { type Client, type Flow, type Iface, type Neighbour, otherSide, type Side } from "../types.ts";
import { OURSELVES, PINNED, USABLE } from "../waiting/neighbours.ts";
import { Announcements, beginGeneration } from "./announcements.ts";
import { Dependencies } from "./dependencies.ts";
import type { KernelEntries } from "./entries.ts";
import type { Gate } from "./gates.ts";
import { CONTROL, ENTRY, ENTRY_KEY, ENTRY_REWRITE, writeChecksum } from "./layout.ts";
import { controlOf, entriesOf, type KernelPrograms } from "./loader.ts";

/** Bytes of an IPv4 packet. */
const LONGEST_PACKET = 65_535;

const SIDES: readonly Side[] = [0, 1];

export class KernelPath implements RouterKernelPath {
  private readonly control: Int32Array;
  private readonly announcements: Announcements;
  private readonly dependencies: Dependencies;
  /** The one that flows are entered in; and the count of the client of the flow in hand. */
  private generation = 0;
  private clientCount = 0;
  private readonly entries: KernelEntries;
  /** The one in hand. */
  private readonly entry = new DataView(new ArrayBuffer(ENTRY.LENGTH));
  // By flow and side, 2 * flow + side, of those that are entered:
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
  ) {
    const { flows } = programs;
    this.control = controlOf(programs);
    this.announcements = new Announcements(this.control);
    this.dependencies = new Dependencies(this.control);
    this.entries = entriesOf(programs);
    this.ingress = new Int32Array(2 * flows);
    this.entered = new Int32Array(2 * flows);
    this.enteredState = new Int32Array(2 * flows);
    this.revoke();
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
    if (2 * flow >= this.entered.length) return;
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
    const number = 2 * flow + side;
    const iface = neighbours.interfaceOf[flows.neighbour(flow, side)];
    const gate = this.gateOf(iface);
    if (gate === undefined || this.state.scrub.isAsked(iface)) return;
    if (this.isEntered(flow, side) && !this.entries.mayOpen(number, gate)) return;
    this.entered[number] = this.generation;
    this.enteredState[number] = stateWord & ENTERED_STATE;
    this.findWhere(flow, side, topology.settings.interfaces[iface].index);
    this.writeKey(flow, side);
    this.writeEntry(flow, side);
    this.entries.put(number, this.entry, this.generation, gate); // where there is no room for one, its packets come here
  }

  /** Where its packets come in: a flow stays on its interfaces while it lives, but one that is made anew has another number. */
  private findWhere(flow: Flow, side: Side, index: number): void {
    const number = 2 * flow + side;
    if (this.ingress[number] === index) return;
    if (this.ingress[number] !== 0) this.leaveIndex(flow, side);
    this.ingress[number] = index;
  }

  private isEntered(flow: Flow, side: Side): boolean {
    const number = 2 * flow + side;
    if (this.entered[number] !== this.generation || this.entries.changes(number) !== this.changesOf(flow, side))
      return false;
    return this.enteredState[number] === (this.state.flows.state(flow) & ENTERED_STATE);
  }

  /** @returns what CHANGES of its entry is to be */
  private changesOf(flow: Flow, side: Side): number {
    return (this.clientCount + this.dependencies.ofNeighbour(this.state.flows.neighbour(flow, otherSide(side)))) | 0;
  }

  /** Forgets a flow that ends. */
  leave(flow: Flow): void {
    if (2 * flow >= this.entered.length) return;
    for (const side of SIDES) if (this.entered[2 * flow + side] !== 0) this.leaveSide(flow, side);
  }

  private leaveSide(flow: Flow, side: Side): void {
    this.leaveIndex(flow, side);
    this.entered[2 * flow + side] = 0;
    this.ingress[2 * flow + side] = 0;
  }

  /** Takes a side's entry out of the index, by the key that it was put in under. */
  private leaveIndex(flow: Flow, side: Side): void {
    this.writeKey(flow, side);
    this.entries.remove(2 * flow + side, this.entry);
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
    return flows.isUsed(flow) && this.changes.isJudged(flow);
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

  private writeKey(flow: Flow, side: Side): void {
    const { entry } = this;
    const { flows } = this.state;
    const key = ENTRY.KEY;
    entry.setInt32(key + ENTRY_KEY.SOURCE, flows.source(flow, side));
    entry.setInt32(key + ENTRY_KEY.DESTINATION, flows.destination(flow, side));
    entry.setInt32(key + ENTRY_KEY.PORTS, flows.ports(flow, side));
    entry.setInt32(key + ENTRY_KEY.INGRESS, flows.protocol(flow) | (this.ingress[2 * flow + side] << 8), true);
  }

  private writeEntry(flow: Flow, side: Side): void {
    const { entry } = this;
    const { flows, neighbours, timeouts, topology } = this.state;
    const neighbour = flows.neighbour(flow, side);
    const iface = neighbours.interfaceOf[neighbour];
    const egress = neighbours.interfaceOf[flows.neighbour(flow, otherSide(side))];
    const protocol = flows.protocol(flow);
    const needed = neededState(protocol, side);
    const stateWord = flows.state(flow);
    // Of UDP only the client's packets keep a flow alive (RFC 4787 REQ-6).
    const keepsAlive = protocol === PROTOCOL.TCP || iface !== topology.uplink;
    entry.setInt32(ENTRY.GENERATION, this.generation, true);
    entry.setInt32(ENTRY.FLOW, flow, true);
    entry.setInt32(ENTRY.SIDE, side * SIDE_WORDS * 4, true);
    entry.setInt32(ENTRY.TIMEOUT, keepsAlive ? timeouts.of(flow) : 0, true);
    // A flow that has another timeout by now is to get that one.
    entry.setInt32(ENTRY.STATE_MASK, needed.mask | TIMEOUT_MASK, true);
    entry.setInt32(ENTRY.STATE, needed.value | (stateWord & TIMEOUT_MASK), true);
    entry.setInt32(ENTRY.FLOW_SOURCE, flows.source(flow, 0), true);
    entry.setInt32(ENTRY.FLOW_PORTS, flows.ports(flow, 0), true);
    entry.setInt32(ENTRY.FLOW_BACK_PORTS, flows.ports(flow, 1), true);
    entry.setUint16(ENTRY.MTU, Math.min(topology.mtu[egress], LONGEST_PACKET), true);
    entry.setUint16(ENTRY.NEIGHBOUR, flows.neighbour(flow, otherSide(side)), true);
    entry.setUint16(ENTRY.CLIENT, flows.client(flow), true);
    entry.setInt32(ENTRY.CHANGES, this.changesOf(flow, side), true);
    writeMac(entry, ENTRY.OUR_MAC, topology.macHead[iface], topology.macTail[iface]);
    const isPinned = iface !== topology.uplink && neighbours.state[neighbour] === PINNED;
    writeMac(entry, ENTRY.PINNED_MAC, neighbours.head[neighbour], neighbours.tail[neighbour]);
    entry.setUint16(ENTRY.PINNED, isPinned ? 1 : 0, true);
    this.writeRewrite(flow, side, egress);
    writeChecksum(entry);
  }

  private writeRewrite(flow: Flow, side: Side, egress: Iface): void {
    const { entry } = this;
    const { flows, neighbours, topology } = this.state;
    const back = otherSide(side);
    const next = flows.neighbour(flow, back);
    const source = flows.destination(flow, back);
    const destination = flows.source(flow, back);
    const ports = portsTowards(flows, flow, back);
    const addresses =
      wireDelta(flows.source(flow, side), source) + wireDelta(flows.destination(flow, side), destination);
    entry.setInt32(ENTRY_REWRITE.EGRESS, topology.settings.interfaces[egress].index, true);
    writeMac(entry, ENTRY_REWRITE.MACS, neighbours.head[next], neighbours.tail[next]);
    writeMac(entry, ENTRY_REWRITE.MACS + ETHERNET.SOURCE, topology.macHead[egress], topology.macTail[egress]);
    entry.setInt32(ENTRY_REWRITE.SOURCE, source);
    entry.setInt32(ENTRY_REWRITE.DESTINATION, destination);
    entry.setInt32(ENTRY_REWRITE.PORTS, ports);
    entry.setInt32(ENTRY_REWRITE.ADDRESS_DELTA, addresses, true);
    entry.setInt32(ENTRY_REWRITE.PORT_DELTA, wireDelta(flows.ports(flow, side), ports), true);
    entry.setInt32(ENTRY_REWRITE.HEADER_DELTA, addresses + TTL_WIRE_DELTA, true);
  }
}

/** @returns what STATE must be, in which bits, for packets from a side to change nothing in it: what fast-path.ts asks of it */
function neededState(protocol: number, side: Side): { readonly mask: number; readonly value: number } {
  if (protocol === PROTOCOL.TCP) return OPEN_TCP;
  return side === 0 ? USED : ASSURED;
}

const OPEN_TCP = { mask: ENDING | FLOW_STATE.USED, value: BOTH_SYNS_AGREED | FLOW_STATE.USED };
const USED = { mask: FLOW_STATE.USED, value: FLOW_STATE.USED };
/** The first answer of UDP makes it that. */
const ASSURED = { mask: FLOW_STATE.ASSURED | FLOW_STATE.USED, value: FLOW_STATE.ASSURED | FLOW_STATE.USED };

/** What else an entry depends on. */
const ENTERED_STATE = ENDING | FLOW_STATE.ASSURED | FLOW_STATE.USED | TIMEOUT_MASK;

/** One less in a packet's TTL, likewise: the protocol beside it stays. */
const TTL_WIRE_DELTA = 0xfffe;

/** As delta32 of wire/checksum.ts, of words read in this machine's order where they stand in network order. */
function wireDelta(before: number, after: number): number {
  return swapped(~before >>> 16) + swapped(~before & 0xffff) + swapped(after >>> 16) + swapped(after & 0xffff);
}

function swapped(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
