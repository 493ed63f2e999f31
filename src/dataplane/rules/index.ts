// Finds the first match in a long list without walking it. The address space is cut where destination prefixes begin and
// end; each piece has, for each kind of protocol, maps from port (or ICMP type, or protocol number) to the first match.
// A map covers what prefixes around its own say too, as far as that is short; what is longer is one map that all the
// prefixes inside share: so a look-up is a few binary searches, and memory grows with the number of matches only.
import { type Conditions, KINDS, type Kinds, type Match, type Match6, type MatchFamily, wordsOf } from "./match.ts";
import { merge, NO_MATCH, type Steps, stepsOf } from "./steps.ts";

/** Immutable, and survives structured cloning. A match is known by its position in the list. */
export interface RuleIndex {
  /** How far an address's leading word is shifted right to be an index of `buckets`. */
  readonly shift: number;
  /** By the leading bits of an address: the piece that their first address lies in. One more at the end. */
  readonly buckets: Int32Array;
  /** First address of each piece, word by word, each as `ordered` makes it. */
  readonly starts: Int32Array;
  /** By piece * KINDS + kind: offset of the first map in `maps`, or NO_MAP. */
  readonly heads: Int32Array;
  /** Maps, each of `count` pairs: the header, then the keys' lower ends, then the match of each. */
  readonly maps: Int32Array;
  /** By position of a match: what it decides. The list itself is ten times as large, and would push other things out of the cache. */
  readonly decisions: Int32Array;
}

const NO_MAP = -1;
/** Header of a map: the next one to look in, the first match of this and all further ones, the number of pairs. */
const NEXT = 0;
const LEAST = 1;
const COUNT = 2;
const HEADER = 3;

/**
 * Pairs of a surrounding prefix's map that a map inside may repeat: many make chains short, none saves memory. The first
 * of these with which there are no more than MODEST words for a match is taken.
 */
const REPEATED = [64, 16, 0];
const MODEST = 32;
/** Most leading bits that have a bucket. */
const MAX_BUCKET_BITS = 16;

/**
 * @param destination address of IPv4, host order
 * @param kind, key of the packet, as match.ts has them
 * @returns the position of the first match, or NO_MATCH
 */
export function findFirst(index: RuleIndex, destination: number, kind: number, key: number): number {
  const { starts } = index;
  const address = ordered(destination);
  const bucket = destination >>> index.shift;
  let piece = index.buckets[bucket];
  let last = index.buckets[bucket + 1];
  while (piece < last) {
    const middle = (piece + last + 1) >>> 1;
    if (starts[middle] <= address) piece = middle;
    else last = middle - 1;
  }
  return firstIn(index, piece, kind, key);
}

/** As `findFirst`, for an address of IPv6 as four words. Of them two rarely have to be looked at where a piece begins. */
export function findFirst6(
  index: RuleIndex,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
  kind: number,
  key: number,
): number {
  const { starts } = index;
  const word0 = ordered(d0);
  const word1 = ordered(d1);
  const word2 = ordered(d2);
  const word3 = ordered(d3);
  const bucket = d0 >>> index.shift;
  let piece = index.buckets[bucket];
  let last = index.buckets[bucket + 1];
  while (piece < last) {
    const middle = (piece + last + 1) >>> 1;
    const at = middle << 2;
    let isBehind: boolean;
    if (starts[at] !== word0) isBehind = starts[at] < word0;
    else if (starts[at + 1] !== word1) isBehind = starts[at + 1] < word1;
    else if (starts[at + 2] !== word2) isBehind = starts[at + 2] < word2;
    else isBehind = starts[at + 3] <= word3;
    if (isBehind) piece = middle;
    else last = middle - 1;
  }
  return firstIn(index, piece, kind, key);
}

/** @returns a word of an address as a number that compares as int32 as the word does unsigned */
function ordered(word: number): number {
  return word ^ 0x80000000;
}

function firstIn({ heads, maps }: RuleIndex, piece: number, kind: number, key: number): number {
  let first = NO_MATCH;
  let map = heads[piece * KINDS + kind];
  while (map !== NO_MAP && maps[map + LEAST] < first) {
    const count = maps[map + COUNT];
    let low = map + HEADER;
    let high = low + count - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (maps[middle] <= key) low = middle;
      else high = middle - 1;
    }
    if (maps[low + count] < first) first = maps[low + count];
    map = maps[map + NEXT];
  }
  return first;
}

/** Steps, and where to look further. */
interface StepMap extends Steps {
  readonly next: StepMap | undefined;
  readonly least: number;
}

/** By kind. */
type Maps = readonly (StepMap | undefined)[];

/** A destination prefix that rules name. */
interface Destination {
  /** First and last address. */
  readonly first: bigint;
  readonly last: bigint;
  /** Positions of its matches in the list, in order. */
  readonly positions: number[];
}

interface Piece {
  readonly start: bigint;
  readonly maps: Maps;
}

/** @param decisionOf says what a match decides, as the walk does */
export function buildIndex<M extends Match | Match6>(
  matches: readonly M[],
  family: MatchFamily<M>,
  decisionOf: (match: M) => number,
): RuleIndex {
  const destinations = destinationsOf(matches, family);
  let index = indexOf(cut(destinations, matches, family, REPEATED[0]), family);
  for (const repeated of REPEATED.slice(1)) {
    if (index.maps.length <= MODEST * matches.length) break;
    index = indexOf(cut(destinations, matches, family, repeated), family);
  }
  return { ...index, decisions: Int32Array.from(matches, decisionOf) };
}

