// `size`: what there is to install, what an idle appliance uses of memory, and the least memory in which it boots and holds
// many flows.
import { statSync } from "node:fs";
import { SERVER } from "../tests/net/places.ts";
import type { Benchmark, Options } from "./benchmark.ts";
import { generator, received } from "./generate.ts";
import { Booted, firebreakImage, type Image, MACHINE_MAC } from "./machines.ts";
import { FIREBREAK } from "./subjects.ts";

const FILES = ["firebreak", "vmlinuz", "initramfs"];

/** MiB of memory: where an idle appliance is looked at, and what is tried, so far apart. */
const PLENTY = 256;
const LEAST = 48;
const STEP = 8;
/** ms in which it has to forward: some times what it takes with plenty of memory. */
const PATIENCE = 30_000;
/** Flows that it has to hold, and how many are opened a second: as many as an emulated machine keeps up with. */
const FLOWS = 10_000;
const FLOW_RATE = 2000;
/** ms after which it is at rest. */
const REST = 2000;

export const size: Benchmark = {
  summary: "sizes of what is built, memory of an idle appliance, the least memory that it boots in",
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

/** @returns the least memory, by bisection, in which the image boots, forwards and holds the flows */
async function leastMemory(image: Image, folder: string): Promise<number> {
  let too = LEAST - STEP;
  let enough = PLENTY;
  while (enough - too > STEP) {
    const middle = Math.round((enough + too) / 2 / STEP) * STEP;
    if (await forwards(image, folder, middle)) enough = middle;
    else too = middle;
  }
  return enough;
}

async function forwards(image: Image, folder: string, memory: number): Promise<boolean> {
  try {
    return await Booted.use(image, folder, memory, PATIENCE, async ({ client, internet }) => {
      const before = await received(internet);
      await client.run(generator(FLOWS, FLOW_RATE, (1000 * FLOWS) / FLOW_RATE, MACHINE_MAC.inside));
      await client.run(["ping", "-c", "3", "-i", "0.2", SERVER]);
      return (await received(internet)) - before >= FLOWS;
    });
  } catch {
    return false;
  }
}
