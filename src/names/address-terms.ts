// The addresses of one name, each for as long as it may be used: an answer's TTL and a time of grace behind it, so that
// names whose servers give out some addresses at a time (round robin) don't flap.

/** What happens to an address when its time is over while nobody can be asked whether the name still has it. */
export interface Grace {
  /** ms behind the TTL. */
  readonly usual: number;
  /** ms more while name servers don't answer (RFC 8767). */
  readonly unanswered: number;
}

export class AddressTerms {
  /** By address, the end of its TTL and usual grace. The oldest is first. */
  private readonly ends = new Map<number, number>();

  /** @param most addresses kept; the oldest go when there are more */
  constructor(
    private readonly grace: Grace,
    private readonly most: number,
  ) {}

  get addresses(): Iterable<number> {
    return this.ends.keys();
  }

  get size(): number {
    return this.ends.size;
  }

  has(address: number): boolean {
    return this.ends.has(address);
  }

  /** @param ttl, now ms */
  add(addresses: readonly number[], ttl: number, now: number): void {
    const end = now + ttl + this.grace.usual;
    for (const address of addresses) {
      const before = this.ends.get(address);
      this.ends.delete(address);
      this.ends.set(address, Math.max(end, before ?? 0));
    }
    for (const address of this.ends.keys()) {
      if (this.ends.size <= this.most) break;
      this.ends.delete(address);
    }
  }

  /**
   * Forgets addresses whose time is over.
   * @param unanswered whether name servers don't answer
   * @returns them
   */
  expire(now: number, unanswered: boolean): number[] {
    const limit = now - this.extra(unanswered);
    const expired = Array.from(this.ends).flatMap(([address, end]) => (end <= limit ? [address] : []));
    for (const address of expired) this.ends.delete(address);
    return expired;
  }

  /** @returns when the next address's time will be over; undefined without addresses */
  next(unanswered: boolean): number | undefined {
    if (this.ends.size === 0) return undefined;
    return Math.min(...this.ends.values()) + this.extra(unanswered);
  }

  private extra(unanswered: boolean): number {
    return unanswered ? this.grace.unanswered : 0;
  }
}
