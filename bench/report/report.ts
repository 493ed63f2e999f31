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
  readonly subject: string;
  /** Compared is the ratio of the subject's values to this one's, of the same round; undefined: the values themselves. */
  readonly against: string | undefined;
  /** Undefined: 1. */
  readonly bar: Bar | undefined;
  /** The value is no measurement that may come out differently: it needs no rounds. */
  readonly exact: boolean;
}

export type Verdict = "met" | "missed" | "more" | "less" | "too noisy to tell";

export interface Judged extends Claim {
  /** Median of the ratios, or of the values. */
  readonly value: number;
  readonly spread: number;
  readonly verdict: Verdict;
}

/** CPUs that other programs may take, on average, while something is measured. */
const TOLERATED = 0.1;
const DISTURBED = "other programs took";

export class Report {
  readonly series: Series[] = [];
  readonly claims: Claim[] = [];
  readonly notes: string[] = [];
  private isDisturbed = false;

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
    this.claims.push({ what, metric, subject, against, bar, exact: false });
  }

  /** Asks for a subject's own values to be compared with a bar. */
  limit(what: string, metric: string, subject: string, bar: Bar): void {
    this.claims.push({ what, metric, subject, against: undefined, bar, exact: false });
  }

  /** The same of a value that is exact. */
  limitExact(what: string, metric: string, subject: string, bar: Bar): void {
    this.claims.push({ what, metric, subject, against: undefined, bar, exact: true });
  }

  /** Tells how many CPUs other programs took meanwhile: with more than few, what rounds agree on may be their doing. */
  disturbed(cpus: number): void {
    if (cpus <= TOLERATED) return;
    this.isDisturbed = true;
    this.note(`${DISTURBED} ${cpus.toFixed(1)} CPUs: nothing is claimed`);
  }

  /** @param notes of a report that was kept @returns whether `disturbed` has said something */
  static isDisturbedBy(notes: readonly string[]): boolean {
    return notes.some((note) => note.startsWith(DISTURBED));
  }

  /** Adds the rounds of another report, and its claims where there are none yet. */
  join(series: readonly Series[], claims: readonly Claim[]): void {
    for (const { what, metric, unit, subject, values } of series)
      for (const value of values) this.add(what, metric, unit, subject, value);
    if (this.claims.length === 0) {
      for (const { what, metric, subject, against, bar, exact } of claims)
        this.claims.push({ what, metric, subject, against, bar, exact });
    }
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
      const values = this.valuesOf(claim);
      const isOpen = this.isDisturbed && !claim.exact;
      const verdict = isOpen ? "too noisy to tell" : verdictOn(values, claim);
      return { ...claim, value: median(values), spread: spread(values), verdict };
    });
  }

  /** Of the same round, so that what slows a round down slows both. */
  private valuesOf({ what, metric, subject, against }: Claim): readonly number[] {
    const one = this.find(what, metric, subject)?.values ?? [];
    if (against === undefined) return one;
    const other = this.find(what, metric, against)?.values ?? [];
    return one.slice(0, other.length).map((value, round) => value / (other[round] ?? Number.NaN));
  }
}

function verdictOn(values: readonly number[], { bar, exact }: Claim): Verdict {
  const value = median(values);
  const limit = bar === undefined ? 1 : "atLeast" in bar ? bar.atLeast : bar.atMost;
  const isSure = exact || (values.length >= LEAST_ROUNDS && Math.abs(value - limit) > spread(values));
  if (!isSure || Number.isNaN(value)) return "too noisy to tell";
  if (bar === undefined) return value > 1 ? "more" : "less";
  return ("atLeast" in bar ? value >= limit : value <= limit) ? "met" : "missed";
}
