// What a benchmark has measured: series of values, one value a round, and claims about the ratios between them. A claim is
// made only where the rounds agree better than what is claimed differs; all else is too noisy to tell.
import { median, spread } from "./statistics.ts";

/** Rounds fewer than which prove nothing. */
export const LEAST_ROUNDS = 5;

export interface Series {
  /** What is measured, for instance "1 000 flows", and of it what, for instance "loss-free rate". */
  readonly what: string;
  readonly metric: string;
  readonly unit: string;
  readonly subject: string;
  /** By round. */
  readonly values: number[];
}

/** What a ratio ought to be. */
export type Bar = { readonly atLeast: number } | { readonly atMost: number };

export interface Claim {
  readonly what: string;
  readonly metric: string;
  /** Of this subject's values to that one's, of the same round. */
  readonly subject: string;
  readonly against: string;
  readonly bar: Bar | undefined;
}

export type Verdict = "met" | "missed" | "more" | "less" | "too noisy to tell";

export interface Judged extends Claim {
  readonly ratio: number;
  readonly spread: number;
  readonly verdict: Verdict;
}

export class Report {
  readonly series: Series[] = [];
  readonly claims: Claim[] = [];
  readonly notes: string[] = [];

  /** Adds one round's value. */
  add(what: string, metric: string, unit: string, subject: string, value: number): void {
    let series = this.find(what, metric, subject);
    if (series === undefined) {
      series = { what, metric, unit, subject, values: [] };
      this.series.push(series);
    }
    series.values.push(value);
  }

  /** Asks for the ratio of two subjects, to be compared with a bar, or with 1. */
  claim(what: string, metric: string, subject: string, against: string, bar?: Bar): void {
    this.claims.push({ what, metric, subject, against, bar });
  }

  /** Something to know when reading the figures. */
  note(text: string): void {
    if (!this.notes.includes(text)) this.notes.push(text);
  }

  find(what: string, metric: string, subject: string): Series | undefined {
    return this.series.find((one) => one.what === what && one.metric === metric && one.subject === subject);
  }

  judged(): Judged[] {
    return this.claims.map((claim) => {
      const ratios = this.ratios(claim);
      const [ratio, noise] = [median(ratios), spread(ratios)];
      return { ...claim, ratio, spread: noise, verdict: verdictOn(ratios.length, ratio, noise, claim.bar) };
    });
  }

  /** Of the same round, so that what slows a round down slows both. */
  private ratios({ what, metric, subject, against }: Claim): number[] {
    const one = this.find(what, metric, subject)?.values ?? [];
    const other = this.find(what, metric, against)?.values ?? [];
    return one.slice(0, other.length).map((value, round) => value / (other[round] ?? Number.NaN));
  }
}

function verdictOn(rounds: number, ratio: number, noise: number, bar: Bar | undefined): Verdict {
  const limit = bar === undefined ? 1 : "atLeast" in bar ? bar.atLeast : bar.atMost;
  if (rounds < LEAST_ROUNDS || !(Math.abs(ratio - limit) > noise)) return "too noisy to tell";
  if (bar === undefined) return ratio > 1 ? "more" : "less";
  return ratio > limit === "atLeast" in bar ? "met" : "missed";
}
