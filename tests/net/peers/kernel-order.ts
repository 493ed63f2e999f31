// kernel-order.ts INTERFACE… [ipv6]: which frames of a flow the kernel path's first program holds back, for those before it that
// went to the socket. For each kind of these prints whether a plain frame took the kernel path right behind one, whether when that
// was settled, and whether when the router had handled a plain one after that.

import { concat } from "../../../lab/frames.ts";
import {
  ah,
  DESTINATION,
  type Extension,
  extended6,
  fragment,
  HOP_BY_HOP,
  options,
  routing,
} from "../../../lab/frames6.ts";
import { WORK } from "../../../lab/router-lab.ts";
import { flowGiven } from "../../support/kernel-lab.ts";

const { lab, frame, isIpv6 } = flowGiven(process.argv.slice(2));

/** The frame of IPv6 with extension headers. */
const extended = (...extensions: readonly Extension[]): Uint8Array =>
  concat(frame.subarray(0, 14), extended6(frame.subarray(14), extensions));

const nothing = new Uint8Array(0);
const toDestination = options(DESTINATION, nothing);
const eight = Array<Extension>(7).fill(toDestination);

const kinds6: Record<string, () => Uint8Array> = {
  "no longer than its hop limit": () => frame.with(21, 1),
  "with an extension header": () => extended(toDestination),
  "with eight": () => extended(options(HOP_BY_HOP, nothing), ...eight),
  "with others": () => extended(ah(), routing(4, 0), toDestination),
  "an atomic fragment": () => extended(fragment(0, false)),
  "a first fragment": () => extended(fragment(0, true)),
  "a first fragment behind another header": () => extended(toDestination, fragment(0, true)),
  "a later fragment": () => extended(fragment(8, false)),
  "of another flow": () => frame.with(57, frame[57] ^ 1),
};

const firstFragment = frame.with(20, 0x20);
const kinds4: Record<string, Uint8Array> = {
  "no longer than its TTL": frame.with(22, 1),
  "with options": Uint8Array.of(
    ...frame.subarray(0, 14),
    0x46,
    ...frame.subarray(15, 34),
    1,
    1,
    1,
    0,
    ...frame.subarray(34),
  ),
  "a first fragment": firstFragment,
  "a later fragment": frame.with(21, 1),
  "of another flow": frame.with(37, frame[37] ^ 1),
};

const kinds = isIpv6 ? Object.fromEntries(Object.entries(kinds6).map(([what, make]) => [what, make()])) : kinds4;

const outcomes: Record<string, boolean[]> = {};
for (const [what, odd] of Object.entries(kinds)) {
  if (!lab.filter(WORK, frame)) throw new Error(`before one ${what} the flow does not take the kernel path`);
  if (lab.filter(WORK, odd)) throw new Error(`one ${what} takes the kernel path`);
  const behind = lab.filter(WORK, frame);
  lab.gate.settle(lab.gate.passed);
  const settled = lab.filter(WORK, frame);
  lab.receive(WORK, frame);
  outcomes[what] = [behind, settled, lab.filter(WORK, frame)];
}
console.log(JSON.stringify(outcomes));
