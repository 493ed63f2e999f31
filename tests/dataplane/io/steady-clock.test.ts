// Clocks that leap: what a flow's life is counted by goes on evenly.
import { expect, test } from "bun:test";
import { payload, udp } from "../../../lab/frames.ts";
import { Lab, REMOTE, WORK_HOST } from "../../../lab/router-lab.ts";
import { SteadyClock } from "../../../src/dataplane/io/steady-clock.ts";

const HOUR = 3_600_000;
/** Looks at the clock, and what it shows each time, in ms. */
const show = (times: readonly number[]) => {
  const machine = times.values();
  const clock = new SteadyClock(() => machine.next().value ?? Number.NaN);
  return times.slice(1).map(() => clock.now());
};

test("it goes as the machine's does", () => {
  expect(show([5000, 5000, 5000.25, 5100, 5900, 6900])).toEqual([5000, 5000.25, 5100, 5900, 6900]);
});

test("a leap forward counts as a second, one back as nothing", () => {
  expect(show([5000, 5000 + 8 * HOUR, 5100 + 8 * HOUR])).toEqual([6000, 6100]);
  expect(show([5000, 5100, -8 * HOUR, 50 - 8 * HOUR, 100 - 8 * HOUR])).toEqual([5100, 5100, 5150, 5200]);
});

/** A flow of UDP lives for 30 s by a clock that leaps now and then. @returns for how long it lived, less the leaps, in s */
function lifetime(leaps: readonly number[]): number {
  let machine = 1_000_000;
  const clock = new SteadyClock(() => machine);
  const lab = new Lab({ now: clock.now() });
  lab.from(WORK_HOST, udp({ source: WORK_HOST, destination: REMOTE, sourcePort: 5, destinationPort: 6 }, payload(4)));
  let steps = 0;
  for (; lab.router.flows.size > 0 && steps < 1000; steps++) {
    machine += 100 + (leaps[steps] ?? 0);
    lab.router.advance(clock.now());
  }
  return steps / 10;
}

test("no flow ends because a clock leapt, and all end when their time has come", () => {
  const usual = lifetime([]);
  expect(usual).toBeGreaterThan(29);
  expect(usual).toBeLessThan(35);
  expect(lifetime([0, 0, 8 * HOUR])).toBeGreaterThan(usual - 1.5);
  expect(lifetime([0, 1000 * 24 * HOUR, 0, -2000 * 24 * HOUR])).toBeGreaterThan(usual - 1.5);
  expect(lifetime([0, 0, -8 * HOUR])).toBeLessThan(usual + 1);
});
