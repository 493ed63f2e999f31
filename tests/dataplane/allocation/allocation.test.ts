// Nothing on a frame's way allocates: the dataplane's thread never leaves its loop, so nobody would collect it in time.
import { gcAndSweep, heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { VERDICT, VERDICT_NAMES, type Verdict } from "../../../src/dataplane/verdict.ts";
import { Treadmill } from "../../support/treadmill.ts";
import { BRANCHES } from "./branches.ts";
import { BRANCHES_6 } from "./branches6.ts";
import { type Drive, type Faulty, type Judged, verdictOf, verdictOn } from "./drive.ts";
import { FAULT_DRIVES } from "./faults.ts";
import { VERDICT_DRIVES } from "./verdicts.ts";

const TIMES = 100_000;
/** Frames that come first until the first one has the verdict. */
const FILL = 20_000;
/** Objects of one type that may be more: what the compiler and this test make. */
const FEW = 1000;
const CANARIES = 100;

/** Makes something happen so often. @throws where it does not */
function repeat(step: () => Verdict, verdict: Verdict): void {
  for (let i = 0; i < TIMES; i++) {
    const was = step();
    if (was !== verdict) throw new Error(`${VERDICT_NAMES[verdict]}, time ${i}: ${VERDICT_NAMES[was]}`);
  }
}

function objects(): Map<string, number> {
  return new Map(Object.entries(heapStats().objectTypeCounts));
}

/** @returns the types of which there are more objects after the third hundred thousand times */
function growth(drive: Drive, verdict: Verdict): Record<string, number> {
  const step = drive();
  for (let i = 0; i < FILL && step() !== verdict; i++);
  repeat(step, verdict);
  repeat(step, verdict);
  gcAndSweep();
  let canary: WeakSet<object> | undefined;
  for (let i = 0; i < CANARIES; i++) canary = new WeakSet();
  const before = objects();
  repeat(step, verdict);
  const after = objects();
  // Objects that nobody needs are counted for as long as nobody collects them; nobody does where nothing is allocated.
  if (canary === undefined || (after.get("WeakSet") ?? 0) < CANARIES) return { collections: 1 };
  const more = [...after].map(([type, count]) => [type, count - (before.get(type) ?? 0)] as const);
  return Object.fromEntries(more.filter(([, count]) => count > FEW));
}

test("an object for each frame is found", () => {
  const bytes = new Uint8Array(100);
  let view = bytes;
  const step = () => {
    view = bytes.subarray(1);
    return VERDICT.FORWARDED;
  };
  expect(growth(() => step, VERDICT.FORWARDED)).not.toEqual({});
  expect(view.length).toBe(99);
});

describe("no object is allocated for a frame that is", () => {
  for (const [judged, drive] of Object.entries(VERDICT_DRIVES) as [Judged, Drive][]) {
    test(VERDICT_NAMES[verdictOf(judged)], () => {
      expect(growth(drive, verdictOf(judged))).toEqual({});
    });
  }
  for (const [faulty, drive] of Object.entries(FAULT_DRIVES) as [Faulty, Drive][]) {
    test(VERDICT_NAMES[verdictOn(faulty)], () => {
      expect(growth(drive, verdictOn(faulty))).toEqual({});
    });
  }
});

describe("no object is allocated for", () => {
  for (const [name, { verdict, sends, settings, make }] of Object.entries({ ...BRANCHES, ...BRANCHES_6 })) {
    test(name, () => {
      const mill = new Treadmill(settings, { answered: () => {}, passing: () => {}, seen: () => {} });
      const step = make(mill);
      step();
      const before = mill.sent;
      step();
      expect(mill.sent - before).toBeGreaterThanOrEqual(sends);
      expect(growth(() => step, verdictOf(verdict))).toEqual({});
    });
  }
});
