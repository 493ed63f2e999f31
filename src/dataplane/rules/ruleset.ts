// Rules in the form that the dataplane evaluates, without allocation: one Int32Array, walked from the first match to the
// last where it is short, else searched (rules/index.ts). The language that rules are
// written in is src/rules' business.
import { maskOf } from "../../wire/ipv4.ts";
import { buildIndex, findFirst, type RuleIndex } from "./index.ts";
import { type KeyRange, KINDS, keyOf, keysOf, kindOf, type Match } from "./match.ts";
import { NO_MATCH } from "./steps.ts";

/** Immutable, and survives structured cloning, which copies none of its arrays: they are shared memory. */
export interface Ruleset {
  /** Another one for each that was compiled. */
  readonly version: number;
  /** What happens when nothing matches. */
  readonly accept: boolean;
  /** STRIDE words a match. */
  readonly matches: Int32Array;
  /** Where there are many matches; null where walking them is faster. */
  readonly index: RuleIndex | null;
}

const RULE = 0; // the user's number << 1 | accept
const ADDRESS = 1;
const MASK = 2;
const KEYS = 3; // by kind: the first key << 16 | the last one
const STRIDE = KEYS + KINDS;

/** Keys of a kind that a match is not about: no key is in it. */
const NO_KEYS: KeyRange = { low: 1, high: 0 };

/** Longest list that is walked: from here on a search is faster (bench/rules.ts). */
const WALKED = 12;

let lastVersion = 0;

/** @param accept the policy: what happens when no match does */
export function compileRuleset(matches: readonly Match[], accept: boolean): Ruleset {
  const words = new Int32Array(matches.length * STRIDE);
  for (const [i, match] of matches.entries()) {
    const mask = maskOf(match.prefix);
    const at = i * STRIDE;
    words.set([(match.rule << 1) | Number(match.accept), match.address & mask, mask], at);
    for (let kind = 0; kind < KINDS; kind++) {
      const { low, high } = keysOf(match, kind) ?? NO_KEYS;
      words[at + KEYS + kind] = (low << 16) | high;
    }
  }
  const index = matches.length > WALKED ? shareIndex(buildIndex(matches)) : null;
  return { version: ++lastVersion, accept, matches: shared(words), index };
}

function shareIndex({ shift, buckets, starts, heads, maps }: RuleIndex): RuleIndex {
  return { shift, buckets: shared(buckets), starts: shared(starts), heads: shared(heads), maps: shared(maps) };
}

/** @returns a copy in memory that the dataplane's thread need not copy again, which takes long for many rules */
function shared(array: Int32Array): Int32Array {
  const copy = new Int32Array(new SharedArrayBuffer(array.byteLength));
  copy.set(array);
  return copy;
}

/**
 * The first match decides.
 * @param destination address, host order
 * @param selector destination port of TCP and UDP (0–65535), type of ICMP (0–255); of no other protocol
 * @returns rule << 1 | accepted, where the rule is the user's number from 1, or 0 for the policy
 */
export function judge(ruleset: Ruleset, protocol: number, destination: number, selector: number): number {
  if (ruleset.index === null) return walk(ruleset, protocol, destination, selector);
  const first = findFirst(ruleset.index, protocol, destination, selector);
  return first === NO_MATCH ? Number(ruleset.accept) : ruleset.matches[first * STRIDE + RULE];
}

/** As `judge`, whether there is an index or not. */
export function walk(ruleset: Ruleset, protocol: number, destination: number, selector: number): number {
  const words = ruleset.matches;
  const kind = kindOf(protocol);
  const key = keyOf(kind, protocol, selector);
  for (let at = 0; at < words.length; at += STRIDE) {
    if (((destination ^ words[at + ADDRESS]) & words[at + MASK]) !== 0) continue;
    const keys = words[at + KEYS + kind];
    if (key >= keys >>> 16 && key <= (keys & 0xffff)) return words[at + RULE];
  }
  return Number(ruleset.accept);
}

/** @returns whether two are the same one */
export function isSameRuleset(a: Ruleset, b: Ruleset): boolean {
  return a.version === b.version;
}

/** @returns whether two decide the same, by rules of the same numbers: that takes long for many */
export function isLikeRuleset(a: Ruleset, b: Ruleset): boolean {
  if (a.accept !== b.accept || a.matches.length !== b.matches.length) return false;
  for (let i = 0; i < a.matches.length; i++) if (a.matches[i] !== b.matches[i]) return false;
  return true;
}