function indexOf(pieces: readonly Piece[], { words }: { readonly words: number }): Omit<RuleIndex, "decisions"> {
  const bits = Math.min(MAX_BUCKET_BITS, 1 + Math.ceil(Math.log2(pieces.length)));
  const shift = 32 - bits;
  const starts = pieces.flatMap(({ start }) => wordsOf(start, words));
  return {
    shift,
    buckets: bucketsOf(pieces, bits, words),
    starts: Int32Array.from(starts, ordered),
    ...serialize(pieces),
  };
}

/** @param bits that have a bucket @param words of an address */
function bucketsOf(pieces: readonly Piece[], bits: number, words: number): Int32Array {
  const buckets = new Int32Array(2 ** bits + 1);
  const width = BigInt(32 * words - bits);
  const firsts = pieces.map(({ start }) => Number((start - 1n) >> width) + 1); // the first bucket that begins behind a start, or at it
  let piece = 0;
  for (let bucket = 0; bucket < buckets.length; bucket++) {
    while (piece + 1 < pieces.length && firsts[piece + 1] <= bucket) piece++;
    buckets[bucket] = piece;
  }
  return buckets;
}

/** @returns the prefixes, each before those inside it, in the order of addresses; the first is the whole address space */
function destinationsOf<M extends Match | Match6>(matches: readonly M[], family: MatchFamily<M>): Destination[] {
  const bits = family.words * 32;
  const known = new Map<bigint, Destination & { readonly prefix: number }>();
  const at = (address: bigint, prefix: number) => {
    const size = 1n << BigInt(bits - prefix);
    const first = address & -size;
    const key = (first << 8n) | BigInt(prefix);
    const destination = known.get(key) ?? { first, last: first + size - 1n, prefix, positions: [] };
    known.set(key, destination);
    return destination;
  };
  at(0n, 0);
  for (const [position, match] of matches.entries()) at(family.addressOf(match), match.prefix).positions.push(position);
  const keys = [...known].sort(([one], [other]) => (one < other ? -1 : 1));
  return keys.map(([, destination]) => destination);
}

/** Cuts the address space where prefixes begin and end. @param repeated one of REPEATED */
function cut(
  destinations: readonly Destination[],
  matches: readonly Conditions[],
  { kinds, words }: { readonly kinds: Kinds; readonly words: number },
  repeated: number,
): Piece[] {
  const pieces: Piece[] = [];
  const open: { readonly last: bigint; readonly maps: Maps }[] = [];
  const begin = (start: bigint, maps: Maps) => {
    if (pieces.at(-1)?.start === start) pieces.pop();
    const before = pieces.at(-1);
    if (before === undefined || maps.some((map, kind) => map !== before.maps[kind])) pieces.push({ start, maps });
  };
  const end = (address: bigint) => {
    for (let inner = open.at(-1); inner !== undefined && inner.last < address; inner = open.at(-1)) {
      open.pop();
      const outer = open.at(-1);
      if (outer !== undefined && outer.last > inner.last) begin(inner.last + 1n, outer.maps);
    }
  };
  for (const { first, last, positions } of destinations) {
    end(first);
    const maps = mapsOf(positions, matches, kinds, open.at(-1)?.maps ?? [], repeated);
    open.push({ last, maps });
    begin(first, maps);
  }
  end(1n << BigInt(32 * words));
  return pieces;
}

/** @param outer the maps of the prefix around this one */
function mapsOf(
  positions: readonly number[],
  matches: readonly Conditions[],
  kinds: Kinds,
  outer: Maps,
  repeated: number,
): Maps {
  return Array.from({ length: KINDS }, (_, kind) => {
    const own = stepsOf(positions, matches, kind, kinds);
    return own === undefined ? outer[kind] : join(own, outer[kind], repeated);
  });
}

function join(own: Steps, outer: StepMap | undefined, repeated: number): StepMap {
  if (outer === undefined || outer.lows.length > Math.max(repeated, own.lows.length)) return chained(own, outer);
  const both = merge(own, outer);
  const adds = both.lows.length !== outer.lows.length || both.firsts.some((first, i) => first !== outer.firsts[i]);
  return adds ? chained(both, outer.next) : outer;
}

function chained({ lows, firsts }: Steps, next: StepMap | undefined): StepMap {
  return {
    lows,
    firsts,
    next,
    least: firsts.reduce((least, first) => Math.min(least, first), next?.least ?? NO_MATCH),
  };
}

function serialize(pieces: readonly Piece[]): { heads: Int32Array; maps: Int32Array } {
  const offsetOf = new Map<StepMap, number>();
  const words: number[] = [];
  const write = (map: StepMap | undefined): number => {
    if (map === undefined) return NO_MAP;
    const known = offsetOf.get(map);
    if (known !== undefined) return known;
    const next = write(map.next);
    const offset = words.length;
    offsetOf.set(map, offset);
    words.push(next, map.least, map.lows.length);
    for (const low of map.lows) words.push(low);
    for (const first of map.firsts) words.push(first);
    return offset;
  };
  const heads = Int32Array.from(pieces.flatMap(({ maps }) => Array.from(maps, write)));
  return { heads, maps: Int32Array.from(words) };
}
