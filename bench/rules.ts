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
import type { Report } from "./report/report.ts";

const JUDGEMENTS_A_ROUND = 200_000;
const PACKETS = 8192;
const SIZES = [1, 4, 10, 16, 24, 32, 100, 1000, 10_000];
/** Walking 10 000 rules takes its time. */
const WALKED_UP_TO = 1000;
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

/** What is measured of a family. */
interface Family {
  /** As reports call them. */
  readonly judgement: string;
  readonly ruleset: string;
  readonly judged: keyof typeof WAYS;
  readonly walked: keyof typeof WAYS;
  /** @returns rules, made at random, and packets in and around what they are about */
  make(size: number): { readonly compile: () => Ruleset; readonly packets: Packets };
  rulesOf(ruleset: Ruleset): FamilyRules;
}

// No rule about a prefix shorter than 16 bits, of IPv6 32, is about all ports: else one of the first decides almost everything.
const FAMILIES: readonly Family[] = [
  {
    judgement: "a judgement",
    ruleset: "a ruleset",
    judged: "judged",
    walked: "walked",
    make(size) {
      const random = new Random(size);
      const matches = randomMatches(random, size, 16);
      const packets = new Packets(Array.from({ length: PACKETS }, () => randomPacket(random, matches)));
      return { compile: () => compileRuleset(matches, false), packets };
    },
    rulesOf: (ruleset) => ruleset,
  },
  {
    judgement: "a judgement of IPv6",
    ruleset: "a ruleset of IPv6",
    judged: "judged6",
    walked: "walked6",
    make(size) {
      const random = new Random(size);
      const matches = randomMatches6(random, size, 32);
      const packets = new Packets(Array.from({ length: PACKETS }, () => randomPacket6(random, matches)));
      return { compile: () => compileRuleset([], false, matches), packets };
    },
    rulesOf: ({ ipv6 }) => ipv6,
  },
];

interface Judging {
  readonly family: Family;
  readonly size: number;
  readonly ruleset: Ruleset;
  readonly packets: Packets;
}

function prepare(report: Report, family: Family, size: number): Judging {
  const { compile, packets } = family.make(size);
  const start = Bun.nanoseconds();
  const ruleset = compile();
  report.add(family.ruleset, "compiled in", "ms", nameOf(size), (Bun.nanoseconds() - start) / 1e6);
  report.add(family.ruleset, "memory", "KiB", nameOf(size), bytesOf(family.rulesOf(ruleset)) / 1024);
  return { family, size, ruleset, packets };
}

function nameOf(size: number): string {
  return size === 1 ? "1 rule" : `${size} rules`;
}

export const rules: Benchmark = {
  async run(report, { rounds }: Options) {
    const all = FAMILIES.flatMap((family) => SIZES.map((size) => prepare(report, family, size)));
    // So that all is compiled when it counts.
    for (const { family, ruleset, packets } of all) measure(family.judged, ruleset, packets);
    for (let round = 0; round < rounds; round++) {
      for (const { family, size, ruleset, packets } of all) {
        const { judgement, judged, walked } = family;
        report.add(judgement, JUDGED, "ns", nameOf(size), measure(judged, ruleset, packets));
        if (size > WALKED_UP_TO) continue;
        report.add(judgement, WALKED, "ns", nameOf(size), measure(walked, ruleset, packets));
      }
    }
    for (const { judgement } of FAMILIES) report.claim(judgement, JUDGED, nameOf(10_000), nameOf(10), { atMost: 4 });
  },
};
