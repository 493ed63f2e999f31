// What every benchmark is: something that fills a report. Each takes less than three minutes with the default rounds.
import type { Report } from "./report.ts";

export interface Options {
  /** Rounds; in each, every subject has its turn. */
  readonly rounds: number;
  /** Builds of the program by the name that they are reported under; the first is the one that claims are about. */
  readonly builds: readonly Build[];
  /** For files; the caller's to remove. */
  readonly folder: string;
}

export interface Build {
  readonly name: string;
  /** Path of the executable. */
  readonly executable: string;
}

export interface Benchmark {
  readonly summary: string;
  run(report: Report, options: Options): Promise<void>;
}
