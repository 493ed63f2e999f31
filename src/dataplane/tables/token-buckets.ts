// Token buckets: each gains so many tokens a second up to a limit, and gives out one at a time. They are numbered from 0.

/** To multiply by: a division takes several times as long. */
const SECONDS_PER_MS = 1 / 1000;

export class TokenBuckets {
  private tokens = new Float64Array(0);
  /** When `tokens` were so many: ms of the clock. */
  private filled = new Float64Array(0);

  /** Has so many buckets at least; new ones are full. */
  grow(count: number): void {
    const { tokens, filled } = this;
    if (tokens.length >= count) return;
    this.tokens = new Float64Array(count).fill(Number.POSITIVE_INFINITY); // `take` knows how many that is
    this.filled = new Float64Array(count);
    this.tokens.set(tokens);
    this.filled.set(filled);
  }

  /**
   * @param perSecond tokens that the bucket gains, and `most` how many it holds
   * @param now ms of the clock
   * @param kept tokens that are not to be taken
   * @returns whether there was a token to take
   */
  take(bucket: number, perSecond: number, most: number, now: number, kept = 0): boolean {
    const gained = (now - this.filled[bucket]) * perSecond * SECONDS_PER_MS;
    const tokens = Math.min(most, this.tokens[bucket] + gained);
    const hasOne = tokens >= 1 + kept;
    this.filled[bucket] = now;
    this.tokens[bucket] = hasOne ? tokens - 1 : tokens;
    return hasOne;
  }
}
