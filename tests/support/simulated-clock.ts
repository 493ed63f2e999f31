// A clock that only moves when a test moves it, and then as fast as the machine can.
import type { Clock } from "../../src/base/clock.ts";

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** Unix time when a clock begins, in seconds. */
export const EPOCH = 1_800_000_000;

export class SimulatedClock implements Clock {
  private time = 0;
  /** Seconds that the machine's time was set forward by, or back. */
  private offset = 0;
  private readonly timers = new Set<Timer>();

  now(): number {
    return this.time;
  }

  unixTime(): number {
    return EPOCH + this.offset + this.time / 1000;
  }

  /** Sets the machine's time forward, or back. */
  shift(seconds: number): void {
    this.offset += seconds;
  }

  after(delay: number, callback: () => void): () => void {
    const timer = { at: this.time + delay, callback };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  /** Settles after a delay. */
  sleep(delay: number): Promise<void> {
    return new Promise((resolve) => this.after(delay, resolve));
  }

  /** Lets so many ms go by: everything that is due happens, in its order, with all that follows from it. */
  async advance(duration: number): Promise<void> {
    const end = this.time + duration;
    await settle();
    for (let timer = this.next(end); timer !== undefined; timer = this.next(end)) {
      this.timers.delete(timer);
      this.time = Math.max(this.time, timer.at);
      timer.callback();
      await settle();
    }
    this.time = end;
  }

  /** Timers that have not gone off. */
  get pending(): number {
    return this.timers.size;
  }

  private next(end: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.timers) {
      if (timer.at <= end && (next === undefined || timer.at < next.at)) next = timer;
    }
    return next;
  }
}

/** Lets everything happen that waits for no timer. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
