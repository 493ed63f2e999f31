// Which fragments pass, compared with a plain model: a set of the blocks of 8 bytes that have come.
import { expect, test } from "bun:test";
import { type Ipv4Fields, ipv4, payload, udp } from "../../../lab/frames.ts";
import { UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import { forwarded, Lab, OUTSIDE, REMOTE, WORK_HOST, WORK_SETTINGS } from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import { MORE_FRAGMENTS } from "../../../src/wire/ipv4.ts";

const FORWARDED = "forwarded";
const PACKETS = 3000;
/** Fragments tried of each packet. */
const MOST = 12;
/** Of the payload of the largest packet. */
const BLOCKS = Math.floor((0xffff - 20) / 8);

/** What the model knows of one packet. */
class Model {
  private readonly seen = new Set<number>();
  private end = 0;
  private isCondemned = false;

  /** @returns the verdict on a fragment */
  judge(first: number, count: number, isLast: boolean): string {
    if (this.isCondemned) return "dropped: fragment of a dropped packet";
    const blocks = Array.from({ length: count }, (_, i) => first + i);
    const fresh = blocks.filter((block) => !this.seen.has(block));
    if (fresh.length === 0) return "dropped: fragment of a dropped packet";
    for (const block of blocks) this.seen.add(block);
    if (isLast && this.end === 0) this.end = first + count;
    const isBeyond = this.end > 0 && [...this.seen].some((block) => block >= this.end);
    this.isCondemned = fresh.length < count || isBeyond || (isLast && this.end !== first + count);
    return this.isCondemned ? "dropped: fragments overlap" : FORWARDED;
  }

  get isWhole(): boolean {
    return this.end > 0 && this.seen.size === this.end;
  }
}

/** A fragment of a packet of the flow's, as it comes, or as it goes: so many bytes from the first block on. */
function fragment(ends: Ipv4Fields, first: number, length: number, isLast: boolean): Uint8Array {
  const fields = { ...ends, fragment: (isLast ? 0 : MORE_FRAGMENTS) | first };
  if (first > 0) return ipv4(fields, UDP, payload(length));
  const whole = udp({ ...ends, sourcePort: 4000, destinationPort: 5000 }, payload(1472));
  return ipv4(fields, UDP, whole.subarray(20, 20 + length));
}

test("fragments pass that say nothing twice, nor anything behind the end", () => {
  const random = new Random(815);
  const lab = new Lab();
  lab.verifiesChecksums = false; // of datagrams of which there is only a part
  const verdicts = new Map<string, number>();
  for (let identification = 1; identification <= PACKETS; identification++) {
    const model = new Model();
    const span = random.pick([8, 40, 70, 200, BLOCKS]);
    for (let n = 0; n < MOST && !model.isWhole; n++) {
      // The first fragment comes first, so that none is held.
      const first = n === 0 ? 0 : 1 + random.below(span - 1);
      const count = Math.min(1 + random.below(n === 0 ? 8 : random.pick([3, 33, 180])), BLOCKS - first);
      const isLast = n > 0 && random.chance(0.3);
      if (count === 0) continue;
      const verdict = model.judge(first, count, isLast);
      // The last one may end within a block.
      const length = count * 8 - (isLast ? random.below(8) : 0);
      const ends = { source: WORK_HOST, destination: REMOTE, identification };
      const outside = fragment({ ...ends, source: OUTSIDE, ttl: 63 }, first, length, isLast);
      const expected = verdict === FORWARDED ? forwarded(REMOTE, outside) : { verdict, sent: [] };
      const outcome = lab.from(WORK_HOST, fragment(ends, first, length, isLast));
      expect({ first, count, isLast, outcome }).toEqual({ first, count, isLast, outcome: expected });
      verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    }
  }
  expect(Math.min(...verdicts.values())).toBeGreaterThan(PACKETS / 3);
});

test("a later fragment does not follow its packet's flow into the next one that has its number", () => {
  const lab = new Lab();
  lab.verifiesChecksums = false;
  const ends = { source: WORK_HOST, destination: REMOTE, identification: 1 };
  expect(lab.from(WORK_HOST, fragment(ends, 0, 64, false)).verdict).toBe(FORWARDED);
  const { flow } = lab;
  for (const accept of [false, true]) {
    lab.command((router) => router.setClient(0, { ...WORK_SETTINGS, ruleset: compileRuleset([], accept) }));
    lab.wait(1000);
  }
  expect(lab.router.flows.size).toBe(0);
  const other = udp({ ...ends, sourcePort: 4001, destinationPort: 5000 }, payload(10));
  expect(lab.from(WORK_HOST, other).verdict).toBe(FORWARDED);
  expect(lab.flow).toBe(flow);
  const verdict = "dropped: fragment of a dropped packet";
  expect(lab.from(WORK_HOST, fragment(ends, 8, 64, true))).toEqual({ verdict, sent: [] });
});

test("packets of which the rest never comes do not keep their places from one that comes in another order", () => {
  const lab = new Lab();
  lab.verifiesChecksums = false;
  const ends = { source: WORK_HOST, destination: REMOTE };
  const begin = (identification: number) => lab.from(WORK_HOST, fragment({ ...ends, identification }, 0, 64, false));
  for (let i = 1; i <= 200; i++) expect(begin(i).verdict).toBe(FORWARDED);
  lab.wait(3000);

  const waiting = (identification: number) => lab.from(WORK_HOST, fragment({ ...ends, identification }, 8, 64, true));
  for (let i = 1001; i <= 1020; i++) expect(waiting(i).verdict).toBe("held until the first fragment comes");
  // Each first fragment has its other one, which came before it, follow it.
  for (let i = 1001; i <= 1020; i++) expect(begin(i).sent).toHaveLength(2);
});
