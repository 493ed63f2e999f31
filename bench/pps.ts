// `pps`: small packets of UDP, in frames of 60 bytes, one way. The highest rate without loss, and what a packet costs in CPU time.
// `pps6`: the same by IPv6, in frames of 62 bytes, and by IPv4 beside.
//
// What a cable brings the kernel receives on the CPU that sent it: the generator's, and there Linux forwards it, as the kernel
// path does. The null forwarder's program, and the firewall's, have the other one.
import { type Benchmark, type Options, timedRounds } from "./benchmark.ts";
import { spent } from "./load/cpu.ts";
import { discard, type Sent, send } from "./load/generate.ts";
import { highestRung, rateOf } from "./load/search.ts";
import type { Report } from "./report/report.ts";
import { caseName, type Family, IPV4, IPV6 } from "./subjects/families.ts";
import { LINUX, NULL, Stage, type Subject } from "./subjects/subjects.ts";

const FORWARDER_CPU = "1";

const CASES = [
  { name: "1 flow", flows: 1, isMain: false },
  /** What the bars are about, and CPU time is measured with. */
  { name: "1 000 flows", flows: 1000, isMain: true },
  { name: "50 000 flows", flows: 50_000, isMain: false },
] as const;

/** Lengths of a try in the search, and of the measurement of CPU time, in ms. */
const TRY = 200;
const CPU_TRY = 800;
/** Packets a second while CPU time is measured: what all forwarders can do. */
const CPU_RATE = 100_000;
/** Part of the packets that may be lost all the same. */
const LOSS = 1e-4;
/** Part of the rate asked for that the generator has to reach. */
const REACHED = 0.99;

const RATE = "loss-free rate";
const CPU = "CPU a packet";

export const pps: Benchmark = benchmarkOf([IPV4]);
/** It takes twice the time. */
export const pps6: Benchmark = benchmarkOf([IPV4, IPV6]);

function benchmarkOf(families: readonly Family[]): Benchmark {
  return {
    run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage, families), families),
  };
}

async function measure(report: Report, options: Options, stage: Stage, families: readonly Family[]): Promise<void> {
  const { builds } = options;
  const subjects = await stage.all(builds, { cpus: FORWARDER_CPU });
  const cable = await stage.cable("generator alone");
  for (const { internet } of subjects) await discard(internet, "eth0");
  await discard(cable.forwarder, "eth0");
  const rungs = new Map<string, number>();
  const lastRungs = new Map<string, number>();
  for (const _ of timedRounds(report, options, families.length)) {
    for (const { name, flows, isMain } of CASES) {
      for (const family of families) {
        const what = caseName(name, family, families);
        const alone = isMain ? await send(cable, flows, CPU_RATE, CPU_TRY, family, cable.forwarder) : undefined;
        for (const subject of subjects) {
          await send(subject, flows, CPU_RATE, (1000 * flows) / CPU_RATE + 50, family); // so that the flows are there
          if (alone !== undefined)
            addCost(report, what, subject.name, await send(subject, flows, CPU_RATE, CPU_TRY, family), alone);
          const key = `${what} ${subject.name}`;
          const lastKey = `${family.name} ${subject.name}`;
          const known = rungs.get(key) ?? lastRungs.get(lastKey); // of another case: better than nothing
          const { rate, rung } = await lossFreeRate(subject, flows, known, family);
          rungs.set(key, rung);
          lastRungs.set(lastKey, rung);
          report.add(what, RATE, "packets/s", subject.name, rate);
        }
      }
    }
  }
  for (const family of families) claim(report, builds[0]?.name ?? "", family, families);
  report.note("the generator shares its core with the receiving side");
  report.note(`CPU time at ${CPU_RATE} packets/s, without what the generator takes`);
}

/**
 * Searches for the highest rate without loss.
 * @param known the rung that was found before, where to look first
 * @returns packets a second, and its rung
 */
export async function lossFreeRate(
  subject: Subject,
  flows: number,
  known: number | undefined,
  family: Family = IPV4,
): Promise<{ readonly rate: number; readonly rung: number }> {
  const rung = await highestRung(known, (rate) => isLossFree(subject, flows, rate, family));
  return { rate: rung < 0 ? 0 : rateOf(rung), rung };
}

async function isLossFree(subject: Subject, flows: number, rate: number, family: Family): Promise<boolean> {
  const { sent, arrived, seconds } = await send(subject, flows, rate, TRY, family);
  return sent >= rate * seconds * REACHED && sent - arrived <= sent * LOSS;
}

/** @param alone the same packets over a cable alone: what of the cost is the generator's */
function addCost(report: Report, what: string, subject: string, sent: Sent, alone: Sent): void {
  report.add(what, CPU, "µs", subject, (sent.cost / sent.arrived - alone.cost / alone.sent) * 1e6);
  for (const kind of ["user", "system", "softirq"] as const) {
    const more = spent(sent.before, sent.after, kind) - spent(alone.before, alone.after, kind);
    report.add(what, `of that ${kind}`, "µs", subject, (more / sent.arrived) * 1e6);
  }
}

function claim(report: Report, firebreak: string, family: Family, families: readonly Family[]): void {
  for (const { name, isMain } of CASES) {
    const what = caseName(name, family, families);
    report.claim(what, RATE, firebreak, LINUX, isMain ? { atLeast: 1.3 } : undefined);
    if (families.length === 1) report.claim(what, RATE, firebreak, NULL, isMain ? { atLeast: 0.8 } : undefined);
    if (isMain) report.claim(what, CPU, firebreak, LINUX, { atMost: 1.3 });
  }
}
