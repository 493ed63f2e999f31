// The flow table: fixed capacity, allocated once, in shared memory so that control can list flows while the worker runs.
// A flow has two sides, each named by the packets that arrive from it: side 0 is the originator, side 1 the responder.
// A packet that matches one side leaves as the inverse of the other side: that is all of NAT, in both directions.

/** Words of one flow: a cache line. Addresses are int32 in host order, ports source << 16 | destination. */
export const FLOW_WORDS = 16;
export const FLOW = {
  /** Three words a side: what packets from there carry when they arrive. */
  SIDE: [0, 3],
  SOURCE: 0,
  DESTINATION: 1,
  PORTS: 2,
  /** protocol | interface of side 0 << 8 | interface of side 1 << 20 */
  KEY: 6,
  /** Bits of FLOW_STATE; 0 in a free record. */
  STATE: 7,
  /** Second of the clock at which the flow ends, unless traffic moves it. */
  DEADLINE: 8,
  /** Seconds that traffic moves the deadline ahead. */
  TIMEOUT: 9,
  /** Checksum deltas for packets from side 0, then side 1: IPv4 header's (with the TTL's) << 16 | transport's. */
  DELTA: [10, 11],
  /** Neighbour that packets from side 0 go to, then from side 1; NO_NEIGHBOUR: back to ourselves, a hairpin. */
  NEIGHBOUR: [12, 13],
  /** NAT mapping, or NO_MAPPING. */
  MAPPING: 14,
  /** Number of the client that it counts for << 16 | number of the rule that accepted it (0: policy). */
  CLIENT_RULE: 15,
} as const;

export const NO_MAPPING = -1;
export const NO_FLOW = -1;

/** Most interfaces that a flow's KEY can number. */
export const MAX_INTERFACES = 1 << 12;

/** The largest table: 20 bits of flow number, side and tag share a word of the index. */
export const MAX_FLOWS = 1 << 20;

/** Bits of STATE; tcp-state.ts uses those from TCP_SHIFT up. */
export const FLOW_STATE = {
  USED: 1,
  /** Answered; TCP: both SYNs acknowledged, and not closed. Others are the first to go when room is needed. */
  ASSURED: 2,
  /** Side 0 is on the uplink: a forwarded port, or a mapping open to anyone. */
  INBOUND: 4,
  /** Both sides are clients: nothing is translated. */
  DIRECT: 8,
  TCP_SHIFT: 8,
} as const;

const INTERFACE_SHIFT = [8, 20];
const TAG_MASK = 0xffc00000 | 0;

export class FlowTable {
  readonly words: Int32Array;
  /** Words of the next free flow are kept in its DEADLINE. */
  private free = 0;
  private count = 0;
  /** Open addressing, linear probing: 0 is empty, else tag of the hash << 22 | (flow + 1) << 1 | side. */
  private readonly index: Int32Array;
  private readonly indexMask: number;

  /**
   * @param capacity flows, 1 to MAX_FLOWS
   * @param seed a random number that keeps clients from choosing addresses and ports that collide
   */
  constructor(
    readonly capacity: number,
    private readonly seed: number,
  ) {
    this.words = new Int32Array(new SharedArrayBuffer(capacity * FLOW_WORDS * 4));
    const slots = 2 ** Math.ceil(Math.log2(capacity * 4));
    this.index = new Int32Array(slots);
    this.indexMask = slots - 1;
    for (let flow = 0; flow < capacity; flow++) {
      this.words[flow * FLOW_WORDS + FLOW.DEADLINE] = flow + 1 < capacity ? flow + 1 : NO_FLOW;
    }
  }

  /** Flows in the table. */
  get size(): number {
    return this.count;
  }

