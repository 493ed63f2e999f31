// The flow table: fixed capacity, allocated once, in memory that control reads too, to list flows while the worker runs.
// A flow has two sides, each named by the packets that arrive from it: side 0 is the originator, side 1 the responder.
// A packet that matches one side leaves as the inverse of the other side: that is all of NAT, in both directions.

/** Words of one flow: a cache line, with all that a packet of it needs. */
export const FLOW_WORDS = 16;
export const FLOW = {
  /** What packets from side 0 carry when they arrive: addresses as int32 in host order, ports source << 16 | destination. */
  SOURCE: 0,
  DESTINATION: 1,
  PORTS: 2,
  /** What packets from side 1 carry; their destination follows from STATE. */
  BACK_SOURCE: 3,
  BACK_PORTS: 4,
  /** protocol | neighbour that packets to side 0 are handed to << 8 | the same of side 1 << 20 */
  PLACES: 5,
  /** Bits of FLOW_STATE; 0 in a free record. */
  STATE: 6,
  /** Second of the clock at which the flow ends, unless traffic moves it. */
  DEADLINE: 7,
  /** Number of the client that it counts for << 16 | number of the rule that accepted it (0: policy). */
  CLIENT_RULE: 8,
  /** Two words of timer-wheel.ts. */
  WHEEL: 9,
  /** Five words of tables/tcp.ts. */
  TCP: 11,
} as const;

export const NO_MAPPING = -1;
export const NO_FLOW = -1;

/** Neighbours that a flow's PLACES can number. */
export const MAX_NEIGHBOURS = 1 << 12;

/** The largest table: 20 bits of flow number, side and tag share a word of the index. */
export const MAX_FLOWS = 1 << 20;

/** Bits of STATE; tables/tcp.ts uses those from 6 to 23. */
export const FLOW_STATE = {
  USED: 1,
  /** Answered; TCP: both SYNs acknowledged, and not closed. Others are the first to go when room is needed. */
  ASSURED: 2,
  /** Which kind of flow. From a client to the uplink: the responder sees our address in place of the client's. */
  OUTBOUND: 4,
  /** From the uplink to a forwarded port, or to a mapping open to anyone. */
  INBOUND: 8,
  /** From client to client: nothing is translated. */
  DIRECT: 16,
  /** It holds the mapping of its external port. */
  MAPPED: 32,
  TCP_SHIFT: 6,
  /** Four bits: the generation of its client's rules that it was judged by. */
  GENERATION_SHIFT: 24,
  /** Number of its timeout, three bits: which of Timeouts holds. The bit above is TCP's too. */
  TIMEOUT_SHIFT: 28,
} as const;

/** In a free record. Not a word that the kernel path writes to: it may be late (kernel/path.ts). */
const NEXT_FREE = FLOW.SOURCE;

const SIDE_1 = 1;
const HOP_SHIFT = 8;
/** From the bits of side 0's neighbour to those of side 1's. */
const HOP_BITS = 12;
const TAG_MASK = 0xffc00000 | 0;

export class FlowTable {
  /** The address that OUTBOUND flows have in place of the client's: int32, host order. */
  external = 0;
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
  private readonly seed: number;

