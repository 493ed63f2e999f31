// `size`: what there is to install, what an idle appliance uses of memory, and the least memory in which it boots and forwards,
// and what becomes of many new flows in little memory.
import { statSync } from "node:fs";
import type { Benchmark, Options } from "./benchmark.ts";
import { received } from "./load/generate.ts";
import { Booted, firebreakImage, type Image } from "./subjects/machines.ts";
import { FIREBREAK } from "./subjects/subjects.ts";

const FILES = ["firebreak", "vmlinuz", "initramfs"];

/** MiB of memory: where an idle appliance is looked at; and what is tried, so far apart. */
const PLENTY = 256;
const MOST = 128;
const LEAST = 72;
const STEP = 8;
/** ms in which it has to forward: some times what it takes with plenty of memory. */
const PATIENCE = 30_000;
/** Clients that open flows, flows that they open in all, and how many a second: about as many as an emulated machine keeps up with. */
const CLIENTS = 3;
const FLOWS = 10_000;
const FLOW_RATE = 2000;
/** MiB of memory in which that is tried. */
const MEMORIES = [96, 128, 256];
/** ms after which it is at rest. */
const REST = 2000;

export const size: Benchmark = {
  async run(report, { folder }: Options) {
    for (const file of FILES) {
      report.add("dist", `size of ${file}`, "MB", FIREBREAK, statSync(`dist/${file}`).size / 1e6);
    }
    report.add("dist", "image (vmlinuz + initramfs)", "MB", FIREBREAK, imageSize());
    report.limitExact("dist", "image (vmlinuz + initramfs)", FIREBREAK, { atMost: 45 });
    const image = firebreakImage(folder);
    report.add("appliance", "memory used at rest", "MiB", FIREBREAK, await usedAtRest(image, folder));
    report.add("appliance", "least memory", "MiB", FIREBREAK, await leastMemory(image, folder));
    report.limitExact("appliance", "least memory", FIREBREAK, { atMost: 96 });
    const serving = firebreakImage(folder, CLIENTS);
    for (const memory of MEMORIES) {
      const what = `of ${FLOWS} new flows of ${CLIENTS} clients forwarded`;
      report.add(`${memory} MiB`, what, "", FIREBREAK, await newFlows(serving, folder, memory));
    }
  },
};

/** Of what a user puts on a machine, in MB. */
function imageSize(): number {
  return (statSync("dist/vmlinuz").size + statSync("dist/initramfs").size) / 1e6;
}

async function usedAtRest(image: Image, folder: string): Promise<number> {
  return Booted.use(image, folder, PLENTY, PATIENCE, async (booted) => {
    await Bun.sleep(REST);
    return booted.memoryUsed();
  });
}

/** @returns the least memory of those tried, by bisection, in which the image boots and forwards */
async function leastMemory(image: Image, folder: string): Promise<number> {
  if (!(await forwards(image, folder, MOST))) throw new Error(`the image does not forward with ${MOST} MiB`);
  let too = LEAST - STEP;
  let enough = MOST;
  while (enough - too > STEP) {
    const middle = Math.round((enough + too) / 2 / STEP) * STEP;
    if (await forwards(image, folder, middle)) enough = middle;
    else too = middle;
  }
  return enough;
}

async function forwards(image: Image, folder: string, memory: number): Promise<boolean> {
  try {
    return await Booted.use(image, folder, memory, PATIENCE, async () => true);
  } catch {
    return false;
  }
}

/** @returns how many flows' first packets came out @throws Error when the image does not forward in time */
async function newFlows(image: Image, folder: string, memory: number): Promise<number> {
  return Booted.use(image, folder, memory, PATIENCE, async (booted) => {
    await Bun.sleep(REST);
    const before = await received(booted.internet);
    await booted.openFlows(FLOWS, FLOW_RATE);
    await Bun.sleep(REST);
    return (await received(booted.internet)) - before;
  });
}
