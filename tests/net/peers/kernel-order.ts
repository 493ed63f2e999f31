// kernel-order.ts INTERFACE…: which frames of a flow the kernel path's first program holds back, for those before it that went to the
// socket. For each kind of these prints whether a plain frame took the kernel path right behind one, whether when that was settled,
// and whether when the router had handled a plain one after that.
import { WORK } from "../../../lab/router-lab.ts";
import { labWithFlow } from "../../support/kernel-lab.ts";

const { lab, frame } = labWithFlow(process.argv.slice(2));

const firstFragment = frame.with(20, 0x20);
const kinds: Record<string, Uint8Array> = {
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
