// `rules`: what a judgement costs, the first packet of every flow, with rulesets of 1 to 10 000 rules: walked, and as the
// dataplane judges; of both families.

import { Random } from "../lab/random.ts";
import {
  type Judged,
  type Judged6,
  randomMatches,
  randomMatches6,
  randomPacket,
  randomPacket6,
} from "../lab/rulesets.ts";
import {
  compileRuleset,
  type FamilyRules,
  judge,
  judge6,
  type Ruleset,
  walk,
  walk6,
} from "../src/dataplane/rules/ruleset.ts";
import type { Benchmark, Options } from "./benchmark.ts";
import type { Report } from "./report.ts";

const JUDGEMENTS_A_ROUND = 200_000;
const PACKETS = 8192;
const SIZES = [1, 4, 10, 16, 24, 32, 100, 1000, 10_000];
/** Walking 10 000 rules takes its time. */
const WALKED_UP_TO = 1000;
/** No rule about a prefix shorter than this is about all ports: else one of the first decides almost everything. */
const NARROW = 16;
const NARROW6 = 32;

const WHAT = "a judgement";
const WHAT6 = "a judgement of IPv6";
const JUDGED = "as the dataplane does";
const WALKED = "walked";

/** Packets in typed arrays, so that reading them costs as little as in the dataplane. */
class Packets {
  readonly protocols: Uint8Array;
  readonly destinations: Int32Array;
  readonly selectors: Uint16Array;

  constructor(packets: readonly (Judged | Judged6)[]) {
    this.protocols = Uint8Array.from(packets, ({ protocol }) => protocol);
    this.destinations = Int32Array.from(packets.flatMap(({ destination }) => destination));
    this.selectors = Uint16Array.from(packets, ({ selector }) => selector);
  }
}

// One loop for each way to judge, so that each is compiled for itself, as in the dataplane.
const WAYS = {
  judged(ruleset: Ruleset, { protocols, destinations, selectors }: Packets): number {
    let accepted = 0;
    for (let i = 0; i < JUDGEMENTS_A_ROUND; i++) {
      const packet = i % PACKETS;
      accepted += judge(ruleset, protocols[packet], destinations[packet], selectors[packet]) & 1;
    }
    return accepted;
  },
  walked(ruleset: Ruleset, { protocols, destinations, selectors }: Packets): number {
    let accepted = 0;
    for (let i = 0; i < JUDGEMENTS_A_ROUND; i++) {
      const packet = i % PACKETS;
      accepted += walk(ruleset, protocols[packet], destinations[packet], selectors[packet]) & 1;
    }
    return accepted;
  },
  judged6(ruleset: Ruleset, { protocols, destinations, selectors }: Packets): number {
    let accepted = 0;
    for (let i = 0; i < JUDGEMENTS_A_ROUND; i++) {
      const packet = i % PACKETS;
      const at = packet * 4;
      const first = destinations[at];
      const second = destinations[at + 1];
      const third = destinations[at + 2];
      accepted += judge6(ruleset, protocols[packet], first, second, third, destinations[at + 3], selectors[packet]) & 1;
    }
    return accepted;
  },
  walked6({ ipv6 }: Ruleset, { protocols, destinations, selectors }: Packets): number {
    let accepted = 0;
    for (let i = 0; i < JUDGEMENTS_A_ROUND; i++) {
      const packet = i % PACKETS;
      const at = packet * 4;
      const first = destinations[at];
      const second = destinations[at + 1];
      const third = destinations[at + 2];
      accepted += walk6(ipv6, protocols[packet], first, second, third, destinations[at + 3], selectors[packet]) & 1;
    }
    return accepted;
  },
};

/** @returns ns per judgement */
function measure(way: keyof typeof WAYS, ruleset: Ruleset, packets: Packets): number {
  const start = Bun.nanoseconds();
  WAYS[way](ruleset, packets);
  return (Bun.nanoseconds() - start) / JUDGEMENTS_A_ROUND;
}

function bytesOf({ matches, index }: FamilyRules): number {
  if (index === null) return matches.byteLength;
  const { buckets, starts, heads, maps, decisions } = index;
  return [matches, buckets, starts, heads, maps, decisions].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

interface Judging {
  readonly size: number;
  readonly name: string;
  readonly ruleset: Ruleset;
  readonly packets: Packets;
}

function compile(report: Report, size: number): Judging {
  const random = new Random(size);
  const matches = randomMatches(random, size, NARROW);
  const packets = new Packets(Array.from({ length: PACKETS }, () => randomPacket(random, matches)));
  const name = nameOf(size);
  const start = Bun.nanoseconds();
  const ruleset = compileRuleset(matches, false);
  report.add("a ruleset", "compiled in", "ms", name, (Bun.nanoseconds() - start) / 1e6);
  report.add("a ruleset", "memory", "KiB", name, bytesOf(ruleset) / 1024);
  return { size, name, ruleset, packets };
}

function compile6(report: Report, size: number): Judging {
  const random = new Random(size);
  const matches = randomMatches6(random, size, NARROW6);
  const packets = new Packets(Array.from({ length: PACKETS }, () => randomPacket6(random, matches)));
  const name = nameOf(size);
  const start = Bun.nanoseconds();
  const ruleset = compileRuleset([], false, matches);
  report.add("a ruleset of IPv6", "compiled in", "ms", name, (Bun.nanoseconds() - start) / 1e6);
  report.add("a ruleset of IPv6", "memory", "KiB", name, bytesOf(ruleset.ipv6) / 1024);
  return { size, name, ruleset, packets };
}

function nameOf(size: number): string {
  return size === 1 ? "1 rule" : `${size} rules`;
}

export const rules: Benchmark = {
  async run(report, { rounds }: Options) {
    const all = SIZES.map((size) => compile(report, size));
    const all6 = SIZES.map((size) => compile6(report, size));
    // So that all is compiled when it counts.
    for (const { ruleset, packets } of all) measure("judged", ruleset, packets);
    for (const { ruleset, packets } of all6) measure("judged6", ruleset, packets);
    for (let round = 0; round < rounds; round++) {
      for (const { size, name, ruleset, packets } of all) {
        report.add(WHAT, JUDGED, "ns", name, measure("judged", ruleset, packets));
        if (size <= WALKED_UP_TO) report.add(WHAT, WALKED, "ns", name, measure("walked", ruleset, packets));
      }
      for (const { size, name, ruleset, packets } of all6) {
        report.add(WHAT6, JUDGED, "ns", name, measure("judged6", ruleset, packets));
        if (size <= WALKED_UP_TO) report.add(WHAT6, WALKED, "ns", name, measure("walked6", ruleset, packets));
      }
    }
    report.claim(WHAT, JUDGED, nameOf(10_000), nameOf(10), { atMost: 4 });
    report.claim(WHAT6, JUDGED, nameOf(10_000), nameOf(10), { atMost: 4 });
  },
};
