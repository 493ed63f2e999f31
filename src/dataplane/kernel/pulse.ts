// The sign of life that the kernel path asks for. The filter lets every frame through to the socket once the dataplane's thread has
// not said for a second that it is alive: whoever hangs can't judge, nor hear of new rules, and nothing may pass without that.
import { monotonicTime } from "../../linux/clock.ts";
import { CONTROL, PULSE_SHIFT } from "./programs/layout.ts";

/** How long entries hold after a beat, in ns: far longer than from one to the next, for a thread that waits for a CPU is not hung. */
const HOLD = 1e9;

export class Pulse {
  /** @param control all of CONTROL */
  constructor(private readonly control: Int32Array) {}

  /** From now on entries hold for a while. @param hold ns */
  beat(hold = HOLD): void {
    // Modulo 2^32, as the filter compares.
    Atomics.store(this.control, CONTROL.ALIVE_UNTIL >> 2, Math.floor((monotonicTime() + hold) / 2 ** PULSE_SHIFT) | 0);
  }
}