  /**
   * The flow that a packet belongs to.
   * @param iface the interface it came in on: a packet that fits a flow but came in elsewhere does not belong to it
   * @returns flow << 1 | side, or NO_FLOW
   */
  find(source: number, destination: number, ports: number, protocol: number, iface: number): number {
    const hash = this.hash(source, destination, ports, protocol);
    const words = this.words;
    const index = this.index;
    const mask = this.indexMask;
    const tag = hash & TAG_MASK;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = index[slot];
      if (entry === 0) return NO_FLOW;
      if ((entry & TAG_MASK) !== tag) continue;
      const side = entry & 1;
      const at = (((entry & ~TAG_MASK) >>> 1) - 1) * FLOW_WORDS;
      const key = words[at + 6];
      if (side === 0) {
        if (
          words[at] === source &&
          words[at + 1] === destination &&
          words[at + 2] === ports &&
          (key & 0x000fffff) === (protocol | (iface << 8))
        ) {
          return (entry & ~TAG_MASK) - 2;
        }
      } else if (
        words[at + 3] === source &&
        words[at + 4] === destination &&
        words[at + 5] === ports &&
        (key & (0xfff000ff | 0)) === (protocol | (iface << 20))
      ) {
        return (entry & ~TAG_MASK) - 2;
      }
    }
  }

  /**
   * A free record, all zero but for its STATE, which says that it is in use. Fill in both sides and KEY, then `link` it.
   * @returns its number, or NO_FLOW when the table is full
   */
  allocate(): number {
    const flow = this.free;
    if (flow === NO_FLOW) return NO_FLOW;
    const at = flow * FLOW_WORDS;
    this.free = this.words[at + FLOW.DEADLINE];
    this.words.fill(0, at, at + FLOW_WORDS);
    this.words[at + FLOW.STATE] = FLOW_STATE.USED;
    this.words[at + FLOW.MAPPING] = NO_MAPPING;
    this.count++;
    return flow;
  }

  /** Makes both sides of a filled-in record findable. */
  link(flow: number): void {
    this.enter(flow, 0);
    this.enter(flow, 1);
  }

  /** Takes a linked flow out, and frees its record. */
  remove(flow: number): void {
    this.leave(flow, 0);
    this.leave(flow, 1);
    this.discard(flow);
  }

  /** Frees a record that was never linked. */
  discard(flow: number): void {
    const at = flow * FLOW_WORDS;
    this.words[at + FLOW.STATE] = 0;
    this.words[at + FLOW.DEADLINE] = this.free;
    this.free = flow;
    this.count--;
  }

  /** @returns whether this record holds a flow; for walks over all numbers from 0 to capacity - 1 */
  used(flow: number): boolean {
    return this.words[flow * FLOW_WORDS + FLOW.STATE] !== 0;
  }

  has(flow: number, bit: number): boolean {
    return (this.words[flow * FLOW_WORDS + FLOW.STATE] & bit) !== 0;
  }

  protocol(flow: number): number {
    return this.words[flow * FLOW_WORDS + FLOW.KEY] & 0xff;
  }

  iface(flow: number, side: number): number {
    return (this.words[flow * FLOW_WORDS + FLOW.KEY] >>> INTERFACE_SHIFT[side]) & (MAX_INTERFACES - 1);
  }

  /** Changes the interface numbers of a flow: the same interfaces, numbered anew. Interfaces are no part of the hash. */
  renumber(flow: number, iface0: number, iface1: number): void {
    this.words[flow * FLOW_WORDS + FLOW.KEY] = flowKey(this.protocol(flow), iface0, iface1);
  }

  private enter(flow: number, side: number): void {
    const hash = this.hashOf(flow, side);
    let slot = hash & this.indexMask;
    while (this.index[slot] !== 0) slot = (slot + 1) & this.indexMask;
    this.index[slot] = (hash & TAG_MASK) | ((flow + 1) << 1) | side;
  }

  /** Linear probing needs no tombstones: entries behind the hole that may move into it do (Knuth 6.4, algorithm R). */
  private leave(flow: number, side: number): void {
    const mask = this.indexMask;
    const hash = this.hashOf(flow, side);
    const wanted = (hash & TAG_MASK) | ((flow + 1) << 1) | side;
    let hole = hash & mask;
    while (this.index[hole] !== wanted) hole = (hole + 1) & mask;
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.index[slot];
      if (entry === 0) break;
      const home = this.hashOf(((entry & ~TAG_MASK) >>> 1) - 1, entry & 1) & mask;
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        this.index[hole] = entry;
        hole = slot;
      }
    }
    this.index[hole] = 0;
  }

  private hashOf(flow: number, side: number): number {
    const at = flow * FLOW_WORDS + FLOW.SIDE[side];
    const words = this.words;
    return this.hash(words[at], words[at + 1], words[at + 2], this.protocol(flow));
  }

  /** Mixes as MurmurHash3 does; its low bits choose the slot, its high bits are the tag. */
  private hash(source: number, destination: number, ports: number, protocol: number): number {
    let h = this.seed ^ protocol;
    h = Math.imul(h ^ source, 0xcc9e2d51);
    h = Math.imul(h ^ (h >>> 15) ^ destination, 0x1b873593);
    h = Math.imul(h ^ (h >>> 13) ^ ports, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 16), 0xc2b2ae35);
    return h ^ (h >>> 15);
  }
}

/** @returns the KEY word: protocol, and the interface of each side */
export function flowKey(protocol: number, iface0: number, iface1: number): number {
  return protocol | (iface0 << 8) | (iface1 << 20);
}
