// The address book: an IPv6 address in use is known by a number of 32 bits, so that flows, mappings, neighbours and quotas hold
// addresses of both families alike, in one word. The numbers lie in 0.0.0.0/8, whose addresses no IPv4 packet may carry (RFC 6890): who
// looks an IPv4 packet's addresses up anywhere has refused those before, and so a word tells its family.
//
// An address keeps its number as long as somebody holds it: each flow and mapping, each neighbour, the settings, the packet in hand. Who
// takes or retains an address releases it, exactly once.
import type { Address } from "../wire/ipv4.ts";

declare const brand: unique symbol;

/** The number of an IPv6 address. */
export type Number6 = Address & { readonly [brand]: "Number6" };

/** No IPv6 address has it. */
export const NO_NUMBER = 0 as Number6;

/** @returns whether an address in use is an IPv6 address's number; true of NO_NUMBER */
export const isIpv6 = (address: Address): address is Number6 => address >>> 24 === 0;

/** Numbers there can be: those of 0.0.0.0/8, without 0. */
const MOST = (1 << 24) - 1;

export const ADDRESS_WORDS = 4;

/** Bits of an index entry that are of the hash; the others are a number. */
const TAG_MASK = 0xff000000 | 0;

/** Numbers that `AddressBook` takes, as `drawAddressKeys` draws them. */
const KEYS = 8;

export type AddressKeys = readonly number[];

/** @param next gives numbers of 32 bits from a generator that can't be predicted */
export function drawAddressKeys(next: () => number): AddressKeys {
  return Array.from({ length: KEYS }, next);
}

/** What the numbers mean: also for who has the memory alone, and reads it while the dataplane writes. */
export class Addresses {
  /** @param words ADDRESS_WORDS each, as DataView.getInt32 reads an address in wire order */
  constructor(readonly words: Int32Array) {}

  /** @param i 0 to 3 @returns int32 in host order */
  word(address: Number6, i: number): number {
    return this.words[address * ADDRESS_WORDS + i];
  }

  /** @returns 16 bytes in wire order */
  bytes(address: Number6): Uint8Array {
    const view = new DataView(new ArrayBuffer(16));
    for (let i = 0; i < ADDRESS_WORDS; i++) view.setInt32(i * 4, this.word(address, i));
    return new Uint8Array(view.buffer);
  }
}

export class AddressBook extends Addresses {
  /** By number: how many hold it; of a free one how many numbers after its own the next free one is, less one. */
  private readonly holds: Int32Array;
  /** The first that is free. Memory of zeros is a list of all: it takes no memory before it is written to. */
  private free = 1;
  private count = 0;
  /** Open addressing, linear probing: 0 is empty, else the hash's highest bits | number. */
  private readonly index: Int32Array;
  private readonly indexMask: number;
  /** What words are multiplied by, and what their upper halves are once more; all odd (keyed-hash.ts says why). */
  readonly a: number;
  readonly aUpper: number;
  readonly b: number;
  readonly bUpper: number;
  readonly c: number;
  readonly cUpper: number;
  readonly d: number;
  readonly dUpper: number;

  /** @param capacity addresses at a time, below 2^24 */
  constructor(
    readonly capacity: number,
    keys: AddressKeys,
  ) {
    if (capacity > MOST) throw new RangeError(`an address book of ${capacity}`);
    if (keys.length !== KEYS) throw new Error(`${keys.length} keys for an address book instead of ${KEYS}`);
    super(new Int32Array(new SharedArrayBuffer((capacity + 1) * ADDRESS_WORDS * 4)));
    this.holds = new Int32Array(capacity + 1);
    const slots = 2 ** Math.ceil(Math.log2((capacity + 1) * 1.5));
    this.index = new Int32Array(slots);
    this.indexMask = slots - 1;
    [this.a, this.aUpper, this.b, this.bUpper, this.c, this.cUpper, this.d, this.dUpper] = keys.map((key) => key | 1);
  }

  /** For who has no use for addresses of IPv6. */
  static empty(): AddressBook {
    return new AddressBook(0, new Array(KEYS).fill(0));
  }

  /**
   * What `is` will read, read ahead: for many packets before the first is handled.
   * @param address a number, or an IPv4 address
   * @returns a number that depends on what was read: nobody needs it, but so the read can't be left out
   */
  read(address: number): number {
    return this.words[(address & TAG_MASK) === 0 ? address * ADDRESS_WORDS : 0];
  }

  /** Addresses in the book. */
  get size(): number {
    return this.count;
  }

