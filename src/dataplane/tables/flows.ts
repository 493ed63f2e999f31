// The flow table: fixed capacity, allocated once. A flow has two sides, each named by the packets that arrive from it: side 0 is
// the originator, side 1 the responder. A packet that matches one side leaves as the inverse of the other side: that is all of
// NAT, in both directions. What stands in a record, flow-records.ts says; here is how records are given out, freed and found.
import type { Address } from "../../wire/ipv4.ts";
import type { Ports } from "../../wire/ports.ts";
import { AddressBook, isIpv6 } from "../address-book.ts";
import type { KeyedHash } from "../keyed-hash.ts";
import {
  type Column,
  column,
  type Flow,
  type FlowSide,
  flowOf,
  NO_FLOW,
  NO_FLOW_SIDE,
  type Side,
  sideOf,
} from "../types.ts";
import { FLOW, FLOW_WORDS, FlowRecords } from "./flow-records.ts";
import { FLOW_STATE } from "./flow-state.ts";

/** The largest table: 20 bits of flow number, side and tag share a word of the index. */
export const MAX_FLOWS = 1 << 20;

/** In a free record. Not a word that the kernel path writes to: it may be late (kernel/path.ts). */
const NEXT_FREE = FLOW.SOURCE;

/** Bits of an index entry that are of the hash. */
const TAG_MASK = 0xffc00000 | 0;

export class FlowTable extends FlowRecords {
  /**
   * The first free flow; `capacity` when there is none. A free flow's NEXT_FREE says how many numbers after its own the next
   * is, less one: so memory of zeros, which takes no memory before it is written to, is a list of all.
   */
  private free = 0;
  private count = 0;
  private reached = 0;
  /** Open addressing, linear probing: 0 is empty, else tag of the hash << 22 | (flow + 1) << 1 | side. */
  private readonly index: Int32Array;
  private readonly indexMask: number;
  /** How many flows a number has named, modulo 2^32. */
  private readonly births: Column<Flow>;

  /**
   * @param capacity flows, 1 to MAX_FLOWS
   * @param keyed keeps clients from choosing addresses and ports that collide
   * @param words memory for the records, all zero: FLOW_WORDS each
   * @param book where the numbers of IPv6 addresses are from; a linked flow's are held by who links it
   */
  constructor(
    readonly capacity: number,
    private readonly keyed: KeyedHash,
    words: Int32Array = new Int32Array(capacity * FLOW_WORDS),
    private readonly book: AddressBook = AddressBook.empty(),
  ) {
    super(words, 0 as Address, undefined, book);
    const slots = 2 ** Math.ceil(Math.log2(capacity * 4));
    this.index = new Int32Array(slots);
    this.indexMask = slots - 1;
    this.births = column(new Int32Array(capacity));
  }

  /** Flows in the table. */
  get size(): number {
    return this.count;
  }

  /** One more than the largest number that a flow ever had: where walks over all of them end, in memory that was used. */
  get end(): number {
    return this.reached;
  }

  /**
   * Which life of its number a flow is in: who keeps a flow's number keeps this too, and asks `isAlive` before using it.
   */
  birth(flow: Flow): number {
    return this.births[flow];
  }

  /** @param birth what `birth` was for the flow @returns whether the number still names that flow */
  isAlive(flow: Flow, birth: number): boolean {
    return this.births[flow] === birth;
  }

  /**
   * The flow that a packet fits by what it carries; whether it came in where it should, its side's neighbour tells.
   * @returns the flow and the side that the packet is from, or NO_FLOW_SIDE
   */
  find(source: Address, destination: Address, ports: Ports, protocol: number): FlowSide {
    return this.findHashed(this.hash(source, destination, ports, protocol), source, destination, ports, protocol);
  }

