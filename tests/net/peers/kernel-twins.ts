// kernel-twins.ts INTERFACE…: has the kernel path and the slow path forward the same frames, and prints how many; it ends with
// the difference where they differ. The interfaces are those that the kernel is told the frames come in on.

import { Lab } from "../../../lab/router-lab.ts";
import { KernelLab, withInterfaces } from "../../support/kernel-lab.ts";
import { converse, PINNED, Twins } from "../../support/twins.ts";

const STEPS = 25_000;

const settings = withInterfaces(PINNED, process.argv.slice(2));
const kernel = new KernelLab(settings);
const twins = new Twins(kernel, new Lab({ settings, slow: true }));
const forwarded = converse(twins, STEPS, settings);
console.log(JSON.stringify({ frames: twins.frames, forwarded, byKernel: kernel.byKernel }));
