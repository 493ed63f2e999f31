// Who may have how many calls of qrexec's under way at a time. Where all places are taken, the domain that has most gives
// way to one that has less: so whoever calls, and however much, another domain always has its part.
import type { Clock } from "../base/clock.ts";

/** Calls at a time. XenStore allows a domain 128 watches, and each call that waits for its partner has one. */
const MOST_CALLS = 64;
/** How long a call may take until its answer begins, and then until the next piece of it is read, in ms. The Linux agent waits as
 * long for the partner. */
export const CALL_LIMIT = 120_000;

/** A call that is under way: its signal ends it. */
export class RunningCall {
  private readonly controller = new AbortController();
  private readonly over = Promise.withResolvers<void>();
  private callOff = () => {};
  /** Whether its partner has come. */
  met = false;
  /** Whether there is nothing that the partner should take: then its limit does not end it. */
  isIdle: () => boolean = () => false;

  /** @param domain the partner's */
  constructor(
    readonly domain: number,
    private readonly clock: Clock,
  ) {
    this.prolong();
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Its limit begins anew. */
  prolong(): void {
    this.callOff();
    this.callOff = this.clock.after(CALL_LIMIT, () => {
      if (this.isIdle()) this.prolong();
      else this.abort(`no answer within ${CALL_LIMIT / 1000} s`);
    });
  }

  abort(reason: string): void {
    this.callOff();
    this.controller.abort(new Error(`qrexec: ${reason}`));
  }

  /** Settles once it has ended. */
  get ended(): Promise<void> {
    return this.over.promise;
  }

  /** Its answer is with its partner, or it has failed. */
  end(): void {
    this.callOff();
    this.over.resolve();
  }
}

export class CallPlaces {
  /** Oldest first. */
  private readonly calls = new Set<RunningCall>();

  constructor(private readonly most = MOST_CALLS) {}

  /**
   * Gives a call a place, maybe that of another, which ends.
   * @returns false where there is none: its domain has its part, and all of that is in use
   */
  take(call: RunningCall): boolean {
    if (this.calls.size >= this.most) {
      const victim = this.victimOf(call.domain);
      if (victim === undefined) return false;
      this.calls.delete(victim);
      victim.abort("too many calls");
    }
    this.calls.add(call);
    return true;
  }

  leave(call: RunningCall): void {
    this.calls.delete(call);
  }

  /** Ends those that wait for their partner still. @returns them: they end when nothing is left of them */
  endWaiting(reason: string): RunningCall[] {
    const waiting = [...this.calls].filter(({ met }) => !met);
    for (const call of waiting) call.abort(reason);
    return waiting;
  }

  /**
   * Of the domain with most calls, if it has at least two more than this one, the call that has waited longest for its partner,
   * or else the oldest. Else of this domain's own, but only one that waits.
   */
  private victimOf(domain: number): RunningCall | undefined {
    const counts = new Map<number, number>();
    for (const call of this.calls) counts.set(call.domain, (counts.get(call.domain) ?? 0) + 1);
    const [[greediest, most] = [domain, 0]] = [...counts].sort(([, one], [, other]) => other - one);
    const isPoor = (counts.get(domain) ?? 0) + 1 < most;
    const candidates = [...this.calls].filter((call) => call.domain === (isPoor ? greediest : domain));
    return candidates.find(({ met }) => !met) ?? (isPoor ? candidates[0] : undefined);
  }
}
