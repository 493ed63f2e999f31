// Random numbers from a seed, for tests that try many inputs and must try the same ones each time.

export class Random {
  constructor(private state: number) {}

  /** @returns an unsigned 32-bit number (mulberry32). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let word = this.state;
    word = Math.imul(word ^ (word >>> 15), word | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return (word ^ (word >>> 14)) >>> 0;
  }

  /** @returns a number from 0 to limit - 1. */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }

  chance(probability: number): boolean {
    return this.next() / 2 ** 32 < probability;
  }

  /** @param from what isn't empty */
  pick<T>(from: ArrayLike<T>): T {
    return from[this.below(from.length)] as T;
  }
}
