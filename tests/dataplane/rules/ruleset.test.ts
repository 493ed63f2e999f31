// Rulesets: the first match decides, and however it is found, it is the one that walking the list finds.
import { describe, expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { randomMatches, randomPacket } from "../../../lab/rulesets.ts";
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Match } from "../../../src/dataplane/rules/match.ts";
import {
  compileRuleset,
  isLikeRuleset,
  isSameRuleset,
  judge,
  type Ruleset,
  walk,
} from "../../../src/dataplane/rules/ruleset.ts";

const ICMP = 1;
const TCP = 6;
const UDP = 17;
const GRE = 47;
const HOST = 0x0a000001;

const ANY: Match = {
  rule: 1,
  accept: true,
  address: 0,
  prefix: 0,
  protocol: ANY_PROTOCOL,
  portLow: 0,
  portHigh: 65535,
  icmpType: ANY_ICMP_TYPE,
};

/** @returns the ruleset alone, and behind so many matches of no packet's that it is searched instead of walked. */
function bothWays(matches: readonly Match[], accept: boolean): Ruleset[] {
  const unused = { ...ANY, rule: 99, address: 0xf0f0f0f0, prefix: 32 };
  const padded = [...Array.from({ length: 40 }, () => unused), ...matches];
  return [compileRuleset(matches, accept), compileRuleset(padded, accept)];
}

/** @returns what both ways say, which is the same */
function judgeBoth(matches: readonly Match[], protocol: number, destination: number, selector: number): number {
  const [walked, searched] = bothWays(matches, false).map((set) => judge(set, protocol, destination, selector));
  expect(searched).toBe(walked);
  return walked;
}

const ACCEPTED_BY_1 = 3;
const REFUSED_BY_1 = 2;
const BY_POLICY = 0;

describe("a ruleset", () => {
  test("without matches follows its policy", () => {
    expect(judge(compileRuleset([], true), TCP, HOST, 80)).toBe(1);
    expect(judge(compileRuleset([], false), TCP, HOST, 80)).toBe(0);
    expect(bothWays([], true).map((set) => judge(set, ICMP, -1, 8))).toEqual([1, 1]);
  });

  test("lets the first match decide, and says which it was", () => {
    const drop = { ...ANY, accept: false, address: HOST, prefix: 32 };
    expect(judgeBoth([ANY, { ...drop, rule: 2 }], TCP, HOST, 80)).toBe(ACCEPTED_BY_1);
    expect(judgeBoth([drop, { ...ANY, rule: 2 }], TCP, HOST, 80)).toBe(REFUSED_BY_1);
    expect(judgeBoth([drop, { ...ANY, rule: 2 }], TCP, HOST + 1, 80)).toBe((2 << 1) | 1);
  });

  test("looks at as many bits of a destination as the prefix has, at both ends of the address space too", () => {
    for (const [address, prefix, inside, outside] of [
      [0x0a000000, 8, [0x0a000000, 0x0affffff], [0x09ffffff, 0x0b000000]],
      [0xc0000240, 28, [0xc0000240, 0xc000024f], [0xc000023f, 0xc0000250]],
      [0x80000000, 1, [0x80000000, 0xffffffff], [0x7fffffff, 0]],
      [0, 1, [0, 0x7fffffff], [0x80000000, 0xffffffff]],
      [0, 32, [0], [1, 0xffffffff]],
      [0xffffffff, 32, [0xffffffff], [0xfffffffe, 0]],
      [0xffffffff, 31, [0xffffffff, 0xfffffffe], [0xfffffffd, 0]],
      [0, 0, [0, 0x7fffffff, 0x80000000, 0xffffffff], []],
    ] as const) {
      const matches = [{ ...ANY, address, prefix }];
      for (const there of inside) expect(judgeBoth(matches, TCP, there | 0, 80)).toBe(ACCEPTED_BY_1);
      for (const elsewhere of outside) expect(judgeBoth(matches, TCP, elsewhere | 0, 80)).toBe(BY_POLICY);
    }
  });

  test("looks at ports of TCP and UDP, types of ICMP, and at neither of other protocols", () => {
    const ports = [{ ...ANY, portLow: 80, portHigh: 90, icmpType: 8 }];
    for (const [protocol, selector, judgement] of [
      [TCP, 79, BY_POLICY],
      [TCP, 80, ACCEPTED_BY_1],
      [UDP, 90, ACCEPTED_BY_1],
      [UDP, 91, BY_POLICY],
      [ICMP, 8, ACCEPTED_BY_1],
      [ICMP, 80, BY_POLICY],
      [GRE, 0, ACCEPTED_BY_1],
      [0, 0, ACCEPTED_BY_1],
      [255, 65535, ACCEPTED_BY_1],
    ] as const) {
      expect(judgeBoth(ports, protocol, HOST, selector)).toBe(judgement);
    }
  });

  test("takes a protocol for that one alone", () => {
    for (const protocol of [TCP, UDP, ICMP, GRE, 255]) {
      const matches = [{ ...ANY, protocol }];
      for (const other of [TCP, UDP, ICMP, GRE, 255, 0]) {
        expect(judgeBoth(matches, other, HOST, 8)).toBe(other === protocol ? ACCEPTED_BY_1 : BY_POLICY);
      }
    }
  });

  test("with a port range the wrong way round matches none", () => {
    expect(judgeBoth([{ ...ANY, protocol: TCP, portLow: 90, portHigh: 80 }], TCP, HOST, 85)).toBe(BY_POLICY);
  });

  test("survives structured cloning", () => {
    for (const ruleset of bothWays([ANY], false)) expect(structuredClone(ruleset)).toEqual(ruleset);
  });
});

