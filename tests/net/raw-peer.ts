// Sends frames as they are out of interfaces of a namespace, and tells every frame that comes in there afterwards.
import { peer } from "../../lab/firewall-lab.ts";
import type { Namespace, Program } from "../../lab/namespaces.ts";
import { fromJson, toJson, type WireFrame } from "./raw-links.ts";

export class RawPeer {
  private constructor(private readonly program: Program) {}

  /** @param names of interfaces that are up */
  static async start(namespace: Namespace, names: readonly string[]): Promise<RawPeer> {
    const program = namespace.start(peer("raw-links", ...names), "pipe");
    await program.says("ready\n");
    return new RawPeer(program);
  }

  /** @returns what came in after these frames were sent */
  async exchange(...frames: readonly WireFrame[]): Promise<WireFrame[]> {
    const said = this.program.text.length;
    this.program.type(`${toJson(frames)}\n`);
    await this.program.says("\n", said);
    return fromJson(this.program.text.slice(said));
  }
}
