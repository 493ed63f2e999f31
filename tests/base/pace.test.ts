// Work that many ask for.
import { expect, test } from "bun:test";
import { Pace } from "../../src/base/pace.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const LIMITS = { settle: 20, burst: 3, interval: 500 };

/** Work that notes when it was begun, and takes a while. */
function paced(duration = 0) {
  const clock = new SimulatedClock();
  const begun: number[] = [];
  const pace = new Pace(clock, LIMITS, async () => {
    begun.push(clock.now());
    if (duration > 0) await clock.sleep(duration);
  });
  return { clock, begun, pace };
}

test("is done once for all who ask at about the same time", async () => {
  const { clock, begun, pace } = paced();
  pace.ask();
  await clock.advance(10);
  pace.ask();
  pace.ask();
  await clock.advance(1000);
  expect(begun).toEqual([20]);
});

test("is done soon while it is rare, and else at its pace, however often it is asked for", async () => {
  const { clock, begun, pace } = paced();
  for (let ms = 0; ms < 3000; ms += 5) {
    pace.ask();
    await clock.advance(5);
  }
  expect(begun.length).toBeLessThanOrEqual(3 + 3000 / 500);
  expect(begun.slice(0, 3).every((at) => at < 100)).toBe(true);
  await clock.advance(10_000); // nobody asks: it is rare again
  const before = begun.length;
  pace.ask();
  await clock.advance(20);
  expect(begun.length).toBe(before + 1);
});

test("is not begun before it has ended, and once more after that if somebody asked meanwhile", async () => {
  const { clock, begun, pace } = paced(100);
  pace.ask();
  await clock.advance(50);
  pace.ask();
  pace.ask();
  await clock.advance(60);
  expect(begun).toEqual([20]);
  await clock.advance(1000);
  expect(begun).toEqual([20, 140]);
});

test("is begun no more once it is stopped", async () => {
  const { clock, begun, pace } = paced();
  pace.ask();
  pace.stop();
  pace.ask();
  await clock.advance(1000);
  expect(begun).toEqual([]);
});
