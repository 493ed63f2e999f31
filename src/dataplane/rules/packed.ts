// Compiled rules as words that one thread writes and the other reads into memory of its own. Rules that change because names in them have
// other addresses come so to the dataplane's thread: nothing is made for them there that somebody would have to collect.
import type { RuleIndex } from "./index.ts";
import type { FamilyRules, Ruleset } from "./ruleset.ts";

/** Words of each family: whether the policy accepts, words of matches, whether there is an index, its shift, the lengths of its arrays. */
const ACCEPT = 0;
const MATCHES = 1;
const HAS_INDEX = 2;
const SHIFT = 3;
const LENGTHS = 4;
const HEADER = 9;

const NOTHING = new Int32Array(0);

type Words = Int32Array<ArrayBufferLike>;

/** @param out is overwritten @returns how many words they are, or 0 where so many have no room */
export function packRuleset(ruleset: Ruleset, out: Int32Array): number {
  if (packedLength(ruleset) > out.length) return 0;
  out[0] = ruleset.version;
  return packFamily(ruleset.ipv6, out, packFamily(ruleset, out, 1));
}

/** @returns how many words `packRuleset` makes of rules */
export function packedLength(ruleset: Ruleset): number {
  return 1 + lengthOf(ruleset) + lengthOf(ruleset.ipv6);
}

function arraysOf(index: RuleIndex | null): readonly Int32Array[] {
  return index === null ? [] : [index.buckets, index.starts, index.heads, index.maps, index.decisions];
}

function lengthOf({ words, index }: FamilyRules): number {
  return arraysOf(index).reduce((sum, { length }) => sum + length, HEADER + words);
}

/** @returns where it ends */
function packFamily({ accept, matches, words, index }: FamilyRules, out: Int32Array, at: number): number {
  out.fill(0, at, at + HEADER);
  out[at + ACCEPT] = Number(accept);
  out[at + MATCHES] = words;
  out[at + HAS_INDEX] = Number(index !== null);
  out[at + SHIFT] = index?.shift ?? 0;
  let end = at + HEADER;
  out.set(matches.subarray(0, words), end);
  end += words;
  for (const [i, array] of arraysOf(index).entries()) {
    out[at + LENGTHS + i] = array.length;
    out.set(array, end);
    end += array.length;
  }
  return end;
}

/** @returns an array with what so many words say: the one that there was, if it is long enough */
function taken(own: Int32Array, words: Words, at: number, count: number): Int32Array {
  const array = own.length >= count ? own : new Int32Array(2 ** Math.ceil(Math.log2(count)));
  for (let i = 0; i < count; i++) array[i] = words[at + i];
  return array;
}

class OwnIndex implements RuleIndex {
  shift = 0;
  buckets: Int32Array = NOTHING;
  starts: Int32Array = NOTHING;
  heads: Int32Array = NOTHING;
  maps: Int32Array = NOTHING;
  decisions: Int32Array = NOTHING;
}

class OwnFamily implements FamilyRules {
  accept = false;
  matches: Int32Array = NOTHING;
  words = 0;
  index: OwnIndex | null = null;
  private kept: OwnIndex | undefined;

  /** @returns where it ends */
  read(packed: Words, at: number): number {
    this.accept = packed[at + ACCEPT] !== 0;
    this.words = packed[at + MATCHES];
    this.matches = taken(this.matches, packed, at + HEADER, this.words);
    const end = at + HEADER + this.words;
    if (packed[at + HAS_INDEX] === 0) {
      this.index = null;
      return end;
    }
    this.kept ??= new OwnIndex();
    this.index = this.kept;
    this.index.shift = packed[at + SHIFT];
    return this.readArrays(this.index, packed, at + LENGTHS, end);
  }

  private readArrays(index: OwnIndex, packed: Words, lengths: number, at: number): number {
    const starts = at + packed[lengths];
    const heads = starts + packed[lengths + 1];
    const maps = heads + packed[lengths + 2];
    const decisions = maps + packed[lengths + 3];
    index.buckets = taken(index.buckets, packed, at, packed[lengths]);
    index.starts = taken(index.starts, packed, starts, packed[lengths + 1]);
    index.heads = taken(index.heads, packed, heads, packed[lengths + 2]);
    index.maps = taken(index.maps, packed, maps, packed[lengths + 3]);
    index.decisions = taken(index.decisions, packed, decisions, packed[lengths + 4]);
    return decisions + packed[lengths + 4];
  }
}

/** Rules that others take the place of, in the same memory: only who judges by them may have them, and only between two packets. */
export class OwnRuleset extends OwnFamily implements Ruleset {
  version = 0;
  readonly ipv6 = new OwnFamily();

  /** @param packed, at where `packRuleset` has put words */
  readRuleset(packed: Words, at: number): void {
    this.version = packed[at];
    this.ipv6.read(packed, this.read(packed, at + 1));
  }
}