  /** As `find` does. @param hash of the other arguments */
  findHashed(hash: number, source: Address, destination: Address, ports: Ports, protocol: number): FlowSide {
    if (!isIpv6(source)) return this.findHashed4(hash, source, destination, ports, protocol);
    const { index, indexMask } = this;
    for (let slot = hash & indexMask; ; slot = (slot + 1) & indexMask) {
      const entry = index[slot];
      if (entry === 0) return NO_FLOW_SIDE;
      if (((entry ^ hash) & TAG_MASK) !== 0) continue;
      const found = ((entry & ~TAG_MASK) - 2) as FlowSide;
      const flow = flowOf(found);
      const side = sideOf(found);
      if (this.ports(flow, side) !== ports || this.protocol(flow) !== protocol) continue;
      if (this.source(flow, side) === source && this.destination6(flow, side) === destination) return found;
    }
  }

  /** @returns whether, at a glance, no flow is found by a hash: most likely so where there is none */
  isVacant(hash: number): boolean {
    return this.index[hash & this.indexMask] === 0;
  }

  /** `findHashed` of IPv4 packets: with a look at the family a packet of the fast path took 61 ns for 55. */
  findHashed4(hash: number, source: Address, destination: Address, ports: Ports, protocol: number): FlowSide {
    const { index, indexMask } = this;
    for (let slot = hash & indexMask; ; slot = (slot + 1) & indexMask) {
      const entry = index[slot];
      if (entry === 0) return NO_FLOW_SIDE;
      if (((entry ^ hash) & TAG_MASK) !== 0) continue;
      const found = ((entry & ~TAG_MASK) - 2) as FlowSide;
      if (this.fits4(flowOf(found), sideOf(found), source, destination, ports, protocol)) return found;
    }
  }

  /** @returns whether packets of IPv4 from a side of a flow carry this */
  private fits4(
    flow: Flow,
    side: Side,
    source: Address,
    destination: Address,
    ports: Ports,
    protocol: number,
  ): boolean {
    return (
      this.ports(flow, side) === ports &&
      this.source(flow, side) === source &&
      this.destination4(flow, side) === destination &&
      this.protocol(flow) === protocol
    );
  }

  /**
   * The flow of IPv6 that a packet fits by its hash, ports and protocol: in all likelihood the one that it fits by its addresses too, which
   * remains to be seen. Not more is done here, so that the compiler takes it into the fast path.
   * @param hash as `hash6` makes it
   */
  likely6(hash: number, ports: Ports, protocol: number): FlowSide {
    const { index, indexMask } = this;
    for (let slot = hash & indexMask; ; slot = (slot + 1) & indexMask) {
      const entry = index[slot];
      if (entry === 0) return NO_FLOW_SIDE;
      if (((entry ^ hash) & TAG_MASK) !== 0) continue;
      const found = ((entry & ~TAG_MASK) - 2) as FlowSide;
      if (this.ports(flowOf(found), sideOf(found)) === ports && this.protocol(flowOf(found)) === protocol) return found;
    }
  }

  /**
   * The first thing that `find` will read for a packet, the index, read ahead: for many packets before the first is handled, so
   * that their cache misses overlap.
   * @param hash of what it carries
   * @returns what `readRecord` takes
   */
  readIndex(hash: number): number {
    return this.index[hash & this.indexMask];
  }

  /**
   * The second thing, the record, read ahead.
   * @param entry as `readIndex` returned it
   * @returns the ports of packets from the entry's side
   */
  readRecord(entry: number): number {
    const found = ((entry & ~TAG_MASK) - 2) as FlowSide;
    return this.ports(flowOf(found), sideOf(found));
  }

  /**
   * `readRecord` of IPv6 packets.
   * @returns the number of the flow's remote address, to be read ahead in the address book
   */
  readRemote(entry: number): number {
    return this.words[Math.max(((entry & ~TAG_MASK) >>> 1) - 1, 0) * FLOW_WORDS + FLOW.BACK_SOURCE];
  }

