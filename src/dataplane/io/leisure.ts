// What the dataplane's thread does while no frames come, and only then, since a piece of it may take milliseconds: whole collections, and
// rehearsals. These are due at the start, and after each collection, with which the engine forgets what it has compiled.
import { totalmem } from "node:os";
import type { Collector } from "./collector.ts";
import { rehearsing } from "./rehearsal.ts";

/** ms without frames after which none are expected soon. */
const QUIET = 50;
/** Bytes of memory from which on machines have some to spare for it: what is compiled takes 6 MB, up to 13 when it is done again and again. */
const REHEARSAL_FROM = 256 * 1024 * 1024;

export class Leisure {
  private rehearsal: Generator<void> | undefined;

  /** @param memory of the machine, in bytes */
  constructor(
    private readonly collector: Collector,
    private readonly memory = totalmem(),
  ) {
    this.beginRehearsal();
  }

  /** @param silence ms since the last frame @returns whether there is something to do, and time for it */
  isNow(silence: number): boolean {
    return silence >= QUIET && (this.rehearsal !== undefined || this.collector.isWholeDue);
  }

  /** Does a piece of it. */
  step(): void {
    if (this.collector.isWholeDue) {
      this.collector.collectWhole();
      this.beginRehearsal();
    } else if (this.rehearsal?.next().done === true) {
      this.rehearsal = undefined;
      this.collector.begin();
    }
  }

  private beginRehearsal(): void {
    if (this.memory >= REHEARSAL_FROM) this.rehearsal = rehearsing();
  }
}
