// The table of the kernel path: for packets of one side of a flow, what is to be done with them. It is memory that the kernel's
// program reads while this thread writes, without a lock: every entry has a seal, so what is read half old and half new is no
// entry. A packet's entry can be in two places, of which the program looks at both; when both are taken there is no room.
import { ENTRY, ENTRY_KEY, hashKey } from "./kernel-programs.ts";

/** Bytes from one entry to the next: two cache lines. */
export const ENTRY_STRIDE = 128;

const KEY_WORDS = ENTRY_KEY.LENGTH / 4;

export class KernelEntries {
  private readonly mask: number;

  /**
   * @param words the table's memory: a power of two of entries, ENTRY_STRIDE bytes each
   * @param seed of the hash, as the program has it
   */
  constructor(
    private readonly words: Int32Array,
    private readonly seed: number,
  ) {
    this.mask = words.byteLength / ENTRY_STRIDE - 1;
  }

  /**
   * Puts a sealed entry in, in place of the one that has its key, or of one that does not hold.
   * @param generation the one that holds
   * @returns whether there was room
   */
  put(entry: DataView, generation: number): boolean {
    let place = this.find(entry);
    if (place < 0) place = this.findFree(entry, generation);
    if (place < 0) return false;
    const at = wordOf(place, 0);
    for (let i = 0; i < ENTRY.LENGTH / 4; i++) this.words[at + i] = entry.getInt32(4 * i, true);
    return true;
  }

  /** Takes out the entry with the key of this one, if there is one. */
  remove(entry: DataView): void {
    const place = this.find(entry);
    if (place >= 0) this.words[wordOf(place, ENTRY.GENERATION)] = 0;
  }

  /** @returns the place of the entry with the key of this one, or -1 */
  private find(entry: DataView): number {
    const place = this.firstPlace(entry);
    if (this.hasKey(place, entry)) return place;
    return this.hasKey(place ^ 1, entry) ? place ^ 1 : -1;
  }

  /** @returns the place of an entry that does not hold, where this one may be, or -1 */
  private findFree(entry: DataView, generation: number): number {
    const place = this.firstPlace(entry);
    if (this.generation(place) !== generation) return place;
    return this.generation(place ^ 1) !== generation ? place ^ 1 : -1;
  }

  private firstPlace(entry: DataView): number {
    return hashKey(this.seed, entry) & this.mask;
  }

  private hasKey(place: number, entry: DataView): boolean {
    for (let i = 0; i < KEY_WORDS; i++) {
      if (this.words[wordOf(place, ENTRY.KEY) + i] !== entry.getInt32(ENTRY.KEY + 4 * i, true)) return false;
    }
    return true;
  }

  private generation(place: number): number {
    return this.words[wordOf(place, ENTRY.GENERATION)];
  }
}

function wordOf(place: number, field: number): number {
  return (place * ENTRY_STRIDE + field) >> 2;
}