  /**
   * A free record, whose STATE says that it is in use: `fill` it, which leaves zero what is from its deadline on, then `link` it.
   * @returns its number, or NO_FLOW when the table is full
   */
  allocate(): Flow {
    const flow = this.free as Flow;
    if (flow === this.capacity) return NO_FLOW;
    if (flow === this.reached) this.reached++; // the list gives what was never used last, in order
    const at = flow * FLOW_WORDS;
    this.free = flow + 1 + this.words[at + NEXT_FREE];
    for (let i = FLOW.DEADLINE; i < FLOW_WORDS; i++) this.words[at + i] = 0; // with a call of `fill` a new flow took 5 % longer
    this.words[at + FLOW.STATE] = FLOW_STATE.USED;
    this.count++;
    return flow;
  }

  /** Calls back with every flow there is; the call may end it. */
  forEachFlow(visit: (flow: Flow) => void): void {
    for (let number = 0; number < this.reached; number++) {
      const flow = number as Flow;
      if (this.isUsed(flow)) visit(flow);
    }
  }

  /**
   * Makes both sides of a filled-in record findable.
   * @param hash, backHash of what packets from side 0 and from side 1 carry: who looked for the flow knows them
   */
  link(flow: Flow, hash: number, backHash: number): void {
    this.enter(flow, 0, hash);
    this.enter(flow, 1, backHash);
  }

  /** Takes a linked flow out, and frees its record. */
  remove(flow: Flow): void {
    this.leave(flow, 0);
    this.leave(flow, 1);
    this.discard(flow);
  }

  /** Frees a record that was never linked. */
  discard(flow: Flow): void {
    const at = flow * FLOW_WORDS;
    this.words[at + FLOW.STATE] = 0;
    this.births[flow] = (this.births[flow] + 1) | 0;
    this.words[at + NEXT_FREE] = this.free - flow - 1;
    this.free = flow;
    this.count--;
  }

  private enter(flow: Flow, side: Side, hash: number): void {
    let slot = hash & this.indexMask;
    while (this.index[slot] !== 0) slot = (slot + 1) & this.indexMask;
    this.index[slot] = (hash & TAG_MASK) | ((flow + 1) << 1) | side;
  }

  /** Linear probing needs no tombstones: entries behind the hole that may move into it do (Knuth 6.4, algorithm R). */
  private leave(flow: Flow, side: Side): void {
    const mask = this.indexMask;
    const hash = this.hashOf(flow, side);
    const wanted = (hash & TAG_MASK) | ((flow + 1) << 1) | side;
    let hole = hash & mask;
    while (this.index[hole] !== wanted) hole = (hole + 1) & mask;
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.index[slot];
      if (entry === 0) break;
      const other = ((entry & ~TAG_MASK) - 2) as FlowSide;
      const home = this.hashOf(flowOf(other), sideOf(other)) & mask;
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        this.index[hole] = entry;
        hole = slot;
      }
    }
    this.index[hole] = 0;
  }

  private hashOf(flow: Flow, side: Side): number {
    return this.hash(
      this.source(flow, side),
      this.destination(flow, side),
      this.ports(flow, side),
      this.protocol(flow),
    );
  }

  /** Of what packets carry: its low bits choose the slot, its high bits are the tag. */
  hash(source: Address, destination: Address, ports: Ports, protocol: number): number {
    if (!isIpv6(source) || !isIpv6(destination)) return this.hash4(source, destination, ports, protocol);
    return this.hash6(this.book.sumOf(source), this.book.sumOf(destination), ports, protocol);
  }

  /** `hash` of IPv4 packets. */
  hash4(source: Address, destination: Address, ports: Ports, protocol: number): number {
    return this.keyed.of(source, destination, ports, protocol);
  }

  /**
   * `hash` of IPv6 packets: by what their addresses are, not by their numbers, so that nobody has to look these up first.
   * @param source, destination AddressBook.sum of the addresses
   */
  hash6(source: number, destination: number, ports: Ports, protocol: number): number {
    return this.keyed.of(source, destination, ports, protocol);
  }
}
