// Lets dom0 read in QubesDB what we support, by calling its service for that. Dom0 may refuse, give up in mid-call or go:
// it is asked again until it has answered once, each time after a longer pause.
import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import type { Answer } from "./qrexec-calls.ts";

/** Until dom0 is asked again, in ms: at first, and at most. */
export const RETRY = { first: 5_000, most: 600_000 };

export class FeatureRequest {
  private isAsking = false;
  private callOff = () => {};

  /**
   * @param call makes the call; undefined when it can't be made now: whoever makes it possible starts again
   * @param say takes a line about a failure
   */
  constructor(
    private readonly call: () => Promise<Answer> | undefined,
    private readonly say: (line: string) => void,
    private readonly clock: Clock = MACHINE_CLOCK,
  ) {}

  /** What dom0 is to read is new, or dom0 is. A request that is under way will do. */
  start(): void {
    this.callOff();
    void this.ask(RETRY.first);
  }

  stop(): void {
    this.callOff();
  }

  private async ask(pause: number): Promise<void> {
    if (this.isAsking) return;
    const asked = this.call();
    if (asked === undefined) return;
    this.isAsking = true;
    try {
      const { status } = await asked;
      if (status !== 0) throw new Error(`dom0's service ended with status ${status}`);
    } catch (error) {
      this.say(`features not announced: ${error instanceof Error ? error.message : String(error)}`);
      this.callOff = this.clock.after(pause, () => void this.ask(Math.min(2 * pause, RETRY.most)));
    } finally {
      this.isAsking = false;
    }
  }
}
