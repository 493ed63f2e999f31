// Finds the first match in a long list without walking it. The address space is cut where destination prefixes begin and
// end; each piece has, for each kind of protocol, maps from port (or ICMP type, or protocol number) to the first match.
// A map covers what prefixes around its own say too, as far as that is short; what is longer is one map that all the
// prefixes inside share: so a look-up is a few binary searches, and memory grows with the number of matches only.
import { KINDS, keyOf, kindOf, type Match } from "./match.ts";
import { merge, NO_MATCH, type Steps, stepsOf } from "./steps.ts";

/** Immutable, and survives structured cloning. A match is known by its position in the list. */
export interface RuleIndex {
  /** How far an address is shifted right to be an index of `buckets`. */
  readonly shift: number;
  /** By the leading bits of an address: the piece that their first address lies in. One more at the end. */
  readonly buckets: Int32Array;
  /** First address of each piece, as `ordered` makes it. */
  readonly starts: Int32Array;
  /** By piece * KINDS + kind: offset of the first map in `maps`, or NO_MAP. */
  readonly heads: Int32Array;
  /** Maps, each of `count` pairs: the header, then the keys' lower ends, then the match of each. */
  readonly maps: Int32Array;
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
 * @param destination address, host order
 * @param selector as `judge` takes it
 * @returns the position of the first match, or NO_MATCH
 */
export function findFirst(index: RuleIndex, protocol: number, destination: number, selector: number): number {
  const { starts, maps } = index;
  const address = ordered(destination);
  const bucket = destination >>> index.shift;
  let piece = index.buckets[bucket];
  let last = index.buckets[bucket + 1];
  while (piece < last) {
    const middle = (piece + last + 1) >>> 1;
    if (starts[middle] <= address) piece = middle;
    else last = middle - 1;
  }
  const kind = kindOf(protocol);
  const key = keyOf(kind, protocol, selector);
  let first = NO_MATCH;
  let map = index.heads[piece * KINDS + kind];
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
  readonly first: number;
  readonly last: number;
  readonly prefix: number;
  /** Positions of its matches in the list, in order. */
  readonly positions: number[];
}

interface Piece {
  readonly start: number;
  readonly maps: Maps;
}

export function buildIndex(matches: readonly Match[]): RuleIndex {
  const destinations = destinationsOf(matches);
  let index = indexOf(cut(destinations, matches, REPEATED[0]));
  for (const repeated of REPEATED.slice(1)) {
    if (index.maps.length <= MODEST * matches.length) break;
    index = indexOf(cut(destinations, matches, repeated));
  }
  return index;
}

function indexOf(pieces: readonly Piece[]): RuleIndex {
  const bits = Math.min(MAX_BUCKET_BITS, 1 + Math.ceil(Math.log2(pieces.length)));
  const shift = 32 - bits;
  const { heads, maps } = serialize(pieces);
  return {
    shift,
    buckets: bucketsOf(pieces, shift),
    starts: Int32Array.from(pieces, ({ start }) => ordered(start)),
    heads,
    maps,
  };
}

/** @returns the address as a number that compares as int32 as the address does unsigned */
function ordered(address: number): number {
  return address ^ 0x80000000;
}

/** @returns the prefixes, each before those inside it, in the order of addresses; the first is the whole address space */
function destinationsOf(matches: readonly Match[]): Destination[] {
  const known = new Map<number, Destination>([[0, { first: 0, last: 2 ** 32 - 1, prefix: 0, positions: [] }]]);
  for (const [position, { address, prefix }] of matches.entries()) {
    const size = 2 ** (32 - prefix);
    const first = address - (address % size);
    const key = prefix * 2 ** 32 + first;
    let destination = known.get(key);
    if (destination === undefined) {
      destination = { first, last: first + size - 1, prefix, positions: [] };
      known.set(key, destination);
    }
    destination.positions.push(position);
  }
  return [...known.values()].sort((one, other) => one.first - other.first || one.prefix - other.prefix);
}

/** Cuts the address space where prefixes begin and end. @param repeated one of REPEATED */
function cut(destinations: readonly Destination[], matches: readonly Match[], repeated: number): Piece[] {
  const pieces: Piece[] = [];
  const open: { readonly last: number; readonly maps: Maps }[] = [];
  const begin = (start: number, maps: Maps) => {
    if (pieces.at(-1)?.start === start) pieces.pop();
    const before = pieces.at(-1);
    if (before === undefined || maps.some((map, kind) => map !== before.maps[kind])) pieces.push({ start, maps });
  };
  const end = (address: number) => {
    for (let inner = open.at(-1); inner !== undefined && inner.last < address; inner = open.at(-1)) {
      open.pop();
      const outer = open.at(-1);
      if (outer !== undefined && outer.last > inner.last) begin(inner.last + 1, outer.maps);
    }
  };
  for (const { first, last, positions } of destinations) {
    end(first);
    const maps = mapsOf(positions, matches, open.at(-1)?.maps ?? [], repeated);
    open.push({ last, maps });
    begin(first, maps);
  }
  end(2 ** 32);
  return pieces;
}

/** @param outer the maps of the prefix around this one */
function mapsOf(positions: readonly number[], matches: readonly Match[], outer: Maps, repeated: number): Maps {
  return Array.from({ length: KINDS }, (_, kind) => {
    const own = stepsOf(positions, matches, kind);
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

function bucketsOf(pieces: readonly Piece[], shift: number): Int32Array {
  const buckets = new Int32Array(2 ** (32 - shift) + 1);
  let piece = 0;
  for (let bucket = 0; bucket < buckets.length; bucket++) {
    const address = bucket * 2 ** shift;
    while (piece + 1 < pieces.length && pieces[piece + 1].start <= address) piece++;
    buckets[bucket] = piece;
  }
  return buckets;
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
