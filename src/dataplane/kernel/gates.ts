// Order between the two ways that frames of a flow take: a frame that the kernel forwards must not overtake one that has gone to the
// socket before it. So the filter counts the frames of each socket that it lets through, and marks a flow's entry with the count
// of its last one (ENTRY.LAST). This thread says up to which count all are sent on, or dropped. The kernel forwards only frames
// of entries whose mark that has passed. Nobody waits for anybody.
import { CONTROL, GATE } from "./programs/layout.ts";

/** One socket's counts, in memory that the filter shares. */
export class Gate {
  private readonly passedAt: number;
  private readonly settledAt: number;

  /** @param control all of CONTROL @param number of the gate */
  constructor(
    private readonly control: Int32Array,
    number: number,
  ) {
    const at = CONTROL.GATES + number * GATE.STRIDE;
    this.passedAt = (at + GATE.PASSED) >> 2;
    this.settledAt = (at + GATE.SETTLED) >> 2;
  }

  /** Frames that were let through to the socket: some may be on their way still. */
  get passed(): number {
    return Atomics.load(this.control, this.passedAt);
  }

  get settled(): number {
    return Atomics.load(this.control, this.settledAt);
  }

  /** All frames are sent on or dropped that were counted when `passed` was this. */
  settle(passed: number): void {
    Atomics.store(this.control, this.settledAt, passed);
  }

  /** For a new socket. */
  reset(): void {
    Atomics.store(this.control, this.passedAt, 0);
    this.settle(0);
  }
}
