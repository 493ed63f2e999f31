// kernel-notes.ts INTERFACE… [ipv6]: what the kernel path's second program makes of a frame that is not the one the first has left its
// note about. Prints the fate of each, how many were counted as dropped, and when the flow is given back to the router for that.

import { LAN, WORK } from "../../../lab/router-lab.ts";
import { ENTRY_STRIDE } from "../../../src/dataplane/kernel/entries.ts";
import { ENTRY } from "../../../src/dataplane/kernel/programs/layout.ts";
import { flowGiven } from "../../support/kernel-lab.ts";

const { lab, frame, isIpv6 } = flowGiven(process.argv.slice(2));
/** Where in the frame addresses begin and ports end, and where its protocol is. */
const [begin, end, protocol] = isIpv6 ? [22, 58, 20] : [26, 38, 23];
const fates: Record<string, string> = {};

/** Leaves a note about the flow's frame, then has another one come in its place. */
function tryOther(what: string, other: Uint8Array, iface = WORK): void {
  if (!lab.filter(WORK, frame)) throw new Error(`before ${what} the flow's frame does not take the kernel path`);
  fates[what] = lab.forward(iface, other);
  for (let at = ENTRY.LOST; at < lab.entries.length; at += ENTRY_STRIDE) lab.entries.fill(0, at, at + 4);
}

function changed(at: number): Uint8Array {
  return frame.with(at, frame[at] ^ 1);
}

for (let at = begin; at < end; at++) tryOther(`byte ${at}: an address or a port`, changed(at));
tryOther("another protocol", frame.with(protocol, 6));
tryOther("one that differs by a bit", frame.with(protocol, frame[protocol] ^ 0x80));
tryOther("another interface", frame, LAN);
tryOther("a byte less", frame.subarray(0, -1));
tryOther("the frame itself", frame);
fates["the frame again, without a note"] = lab.forward(WORK, frame);
if (lab.filter(WORK, frame) && !lab.filter(WORK, changed(end - 1))) {
  fates["the frame, after another one has gone to the socket"] = lab.forward(WORK, frame);
}
const { failed } = lab;

/** @returns whether the flow's frame takes the kernel path; where it does not, the router would enter it again */
function isTaken(): boolean {
  const before = lab.byKernel;
  lab.receive(WORK, frame);
  return lab.byKernel > before;
}

/** @returns how many frames the flow loses before it is given back */
function lose(): number {
  for (let losses = 0; losses < 100; losses++) {
    if (!lab.filter(WORK, frame)) return losses;
    lab.forward(WORK, changed(end - 1));
  }
  return Number.POSITIVE_INFINITY;
}

const losses = lose();
const taken = [isTaken(), isTaken(), isTaken()];
const { nat } = lab.settings;
lab.apply({ ...lab.settings, nat: { ...nat, timeouts: { ...nat.timeouts, tcpOpening: 1 + nat.timeouts.tcpOpening } } });
const takenAnew = [isTaken(), isTaken()];
console.log(JSON.stringify({ fates, failed, losses, taken, takenAnew, lossesAnew: lose() }));
