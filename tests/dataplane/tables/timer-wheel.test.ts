// The timer wheel against a plain list of deadlines, at random.
import { describe, expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { TimerWheel } from "../../../src/dataplane/tables/timer-wheel.ts";
import { type Plain, plain } from "../../support/plain.ts";

/** A wheel whose links are two words of each flow's three, the first being somebody else's. */
function timerWheel(flows: number): Plain<TimerWheel> {
  return plain(new TimerWheel(new Int32Array(flows * 3), 3, 1));
}

/** All flows that come out at that second. */
function expireAll(wheel: Plain<TimerWheel>, second: number): number[] {
  const flows: number[] = [];
  for (let flow = wheel.expire(second); flow >= 0; flow = wheel.expire(second)) flows.push(flow);
  return flows.sort((a, b) => a - b);
}

describe("the timer wheel", () => {
  test("gives out a flow at its second, not before and not twice", () => {
    const wheel = timerWheel(10);
    expireAll(wheel, 100);
    wheel.file(3, 105);
    wheel.file(4, 105);
    wheel.file(5, 106);
    expect([101, 104, 105, 105, 106, 107].map((second) => expireAll(wheel, second))).toEqual([
      [],
      [],
      [3, 4],
      [],
      [5],
      [],
    ]);
  });

  test("gives out what is due already at the next second", () => {
    const wheel = timerWheel(10);
    expireAll(wheel, 100);
    wheel.file(1, 100);
    wheel.file(2, 3);
    expect(expireAll(wheel, 100)).toEqual([]);
    expect(expireAll(wheel, 101)).toEqual([1, 2]);
  });

  test("gives out as much as it is asked for, and the rest next time", () => {
    const wheel = timerWheel(10);
    for (let flow = 0; flow < 10; flow++) wheel.file(flow, 5 + (flow & 1));
    const some = [wheel.expire(9), wheel.expire(9), wheel.expire(9)];
    wheel.file(some[0], 30);
    const rest = expireAll(wheel, 10);
    expect([...some, ...rest].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(expireAll(wheel, 30)).toEqual([some[0]]);
  });

  test("forgets what is removed, wherever it stands", () => {
    for (const removed of [0, 1, 2]) {
      const wheel = timerWheel(3);
      for (const flow of [0, 1, 2]) wheel.file(flow, 7);
      wheel.remove(removed);
      wheel.remove(removed);
      expect(expireAll(wheel, 7)).toEqual([0, 1, 2].filter((flow) => flow !== removed));
    }
  });

  test("gives out everything when the clock leaps", () => {
    for (const leap of [8191, 8192, 8193, 20_000, 1_000_000_000]) {
      const wheel = timerWheel(8000);
      expireAll(wheel, 50);
      for (let flow = 0; flow < 8000; flow++) wheel.file(flow, 51 + flow);
      expect(expireAll(wheel, 50 + leap).length).toBe(8000);
      wheel.file(1, 50 + leap + 3);
      expect(expireAll(wheel, 50 + leap + 2)).toEqual([]);
      expect(expireAll(wheel, 50 + leap + 3)).toEqual([1]);
    }
  });

  test("agrees with a model through random filing, removal and time", () => {
    const random = new Random(11);
    const wheel = timerWheel(500);
    const deadlines = new Map<number, number>();
    let second = 0;
    for (let step = 0; step < 60_000; step++) {
      const flow = random.below(500);
      if (random.chance(0.6)) {
        const deadline = second + 1 + random.below(random.pick([3, 300, 8000]));
        wheel.file(flow, deadline);
        deadlines.set(flow, deadline);
      } else if (random.chance(0.5)) {
        wheel.remove(flow);
        deadlines.delete(flow);
      } else {
        second += random.below(random.pick([1, 2, 30, 3000]));
        const due = [...deadlines].filter(([, deadline]) => deadline <= second).map(([flow]) => flow);
        for (const flow of due) deadlines.delete(flow);
        const expired = expireAll(wheel, second);
        if (expired.join() !== due.sort((a, b) => a - b).join()) throw new Error(`step ${step}: ${expired} not ${due}`);
      }
    }
    const rest = [...deadlines.keys()].sort((a, b) => a - b);
    expect(expireAll(wheel, second + 8191)).toEqual(rest);
  });

  test("gives out a flow that is further ahead than it reaches early: the caller files it again", () => {
    const wheel = timerWheel(1);
    expireAll(wheel, 10);
    wheel.file(0, 10 + 9000);
    expect(expireAll(wheel, 10 + 8190)).toEqual([]);
    expect(expireAll(wheel, 10 + 8191)).toEqual([0]);
  });
});
