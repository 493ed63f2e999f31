// What a list of matches says of packets to one destination, as a function from one number (a port, an ICMP type or a
// protocol) to the first match, for each kind of protocol: steps, because rules speak of ranges.
import { PROTOCOL } from "../../wire/ipv4.ts";
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Match } from "./match.ts";

/** No match: later than any. */
export const NO_MATCH = 0x7fffffff;

export const KINDS = 4;
const TCP_KIND = 0; // by destination port
const UDP_KIND = 1; // by destination port
const ICMP_KIND = 2; // by type
const OTHER_KIND = 3; // by protocol number

/** Keys are below this: ports are the largest. */
const KEYS = 65536;

/** A function of a key, in steps: from lows[i] on, the first match is firsts[i]. lows[0] is 0. */
export interface Steps {
  readonly lows: readonly number[];
  readonly firsts: readonly number[];
}

/** @returns the kind of an IANA protocol number, below KINDS */
export function kindOf(protocol: number): number {
  if (protocol === PROTOCOL.TCP) return TCP_KIND;
  if (protocol === PROTOCOL.UDP) return UDP_KIND;
  return protocol === PROTOCOL.ICMP ? ICMP_KIND : OTHER_KIND;
}

/** @returns the number that a packet's first match depends on. @param selector as `judge` takes it */
export function keyOf(kind: number, protocol: number, selector: number): number {
  return kind === OTHER_KIND ? protocol : selector;
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
 * @param places of the matches for this destination in the list, in order
 * @returns which of them is the first at each key of this kind, or undefined when none is about this kind
 */
export function stepsOf(places: readonly number[], matches: readonly Match[], kind: number): Steps | undefined {
  const ranges = places.flatMap((place) => {
    const range = rangeOf(matches[place], kind);
    return range === undefined ? [] : [{ ...range, place }];
  });
  if (ranges.length === 0) return undefined;
  const lows = new Set([0, ...ranges.map(({ low }) => low), ...ranges.map(({ high }) => high + 1)]);
  const cuts = [...lows].sort((one, other) => one - other);
  const stepAt = new Map(cuts.map((low, step) => [low, step]));
  const firsts = new Array<number>(cuts.length).fill(NO_MATCH);
  const free = new FreeSteps(cuts.length);
  for (const { low, high, place } of ranges) {
    const end = stepAt.get(high + 1) ?? 0;
    for (let step = free.from(stepAt.get(low) ?? 0); step < end; step = free.from(step)) {
      firsts[step] = place;
      free.take(step);
    }
  }
  const steps = new StepsBuilder();
  for (const [step, low] of cuts.entries()) steps.add(low, firsts[step]);
  return steps;
}

/** @returns the keys that a match is about, both ends included; undefined when it is about none of this kind */
function rangeOf(match: Match, kind: number): { readonly low: number; readonly high: number } | undefined {
  const { protocol } = match;
  const isAny = protocol === ANY_PROTOCOL;
  if (!isAny && kindOf(protocol) !== kind) return undefined;
  if (kind === OTHER_KIND) return isAny ? { low: 0, high: KEYS - 1 } : { low: protocol, high: protocol };
  if (kind === ICMP_KIND) {
    const { icmpType } = match;
    return icmpType === ANY_ICMP_TYPE ? { low: 0, high: KEYS - 1 } : { low: icmpType, high: icmpType };
  }
  return match.portLow > match.portHigh ? undefined : { low: match.portLow, high: match.portHigh };
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
