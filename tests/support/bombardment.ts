// Hostile frames by the thousand into a router, each of whose doings is judged.
import { toHex } from "../../lab/frames.ts";
import type { Random } from "../../lab/random.ts";
import type { Lab } from "../../lab/router-lab.ts";
import type { SentFrame } from "../../src/dataplane/memory-ring.ts";
import { NO_FLOW } from "../../src/dataplane/types.ts";
import { VERDICT_NAMES } from "../../src/dataplane/verdict.ts";
import { checkMemory, checkSent } from "./hostile.ts";
import type { Sample } from "./samples.ts";

/** @throws Error when what was sent, for a frame that came in on that interface, should not have been */
export type Judge = (sent: SentFrame, received: Uint8Array, verdict: string, iface: number) => void;

/**
 * Gives the router hostile frames, and judges each of its doings: each has one verdict, what is forwarded has a flow, memory that
 * is nobody's business stays as it was.
 * @returns how many were forwarded
 */
export function bombard(
  lab: Lab,
  frames: number,
  next: () => Sample,
  random: Random,
  judge: Judge = checkSent,
): number {
  const { ring, router } = lab;
  const before = router.counters.reduce((a, b) => a + b);
  let forwarded = 0;
  for (let i = 0; i < frames; i++) {
    const { iface, frame } = next();
    const at = ring.put(frame);
    const verdict = VERDICT_NAMES[router.receive(iface, at, frame.length)];
    if (verdict === undefined) throw new Error("a verdict without a name");
    checkMemory(ring, at, frame.length, i % 1000 === 0);
    const sent = ring.takeSent();
    for (const one of sent) judge(one, frame, verdict, iface);
    if (verdict === "forwarded") {
      forwarded++;
      if (router.lastFlow === NO_FLOW) throw new Error(`forwarded, and of no flow:\n${toHex(frame)}`);
    }
    if (random.chance(0.001)) {
      lab.now += random.below(5000);
      router.advance(lab.now);
      for (const one of ring.takeSent()) judge(one, frame, "time", iface);
    }
  }
  const counted = router.counters.reduce((a, b) => a + b) - before;
  if (counted !== frames) throw new Error(`${frames} frames have ${counted} verdicts`);
  return forwarded;
}

/**
 * Lets all that there is time out.
 * @throws Error when a flow is left then, or an address in the book that a router without any flow does not have
 */
export function checkLeftovers(lab: Lab, addresses: number): void {
  for (let hour = 0; hour < 4; hour++) lab.leap(3_600_000);
  lab.wait(20_000);
  while (lab.router.isBusy) lab.leap(1000);
  const { flows, addresses: book } = lab.router;
  if (flows.size !== 0 || book.size !== addresses) {
    throw new Error(`left: ${flows.size} flows, ${book.size} addresses where there were ${addresses}`);
  }
}
