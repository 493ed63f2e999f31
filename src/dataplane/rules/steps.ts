// What a list of matches says of packets to one destination, as a function from one number (a port, an ICMP type or a
// protocol) to the first match, for each kind of protocol: steps, because rules speak of ranges.
import { type Conditions, KEYS, type Kinds, keysOf } from "./match.ts";

/** No match: later than any. */
export const NO_MATCH = 0x7fffffff;

/** A function of a key, in steps: from lows[i] on, the first match is firsts[i]. lows[0] is 0. */
export interface Steps {
  readonly lows: readonly number[];
  readonly firsts: readonly number[];
}

/** @returns the earlier match of both at every key */
export function merge(one: Steps, other: Steps): Steps {
  const joined = new StepsBuilder();
  let i = 0;
  let j = 0;
  while (i < one.lows.length || j < other.lows.length) {
    const low = Math.min(one.lows[i] ?? KEYS, other.lows[j] ?? KEYS);
    if (one.lows[i] === low) i++;
    if (other.lows[j] === low) j++;
    joined.add(low, Math.min(one.firsts[i - 1], other.firsts[j - 1]));
  }
  return joined;
}

/**
 * @param positions in the list of the matches for this destination, in order
 * @returns which of them is the first at each key of this kind, or undefined when none is about this kind
 */
export function stepsOf(
  positions: readonly number[],
  matches: readonly Conditions[],
  kind: number,
  kinds: Kinds,
): Steps | undefined {
  const ranges = positions.flatMap((position) => {
    const range = keysOf(matches[position], kind, kinds);
    return range === undefined ? [] : [{ ...range, position }];
  });
  if (ranges.length === 0) return undefined;
  const lows = new Set([0, ...ranges.map(({ low }) => low), ...ranges.map(({ high }) => high + 1)]);
  const cuts = [...lows].sort((one, other) => one - other);
  const stepAt = new Map(cuts.map((low, step) => [low, step]));
  const stepOf = (key: number): number => {
    const step = stepAt.get(key);
    if (step === undefined) throw new Error(`no step begins at key ${key}`);
    return step;
  };
  const firsts = new Array<number>(cuts.length).fill(NO_MATCH);
  const free = new FreeSteps(cuts.length);
  for (const { low, high, position } of ranges) {
    const end = stepOf(high + 1);
    for (let step = free.from(stepOf(low)); step < end; step = free.from(step)) {
      firsts[step] = position;
      free.take(step);
    }
  }
  const steps = new StepsBuilder();
  for (const [step, low] of cuts.entries()) steps.add(low, firsts[step]);
  return steps;
}

/** Steps in the making: equal neighbours become one. */
class StepsBuilder implements Steps {
  readonly lows: number[] = [];
  readonly firsts: number[] = [];

  add(low: number, first: number): void {
    if (this.firsts.at(-1) === first || low >= KEYS) return;
    this.lows.push(low);
    this.firsts.push(first);
  }
}

/** Steps that no match has yet: each points towards the next free one. */
class FreeSteps {
  private readonly next: Int32Array;

  constructor(steps: number) {
    this.next = Int32Array.from({ length: steps + 1 }, (_, step) => step);
  }

  /** @returns the first free step from this one on */
  from(step: number): number {
    let free = step;
    while (this.next[free] !== free) {
      this.next[free] = this.next[this.next[free]];
      free = this.next[free];
    }
    return free;
  }

  take(step: number): void {
    this.next[step] = step + 1;
  }
}
