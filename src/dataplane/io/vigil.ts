// What the dataplane's thread does to show that it is alive, and when control is not: it forwards nothing while control is silent,
// and when that hangs it leaves the interfaces as they were, in control's place, and ends the program.
import { libc } from "../../linux/libc.ts";
import { type InterfaceBefore, restoreInterface } from "../../linux/net/take.ts";
import { detachFromIngress } from "../../linux/net/tc.ts";
import type { Pulse } from "../kernel/pulse.ts";
import { CONTROL_INTERVAL, HUNG_AFTER, type Liveness, SILENT_AFTER } from "./liveness.ts";
import type { PacketSocket } from "./packet-sockets.ts";

const STANDARD_ERROR = 2;

/** What is to be undone in control's place. */
export interface Undoing {
  readonly sockets: readonly PacketSocket[];
  readonly before: readonly InterfaceBefore[];
}

export class Vigil {
  /** Of the settings in force. */
  undoing: Undoing;

  /**
   * @param pulse of the kernel path, where there is one
   * @param shut has the kernel forward nothing that is entered by now
   */
  constructor(
    private readonly liveness: Liveness,
    private readonly pulse: Pulse | undefined,
    private readonly shut: () => void,
    undoing: Undoing,
  ) {
    this.undoing = undoing;
  }

  /** To be called each DATAPLANE_INTERVAL. It returns when control is there. @param now ms */
  keep(now: number): void {
    const { liveness, pulse } = this;
    liveness.sign();
    let silence = liveness.silenceAt(now);
    if (silence >= SILENT_AFTER) this.shut();
    while (silence >= SILENT_AFTER) {
      if (silence >= HUNG_AFTER) this.end();
      liveness.sleep(CONTROL_INTERVAL);
      liveness.sign();
      silence = liveness.silenceAt(performance.now());
    }
    pulse?.beat();
  }

  private end(): void {
    const { sockets, before } = this.undoing;
    for (const { ingress } of sockets) if (ingress !== undefined) tryTo(() => detachFromIngress(ingress));
    for (const one of before) tryTo(() => restoreInterface(one));
    const words = new TextEncoder().encode("firebreak: the control thread hangs: ended\n");
    libc.write(STANDARD_ERROR, words, words.length);
    libc._exit(1);
  }
}

/** What can't be undone must not keep the rest from it. */
function tryTo(undo: () => void): void {
  try {
    undo();
  } catch {
    // There is nobody to tell.
  }
}
