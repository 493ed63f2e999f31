// Rulesets: the first match decides, and however it is found, it is the one that walking the list finds.
import { describe, expect, test } from "bun:test";
import { ICMP, ICMPV6, TCP, UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import {
  bytesOfWords,
  randomMatches,
  randomMatches6,
  randomPacket,
  randomPacket6,
  wordsOfBytes,
} from "../../../lab/rulesets.ts";
import { networkOf6, parsePrefix6 } from "../../../src/base/address.ts";
import { ANY_ICMP_TYPE, ANY_PROTOCOL, type Match, type Match6 } from "../../../src/dataplane/rules/match.ts";
import {
  compileRuleset,
  isLikeRuleset,
  isSameRuleset,
  judge,
  judge6,
  type Ruleset,
  walk,
  walk6,
} from "../../../src/dataplane/rules/ruleset.ts";

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

const ANY6: Match6 = { ...ANY, ...prefixOf("::/0") };

function prefixOf(text: string) {
  const prefix = parsePrefix6(text.includes("/") ? text : `${text}/128`);
  if (prefix === undefined) throw new Error(`${text} is no prefix`);
  return prefix;
}

/** @returns what a ruleset says, walked and searched, which is the same */
function judgeBoth6(matches: readonly Match6[], protocol: number, destination: string, selector: number): number {
  const unused = { ...ANY6, rule: 99, ...prefixOf("f0f0:f0f0:f0f0:f0f0:f0f0:f0f0:f0f0:f0f0") };
  const padded = [...Array.from({ length: 40 }, () => unused), ...matches];
  const words = wordsOfBytes(prefixOf(destination).address);
  const [walked, searched] = [matches, padded].map((list) =>
    judge6(compileRuleset([], true, list, false), protocol, ...words, selector),
  );
  expect(searched).toBe(walked);
  return walked;
}

describe("a ruleset, for IPv6,", () => {
  test("has a policy of its own, which is that of IPv4 where none is given", () => {
    expect(judge6(compileRuleset([], true), TCP, 1, 2, 3, 4, 80)).toBe(1);
    expect(judge6(compileRuleset([], false), TCP, 1, 2, 3, 4, 80)).toBe(0);
    const set = compileRuleset([], false, [], true);
    expect([judge(set, TCP, HOST, 80), judge6(set, TCP, 1, 2, 3, 4, 80)]).toEqual([0, 1]);
  });

  test("lets its own first match decide, whatever there is of IPv4", () => {
    const drop = { ...ANY6, rule: 2, accept: false };
    const one = { ...ANY6, rule: 3, ...prefixOf("2001:db8::1") };
    expect(judgeBoth6([one, drop], TCP, "2001:db8::1", 80)).toBe((3 << 1) | 1);
    expect(judgeBoth6([one, drop], TCP, "2001:db8::2", 80)).toBe(2 << 1);
    expect(judgeBoth6([drop, one], TCP, "2001:db8::1", 80)).toBe(2 << 1);
    expect(judge6(compileRuleset([ANY], false), TCP, 0, 0, 0, HOST, 80)).toBe(BY_POLICY);
    expect(judge(compileRuleset([], false, [ANY6]), TCP, HOST, 80)).toBe(BY_POLICY);
  });

  test("looks at as many bits of a destination as the prefix has, at both ends of the address space and of words too", () => {
    const last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    for (const [prefix, inside, outside] of [
      ["2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db7:ffff::", "2001:db9::"]],
      ["2001:db8::/31", ["2001:db8::", "2001:db9::1"], ["2001:dba::", "2001:db7:ffff:ffff::1"]],
      ["2001:db8::/33", ["2001:db8:7fff::1"], ["2001:db8:8000::"]],
      ["2001:db8:0:8000::/49", ["2001:db8:0:8000::", "2001:db8:0:ffff::1"], ["2001:db8::1", "2001:db8:1::"]],
      ["2001:db8:1:2::/64", ["2001:db8:1:2:ffff::"], ["2001:db8:1:1:ffff::", "2001:db8:1:3::"]],
      ["2001:db8::8000:0/97", ["2001:db8::8000:0", "2001:db8::ffff:ffff"], ["2001:db8::7fff:ffff", "2001:db8::1:0:0"]],
      ["2001:db8::/127", ["2001:db8::", "2001:db8::1"], ["2001:db8::2", "2001:db7::"]],
      ["::/1", ["::", "7fff:ffff::"], ["8000::", last]],
      ["8000::/1", ["8000::", last], ["::", "7fff::"]],
      ["::", ["::"], ["::1", last]],
      [last, [last], ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "::"]],
      ["::/0", ["::", last, "8000::"], []],
    ] as const) {
      const matches = [{ ...ANY6, ...networkOf6(prefixOf(prefix)) }];
      for (const there of inside)
        expect([prefix, there, judgeBoth6(matches, TCP, there, 80)]).toEqual([prefix, there, 3]);
      for (const elsewhere of outside)
        expect([prefix, elsewhere, judgeBoth6(matches, TCP, elsewhere, 80)]).toEqual([prefix, elsewhere, BY_POLICY]);
    }
  });

  test("ignores bits behind a prefix", () => {
    const matches = [{ ...ANY6, ...prefixOf("2001:db8::1/64") }];
    expect(judgeBoth6(matches, TCP, "2001:db8::2", 80)).toBe(ACCEPTED_BY_1);
    expect(judgeBoth6(matches, TCP, "2001:db8:0:1::1", 80)).toBe(BY_POLICY);
  });

  test("takes ICMPv6 for ICMP, with its types, and ICMP for a protocol like others", () => {
    const echo = [{ ...ANY6, protocol: ICMPV6, icmpType: 128 }];
    expect(judgeBoth6(echo, ICMPV6, "2001:db8::1", 128)).toBe(ACCEPTED_BY_1);
    expect(judgeBoth6(echo, ICMPV6, "2001:db8::1", 8)).toBe(BY_POLICY);
    expect(judgeBoth6(echo, ICMP, "2001:db8::1", 128)).toBe(BY_POLICY);
    const ports = [{ ...ANY6, portLow: 80, portHigh: 90, icmpType: 128 }];
    for (const [protocol, selector, judgement] of [
      [TCP, 79, BY_POLICY],
      [TCP, 80, ACCEPTED_BY_1],
      [UDP, 90, ACCEPTED_BY_1],
      [UDP, 91, BY_POLICY],
      [ICMPV6, 128, ACCEPTED_BY_1],
      [ICMPV6, 80, BY_POLICY],
      [ICMP, 0, ACCEPTED_BY_1],
      [GRE, 0, ACCEPTED_BY_1],
      [255, 65535, ACCEPTED_BY_1],
    ] as const) {
      expect(judgeBoth6(ports, protocol, "2001:db8::1", selector)).toBe(judgement);
    }
  });
});

