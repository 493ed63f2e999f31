// `rtt`: how long a small datagram takes there and back, at rest and while half of what Linux can forward goes through beside.

import type { Namespace } from "../lab/namespaces.ts";
import { ROUTER } from "../lab/places.ts";
import { type Benchmark, type Options, timedRounds } from "./benchmark.ts";
import { discard, generator, send } from "./load/generate.ts";
import type { Report } from "./report/report.ts";
import { LINUX, NULL, Stage, type Subject } from "./subjects/subjects.ts";

const SECONDS = 2;
const PORT = 11111;
/** Flows beside, and how long they are sent while the datagrams go, in ms: a little longer. */
const FLOWS = 1000;
const BESIDE = (SECONDS + 1) * 1000;

/** Times that sockperf, which now and then finds no observation of its own valid, is asked. */
const ATTEMPTS = 3;

const PERCENTILES = ["50", "99", "99.9"] as const;
const BARS: ReadonlyMap<string, number> = new Map([
  ["50", 1.5],
  ["99", 2],
]);

export const rtt: Benchmark = {
  run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage)),
};

async function measure(report: Report, options: Options, stage: Stage): Promise<void> {
  const { builds } = options;
  const subjects = await stage.all(builds);
  for (const { internet } of subjects) {
    await discard(internet, "eth0");
    await serveRoundTrips(internet);
  }
  const half = await halfOfLinux(subjects);
  const cases = [
    { name: "at rest", rate: 0 },
    { name: "under half load", rate: half },
  ];
  for (const _ of timedRounds(report, options)) {
    for (const { name, rate } of cases) for (const subject of subjects) await roundTrips(report, name, subject, rate);
  }
  for (const { name } of cases) claim(report, name, builds[0]?.name ?? "");
  report.note(`half load: ${half} packets/s`);
}

/** @returns half of the packets a second that come out of Linux when as many as go are sent */
async function halfOfLinux(subjects: readonly Subject[]): Promise<number> {
  const linux = subjects.find(({ name }) => name === LINUX);
  if (linux === undefined) throw new Error("nothing to compare with");
  const { arrived, seconds } = await send(linux, FLOWS, 0, 1000);
  return Math.round(arrived / seconds / 2);
}

/** Answers the datagrams of `roundTrips`. @param placed what its command line begins with */
export function serveRoundTrips(internet: Namespace, placed: readonly string[] = []): Promise<void> {
  return internet.start([...placed, "sockperf", "server", "-i", ROUTER, "-p", String(PORT)]).says("using recvfrom");
}

/** Measures round trips. @param rate packets a second that are sent beside, with SECONDS @param placed what its command line begins with */
export async function roundTrips(
  report: Report,
  what: string,
  { name, client }: Pick<Subject, "name" | "client">,
  rate: number,
  seconds = SECONDS,
  placed: readonly string[] = [],
): Promise<void> {
  const command = [
    ...placed,
    "sockperf",
    "ping-pong",
    "-i",
    ROUTER,
    "-p",
    String(PORT),
    "-t",
    String(seconds),
    "--full-rtt",
  ];
  let output = "";
  for (let attempt = 0; attempt < ATTEMPTS && !output.includes("percentile"); attempt++) {
    if (attempt > 0) report.note(`${what}: sockperf had no valid observations, and was asked again`);
    const beside = rate === 0 ? undefined : client.start(generator(FLOWS, rate, BESIDE));
    output = await client.run(command);
    await beside?.end();
  }
  for (const percentile of PERCENTILES) {
    // "---> percentile 99.900 =   49.123", in µs
    const found = new RegExp(`percentile ${Number(percentile).toFixed(3)} = +([\\d.]+)`).exec(output);
    if (found === null) throw new Error(`sockperf said nothing of percentile ${percentile}:\n${output}`);
    report.add(what, `p${percentile}`, "µs", name, Number(found[1]));
  }
}

function claim(report: Report, what: string, firebreak: string): void {
  for (const percentile of PERCENTILES) {
    const bar = what === "at rest" ? BARS.get(percentile) : undefined;
    report.claim(what, `p${percentile}`, firebreak, LINUX, bar === undefined ? undefined : { atMost: bar });
    report.claim(what, `p${percentile}`, firebreak, NULL);
  }
}
