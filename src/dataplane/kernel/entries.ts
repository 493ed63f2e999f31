// The table of the kernel path: for packets of one side of a flow, what is to be done with them. It is memory that the kernel's
// program reads while this thread writes, without a lock: every entry has a writeChecksum, so what is read half old and half new is no
// entry. Entries stand side by side by place and side; an index by what packets carry has room for four at each of its buckets,
// and an entry that finds no room there does not hold.
import type { KeyedHash } from "../keyed-hash.ts";
import type { Gate } from "./gates.ts";
import { ADDRESSES, ENTRY, hashKey, INDEX_WAYS, NUMBER_MASK, SHUT, TAG_SHIFT } from "./programs/layout.ts";

/** Bytes from one entry to the next: two cache lines. */
export const ENTRY_STRIDE = 128;

/** No generation's number. */
const NO_GENERATION = 0;

export class KernelEntries {
  /** Memory of the addresses of those of IPv6, ADDRESSES.LENGTH bytes each, once there is any. */
  addresses: Int32Array | undefined;
  private readonly mask: number;

  /**
   * @param words the entries' memory, ENTRY_STRIDE bytes each
   * @param index memory of a power of two of buckets, INDEX_WAYS numbers each
   * @param keyed hash of keys, as the program has it
   */
  constructor(
    private readonly words: Int32Array,
    private readonly index: Int32Array,
    private readonly keyed: KeyedHash,
  ) {
    this.mask = index.length / INDEX_WAYS - 1;
  }

  /**
   * Puts an entry with its checksum in, in place of the one with its number. It holds once all its frames are settled that went, or are
   * on their way, to the socket: those that the filter counted before it saw the entry, and marked it with since.
   * @param number of the flow's place and its side; what has been put under it before had the same key, or has been removed
   * @param generation the one that holds
   * @param gate of the interface that its frames come in on
   * @param yields says of another entry, by its number, whether it is to be taken out of the index for this one, where there is no room
   * @returns whether there was room
   */
  put(number: number, entry: DataView, generation: number, gate: Gate, yields: (number: number) => boolean): boolean {
    const { words } = this;
    const at = (number * ENTRY_STRIDE) >> 2;
    const ofGeneration = at + (ENTRY.GENERATION >> 2);
    Atomics.store(words, ofGeneration, NO_GENERATION);
    for (let i = 0; i < ENTRY.LENGTH / 4; i++) {
      if (at + i !== ofGeneration) words[at + i] = entry.getInt32(4 * i, true);
    }
    words[at + (ENTRY.LOST >> 2)] = 0;
    const last = at + (ENTRY.LAST >> 2);
    Atomics.store(words, last, gate.passed);
    const hash = hashKey(this.keyed, entry);
    const way = this.wayFor(number, hash, generation, yields);
    if (way < 0) return false;
    Atomics.store(this.index, way, ((hash >>> TAG_SHIFT) << TAG_SHIFT) | (number + 1));
    this.raise(last, gate.passed); // counted before it was there to be found, or marked since
    // A fragment that has come meanwhile shuts it.
    Atomics.compareExchange(words, ofGeneration, NO_GENERATION, generation);
    return true;
  }

  /** Of an entry of IPv6, before it is put in. @param addresses ADDRESSES */
  putAddresses(number: number, addresses: DataView): void {
    if (this.addresses === undefined) throw new Error("there is no memory for addresses of IPv6");
    const at = (number * ADDRESSES.LENGTH) >> 2;
    for (let i = 0; i < ADDRESSES.LENGTH / 4; i++) this.addresses[at + i] = addresses.getInt32(4 * i, true);
  }

  /** @returns ENTRY.CHANGES of what was put under this number last */
  changes(number: number): number {
    return this.words[(number * ENTRY_STRIDE + ENTRY.CHANGES) >> 2];
  }

  /** @returns whether it is shut, and what shut it is settled */
  mayOpen(number: number, gate: Gate): boolean {
    const at = (number * ENTRY_STRIDE) >> 2;
    if (this.words[at + (ENTRY.GENERATION >> 2)] !== SHUT) return false;
    return ((gate.settled - this.words[at + (ENTRY.LAST >> 2)]) | 0) >= 0;
  }

  /** Raises a number that goes round, which the filter raises too. */
  private raise(at: number, to: number): void {
    for (let old = Atomics.load(this.words, at); ((to - old) | 0) > 0; ) {
      const found = Atomics.compareExchange(this.words, at, old, to);
      if (found === old) return;
      old = found;
    }
  }

  /** Takes an entry out. @param entry of which only the key is looked at: its key */
  remove(number: number, entry: DataView): void {
    this.words[(number * ENTRY_STRIDE + ENTRY.GENERATION) >> 2] = NO_GENERATION;
    const first = this.firstWay(hashKey(this.keyed, entry));
    for (let way = first; way < first + INDEX_WAYS; way++) if (this.numberAt(way) === number) this.index[way] = 0;
  }

  /** @returns where in the index the entry is or may be: where there is none, or one that does not hold; -1 without room */
  private wayFor(number: number, hash: number, generation: number, yields: (number: number) => boolean): number {
    const first = this.firstWay(hash);
    let room = -1;
    for (let way = first; way < first + INDEX_WAYS; way++) {
      if (this.numberAt(way) === number) return way;
      if (room < 0 && !this.holds(this.numberAt(way), generation)) room = way;
    }
    for (let way = first; room < 0 && way < first + INDEX_WAYS; way++) if (yields(this.numberAt(way))) room = way;
    return room;
  }

  private holds(number: number, generation: number): boolean {
    return number >= 0 && this.words[(number * ENTRY_STRIDE + ENTRY.GENERATION) >> 2] === generation;
  }

  /** @returns number of an entry, or -1 */
  private numberAt(way: number): number {
    return (this.index[way] & NUMBER_MASK) - 1;
  }

  private firstWay(hash: number): number {
    return (hash & this.mask) * INDEX_WAYS;
  }
}
