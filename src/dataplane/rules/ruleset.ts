// Rules in the form that the dataplane evaluates, without allocation: for each family one Int32Array, walked from the first match to
// the last where it is short, else searched (rules/index.ts). The language that rules are
// written in is src/rules' business.
import { maskOf } from "../../wire/ipv4.ts";
import { buildIndex, findFirst, findFirst6, type RuleIndex } from "./index.ts";
import {
  type Conditions,
  IPV4_MATCHES,
  IPV6_MATCHES,
  type KeyRange,
  KINDS,
  keyOf,
  keysOf,
  kindOf,
  kindOf6,
  type Match,
  type Match6,
  type MatchFamily,
  wordsOf,
} from "./match.ts";
import { NO_MATCH } from "./steps.ts";

/** Immutable, and survives structured cloning, which copies none of its arrays: they are shared memory. */
export interface Ruleset extends FamilyRules {
  /** Another one for each that was compiled. */
  readonly version: number;
  /** What decides about IPv6; the rest is about IPv4. */
  readonly ipv6: FamilyRules;
}

/** What decides about packets of one family. */
export interface FamilyRules {
  /** What happens when nothing matches. */
  readonly accept: boolean;
  /** So many words a match as its family has; behind the words that are in use it means nothing. */
  readonly matches: Int32Array;
  readonly words: number;
  /** Where there are many matches; null where walking them is faster. */
  readonly index: RuleIndex | null;
}

const RULE = 0; // the user's number << 1 | accept
const KEYS = 1; // by kind: the first key << 16 | the last one
/** The destination, for each of its words the address, and the mask. */
const ADDRESS = KEYS + KINDS;
const MASK = ADDRESS + 1;
const NEXT_WORD = 2;

const strideOf = (words: number): number => ADDRESS + words * NEXT_WORD;
const STRIDE = strideOf(IPV4_MATCHES.words);
const STRIDE6 = strideOf(IPV6_MATCHES.words);

/** Keys of a kind that a match is not about: no key is in it. */
const NO_KEYS: KeyRange = { low: 1, high: 0 };

/** Longest list that is walked: from here on a search is faster (bench/rules.ts). */
const WALKED = 12;

let lastVersion = 0;

/**
 * @param accept the policy: what happens when no match does
 * @param matches6 of IPv6
 * @param accept6 the policy for IPv6
 */
export function compileRuleset(
  matches: readonly Match[],
  accept: boolean,
  matches6: readonly Match6[] = [],
  accept6 = accept,
): Ruleset {
  return {
    version: ++lastVersion,
    ...compileFamily(matches, accept, IPV4_MATCHES),
    ipv6: compileFamily(matches6, accept6, IPV6_MATCHES),
  };
}

function compileFamily<M extends Match | Match6>(
  matches: readonly M[],
  accept: boolean,
  family: MatchFamily<M>,
): FamilyRules {
  const stride = strideOf(family.words);
  const words = new Int32Array(matches.length * stride);
  for (const [i, match] of matches.entries()) {
    const at = i * stride;
    words[at + RULE] = decisionOf(match);
    for (let kind = 0; kind < KINDS; kind++) {
      const { low, high } = keysOf(match, kind, family.kinds) ?? NO_KEYS;
      words[at + KEYS + kind] = (low << 16) | high;
    }
    for (const [word, bits] of wordsOf(family.addressOf(match), family.words).entries()) {
      const mask = maskOf(Math.min(32, Math.max(0, match.prefix - 32 * word)));
      words[at + ADDRESS + word * NEXT_WORD] = bits & mask;
      words[at + MASK + word * NEXT_WORD] = mask;
    }
  }
  const index = matches.length > WALKED ? shareIndex(buildIndex(matches, family, decisionOf)) : null;
  return { accept, matches: shared(words), words: words.length, index };
}

function decisionOf({ rule, accept }: Conditions): number {
  return (rule << 1) | Number(accept);
}

function shareIndex({ shift, buckets, starts, heads, maps, decisions }: RuleIndex): RuleIndex {
  return {
    ...{ shift, buckets: shared(buckets), starts: shared(starts) },
    ...{ heads: shared(heads), maps: shared(maps), decisions: shared(decisions) },
  };
}