function expectSameAsWalking6(ruleset: Ruleset, matches: readonly Match6[], random: Random, packets: number): void {
  for (let i = 0; i < packets; i++) {
    const { protocol, destination, selector } = randomPacket6(random, matches);
    const judgement = judge6(ruleset, protocol, ...destination, selector);
    if (judgement !== walk6(ruleset.ipv6, protocol, ...destination, selector)) {
      throw new Error(`protocol ${protocol} to ${destination} selector ${selector} among ${JSON.stringify(matches)}`);
    }
  }
}

describe("searching finds what walking finds, in IPv6:", () => {
  test("in rulesets of all sizes", () => {
    const random = new Random(13);
    for (let i = 0; i < 400; i++) {
      const matches = randomMatches6(random, 13 + random.below(random.pick([10, 50, 300])), random.below(129));
      const ruleset = compileRuleset([], true, matches, random.chance(0.5));
      expect(ruleset.ipv6.index).not.toBeNull();
      expectSameAsWalking6(ruleset, matches, random, 1000);
    }
  });

  test("where all rules crowd in one small network, anywhere in the address", () => {
    const random = new Random(14);
    for (let i = 0; i < 120; i++) {
      const at = random.below(117);
      const matches = randomMatches6(random, 100, 0).map((match) => {
        const here = BigInt(random.below(2048)) << BigInt(117 - at);
        const words = [96n, 64n, 32n, 0n].map((behind) => Number((here >> behind) & 0xffffffffn));
        return { ...match, address: bytesOfWords(words), prefix: Math.max(match.prefix, at) };
      });
      expectSameAsWalking6(compileRuleset([], false, matches), matches, random, 500);
    }
  });

  test("where the distances between prefixes double, again and again", () => {
    const matches = Array.from({ length: 128 }, (_, bit) => {
      const address = 1n << BigInt(bit);
      const words = [96n, 64n, 32n, 0n].map((behind) => Number((address >> behind) & 0xffffffffn));
      return { ...ANY6, rule: bit + 1, address: bytesOfWords(words), prefix: 128 };
    });
    const ruleset = compileRuleset([], false, matches);
    expectSameAsWalking6(ruleset, matches, new Random(16), 5000);
    for (const { address, rule } of matches) {
      expect(judge6(ruleset, TCP, ...wordsOfBytes(address), 80)).toBe((rule << 1) | 1);
    }
  });

  test("in a ruleset of 10 000 rules", () => {
    const random = new Random(15);
    for (const narrow of [0, 32, 64]) {
      const matches = randomMatches6(random, 10_000, narrow);
      expectSameAsWalking6(compileRuleset([], false, matches), matches, random, 3000);
    }
  });
});

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
    compileRuleset([ANY, { ...ANY, rule: 2, portLow: 80 }], true, [ANY6]),
    compileRuleset([ANY, { ...ANY, rule: 2, portLow: 80 }], true, [], false),
  ];
  expect(others.map((other) => isLikeRuleset(set, other))).toEqual([false, false, false, false, false]);
});
