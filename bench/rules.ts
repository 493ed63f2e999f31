// What a judgement costs: `bun bench/rules.ts` prints ns per judgement for rulesets of 1 to 10 000 rules, walked and as the
// dataplane judges, and what 10 000 rules cost against 10. Medians of the rounds.
import { compileRuleset, judge, type Ruleset, walk } from "../src/dataplane/ruleset.ts";
import { Random } from "../tests/support/random.ts";
import { type Judged, randomMatches, randomPacket } from "../tests/support/rulesets.ts";

const ROUNDS = 15;
const JUDGEMENTS_A_ROUND = 200_000;
const PACKETS = 8192;
const SIZES = [1, 4, 10, 16, 24, 32, 100, 1000, 10_000];
/** Walking 10 000 rules takes its time. */
const WALKED_UP_TO = 1000;
/** No rule about a prefix shorter than this is about all ports: else one of the first decides almost everything. */
const NARROW = 16;

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
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = Bun.nanoseconds();
    judgeAll(by, ruleset, packets);
    rounds.push((Bun.nanoseconds() - start) / JUDGEMENTS_A_ROUND);
  }
  return rounds.sort((one, other) => one - other)[ROUNDS >> 1];
}

function bytesOf({ matches, index }: Ruleset): number {
  if (index === null) return matches.byteLength;
  const { buckets, starts, heads, maps } = index;
  return [matches, buckets, starts, heads, maps].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

interface Measured {
  readonly judged: number;
  readonly line: string;
}

function measureSize(size: number): Measured {
  const random = new Random(size);
  const matches = randomMatches(random, size, NARROW);
  const packets = new Packets(Array.from({ length: PACKETS }, () => randomPacket(random, matches)));
  const start = Bun.nanoseconds();
  const ruleset = compileRuleset(matches, false);
  const compiled = (Bun.nanoseconds() - start) / 1e6;
  const judged = measure(judge, ruleset, packets);
  const walked = size <= WALKED_UP_TO ? `${measure(walk, ruleset, packets).toFixed(1).padStart(6)} ns walked, ` : "";
  const memory = `${(bytesOf(ruleset) / 1024).toFixed(0)} KiB, compiled in ${compiled.toFixed(1)} ms`;
  return { judged, line: `${String(size).padStart(6)} rules: ${judged.toFixed(1).padStart(6)} ns, ${walked}${memory}` };
}

for (const size of SIZES) measureSize(size); // so that all is compiled when it is measured
const measured = new Map(SIZES.map((size) => [size, measureSize(size)]));
for (const { line } of measured.values()) console.log(line);
const ratio = (measured.get(10_000)?.judged ?? 0) / (measured.get(10)?.judged ?? 1);
console.log(`10 000 rules cost ${ratio.toFixed(2)} times what 10 do`);
