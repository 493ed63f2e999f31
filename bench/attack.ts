// `attack`: what a client notices of each attack of lab/attacks.ts, beside the same attack sent into the void, since attacker,
// victim and firewall share this machine. And how long a reload takes meanwhile.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ATTACKS } from "../lab/attacks.ts";
import { HostileLab } from "../lab/hostile-lab.ts";
import type { Benchmark, Options } from "./benchmark.ts";
import { LEAST_ROUNDS, type Report } from "./report/report.ts";

const SECONDS = 10;
const UNDER_ATTACK = "attack";
const BESIDE = "into the void";
/** ms that the round trip's 99th percentile may be above twice that of the void. */
const RTT_GRACE = 1;

/** All attacks take a quarter of an hour and more: as many rounds as are asked for, whatever the time. */
export const attack: Benchmark = { run };

async function run(report: Report, { rounds, folder }: Options): Promise<void> {
  const stage = new HostileLab("attack");
  try {
    const www = join(folder, "www");
    mkdirSync(www, { recursive: true });
    writeFileSync(join(www, "index.html"), "here\n");
    await stage.start(www);
    for (let round = 0; round < rounds; round++) {
      for (const name of Object.keys(ATTACKS)) {
        console.error(`attack: round ${round + 1} of ${rounds}: ${name}`);
        await measure(report, stage, name);
      }
    }
  } finally {
    await stage.close();
  }
  for (const name of Object.keys(ATTACKS)) claim(report, name);
  if (rounds < LEAST_ROUNDS) report.note(`with fewer than ${LEAST_ROUNDS} rounds nothing is claimed`);
}

async function measure(report: Report, stage: HostileLab, name: string): Promise<void> {
  const beside = await stage.attack(name, "void");
  const baseline = await stage.victim(SECONDS);
  beside.signal("SIGTERM");
  await beside.end();
  const program = await stage.attack(name, "firewall");
  const noticed = await stage.victim(SECONDS);
  const started = performance.now();
  await stage.lab.reload();
  const reload = performance.now() - started;
  program.signal("SIGTERM");
  await program.end();
  for (const [subject, { rttP99, stream, repeated, lost, refused }] of [
    [UNDER_ATTACK, noticed],
    [BESIDE, baseline],
  ] as const) {
    report.add(name, "round trip p99", "ms", subject, rttP99);
    report.add(name, "stream", "Gbit/s", subject, stream / 1e9);
    report.add(name, "questions asked again", "", subject, repeated);
    report.add(name, "questions and connections lost", "", subject, lost + refused);
  }
  report.add(name, "p99 of what it may be", "", UNDER_ATTACK, noticed.rttP99 / (2 * baseline.rttP99 + RTT_GRACE));
  report.add(name, "reload", "ms", UNDER_ATTACK, reload);
}

function claim(report: Report, name: string): void {
  report.limit(name, "p99 of what it may be", UNDER_ATTACK, { atMost: 1 });
  report.claim(name, "stream", UNDER_ATTACK, BESIDE, { atLeast: 0.7 });
  report.limitExact(name, "questions asked again", UNDER_ATTACK, { atMost: 0 });
  report.limitExact(name, "questions and connections lost", UNDER_ATTACK, { atMost: 0 });
  report.limit(name, "reload", UNDER_ATTACK, { atMost: 100 });
}
