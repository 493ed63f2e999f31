// Rules that were packed, and read into memory that other rules have been in, decide as they do: walked and searched, of both families.
import { describe, expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { randomMatches, randomMatches6, randomPacket, randomPacket6 } from "../../../lab/rulesets.ts";
import { OwnRuleset, packRuleset } from "../../../src/dataplane/rules/packed.ts";
import { compileRuleset, judge, judge6, type Ruleset } from "../../../src/dataplane/rules/ruleset.ts";

const PACKETS = 200;
const memory = new Int32Array(1 << 16);

/** @returns what was read, from somewhere in memory */
function readInto(own: OwnRuleset, ruleset: Ruleset): OwnRuleset {
  const at = 7;
  expect(packRuleset(ruleset, memory.subarray(at))).toBeGreaterThan(0);
  own.readRuleset(memory, at);
  memory.fill(-1); // nothing of it is used any more
  return own;
}

describe("a packed ruleset", () => {
  test("decides as the one that it was made of, whatever was in that memory before", () => {
    const random = new Random(7);
    const own = new OwnRuleset();
    const lengths = [1, 200, 3, 60, 12, 13, 2, 150, 1, 90];
    for (const length of [...lengths, ...lengths.toReversed()]) {
      const matches = randomMatches(random, length, 16);
      const matches6 = randomMatches6(random, random.pick(lengths), 32);
      const ruleset = compileRuleset(matches, random.chance(0.5), matches6, random.chance(0.5));
      readInto(own, ruleset);
      expect(own.version).toBe(ruleset.version);
      for (let i = 0; i < PACKETS; i++) {
        const { protocol, destination, selector } = randomPacket(random, matches);
        expect(judge(own, protocol, destination, selector)).toBe(judge(ruleset, protocol, destination, selector));
        const packet6 = randomPacket6(random, matches6);
        const ask6 = (rules: Ruleset) => judge6(rules, packet6.protocol, ...packet6.destination, packet6.selector);
        expect(ask6(own)).toBe(ask6(ruleset));
      }
    }
  });

  test("is none where there is no room for it", () => {
    const ruleset = compileRuleset(randomMatches(new Random(1), 40, 16), true);
    const words = packRuleset(ruleset, memory);
    expect(packRuleset(ruleset, new Int32Array(words))).toBe(words);
    expect(packRuleset(ruleset, new Int32Array(words - 1))).toBe(0);
  });

  test("takes no other memory while the rules are no longer than ones before", () => {
    const random = new Random(3);
    const long = readInto(new OwnRuleset(), compileRuleset(randomMatches(random, 60, 16), true));
    const { index, matches } = long;
    const maps = index?.maps;
    readInto(long, compileRuleset(randomMatches(random, 5, 16), true));
    expect(long.index).toBeNull();
    readInto(long, compileRuleset(randomMatches(random, 30, 16), true));
    expect(long.index).toBe(index);
    expect(long.index?.maps).toBe(maps as Int32Array);
    expect(long.matches).toBe(matches);
  });
});
