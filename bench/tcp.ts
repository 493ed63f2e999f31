// `tcp`: what iperf3 gets through: one stream and eight, with segmentation offload on all cables and without, both ways.
// `tcp6`: the same by IPv6, and by IPv4 beside.
import { type Benchmark, type Build, type Options, timedRounds } from "./benchmark.ts";
import type { Report } from "./report/report.ts";
import { caseName, type Family, IPV4, IPV6 } from "./subjects/families.ts";
import { LINUX, NULL, Stage, type Subject } from "./subjects/subjects.ts";

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
/** How Firebreak's ratio to nftables by IPv6 compares with the one that it has by IPv4 in the same round. */
const BETWEEN = "ratio to nftables by IPv6 ÷ by IPv4";

const CASES = [true, false].flatMap((offload) =>
  [1, 8].flatMap((streams) =>
    ["up", "down"].map((direction) => ({ offload, streams, direction, runs: offload && streams > 1 ? RUNS : 1 })),
  ),
);

type Case = (typeof CASES)[number];

function nameOf({ offload, streams, direction }: Case): string {
  return `${streams === 1 ? "1 stream" : `${streams} streams`} ${direction}, offload ${offload ? "on" : "off"}`;
}

export const tcp: Benchmark = benchmarkOf([IPV4]);
/** It takes twice the time. */
export const tcp6: Benchmark = benchmarkOf([IPV4, IPV6]);

function benchmarkOf(families: readonly Family[]): Benchmark {
  return {
    run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage, families), families),
  };
}

async function measure(report: Report, options: Options, stage: Stage, families: readonly Family[]): Promise<void> {
  const { builds } = options;
  const subjects = await stage.all(builds);
  for (const { internet } of subjects) {
    await internet.start(["iperf3", "--server", "--forceflush"]).says("listening");
  }
  for (const offload of [true, false]) {
    for (const subject of subjects) await subject.offload(offload);
    const share = families.length * (offload ? OFFLOAD_SHARE : 1 - OFFLOAD_SHARE);
    for (const _ of timedRounds(report, options, share)) {
      for (const one of CASES.filter((each) => each.offload === offload)) {
        for (const family of families) await measureRound(report, subjects, one, family, families);
        if (families.length > 1) compareFamilies(report, builds, one, families);
      }
    }
  }
  for (const one of CASES) claim(report, builds[0]?.name ?? "", one, families);
}

async function measureRound(
  report: Report,
  subjects: readonly Subject[],
  one: Case,
  family: Family,
  families: readonly Family[],
): Promise<void> {
  const sums = subjects.map(() => 0);
  for (let run = 0; run < one.runs; run++) {
    for (const [i, subject] of subjects.entries()) sums[i] = (sums[i] ?? 0) + (await throughput(subject, one, family));
  }
  const what = caseName(nameOf(one), family, families);
  for (const [i, { name }] of subjects.entries()) {
    report.add(what, METRIC, "Gbit/s", name, (sums[i] ?? 0) / one.runs / 1e9);
  }
}

/** Adds how the ratios of the last round compare. */
function compareFamilies(report: Report, builds: readonly Build[], one: Case, families: readonly Family[]): void {
  const last = (subject: string, family: Family): number =>
    report.find(caseName(nameOf(one), family, families), METRIC, subject)?.values.at(-1) ?? Number.NaN;
  const ratio = (subject: string, family: Family): number => last(subject, family) / last(LINUX, family);
  for (const { name } of builds) report.add(nameOf(one), BETWEEN, "", name, ratio(name, IPV6) / ratio(name, IPV4));
}

function claim(report: Report, firebreak: string, one: Case, families: readonly Family[]): void {
  for (const family of families) {
    const what = caseName(nameOf(one), family, families);
    report.claim(what, METRIC, firebreak, LINUX, one.offload ? { atLeast: 0.75 } : undefined);
    if (families.length === 1) report.claim(what, METRIC, firebreak, NULL);
  }
  if (families.length > 1) report.limit(nameOf(one), BETWEEN, firebreak, { atLeast: 0.95 });
}

/** What iperf3 says of an interval, all streams together. */
interface Interval {
  readonly sum: { readonly start: number; readonly seconds: number; readonly bytes: number };
}

/** @returns bits a second of payload, as the client has written or read them */
async function throughput({ client }: Subject, { streams, direction }: Case, { router }: Family): Promise<number> {
  const way = direction === "down" ? ["--reverse"] : [];
  const times = ["--time", String(SECONDS), "--interval", String(INTERVAL)];
  const output = await client.run([
    "iperf3",
    "--json",
    "--client",
    router,
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
