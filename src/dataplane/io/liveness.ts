// Control and the dataplane's thread each look whether the other is alive: by counters in memory that they share, which each of
// them moves now and then. Without the dataplane's thread nobody judges; without control no rule expires, no name follows and
// no signal is heard. So either of them, when the other hangs, leaves nothing open and ends the program.

/** Memory for both counters. */
export const LIVENESS_LENGTH = 8;
export const CONTROL_SIGN = 0;
export const DATAPLANE_SIGN = 1;

/** ms between two signs of control. */
export const CONTROL_INTERVAL = 100;
/** Likewise of the dataplane's thread, at least; when nothing comes in it sleeps so long that they are up to 150 ms apart. */
export const DATAPLANE_INTERVAL = 50;

/** ms of silence after which the dataplane's thread forwards nothing: a second after control's last sign, at the latest. */
export const SILENT_AFTER = 800;
/** Likewise after which the program ends. Far longer than whatever control does at once takes on an emulated machine. */
export const HUNG_AFTER = 10_000;
/**
 * Likewise for a dataplane's thread that is not ready yet: its engine starts, its code is compiled, the kernel path is tried. That
 * takes half a second here, and half a minute on an emulated machine among twenty busy ones. Nothing passes meanwhile.
 */
export const START_PATIENCE = 120_000;

/** ms: of the time between two looks no more counts. The one who looks may have been stopped, and all of the program with him. */
const LONGEST_LOOK = 200;

export class Liveness {
  /** Of the other. */
  private seen = 0;
  private looked = 0;
  private silence = 0;

  /** @param mine, theirs the numbers of the counters */
  constructor(
    private readonly signs: Int32Array,
    private readonly mine: number,
    private readonly theirs: number,
  ) {}

  /** I am alive. */
  sign(): void {
    Atomics.add(this.signs, this.mine, 1);
  }

  /** @param now ms of a monotonic clock @returns ms for which the other has given no sign, as far as this one has been there to see */
  silenceAt(now: number): number {
    const sign = Atomics.load(this.signs, this.theirs);
    this.silence = sign === this.seen ? this.silence + Math.min(now - this.looked, LONGEST_LOOK) : 0;
    this.seen = sign;
    this.looked = now;
    return this.silence;
  }

  /** Sleeps until the next look. @param ms */
  sleep(ms: number): void {
    Atomics.wait(this.signs, this.theirs, this.seen, ms);
  }
}
