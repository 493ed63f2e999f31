// New rules and settings are announced before they are posted: from that moment on no entry holds, however long the dataplane's
// thread takes to get to them, and it enters none before it has. Meanwhile all frames go to the socket, where they wait
// behind each other as ever, and flows that the new rules allow are entered anew.
import { CONTROL, SHUT } from "./layout.ts";

/** Has no entry hold any more. @param control all of CONTROL */
export function beginGeneration(control: Int32Array): void {
  const at = CONTROL.GENERATION >> 2;
  // What stands for none, and for a shut entry, is no generation's number.
  for (let generation = SHUT; generation === SHUT || generation === 0; )
    generation = (Atomics.add(control, at, 1) + 1) | 0;
}

export class Announcements {
  private carriedOut = 0;

  /** @param control all of CONTROL */
  constructor(private readonly control: Int32Array) {}

  /** Control: a command that changes what may pass is posted next. */
  announce(): void {
    Atomics.add(this.control, CONTROL.ANNOUNCED >> 2, 1); // first: who sees the new generation is to see that it is not yet his
    beginGeneration(this.control);
  }

  /** The dataplane's thread: such a command has been carried out, or refused. */
  carryOut(): void {
    this.carriedOut = (this.carriedOut + 1) | 0;
  }

  /** The dataplane's thread: whether one has not been yet. Of two looks, at this and at the generation, this is the second. */
  get arePending(): boolean {
    return Atomics.load(this.control, CONTROL.ANNOUNCED >> 2) !== this.carriedOut;
  }
}
