// What every benchmark is: something that fills a report. Each but `attack`, `pps6` and `tcp6` takes
// less than three minutes with the default rounds.
import type { Report } from "./report/report.ts";

/** ms that the rounds of a benchmark may take, so that with what is before and after it stays below three minutes. */
const TIME = 170_000;

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
  run(report: Report, options: Options): Promise<void>;
}

/**
 * The numbers of the rounds, from 0, as many as there is time for: a busy machine gets fewer, and with few nothing is claimed.
 * @param share of a benchmark's time that these rounds have; more than 1 for one that takes longer
 */
export function* timedRounds(report: Report, { rounds }: Options, share = 1): Generator<number> {
  const started = performance.now();
  for (let round = 0; round < rounds; round++) {
    const taken = performance.now() - started;
    if (round > 0 && taken + taken / round > TIME * share) {
      report.note(`there was time for ${round} of ${rounds} rounds`);
      return;
    }
    yield round;
  }
}