  /**
   * What stands for an address in other hashes: multilinear, so that two addresses have the same with a chance of 2^-17 at most, and nobody
   * who does not know the keys can say which.
   * @returns int32
   */
  sum(a: number, b: number, c: number, d: number): number {
    let h = (Math.imul(a, this.a) + Math.imul(a >>> 16, this.aUpper)) | 0;
    h = (h + Math.imul(b, this.b)) | 0;
    h = (h + Math.imul(b >>> 16, this.bUpper)) | 0;
    h = (h + Math.imul(c, this.c)) | 0;
    h = (h + Math.imul(c >>> 16, this.cUpper)) | 0;
    h = (h + Math.imul(d, this.d)) | 0;
    return (h + Math.imul(d >>> 16, this.dUpper)) | 0;
  }

  /** @returns `sum` of an address in the book */
  sumOf(address: Number6): number {
    const { words } = this;
    const at = address * ADDRESS_WORDS;
    return this.sum(words[at], words[at + 1], words[at + 2], words[at + 3]);
  }

  /** @returns whether a number is that of an address */
  is(address: Number6, a: number, b: number, c: number, d: number): boolean {
    const { words } = this;
    const at = address * ADDRESS_WORDS;
    return words[at + 3] === d && words[at] === a && words[at + 1] === b && words[at + 2] === c;
  }

  /** @returns the number of an address, or NO_NUMBER when nobody holds it */
  find(a: number, b: number, c: number, d: number): Number6 {
    const { index, indexMask, words } = this;
    const hash = mixed(this.sum(a, b, c, d));
    for (let slot = hash & indexMask; ; slot = (slot + 1) & indexMask) {
      const entry = index[slot];
      if (entry === 0) return NO_NUMBER;
      if (((entry ^ hash) & TAG_MASK) !== 0) continue;
      const at = (entry & ~TAG_MASK) * ADDRESS_WORDS;
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c && words[at + 3] === d) {
        return (entry & ~TAG_MASK) as Number6;
      }
    }
  }

  /** @returns the number of an address, held until `release`; NO_NUMBER when there are none left, or of the unspecified address */
  take(a: number, b: number, c: number, d: number): Number6 {
    if ((a | b | c | d) === 0) return NO_NUMBER;
    const known = this.find(a, b, c, d);
    if (known !== NO_NUMBER) {
      this.holds[known]++;
      return known;
    }
    const address = this.free as Number6;
    if (address > this.capacity) return NO_NUMBER;
    const at = address * ADDRESS_WORDS;
    this.free = address + 1 + this.holds[address];
    this.holds[address] = 1;
    this.words[at] = a;
    this.words[at + 1] = b;
    this.words[at + 2] = c;
    this.words[at + 3] = d;
    this.enter(address);
    this.count++;
    return address;
  }

  /** `take`, of the address that lies at an offset. */
  takeAt(view: DataView, at: number): Number6 {
    return this.take(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12));
  }

  /** One more holds an address that is held already; of NO_NUMBER there is nothing to hold. */
  retain(address: Number6): void {
    if (address !== NO_NUMBER) this.holds[address]++;
  }

  /** One fewer does: the last one frees its number. */
  release(address: Number6): void {
    if (address === NO_NUMBER || --this.holds[address] > 0) return;
    this.leave(address);
    this.holds[address] = this.free - address - 1;
    this.free = address;
    this.count--;
  }

  /** Writes an address to where it stands in a packet. */
  write(view: DataView, at: number, address: Number6): void {
    const { words } = this;
    const word = address * ADDRESS_WORDS;
    view.setInt32(at, words[word]);
    view.setInt32(at + 4, words[word + 1]);
    view.setInt32(at + 8, words[word + 2]);
    view.setInt32(at + 12, words[word + 3]);
  }

  private enter(address: Number6): void {
    const hash = mixed(this.sumOf(address));
    let slot = hash & this.indexMask;
    while (this.index[slot] !== 0) slot = (slot + 1) & this.indexMask;
    this.index[slot] = (hash & TAG_MASK) | address;
  }

  /** As FlowTable does: entries behind the hole that may move into it do (Knuth 6.4, algorithm R). */
  private leave(address: Number6): void {
    const { index, indexMask: mask } = this;
    const hash = mixed(this.sumOf(address));
    const wanted = (hash & TAG_MASK) | address;
    let hole = hash & mask;
    while (index[hole] !== wanted) hole = (hole + 1) & mask;
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const entry = index[slot];
      if (entry === 0) break;
      const home = mixed(this.sumOf((entry & ~TAG_MASK) as Number6)) & mask;
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        index[hole] = entry;
        hole = slot;
      }
    }
    index[hole] = 0;
  }
}

/** As KeyedHash mixes its sum. */
const mixed = (h: number): number => {
  h = Math.imul(h ^ (h >>> 16), 0x735a2d97);
  return h ^ (h >>> 15);
};
