// Rounds of several kept runs as one: what takes long, as `attack` does, need not be measured without a pause. Only runs of the same
// program on the same machine are, and none in which other programs took part of it.
import { readFileSync } from "node:fs";
import { type Claim, Report, type Series } from "./report.ts";

/** What is read of a kept run. */
interface Run {
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly benchmarks: readonly {
    readonly name: string;
    readonly seconds: number;
    readonly series: readonly Series[];
    readonly claims: readonly Claim[];
    readonly notes: readonly string[];
  }[];
}

export interface Gathered {
  readonly name: string;
  readonly seconds: number;
  readonly report: Report;
}

/** @param paths of kept runs, as `bench` writes them @returns each benchmark of any of them @throws Error for runs that are not alike */
export function gather(paths: readonly string[]): Gathered[] {
  return gatherRuns(paths.map((path) => ({ path, run: JSON.parse(readFileSync(path, "utf8")) as Run })));
}

/** The same of runs that have been read. @param runs each with the path that it is called by */
export function gatherRuns(runs: readonly { readonly path: string; readonly run: Run }[]): Gathered[] {
  const found = new Map<string, { seconds: number; readonly report: Report }>();
  for (const { path, run } of runs) {
    if (identity(run) !== identity(runs[0].run)) {
      throw new Error(`${path} is of another program or machine than ${runs[0].path} (measure anew, or leave it out)`);
    }
    for (const benchmark of run.benchmarks) {
      const { name, seconds } = benchmark;
      const gathered = found.get(name) ?? { seconds: 0, report: new Report() };
      found.set(name, gathered);
      if (Report.isDisturbedBy(benchmark.notes)) {
        gathered.report.note(`${path} is left out: other programs took part of the machine`);
        continue;
      }
      gathered.seconds += seconds;
      gathered.report.join(benchmark.series, benchmark.claims);
    }
  }
  return Array.from(found, ([name, { seconds, report }]) => ({ name, seconds, report }));
}

function identity({ machine, versions }: Run): string {
  return JSON.stringify([machine, versions.firebreak, versions.bun, versions.kernel]);
}
