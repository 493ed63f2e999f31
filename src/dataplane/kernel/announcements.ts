// New rules and settings are announced before they are posted: from that moment on no entry of those whom they are about holds, however
// long the dataplane's thread takes to get to them, and it enters none before it has. Meanwhile their frames go to the socket, where
// they wait behind each other as ever, and flows that the new rules allow are entered anew.
import { type Concerned, EVERYBODY } from "../concerned.ts";
import { Dependencies } from "./dependencies.ts";
import { CONTROL, SHUT } from "./programs/layout.ts";

/** Has no entry hold any more. @param control all of CONTROL */
export function beginGeneration(control: Int32Array): void {
  const at = CONTROL.GENERATION >> 2;
  // What stands for none, and for a shut entry, is no generation's number.
  for (let generation = SHUT; generation === SHUT || generation === 0; )
    generation = (Atomics.add(control, at, 1) + 1) | 0;
}

export class Announcements {
  private carriedOut = 0;

  private readonly dependencies: Dependencies;

  /** @param control all of CONTROL */
  constructor(private readonly control: Int32Array) {
    this.dependencies = new Dependencies(control);
  }

  /** Control: a command that changes what may pass is posted next. @param concerned for whom */
  announce(concerned: Concerned = EVERYBODY): void {
    Atomics.add(this.control, CONTROL.ANNOUNCED >> 2, 1); // first: who sees the new generation is to see that it is not yet his
    if (concerned === EVERYBODY) beginGeneration(this.control);
    else for (const client of concerned) this.dependencies.clientChanged(client);
  }

  /** The dataplane's thread: such a command has been carried out, or refused. */
  carryOut(): void {
    this.carriedOut = (this.carriedOut + 1) | 0;
  }

  /** The dataplane's thread: whether one has not been yet. To be looked at after the generation and the client's count. */
  get arePending(): boolean {
    return Atomics.load(this.control, CONTROL.ANNOUNCED >> 2) !== this.carriedOut;
  }
}
