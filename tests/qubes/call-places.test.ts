// Places for calls are shared between the domains that call: whoever has less than its part loses none to others.
import { expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { CallPlaces, RunningCall } from "../../src/qubes/call-places.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const PLACES = 12;

/** Places, and calls of them. */
function table(most = PLACES) {
  const places = new CallPlaces(most);
  const clock = new SimulatedClock();
  const live: RunningCall[] = [];
  const add = (domain: number, met = false) => {
    const call = new RunningCall(domain, clock);
    call.met = met;
    const hasPlace = places.take(call);
    if (hasPlace) live.push(call);
    return hasPlace;
  };
  const counts = () => {
    const still = live.filter(({ signal }) => !signal.aborted);
    return Object.fromEntries(
      [...new Set(live.map(({ domain }) => domain))].map((domain) => [
        domain,
        still.filter((call) => call.domain === domain).length,
      ]),
    );
  };
  return { places, clock, live, add, counts };
}

test("one domain may have all places while nobody else calls, and no more", () => {
  const { add, counts } = table();
  const taken = Array.from({ length: 20 }, () => add(7, true));
  expect(taken.filter((hasPlace) => hasPlace).length).toBe(PLACES);
  expect(counts()).toEqual({ 7: PLACES });
});

test("of those who wait for their partner, the oldest gives way to its own domain's next one", () => {
  const { add, live } = table(3);
  add(7, true);
  add(7);
  add(7);
  expect(add(7)).toBe(true);
  expect(live.map(({ signal }) => signal.aborted)).toEqual([false, true, false, false]);
});

test("the greediest gives way until all have the same", () => {
  const { add, counts } = table();
  for (let i = 0; i < 50; i++) add(7, true);
  expect(Array.from({ length: 6 }, () => add(8, true))).toEqual(Array<boolean>(6).fill(true));
  expect([add(8, true), add(7, true), counts()]).toEqual([false, false, { 7: 6, 8: 6 }]);
  expect(Array.from({ length: 4 }, () => add(0, true))).toEqual(Array<boolean>(4).fill(true));
  expect([add(0, true), counts()]).toEqual([false, { 7: 4, 8: 4, 0: 4 }]);
});

test("whatever others do, a domain with less than its part gets a place and keeps it", () => {
  const random = new Random(16);
  for (let round = 0; round < 200; round++) {
    const { places, live, add, counts } = table();
    const domains = 2 + random.below(4);
    const part = Math.floor(PLACES / domains);
    const modest = random.below(domains);
    for (let step = 0; step < 300; step++) {
      const mine = counts()[modest] ?? 0;
      const domain = random.below(domains);
      if (domain !== modest || mine < part) {
        const hasPlace = add(domain, random.below(2) === 0);
        if (domain === modest) expect(hasPlace).toBe(true);
      }
      expect(live.filter((call) => call.domain === modest && call.signal.aborted)).toEqual([]);
      if (random.below(3) > 0) continue;
      const ended = live.splice(random.below(live.length), 1)[0];
      if (ended !== undefined) places.leave(ended);
    }
  }
});

test("a call ends after its limit, or after another one since it was prolonged", async () => {
  const clock = new SimulatedClock();
  const call = new RunningCall(7, clock);
  await clock.advance(119_999);
  call.prolong();
  await clock.advance(119_999);
  expect(call.signal.aborted).toBe(false);
  await clock.advance(1);
  expect([call.signal.aborted, String(call.signal.reason), clock.pending]).toEqual([
    true,
    "Error: qrexec: no answer within 120 s",
    0,
  ]);
});