  /**
   * @param capacity flows, 1 to MAX_FLOWS
   * @param seed a random number that keeps clients from choosing addresses and ports that collide
   * @param words memory for the records, all zero: FLOW_WORDS each
   */
  constructor(
    readonly capacity: number,
    seed: number,
    readonly words: Int32Array = new Int32Array(capacity * FLOW_WORDS),
  ) {
    this.seed = seed | 0;
    const slots = 2 ** Math.ceil(Math.log2(capacity * 4));
    this.index = new Int32Array(slots);
    this.indexMask = slots - 1;
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
   * The flow that a packet fits by what it carries; whether it came from the right place, its hop tells.
   * @returns flow << 1 | side, or NO_FLOW
   */
  find(source: number, destination: number, ports: number, protocol: number): number {
    return this.findHashed(this.hash(source, destination, ports, protocol), source, destination, ports, protocol);
  }

  /** As `find` does. @param hash of the other arguments */
  findHashed(hash: number, source: number, destination: number, ports: number, protocol: number): number {
    const { index, indexMask } = this;
    for (let slot = hash & indexMask; ; slot = (slot + 1) & indexMask) {
      const entry = index[slot];
      if (entry === 0) return NO_FLOW;
      if (((entry ^ hash) & TAG_MASK) !== 0) continue;
      const hit = (entry & ~TAG_MASK) - 2;
      if (this.fits(hit >>> 1, hit & SIDE_1, source, destination, ports, protocol)) return hit;
    }
  }

  /** @returns whether packets from a side of a flow carry this */
  private fits(
    flow: number,
    side: number,
    source: number,
    destination: number,
    ports: number,
    protocol: number,
  ): boolean {
    return (
      this.ports(flow, side) === ports &&
      this.source(flow, side) === source &&
      this.destination(flow, side) === destination &&
      this.protocol(flow) === protocol
    );
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
   * @returns a number that depends on what was read: nobody needs it, but so the read can't be left out
   */
  readRecord(entry: number): number {
    return this.words[Math.max(((entry & ~TAG_MASK) >>> 1) - 1, 0) * FLOW_WORDS];
  }

  /**
   * A free record, all zero but for its STATE, which says that it is in use. Fill in both sides and PLACES, then `link` it.
   * @returns its number, or NO_FLOW when the table is full
   */
  allocate(): number {
    const flow = this.free;
    if (flow === this.capacity) return NO_FLOW;
    if (flow === this.reached) this.reached++; // the list gives what was never used last, in order
    const at = flow * FLOW_WORDS;
    this.free = flow + 1 + this.words[at + NEXT_FREE];
    this.words.fill(0, at, at + FLOW_WORDS);
    this.words[at + FLOW.STATE] = FLOW_STATE.USED;
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
    this.words[at + NEXT_FREE] = this.free - flow - 1;
    this.free = flow;
    this.count--;
  }

  /** @returns whether this record holds a flow; for walks over all numbers from 0 to end - 1 */
  used(flow: number): boolean {
    return this.words[flow * FLOW_WORDS + FLOW.STATE] !== 0;
  }

  /** @param bits of FLOW_STATE @returns whether the flow has any of them */
  has(flow: number, bits: number): boolean {
    return (this.words[flow * FLOW_WORDS + FLOW.STATE] & bits) !== 0;
  }

  /** @returns the source address of packets from a side, as they arrive */
  source(flow: number, side: number): number {
    return this.words[flow * FLOW_WORDS + (side === 0 ? FLOW.SOURCE : FLOW.BACK_SOURCE)];
  }

  /** @returns the destination address of packets from a side, as they arrive */
  destination(flow: number, side: number): number {
    const at = flow * FLOW_WORDS;
    return side === 0 ? this.words[at + FLOW.DESTINATION] : backDestination(this.words, at, this.external);
  }

  /** @returns the ports of packets from a side, as they arrive: source << 16 | destination */
  ports(flow: number, side: number): number {
    return this.words[flow * FLOW_WORDS + (side === 0 ? FLOW.PORTS : FLOW.BACK_PORTS)];
  }

  protocol(flow: number): number {
    return this.words[flow * FLOW_WORDS + FLOW.PLACES] & 0xff;
  }

  /** @returns the neighbour that packets to a side are handed to */
  hop(flow: number, side: number): number {
    return (this.words[flow * FLOW_WORDS + FLOW.PLACES] >>> (HOP_SHIFT + side * HOP_BITS)) & (MAX_NEIGHBOURS - 1);
  }

  /** @returns number of the client that the flow counts for */
  client(flow: number): number {
    return this.words[flow * FLOW_WORDS + FLOW.CLIENT_RULE] >>> 16;
  }

  /** @returns 0 to 15: the generation of its client's rules that the flow was judged by */
  generation(flow: number): number {
    return (this.words[flow * FLOW_WORDS + FLOW.STATE] >>> FLOW_STATE.GENERATION_SHIFT) & 15;
  }

  setGeneration(flow: number, generation: number): void {
    const at = flow * FLOW_WORDS + FLOW.STATE;
    this.words[at] =
      (this.words[at] & ~(15 << FLOW_STATE.GENERATION_SHIFT)) | (generation << FLOW_STATE.GENERATION_SHIFT);
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
    return this.hash(
      this.source(flow, side),
      this.destination(flow, side),
      this.ports(flow, side),
      this.protocol(flow),
    );
  }

  /** Mixes as MurmurHash3 does; its low bits choose the slot, its high bits are the tag. */
  hash(source: number, destination: number, ports: number, protocol: number): number {
    let h = this.seed ^ protocol;
    h = Math.imul(h ^ source, 0xcc9e2d51);
    h = Math.imul(h ^ (h >>> 15) ^ destination, 0x1b873593);
    h = Math.imul(h ^ (h >>> 13) ^ ports, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 16), 0xc2b2ae35);
    return h ^ (h >>> 15);
  }
}

/**
 * @param at first word of the flow's record
 * @param external the address in place of clients'
 * @returns the destination address of packets from side 1
 */
export const backDestination = (words: Int32Array, at: number, external: number): number =>
  (words[at + FLOW.STATE] & FLOW_STATE.OUTBOUND) !== 0 ? external : words[at + FLOW.SOURCE];

/** @returns the PLACES word: protocol, and the neighbour that packets to each side are handed to */
export function placesWord(protocol: number, hop0: number, hop1: number): number {
  return protocol | (hop0 << 8) | (hop1 << 20);
}
