// Whether bytes and packets of flows are counted: from when somebody asks for them until nobody has for a while.
import type { Clock } from "../../base/clock.ts";

/** ms that flows are counted beyond the last who asked: who asks now and then is to see the same numbers go on. */
export const GOES_ON = 60_000;

/** How it is begun and ended (dataplane-thread.ts). */
export interface CountingThread {
  /** @returns memory of the counts */
  beginCounting(): Promise<Int32Array>;
  endCounting(): Promise<void>;
}

export class FlowCounting {
  /** Memory of the counts, while they are. */
  words: Int32Array | undefined;
  /** One change at a time: settles when the last is over, however it went. */
  private turn: Promise<unknown> = Promise.resolve();
  private asked = 0;
  private cancel = () => {};

  constructor(
    private readonly thread: CountingThread,
    private readonly clock: Clock,
  ) {}

  /** Somebody asks: settles when flows are counted, which they are for a while from now on. */
  async ask(): Promise<void> {
    this.asked = this.clock.now();
    const begun = this.turn.then(() => this.begin());
    this.turn = begun.catch(() => {}); // whoever asks is told
    await begun;
  }

  stop(): void {
    this.cancel();
  }

  private async begin(): Promise<void> {
    if (this.words !== undefined) return;
    this.words = await this.thread.beginCounting();
    this.watch(GOES_ON);
  }

  private watch(delay: number): void {
    this.cancel = this.clock.after(delay, () => {
      const left = this.asked + GOES_ON - this.clock.now();
      if (left > 0) this.watch(left);
      else this.turn = this.turn.then(() => this.end()).catch(() => {}); // a thread that died is reported by itself
    });
  }

  private async end(): Promise<void> {
    if (this.asked + GOES_ON > this.clock.now()) {
      this.watch(GOES_ON);
      return;
    }
    this.words = undefined;
    await this.thread.endCounting();
  }
}
