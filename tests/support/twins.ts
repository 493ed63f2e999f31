// Two routers that must do the same with the same frames, in the same state, by different ways. What they are given: twins4.ts, twins6.ts.
import { expect } from "bun:test";
import { type Lab, UPLINK } from "../../lab/router-lab.ts";

export interface Frame {
  readonly iface: number;
  readonly bytes: Uint8Array;
  readonly vnet?: Uint8Array;
}

export class Twins {
  frames = 0;

  /**
   * @param tried the router whose path is on trial
   * @param slow one whose frames all take the slow path
   */
  constructor(
    readonly tried: Lab,
    readonly slow: Lab,
  ) {
    for (const lab of [tried, slow]) lab.verifiesChecksums = false;
  }

  /** Has both do something. @throws where they differ */
  do<T>(what: string, act: (lab: Lab) => T): T {
    const [tried, slow] = [this.tried, this.slow].map((lab) => {
      const result = act(lab);
      // Whose part of the line they are on is asked of frames to the uplink.
      const shares = lab.last.filter(({ iface }) => iface === UPLINK).map(({ share }) => share);
      return { result, rule: lab.rule, flow: lab.flow, shares };
    });
    if (!Bun.deepEquals(tried, slow)) {
      throw new Error(`${what}: tried ${JSON.stringify(tried)}, slow path ${JSON.stringify(slow)}`);
    }
    return tried.result;
  }

  /** @returns whether both forwarded it, to the same place */
  receive(frame: Frame): boolean {
    this.frames++;
    const what = `${frame.iface} ${frame.vnet} ${frame.bytes}`;
    return this.do(what, (lab) => lab.receive(frame.iface, frame.bytes, frame.vnet)).verdict === "forwarded";
  }

  compareTables(): void {
    expect(this.tried.counts()).toEqual(this.slow.counts());
    const [tried, slow] = [this.tried, this.slow].map(({ router }) => router.flows.words);
    if (Buffer.compare(bytesOf(tried), bytesOf(slow)) !== 0) expect(tried).toEqual(slow);
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
