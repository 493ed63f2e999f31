// The hash of what clients and the internet choose: addresses and ports. Who does not know its keys can't choose such that collide
// more often than any others.
//
// Each half of a word is multiplied by a key of its own, and the products are added: so two inputs that differ have sums that differ in a
// way that only the keys tell (multilinear hashing: Lemire and Kaser, "Strongly universal string hashing is fast", 2014). That takes
// halves, since of a product of 32 bits the highest bit tells of nothing but the word's highest bit, whatever the key. And it takes keys:
// in a hash of constants with one random number to begin with, a bit that is flipped in one word undoes one in another for every number.

/** How many numbers `KeyedHash` takes. */
const KEYS = 8;

/** Random numbers of 32 bits, which nobody outside may know: plain ones, that can be posted to another thread. */
export type HashKeys = readonly number[];

/** @param next gives numbers of 32 bits from a generator that can't be predicted */
export function drawHashKeys(next: () => number): HashKeys {
  return Array.from({ length: KEYS }, next);
}

export class KeyedHash {
  /** An odd number, that the sum is multiplied by: neighbours in the sum are none afterwards, as linear probing needs it. */
  static readonly LAST_FACTOR = 0x735a2d97;

  readonly start: number;
  /** What words are multiplied by, and what their upper halves are once more; all odd, since an even key would lose bits. */
  readonly a: number;
  readonly aUpper: number;
  readonly b: number;
  readonly bUpper: number;
  readonly c: number;
  readonly cUpper: number;
  readonly d: number;

  /** @param keys as drawHashKeys draws them */
  constructor(keys: HashKeys) {
    if (keys.length !== KEYS) throw new Error(`${keys.length} keys for a hash instead of ${KEYS}`);
    const [start, ...factors] = keys;
    this.start = start | 0;
    [this.a, this.aUpper, this.b, this.bUpper, this.c, this.cUpper, this.d] = factors.map((key) => key | 1);
  }

  /**
   * The kernel path's programs calculate the same: kernel/programs/filter.ts.
   * @param a, b, c words, of which somebody may choose all bits
   * @param d a number that nobody chooses many of
   * @returns 32 bits, any of which are fit to choose a place by
   */
  of(a: number, b: number, c: number, d: number): number {
    // Each sum is cut to 32 bits at once: of a sum of three the compiler may make a floating-point number first.
    let h = (this.start + Math.imul(d, this.d)) | 0;
    h = (h + Math.imul(a, this.a)) | 0;
    h = (h + Math.imul(a >>> 16, this.aUpper)) | 0;
    h = (h + Math.imul(b, this.b)) | 0;
    h = (h + Math.imul(b >>> 16, this.bUpper)) | 0;
    h = (h + Math.imul(c, this.c)) | 0;
    h = (h + Math.imul(c >>> 16, this.cUpper)) | 0;
    h = Math.imul(h ^ (h >>> 16), KeyedHash.LAST_FACTOR);
    return h ^ (h >>> 15);
  }
}
