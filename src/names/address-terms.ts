// The addresses of one name, each for as long as it may be used: an answer's TTL and a time of grace behind it, so that
// names whose servers give out some addresses at a time (round robin) don't flap.

import { formatIp, type IpAddress } from "../base/ip.ts";

/** What happens to an address when its time is over while nobody can be asked whether the name still has it. */
export interface Grace {
  /** ms behind the TTL. */
  readonly usual: number;
  /** ms more while name servers don't answer (RFC 8767). */
  readonly unanswered: number;
}

/** An address, and the end of its TTL and usual grace. */
interface Term {
  readonly address: IpAddress;
  readonly end: number;
}

export class AddressTerms {
  /** By the address's text. The oldest is first. */
  private readonly terms = new Map<string, Term>();

  /** @param most addresses kept; the oldest go when there are more */
  constructor(
    private readonly grace: Grace,
    private readonly most: number,
  ) {}

  get addresses(): IpAddress[] {
    return Array.from(this.terms.values(), ({ address }) => address);
  }

  get size(): number {
    return this.terms.size;
  }

  has(address: IpAddress): boolean {
    return this.terms.has(formatIp(address));
  }

  /** @param ttl, now ms */
  add(addresses: readonly IpAddress[], ttl: number, now: number): void {
    const end = now + ttl + this.grace.usual;
    for (const address of addresses) {
      const key = formatIp(address);
      const before = this.terms.get(key);
      this.terms.delete(key);
      this.terms.set(key, { address, end: Math.max(end, before?.end ?? 0) });
    }
    for (const key of this.terms.keys()) {
      if (this.terms.size <= this.most) break;
      this.terms.delete(key);
    }
  }

  /**
   * Forgets addresses whose time is over.
   * @param unanswered whether name servers don't answer
   * @returns how many they were
   */
  expire(now: number, unanswered: boolean): number {
    const limit = now - this.extra(unanswered);
    const expired = [...this.terms].filter(([, { end }]) => end <= limit);
    for (const [key] of expired) this.terms.delete(key);
    return expired.length;
  }

  /** @returns when the next address's time will be over; undefined without addresses */
  next(unanswered: boolean): number | undefined {
    if (this.terms.size === 0) return undefined;
    return Math.min(...Array.from(this.terms.values(), ({ end }) => end)) + this.extra(unanswered);
  }

  private extra(unanswered: boolean): number {
    return unanswered ? this.grace.unanswered : 0;
  }
}
