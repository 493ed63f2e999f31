// How long flows live, as a test can tell: by letting the clock go on until the table is empty.
import { expect } from "bun:test";
import type { Lab } from "../../lab/router-lab.ts";

/** Ends of flows may be this late, in seconds: clocks of whole seconds, and the wheel's step. */
const LATENESS = 3;

/** Without traffic, the lab's only flow is there for `seconds`, and gone soon after. */
export function expectToLive(lab: Lab, seconds: number): void {
  const start = lab.now;
  while (lab.router.flows.size > 0 && lab.now - start < (seconds + 60) * 1000) lab.leap(500);
  const lived = (lab.now - start) / 1000;
  expect(lived).toBeGreaterThanOrEqual(seconds);
  expect(lived).toBeLessThanOrEqual(seconds + LATENESS);
}
