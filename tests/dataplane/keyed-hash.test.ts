// The hash of addresses and ports: inputs that differ in any few bits collide as often as chance has it, whoever chose the bits, and
// so does the kernel path's.
import { describe, expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { ENTRY, ENTRY_KEY, hashKey } from "../../src/dataplane/kernel/programs/layout.ts";
import { drawHashKeys, KeyedHash } from "../../src/dataplane/keyed-hash.ts";
import { keyedHash } from "../support/keyed-hash.ts";

type Words = readonly [number, number, number];
/** A hash of three words, for one draw of its keys. */
type Hash = (words: Words) => number;

const BITS = 96;
/** Of a hash, those that are compared: so many of its lowest, and of its highest. With SEEDS pairs, one collides by chance. */
const COMPARED = 10;
const SEEDS = 2 ** COMPARED;
/** Among 15 000 differences by chance alone, one has as many collisions in one of a million runs. */
const TOO_MANY = 14;
const TRIPLES = 10_000;

function ours(seed: number): Hash {
  const keyed = keyedHash(seed);
  return ([a, b, c]) => keyed.of(a, b, c, 17);
}

/** Bits of three words that are flipped: all single ones, all pairs, and some of three. */
function differences(random: Random): Words[] {
  const chosen: number[][] = [];
  for (let one = 0; one < BITS; one++) {
    chosen.push([one]);
    for (let other = one + 1; other < BITS; other++) chosen.push([one, other]);
  }
  while (chosen.length < BITS + (BITS * (BITS - 1)) / 2 + TRIPLES) {
    const bits = new Set([random.below(BITS), random.below(BITS), random.below(BITS)]);
    if (bits.size === 3) chosen.push([...bits]);
  }
  return chosen.map((bits) => wordsOf(bits));
}

function wordsOf(bits: readonly number[]): Words {
  const words: [number, number, number] = [0, 0, 0];
  for (const bit of bits) words[bit >>> 5] ^= 1 << (bit & 31);
  return words;
}

/** @returns of each difference, in how many of SEEDS random pairs that differ so the lowest bits collide, and the highest */
function collisions(make: (seed: number) => Hash, differing: readonly Words[]): [number, number][] {
  const random = new Random(7);
  const cases = Array.from({ length: SEEDS }, (_, seed) => {
    const words: Words = [random.next() | 0, random.next() | 0, random.next() | 0];
    const hash = make(seed + 1);
    return { words, hash, value: hash(words) };
  });
  return differing.map(([a, b, c]) => {
    const counts: [number, number] = [0, 0];
    for (const { words, hash, value } of cases) {
      const changed = value ^ hash([words[0] ^ a, words[1] ^ b, words[2] ^ c]);
      if ((changed & (2 ** COMPARED - 1)) === 0) counts[0]++;
      if (changed >>> (32 - COMPARED) === 0) counts[1]++;
    }
    return counts;
  });
}

const worst = (counts: readonly [number, number][]): number => Math.max(...counts.flat());

describe("the keyed hash", () => {
  test("collides by chance alone for all differences of one and two bits, and of three", () => {
    const counts = collisions(ours, differences(new Random(1)));
    expect(worst(counts)).toBeLessThan(TOO_MANY);
    const mean = counts.flat().reduce((sum, count) => sum + count) / counts.length / 2;
    expect(mean).toBeGreaterThan(0.9);
    expect(mean).toBeLessThan(1.1);
  });

  test("collides by chance alone where the highest bits of words, and of their halves, are flipped", () => {
    const top = [31, 15, 30, 14].flatMap((bit) => [bit, bit + 32, bit + 64]);
    const sets = Array.from({ length: 2 ** top.length - 1 }, (_, i) => top.filter((_, at) => ((i + 1) >>> at) & 1));
    expect(worst(collisions(ours, sets.map(wordsOf)))).toBeLessThan(TOO_MANY);
  });

  test("the same look at a hash of constants with a random beginning finds what collides in it for every seed", () => {
    const constants = (seed: number): Hash => {
      return ([a, b, c]) => {
        let h = Math.imul(seed ^ a, 0xcc9e2d51);
        h = Math.imul(h ^ (h >>> 15) ^ b, 0x1b873593);
        h = Math.imul(h ^ (h >>> 13) ^ c, 0x85ebca6b);
        h = Math.imul(h ^ (h >>> 16), 0xc2b2ae35);
        return h ^ (h >>> 15);
      };
    };
    const known = wordsOf([32 + 31, 64 + 31, 64 + 18]);
    expect(collisions(constants, [known])).toEqual([[SEEDS, SEEDS]]);
    expect(worst(collisions(ours, [known]))).toBeLessThan(TOO_MANY);
  });

  test("tells apart ports and addresses in order, without runs for linear probing", () => {
    const inOrder: readonly ((i: number) => Words)[] = [
      (i) => [0x0a890010, 0x5db8d822, ((1024 + i) << 16) | 443],
      (i) => [0x0a890010, 0x5db80000 + i, (5000 << 16) | 443],
      (i) => [0x0a890010, i << 16, (5000 << 16) | 443],
      (i) => [0x0a890010, 0x5db80000 + (i & 255), ((5000 + (i >>> 8)) << 16) | 443],
    ];
    const count = 16_384;
    const mask = 4 * count - 1;
    for (const words of inOrder) {
      for (let seed = 1; seed <= 20; seed++) {
        const hash = ours(seed);
        const taken = new Uint8Array(mask + 1);
        let probes = 0;
        for (let i = 0; i < count; i++) {
          let slot = hash(words(i)) & mask;
          for (; taken[slot] === 1; slot = (slot + 1) & mask) probes++;
          taken[slot] = 1;
        }
        expect(probes / count).toBeLessThan(0.2); // by chance it is 1/6
      }
    }
  });

  test("of the kernel path's keys is the same, and has none that collide for every draw of its keys either", () => {
    const entry = new DataView(new ArrayBuffer(ENTRY.LENGTH));
    const kernel = (seed: number): Hash => {
      const keyed = keyedHash(seed);
      return ([a, b, c]) => {
        for (const [field, word] of [
          [ENTRY_KEY.SOURCE, a],
          [ENTRY_KEY.DESTINATION, b],
          [ENTRY_KEY.PORTS, c],
        ]) {
          entry.setInt32(ENTRY.KEY + field, word, true);
        }
        return hashKey(keyed, entry);
      };
    };
    expect(worst(collisions(kernel, differences(new Random(2)).slice(0, 1000)))).toBeLessThan(TOO_MANY);
  });

  test("is not made of fewer keys than it needs", () => {
    const keys = drawHashKeys(() => 1);
    expect(() => new KeyedHash(keys.slice(1))).toThrow("7 keys for a hash instead of 8");
  });
});
