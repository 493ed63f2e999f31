// The router's time: the machine's, less what nobody saw go by. A thread that was stopped, a virtual machine that was paused, a
// clock that leaps: nobody could send in that time, so no flow ends by it; and one that goes back must not make time stand still.

/** Most that goes by from one look to the next, in ms: the thread looks each LONGEST_SLEEP, if it gets its turn. */
const LONGEST_STEP = 1000;

export class SteadyClock {
  private before: number;
  private time: number;

  /** @param machine the machine's clock, in ms */
  constructor(private readonly machine: () => number) {
    this.before = machine();
    this.time = this.before;
  }

  /** @returns ms, never going back, and at most LONGEST_STEP more than at the call before */
  now(): number {
    const seen = this.machine();
    const step = seen - this.before;
    this.before = seen;
    if (step > 0) this.time += Math.min(step, LONGEST_STEP);
    return this.time;
  }
}
