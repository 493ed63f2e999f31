// Work that is asked for by what others do, and so may be asked for without end: it is done soon while that is rare, and else a
// bounded number of times a second, each time once for all who have asked meanwhile.
import type { Clock } from "./clock.ts";

export interface PaceLimits {
  /** ms from the first who asks until the work begins, in which others ask for the same; 0: it begins at once. */
  readonly settle: number;
  /** So often it is done that soon, before its pace counts. */
  readonly burst: number;
  /** ms from one time to the next, on average. */
  readonly interval: number;
}

export class Pace {
  private credit: number;
  private creditedAt: number;
  private isRunning = false;
  private isAsked = false;
  private cancel: (() => void) | undefined;
  private isStopped = false;

  /** @param work never rejects; it is not begun before it has ended */
  constructor(
    private readonly clock: Clock,
    private readonly limits: PaceLimits,
    private readonly work: () => Promise<void> | void,
  ) {
    this.credit = limits.burst;
    this.creditedAt = clock.now();
  }

  /** Has the work done, from its beginning, at some time from now on. */
  ask(): void {
    if (this.isRunning) this.isAsked = true;
    if (this.isRunning || this.cancel !== undefined || this.isStopped) return;
    const wait = this.wait();
    if (wait === 0) void this.run();
    else this.cancel = this.clock.after(wait, () => this.run());
  }

  /** From now on nothing is begun. */
  stop(): void {
    this.isStopped = true;
    this.cancel?.();
  }

  /** Spends a credit. @returns ms until the work may begin */
  private wait(): number {
    const { settle, burst, interval } = this.limits;
    const now = this.clock.now();
    this.credit = Math.min(burst, this.credit + (now - this.creditedAt) / interval) - 1;
    this.creditedAt = now;
    return this.credit >= 0 ? settle : Math.max(settle, -this.credit * interval);
  }

  private async run(): Promise<void> {
    this.cancel = undefined;
    this.isRunning = true;
    await this.work();
    this.isRunning = false;
    if (!this.isAsked) return;
    this.isAsked = false;
    this.ask();
  }
}