/** @returns a copy in memory that the dataplane's thread need not copy again, which takes long for many rules */
function shared(array: Int32Array): Int32Array {
  const copy = new Int32Array(new SharedArrayBuffer(array.byteLength));
  copy.set(array);
  return copy;
}

/**
 * The first match decides.
 * @param destination address of IPv4, host order
 * @param selector destination port of TCP and UDP (0–65535), type of ICMP (0–255); of no other protocol
 * @returns rule << 1 | accepted, where the rule is the user's number from 1, or 0 for the policy
 */
export function judge(ruleset: Ruleset, protocol: number, destination: number, selector: number): number {
  if (ruleset.index === null) return walk(ruleset, protocol, destination, selector);
  const kind = kindOf(protocol);
  const first = findFirst(ruleset.index, destination, kind, keyOf(kind, protocol, selector));
  return first === NO_MATCH ? Number(ruleset.accept) : ruleset.index.decisions[first];
}

/** As `judge`, whether there is an index or not. */
export function walk(
  { matches, words, accept }: FamilyRules,
  protocol: number,
  destination: number,
  selector: number,
): number {
  const kind = kindOf(protocol);
  const key = keyOf(kind, protocol, selector);
  for (let at = 0; at < words; at += STRIDE) {
    if (((destination ^ matches[at + ADDRESS]) & matches[at + MASK]) !== 0) continue;
    const keys = matches[at + KEYS + kind];
    if (key >= keys >>> 16 && key <= (keys & 0xffff)) return matches[at + RULE];
  }
  return Number(accept);
}

/**
 * As `judge`, for IPv6.
 * @param protocol of the upper layer, behind all extension headers
 * @param d0, d1, d2, d3 the words of the destination address, each int32 in host order, as getInt32 reads them
 * @param selector as `judge` takes it, where ICMP's type is ICMPv6's
 */
export function judge6(
  { ipv6 }: Ruleset,
  protocol: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  selector: number,
): number {
  if (ipv6.index === null) return walk6(ipv6, protocol, d0, d1, d2, d3, selector);
  const kind = kindOf6(protocol);
  const first = findFirst6(ipv6.index, d0, d1, d2, d3, kind, keyOf(kind, protocol, selector));
  return first === NO_MATCH ? Number(ipv6.accept) : ipv6.index.decisions[first];
}

/** As `judge6`, whether there is an index or not. */
export function walk6(
  { matches, words, accept }: FamilyRules,
  protocol: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  selector: number,
): number {
  const kind = kindOf6(protocol);
  const key = keyOf(kind, protocol, selector);
  for (let at = 0; at < words; at += STRIDE6) {
    if (((d0 ^ matches[at + ADDRESS]) & matches[at + MASK]) !== 0) continue;
    if (((d1 ^ matches[at + ADDRESS + 2]) & matches[at + MASK + 2]) !== 0) continue;
    if (((d2 ^ matches[at + ADDRESS + 4]) & matches[at + MASK + 4]) !== 0) continue;
    if (((d3 ^ matches[at + ADDRESS + 6]) & matches[at + MASK + 6]) !== 0) continue;
    const keys = matches[at + KEYS + kind];
    if (key >= keys >>> 16 && key <= (keys & 0xffff)) return matches[at + RULE];
  }
  return Number(accept);
}

/** @returns whether two are the same one */
export function isSameRuleset(a: Ruleset, b: Ruleset): boolean {
  return a.version === b.version;
}

/** @returns whether two decide the same, by rules of the same numbers: that takes long for many */
export function isLikeRuleset(a: Ruleset, b: Ruleset): boolean {
  return isAlike(a, b) && isAlike(a.ipv6, b.ipv6);
}

function isAlike(a: FamilyRules, b: FamilyRules): boolean {
  if (a.accept !== b.accept || a.words !== b.words) return false;
  for (let i = 0; i < a.words; i++) if (a.matches[i] !== b.matches[i]) return false;
  return true;
}
