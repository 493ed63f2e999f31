// kernel-twins.ts INTERFACE… [scrubbed]: has the kernel path and the slow path forward the same frames, and prints how many; it
// ends with the difference where they differ. The interfaces are those that the kernel is told the frames come in on. Scrubbed:
// one client's packets are changed beside NAT.

import { Lab } from "../../../lab/router-lab.ts";
import { KernelLab, withInterfaces } from "../../support/kernel-lab.ts";
import { converse, PINNED, SCRUBBED, Twins } from "../../support/twins.ts";

const STEPS = 25_000;

const names = process.argv.slice(2).filter((word) => word !== "scrubbed");
const settings = withInterfaces(names.length < process.argv.length - 2 ? SCRUBBED : PINNED, names);
const kernel = new KernelLab(settings);
const twins = new Twins(kernel, new Lab({ settings, slow: true }));
const forwarded = converse(twins, STEPS, settings);
console.log(JSON.stringify({ frames: twins.frames, forwarded, byKernel: kernel.byKernel, byIface: kernel.byIface }));
