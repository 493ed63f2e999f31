// How a running firewall's numbers have changed: rates between two answers, and the last of them. A firewall that began anew, or was not
// asked for a while, has no rates at first.
import type { NamedStatus } from "../channel/operations/services.ts";
import type { Counts } from "../control/views/status.ts";
import { VERDICT_NAMES, VERDICT_SLUGS } from "../dataplane/verdict.ts";

/** Numbers that are kept of each series: more than the widest terminal shows. */
const KEPT = 240;

/** A series, the newest last. */
export type Series = readonly number[];

/** Frames of one verdict. */
export interface VerdictRate {
  readonly slug: string;
  readonly total: number;
  /** A second. */
  readonly rates: Series;
}

const NAMES: ReadonlyMap<string, string> = new Map(VERDICT_SLUGS.map((slug, i) => [slug, VERDICT_NAMES[i]]));

export class History {
  private last: NamedStatus | undefined;
  private readonly verdicts = new Map<string, number[]>();
  private readonly clients = new Map<string, number[]>();
  /** Frames a second, but for the first; flows; processors, each as of the last answers. */
  readonly forwarded: number[] = [];
  readonly dropped: number[] = [];
  readonly flows: number[] = [];
  readonly cpu: number[] = [];

  /** Takes the next answer. */
  add(status: NamedStatus): void {
    const { last } = this;
    this.last = status;
    keep(this.flows, status.flows.used);
    keepEach(this.clients, Object.fromEntries(status.clients.map(({ name, flows }) => [name, flows])));
    const time = last === undefined ? 0 : status.uptime - last.uptime;
    if (last === undefined || time <= 0) return; // it began anew
    const { byVerdict, forwarded, dropped } = frameRates(last.frames, status.frames, time);
    keepEach(this.verdicts, byVerdict);
    keep(this.forwarded, forwarded);
    keep(this.dropped, dropped);
    keep(this.cpu, Math.max(0, status.cpu - last.cpu) / time);
  }

  /** How many flows a client had. */
  flowsOf(client: string): Series {
    return this.clients.get(client) ?? [];
  }

  /** @returns each verdict that there has been: the most a second now first, then the most of all */
  get byVerdict(): VerdictRate[] {
    const totals = Object.entries(this.last?.frames ?? {});
    const all = totals.map(([slug, total]) => ({ slug, total, rates: this.verdicts.get(slug) ?? [] }));
    return all.sort((one, other) => newest(other.rates) - newest(one.rates) || other.total - one.total);
  }
}

export function newest(series: Series): number {
  return series.at(-1) ?? 0;
}

/** @returns a verdict's name for people; of another version's, its slug */
export function verdictName(slug: string): string {
  return NAMES.get(slug) ?? slug;
}

export function isDrop(slug: string): boolean {
  return verdictName(slug).startsWith("dropped: ");
}

/** A second: of each verdict that there has been, and of those that count most. */
export interface FrameRates {
  readonly byVerdict: Readonly<Record<string, number>>;
  readonly forwarded: number;
  readonly dropped: number;
}

/** @param time seconds between */
export function frameRates(before: Counts, now: Counts, time: number): FrameRates {
  const byVerdict = ratesOf(before, now, time);
  return { byVerdict, forwarded: byVerdict.forwarded ?? 0, dropped: sumOf(byVerdict, isDrop) };
}

function ratesOf(before: Counts, now: Counts, time: number): Record<string, number> {
  return Object.fromEntries(
    Object.entries(now).map(([slug, count]) => [slug, Math.max(0, count - (before[slug] ?? 0)) / time]),
  );
}

function sumOf(counts: Counts, isMeant: (slug: string) => boolean): number {
  return Object.entries(counts).reduce((sum, [slug, count]) => sum + (isMeant(slug) ? count : 0), 0);
}

function keep(series: number[], value: number): void {
  series.push(value);
  if (series.length > KEPT) series.shift();
}

/** Series of what is there no more go with it. */
function keepEach(all: Map<string, number[]>, values: Readonly<Record<string, number>>): void {
  for (const key of all.keys()) if (!Object.hasOwn(values, key)) all.delete(key);
  for (const [key, value] of Object.entries(values)) {
    const series = all.get(key) ?? [];
    all.set(key, series);
    keep(series, value);
  }
}
