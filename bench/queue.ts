// `queue`: what a client notices of another's upload, where a slow line is beyond the firewall: round trips, with and without
// `[uplink] rate`; and what the upload gets.
import { QueueLab, RATE } from "../lab/queue-lab.ts";
import { type Benchmark, type Build, timedRounds } from "./benchmark.ts";
import type { Report } from "./report/report.ts";

/** ms, of a queue that is about to be full; and how many pings are looked at then. */
const FILLED = 400;
const PINGS = 100;
const SECONDS = 60;
const WHAT = "20 Mbit/s beyond, 16 streams";

export const queue: Benchmark = {
  async run(report, options) {
    for (const _ of timedRounds(report, options)) for (const build of options.builds) await measure(report, build);
  },
};

async function measure(report: Report, { name, executable }: Build): Promise<void> {
  const lab = new QueueLab("bench");
  try {
    await lab.build();
    for (const rate of [undefined, RATE]) {
      lab.configure(rate);
      if (rate === undefined) await lab.lab.start([executable]);
      else await lab.lab.reload();
      await measureRtt(report, lab, name, rate);
    }
  } finally {
    await lab.close();
  }
}

async function measureRtt(report: Report, lab: QueueLab, subject: string, rate: string | undefined): Promise<void> {
  const how = rate === undefined ? "no rate" : "rate";
  const add = (metric: string, unit: string, value = Number.NaN) =>
    report.add(`${WHAT}, ${how}`, metric, unit, subject, value);
  const upload = await lab.upload(lab.lab.client, SECONDS, "--parallel", "16");
  if (rate === undefined) for (let rtt = 0; rtt < FILLED; ) [rtt] = await lab.pings(lab.guest, 1);
  const before = await lab.received();
  const started = performance.now();
  const rtts = await lab.pings(lab.guest, PINGS);
  add("round trip p50", "ms", rtts[PINGS / 2]);
  add("round trip p99", "ms", rtts[PINGS - 2]);
  add("upload", "Mbit/s", ((await lab.received()) - before) / (performance.now() - started) / 125);
  upload.signal("SIGKILL");
  await upload.end();
}
