// `build/appliance.sh bench`: runs benchmarks one after the other, prints what they report, and keeps it in dist/bench/. Needs
// root, and what build/appliance.sh bench has built.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { asked } from "./asked.ts";
import { attack } from "./attack.ts";
import type { Benchmark, Build } from "./benchmark.ts";
import { capture } from "./capture.ts";
import { core, flows } from "./core.ts";
import { cps } from "./cps.ts";
import { busyAtRest } from "./load/cpu.ts";
import { pauses } from "./pauses.ts";
import { pps, pps6 } from "./pps.ts";
import { queue } from "./queue.ts";
import { drawChart } from "./report/chart.ts";
import { gather } from "./report/gathered.ts";
import { type Header, makeHeader, printHeader } from "./report/machine-header.ts";
import { printReport } from "./report/print.ts";
import { type Judged, LEAST_ROUNDS, Report, type Series } from "./report/report.ts";
import { median, spread } from "./report/statistics.ts";
import { rtt } from "./rtt.ts";
import { rules } from "./rules.ts";
import { size } from "./size.ts";
import { BENCH_FOLDER, FIREBREAK } from "./subjects/subjects.ts";
import { tcp, tcp6 } from "./tcp.ts";
import { vm } from "./vm.ts";

const BENCHMARKS: ReadonlyMap<string, Benchmark> = new Map(
  Object.entries({
    pps,
    pps6,
    tcp,
    tcp6,
    rtt,
    cps,
    flows,
    rules,
    core,
    pauses,
    queue,
    asked,
    capture,
    vm,
    size,
    attack,
  }),
);
/** Only when asked for by name: it takes half an hour. */
const LONG = "attack";

class UsageError extends Error {}

interface Outcome {
  readonly name: string;
  readonly seconds: number;
  readonly report: Report;
}

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: String(LEAST_ROUNDS) },
      build: { type: "string", multiple: true, default: [] },
      chart: { type: "boolean", default: false },
      gather: { type: "boolean", default: false },
    },
  });
  if (values.chart) return void process.stdout.write(drawChart(positionals));
  if (values.gather) {
    for (const { name, seconds, report } of gather(positionals)) console.log(printReport(name, seconds, report));
    return;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new UsageError("--rounds wants a number of rounds");
  const builds = [{ name: FIREBREAK, executable: "dist/firebreak" }, ...values.build.map(parseBuild)];
  const chosen = (positionals.length > 0 ? positionals : [...BENCHMARKS.keys()].filter((name) => name !== LONG)).map(
    find,
  );

  const folder = mkdtempSync(join(tmpdir(), "firebreak-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(130));
  const header = makeHeader();
  if (!values.json) console.log(printHeader(header));
  const outcomes: Outcome[] = [];
  for (const [name, benchmark] of chosen) {
    const report = new Report();
    const started = performance.now();
    report.disturbed(await busyAtRest());
    await benchmark.run(report, { rounds, builds, folder });
    report.disturbed(await busyAtRest());
    const outcome = { name, seconds: (performance.now() - started) / 1000, report };
    if (!values.json) console.log(printReport(name, outcome.seconds, report));
    outcomes.push(outcome);
  }
  const text = JSON.stringify(toJson(header, rounds, outcomes), null, 2);
  if (values.json) console.log(text);
  mkdirSync(BENCH_FOLDER, { recursive: true });
  writeFileSync(join(BENCH_FOLDER, `${header.date.replaceAll(":", "-")}.json`), `${text}\n`);
}

function find(name: string): [string, Benchmark] {
  const benchmark = BENCHMARKS.get(name);
  if (benchmark === undefined) throw new UsageError(`no benchmark is called ${JSON.stringify(name)}`);
  return [name, benchmark];
}

function parseBuild(text: string): Build {
  const [name = "", executable = ""] = text.split("=");
  if (name === "" || executable === "") throw new UsageError("--build wants NAME=EXECUTABLE");
  return { name, executable };
}

function toJson(header: Header, rounds: number, outcomes: readonly Outcome[]): unknown {
  const benchmarks = outcomes.map(({ name, seconds, report }) => ({
    name,
    seconds,
    series: report.series.map((series: Series) => ({
      ...series,
      median: median(series.values),
      spread: spread(series.values),
    })),
    claims: report.judged() satisfies Judged[],
    notes: report.notes,
  }));
  return { ...header, rounds, benchmarks };
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    const isUsage =
      error instanceof UsageError ||
      (error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS_"));
    console.error(
      `bench: ${isUsage ? `${error.message} (see build/appliance.sh bench --help)` : (error as Error).stack}`,
    );
    process.exit(isUsage ? 2 : 1);
  },
);
