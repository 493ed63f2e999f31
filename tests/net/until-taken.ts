// For tests of the kernel path on a machine that is busy: a firewall that did not get to run for a second has frames come to it, and so
// have flows of which one is still waiting for it. That is as it should be, and over once it runs.
import { expect } from "bun:test";
import type { FirewallLab, State } from "../../lab/firewall-lab.ts";

/**
 * Has frames sent, again and again until the kernel forwards all of them; none may be lost, nor forwarded twice, whichever way it
 * takes. A test whose frames the kernel never takes fails by its time limit.
 * @param count how many frames `send` has forwarded
 */
export async function untilTaken(lab: FirewallLab, count: number, send: () => Promise<void>): Promise<void> {
  for (let taken = 0; taken < count; ) {
    const before = await lab.state();
    await send();
    const after = await lab.state();
    const more = (name: "frames" | "kernelPath") => forwarded(after, name) - forwarded(before, name);
    expect(more("frames")).toBe(count);
    taken = more("kernelPath");
  }
}

function forwarded(state: State, name: "frames" | "kernelPath"): number {
  return state[name].get("forwarded") ?? 0;
}
