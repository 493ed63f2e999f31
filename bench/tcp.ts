// `tcp`: what iperf3 gets through: one stream and eight, with segmentation offload on all cables and without, both ways.

import { ROUTER } from "../lab/places.ts";
import { type Benchmark, type Options, timedRounds } from "./benchmark.ts";
import type { Report } from "./report.ts";
import { LINUX, NULL, Stage, type Subject } from "./subjects.ts";

const SECONDS = 1;
/** Of these, left out at the beginning, while the window opens. iperf3 itself leaves out whole seconds only. */
const OMITTED = 0.2;
const INTERVAL = 0.1;
/**
 * Runs that make a round with many streams: on few cores these settle at once on which core does whose work, well or badly, and
 * stay with it to the end, so that a run twice as long would say no more. A round is the mean of its runs.
 */
const RUNS = 2;
/** What share of the time the rounds with offload have. */
const OFFLOAD_SHARE = 0.6;
const METRIC = "throughput";

const CASES = [true, false].flatMap((offload) =>
  [1, 8].flatMap((streams) =>
    ["up", "down"].map((direction) => ({ offload, streams, direction, runs: offload && streams > 1 ? RUNS : 1 })),
  ),
);

type Case = (typeof CASES)[number];

function nameOf({ offload, streams, direction }: Case): string {
  return `${streams === 1 ? "1 stream" : `${streams} streams`} ${direction}, offload ${offload ? "on" : "off"}`;
}

export const tcp: Benchmark = {
  run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage)),
};

async function measure(report: Report, options: Options, stage: Stage): Promise<void> {
  const { builds } = options;
  const subjects = await stage.all(builds);
  for (const { internet } of subjects) {
    await internet.start(["iperf3", "--server", "--forceflush"]).says("listening");
  }
  for (const offload of [true, false]) {
    for (const subject of subjects) await subject.offload(offload);
    for (const _ of timedRounds(report, options, offload ? OFFLOAD_SHARE : 1 - OFFLOAD_SHARE)) {
      for (const one of CASES.filter((each) => each.offload === offload)) await measureRound(report, subjects, one);
    }
  }
  for (const one of CASES) {
    const [firebreak = ""] = builds.map(({ name }) => name);
    report.claim(nameOf(one), METRIC, firebreak, LINUX, one.offload ? { atLeast: 0.75 } : undefined);
    report.claim(nameOf(one), METRIC, firebreak, NULL);
  }
}

async function measureRound(report: Report, subjects: readonly Subject[], one: Case): Promise<void> {
  const sums = subjects.map(() => 0);
  for (let run = 0; run < one.runs; run++) {
    for (const [i, subject] of subjects.entries()) sums[i] = (sums[i] ?? 0) + (await throughput(subject, one));
  }
  for (const [i, { name }] of subjects.entries()) {
    report.add(nameOf(one), METRIC, "Gbit/s", name, (sums[i] ?? 0) / one.runs / 1e9);
  }
}

/** What iperf3 says of an interval, all streams together. */
interface Interval {
  readonly sum: { readonly start: number; readonly seconds: number; readonly bytes: number };
}

/** @returns bits a second of payload, as the client has written or read them */
async function throughput({ client }: Subject, { streams, direction }: Case): Promise<number> {
  const way = direction === "down" ? ["--reverse"] : [];
  const times = ["--time", String(SECONDS), "--interval", String(INTERVAL)];
  const output = await client.run([
    "iperf3",
    "--json",
    "--client",
    ROUTER,
    "--parallel",
    String(streams),
    ...times,
    ...way,
  ]);
  const intervals: readonly Interval[] = JSON.parse(output).intervals;
  const counted = intervals.map(({ sum }) => sum).filter(({ start }) => start > OMITTED - INTERVAL / 2);
  const sumOf = (field: "bytes" | "seconds") => counted.reduce((sum, interval) => sum + interval[field], 0);
  return (8 * sumOf("bytes")) / sumOf("seconds");
}
