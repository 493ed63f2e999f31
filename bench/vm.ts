// `vm`: the bootable image beside a Linux that does the same with nftables and its flowtable on Debian's kernel, emulated.
import { ROUTER } from "../lab/places.ts";
import { type Benchmark, type Options, timedRounds } from "./benchmark.ts";
import type { Report } from "./report/report.ts";
import { Booted, firebreakImage, type Image, linuxImage } from "./subjects/machines.ts";
import { FIREBREAK, LINUX } from "./subjects/subjects.ts";

/** MiB of memory of each machine, and ms until it has to forward. */
const MEMORY = 256;
const PATIENCE = 60_000;
/** Flows opened, and how many a second: as many as an emulated machine keeps up with. */
const FLOWS = 10_000;
const FLOW_RATE = 4000;
const SECONDS = 2;

const WHAT = `${MEMORY} MiB, emulated`;
const BOOT = "boot to first packet forwarded";
const MEMORY_IDLE = "memory used after boot";
const MEMORY_BUSY = `memory used after ${FLOWS} flows`;
const THROUGHPUT = "TCP throughput";

export const vm: Benchmark = {
  async run(report, options: Options) {
    const { folder } = options;
    const images = new Map([
      [LINUX, linuxImage()],
      [FIREBREAK, firebreakImage(folder)],
    ]);
    for (const _ of timedRounds(report, options)) {
      for (const [name, image] of images) await measure(report, name, image, folder);
    }
    for (const metric of [BOOT, MEMORY_IDLE, MEMORY_BUSY, THROUGHPUT]) report.claim(WHAT, metric, FIREBREAK, LINUX);
    report.note("the Linux peer is a shell and the rules, far less than what is in a Linux firewall qube");
  },
};

async function measure(report: Report, name: string, image: Image, folder: string): Promise<void> {
  await Booted.use(image, folder, MEMORY, PATIENCE, async (booted) => {
    report.add(WHAT, BOOT, "s", name, booted.bootTime);
    await booted.internet.start(["iperf3", "--server", "--forceflush"]).says("listening");
    await Bun.sleep(1000);
    report.add(WHAT, MEMORY_IDLE, "MiB", name, await booted.memoryUsed());
    const iperf3 = ["iperf3", "--json", "--client", ROUTER, "--time", String(SECONDS), "--omit", "0.5"];
    const { end } = JSON.parse(await booted.client.run(iperf3));
    report.add(WHAT, THROUGHPUT, "Mbit/s", name, end.sum_received.bits_per_second / 1e6);
    await booted.openFlows(FLOWS, FLOW_RATE);
    report.add(WHAT, MEMORY_BUSY, "MiB", name, await booted.memoryUsed());
  });
}
