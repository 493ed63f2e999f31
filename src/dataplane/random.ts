// Random numbers for ports: drawn in bulk from a source given by whoever owns the router, so that the appliance draws from
// the kernel's generator and replay from a seed.

const POOL_WORDS = 256;

export class RandomPool {
  private readonly words = new Uint32Array(POOL_WORDS);
  private used = POOL_WORDS;

  /** @param fill overwrites all words with random ones */
  constructor(private readonly fill: (words: Uint32Array) => void) {}

  /** @returns an unsigned 32-bit number */
  next(): number {
    if (this.used === POOL_WORDS) {
      this.fill(this.words);
      this.used = 0;
    }
    return this.words[this.used++];
  }

  /** @returns a number from 0 to limit - 1; limit at most 65536, so the bias of the multiplication stays below 2^-16 */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }
}
