// `pps`: small packets, 60 bytes of UDP, one way. The highest rate without loss, and what a packet costs in CPU time.
//
// Two placements, because a machine of two cores can't give the generator one of its own and the forwarder two:
// - two cores: as the kernel does it by default, what a cable brings is received on the CPU that sent it: the generator's. The
//   forwarder's program has the other one. Linux, which forwards where it receives, forwards on the generator's.
// - one core: receiving is steered to the other CPU, so that all of any forwarder's work is there and the generator has its
//   own core.
import { type Benchmark, type Options, timedRounds } from "./benchmark.ts";
import { spent } from "./cpu.ts";
import { discard, type Sent, send } from "./generate.ts";
import type { Report } from "./report.ts";
import { highestRung, rateOf } from "./search.ts";
import { LINUX, NULL, Stage, type Subject } from "./subjects.ts";

const FORWARDER_CPU = "1";
const FORWARDER_MASK = "2";
const GENERATOR_MASK = "0";

const CASES = [
  { name: "1 flow", flows: 1, mask: GENERATOR_MASK, withCost: false },
  { name: "1 000 flows", flows: 1000, mask: GENERATOR_MASK, withCost: true },
  { name: "50 000 flows", flows: 50_000, mask: GENERATOR_MASK, withCost: false },
  { name: "1 000 flows, one core", flows: 1000, mask: FORWARDER_MASK, withCost: false },
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

export const pps: Benchmark = {
  summary: "small packets: highest rate without loss, CPU time a packet",
  run: (report, options) => Stage.use(options.folder, (stage) => measure(report, options, stage)),
};

async function measure(report: Report, options: Options, stage: Stage): Promise<void> {
  const { builds } = options;
  const subjects = await stage.all(builds, { cpus: FORWARDER_CPU });
  const cable = stage.cable("generator alone");
  for (const { internet } of subjects) await discard(internet, "eth0");
  await discard(cable.forwarder, "eth0");
  const rungs = new Map<string, number>();
  const lastRungs = new Map<string, number>();
  for (const _ of timedRounds(report, options)) {
    for (const { name, flows, mask, withCost } of CASES) {
      for (const subject of [cable, ...subjects]) await subject.steer(mask);
      const alone = withCost ? await send(cable, flows, CPU_RATE, CPU_TRY, cable.forwarder) : undefined;
      for (const subject of subjects) {
        await send(subject, flows, CPU_RATE, (1000 * flows) / CPU_RATE + 50); // so that the flows are there
        if (alone !== undefined)
          addCost(report, name, subject.name, await send(subject, flows, CPU_RATE, CPU_TRY), alone);
        const key = `${name} ${subject.name}`;
        const known = rungs.get(key) ?? lastRungs.get(subject.name); // of another case: better than nothing
        const rung = await highestRung(known, (rate) => isLossFree(subject, flows, rate));
        rungs.set(key, rung);
        lastRungs.set(subject.name, rung);
        report.add(name, RATE, "packets/s", subject.name, rung < 0 ? 0 : rateOf(rung));
      }
    }
  }
  claim(report, builds[0]?.name ?? "");
}

async function isLossFree(subject: Subject, flows: number, rate: number): Promise<boolean> {
  const { sent, arrived, seconds } = await send(subject, flows, rate, TRY);
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

function claim(report: Report, firebreak: string): void {
  for (const { name, withCost } of CASES) {
    const isBar = name === "1 000 flows";
    report.claim(name, RATE, firebreak, LINUX, isBar ? { atLeast: 1.3 } : undefined);
    report.claim(name, RATE, firebreak, NULL, isBar ? { atLeast: 0.8 } : undefined);
    if (withCost) report.claim(name, CPU, firebreak, LINUX, isBar ? { atMost: 1.3 } : undefined);
  }
  report.note('the generator shares its core with the receiving side, but for "one core"');
  report.note(`CPU time at ${CPU_RATE} packets/s, without what the generator takes`);
}
