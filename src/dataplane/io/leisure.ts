// What the dataplane's thread does while no frames come, since a piece of it may take milliseconds: it collects what commands have left, and
// at the start it rehearses.
import { totalmem } from "node:os";
import type { Collector } from "./collector.ts";
import { rehearsing } from "./rehearsal.ts";

/** ms without frames after which none are expected soon. */
const QUIET = 10;
/** Bytes of memory from which on machines have some to spare for a rehearsal: what is compiled takes 6 MB. */
const REHEARSAL_FROM = 256 * 1024 * 1024;

export class Leisure {
  private rehearsal: Generator<void> | undefined;

  /** @param memory of the machine, in bytes */
  constructor(
    private readonly collector: Collector,
    memory = totalmem(),
  ) {
    if (memory >= REHEARSAL_FROM) this.rehearsal = rehearsing();
  }

  /** @param silence ms since the last frame @returns whether there is something to do, and time for it */
  isNow(silence: number): boolean {
    const { rehearsal, collector } = this;
    return silence >= QUIET && (rehearsal !== undefined || collector.isWholeDue || collector.isWorthwhile);
  }

  /** Does a piece of it. */
  step(): void {
    if (this.collector.isWholeDue) {
      this.collector.collectWhole();
    } else if (this.collector.isWorthwhile) {
      this.collector.begin();
    } else if (this.rehearsal?.next().done === true) {
      this.rehearsal = undefined;
      this.collector.begin();
    }
  }
}
