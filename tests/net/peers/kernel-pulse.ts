// kernel-pulse.ts INTERFACE…: whether a frame of an open flow takes the kernel path: while the dataplane's thread says that it is alive;
// when the last time that it did is over; when it does again; when other rules have been announced, when they are in force, and
// when the flow has been entered anew.
import { WORK } from "../../../lab/router-lab.ts";
import { labWithFlow } from "../../support/kernel-lab.ts";

const { lab, frame } = labWithFlow(process.argv.slice(2));
const isTaken = () => {
  const taken = lab.filter(WORK, frame);
  lab.gate.settle(lab.gate.passed);
  return taken;
};
const outcomes: Record<string, boolean> = {};

lab.pulse.beat();
outcomes.alive = isTaken();
lab.pulse.beat(-1e9);
outcomes["no sign of life for a second"] = isTaken();
lab.receive(WORK, frame);
outcomes["the router has handled it meanwhile"] = isTaken();
lab.pulse.beat();
outcomes["alive again"] = isTaken();
lab.announcements.announce();
outcomes["other rules are announced"] = isTaken();
lab.receive(WORK, frame);
outcomes["the router has handled it meanwhile, by the old rules"] = isTaken();
lab.kernelPath.carryOut();
outcomes["they are in force"] = isTaken();
lab.receive(WORK, frame);
outcomes["the router has handled it since"] = isTaken();
console.log(JSON.stringify(outcomes));
