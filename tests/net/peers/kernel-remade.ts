// kernel-remade.ts INTERFACE…: how many places of the kernel path's index some flows take, at first, and after an interface was made
// anew again and again, each time with another number.
import { payload, udp } from "../../../lab/frames.ts";
import { frameFrom, OUTSIDE, REMOTE, SETTINGS, UPLINK, WORK, WORK_HOST } from "../../../lab/router-lab.ts";
import { KernelLab, withInterfaces } from "../../support/kernel-lab.ts";
import { sentPort } from "../../support/nat.ts";

const FLOWS = 20;
const TIMES = 10;

const settings = withInterfaces(SETTINGS, process.argv.slice(2));
const lab = new KernelLab(settings);
const ways = Array.from({ length: FLOWS }, (_, i) => {
  const there = { source: WORK_HOST, sourcePort: 40_000 + i, destination: REMOTE, destinationPort: 9 };
  const frame = frameFrom(WORK_HOST, udp(there, payload(50)));
  for (let again = 0; again < 2; again++) lab.receive(WORK, frame);
  const back = { source: REMOTE, sourcePort: 9, destination: OUTSIDE, destinationPort: sentPort(lab) };
  return [frame, frameFrom(REMOTE, udp(back, payload(60)))];
}).flatMap(([there, back]) => [
  { iface: WORK, frame: there },
  { iface: UPLINK, frame: back },
]);
const handle = () => {
  for (const { iface, frame } of ways) for (let i = 0; i < 2; i++) lab.receive(iface, frame);
};

handle();
const first = lab.indexed;
for (let time = 1; time <= TIMES; time++) {
  const interfaces = settings.interfaces.map((one, i) =>
    i === WORK ? { ...one, index: one.index + 1000 * time } : one,
  );
  lab.apply({ ...settings, interfaces });
  handle();
}
console.log(JSON.stringify({ first, last: lab.indexed }));
