// `rules`: what a judgement costs, the first packet of every flow, with rulesets of 1 to 10 000 rules: walked, and as the
// dataplane judges.

import { Random } from "../lab/random.ts";
import { type Judged, randomMatches, randomPacket } from "../lab/rulesets.ts";
import { compileRuleset, judge, type Ruleset, walk } from "../src/dataplane/rules/ruleset.ts";
import type { Benchmark, Options } from "./benchmark.ts";
import type { Report } from "./report.ts";

const JUDGEMENTS_A_ROUND = 200_000;
const PACKETS = 8192;
const SIZES = [1, 4, 10, 16, 24, 32, 100, 1000, 10_000];
/** Walking 10 000 rules takes its time. */
const WALKED_UP_TO = 1000;
/** No rule about a prefix shorter than this is about all ports: else one of the first decides almost everything. */
const NARROW = 16;

const WHAT = "a judgement";
const JUDGED = "as the dataplane does";
const WALKED = "walked";

type Judge = (ruleset: Ruleset, protocol: number, destination: number, selector: number) => number;

/** Packets in typed arrays, so that reading them costs as little as in the dataplane. */
class Packets {
  readonly protocols: Uint8Array;
  readonly destinations: Int32Array;
  readonly selectors: Uint16Array;

  constructor(packets: readonly Judged[]) {
    this.protocols = Uint8Array.from(packets, ({ protocol }) => protocol);
    this.destinations = Int32Array.from(packets, ({ destination }) => destination);
    this.selectors = Uint16Array.from(packets, ({ selector }) => selector);
  }
}

function judgeAll(by: Judge, ruleset: Ruleset, { protocols, destinations, selectors }: Packets): number {
  let accepted = 0;
  for (let i = 0; i < JUDGEMENTS_A_ROUND; i++) {
    const packet = i % PACKETS;
    accepted += by(ruleset, protocols[packet], destinations[packet], selectors[packet]) & 1;
  }
  return accepted;
}

/** @returns ns per judgement */
function measure(by: Judge, ruleset: Ruleset, packets: Packets): number {
  const start = Bun.nanoseconds();
  judgeAll(by, ruleset, packets);
  return (Bun.nanoseconds() - start) / JUDGEMENTS_A_ROUND;
}

function bytesOf({ matches, index }: Ruleset): number {
  if (index === null) return matches.byteLength;
  const { buckets, starts, heads, maps } = index;
  return [matches, buckets, starts, heads, maps].reduce((sum, { byteLength }) => sum + byteLength, 0);
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

function nameOf(size: number): string {
  return size === 1 ? "1 rule" : `${size} rules`;
}

export const rules: Benchmark = {
  async run(report, { rounds }: Options) {
    const all = SIZES.map((size) => compile(report, size));
    for (const { ruleset, packets } of all) measure(judge, ruleset, packets); // so that all is compiled when it counts
    for (let round = 0; round < rounds; round++) {
      for (const { size, name, ruleset, packets } of all) {
        report.add(WHAT, JUDGED, "ns", name, measure(judge, ruleset, packets));
        if (size <= WALKED_UP_TO) report.add(WHAT, WALKED, "ns", name, measure(walk, ruleset, packets));
      }
    }
    report.claim(WHAT, JUDGED, nameOf(10_000), nameOf(10), { atMost: 4 });
  },
};