function expectSameAsWalking(ruleset: Ruleset, matches: readonly Match[], random: Random, packets: number): void {
  for (let i = 0; i < packets; i++) {
    const { protocol, destination, selector } = randomPacket(random, matches);
    const judgement = judge(ruleset, protocol, destination, selector);
    if (judgement !== walk(ruleset, protocol, destination, selector)) {
      throw new Error(`protocol ${protocol} to ${destination} selector ${selector} among ${JSON.stringify(matches)}`);
    }
  }
}

describe("searching finds what walking finds", () => {
  test("in rulesets of all sizes", () => {
    const random = new Random(3);
    for (let i = 0; i < 400; i++) {
      const matches = randomMatches(random, 13 + random.below(random.pick([10, 50, 300])), random.below(33));
      const ruleset = compileRuleset(matches, random.chance(0.5));
      expect(ruleset.index).not.toBeNull();
      expectSameAsWalking(ruleset, matches, random, 1000);
    }
  });

  test("where all rules crowd in one small network", () => {
    const random = new Random(4);
    for (let i = 0; i < 100; i++) {
      const matches = randomMatches(random, 100, 0).map((match) => ({
        ...match,
        address: 0x0a000000 + (match.address & 0xff),
        prefix: Math.max(match.prefix, 22),
      }));
      expectSameAsWalking(compileRuleset(matches, false), matches, random, 500);
    }
  });

  test("in a ruleset of 10 000 rules", () => {
    const random = new Random(5);
    for (const narrow of [0, 12, 24]) {
      const matches = randomMatches(random, 10_000, narrow);
      expectSameAsWalking(compileRuleset(matches, false), matches, random, 3000);
    }
  });

  test("within memory in proportion, also where every host would repeat the ports of all", () => {
    const ports = Array.from({ length: 64 }, (_, i) => ({
      ...ANY,
      rule: i + 1,
      protocol: TCP,
      portLow: i,
      portHigh: i,
    }));
    const hosts = Array.from({ length: 9936 }, (_, i) => ({ ...ANY, rule: i + 65, address: i * 65537, prefix: 32 }));
    const matches = [...ports, ...hosts];
    const ruleset = compileRuleset(matches, false);
    expectSameAsWalking(ruleset, matches, new Random(6), 2000);
    expect(ruleset.index?.maps.length).toBeLessThan(32 * matches.length);
  });
});

test("two rulesets are alike if they decide the same by the same rules, and the same if it is one, also as another thread gets it", () => {
  const set = compileRuleset([ANY, { ...ANY, rule: 2, portLow: 80 }], true);
  const again = compileRuleset([ANY, { ...ANY, rule: 2, portLow: 80 }], true);
  expect([isLikeRuleset(set, again), isSameRuleset(set, again)]).toEqual([true, false]);
  const posted = structuredClone(set);
  expect([isSameRuleset(set, posted), posted.matches.buffer instanceof SharedArrayBuffer]).toEqual([true, true]);
  const others = [
    compileRuleset([ANY], true),
    compileRuleset([ANY, { ...ANY, rule: 3, portLow: 80 }], true),
    compileRuleset([ANY, { ...ANY, rule: 2, portLow: 80 }], false),
  ];
  expect(others.map((other) => isLikeRuleset(set, other))).toEqual([false, false, false]);
});
