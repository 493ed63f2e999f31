// Dom0 is asked to read our features until it has done so.
import { expect, test } from "bun:test";
import { FeatureRequest, RETRY } from "../../src/qubes/feature-request.ts";
import type { Answer } from "../../src/qubes/qrexec-calls.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

/** @param outcomes of one call after the other: its status, an error, or undefined when no call can be made */
function requesting(...outcomes: (number | string | undefined)[]) {
  const clock = new SimulatedClock();
  const said: string[] = [];
  const times: number[] = [];
  const call = (): Promise<Answer> | undefined => {
    const outcome = outcomes.shift();
    if (outcome === undefined) return undefined;
    times.push(clock.now());
    return typeof outcome === "number" ? Promise.resolve({ status: outcome }) : Promise.reject(new Error(outcome));
  };
  return { request: new FeatureRequest(call, (line) => said.push(line), clock), clock, said, times };
}

test("dom0 is asked again after it refused, went or failed, each time later, until it has answered", async () => {
  const { request, clock, said, times } = requesting("refused", "went", 1, 0, 0);
  request.start();
  await clock.advance(3_600_000);
  expect(times).toEqual([0, 5_000, 15_000, 35_000]);
  expect(said).toEqual([
    "features not announced: refused",
    "features not announced: went",
    "features not announced: dom0's service ended with status 1",
  ]);
  expect(clock.pending).toBe(0);
});

test("the pause has an end", async () => {
  const { request, clock, times } = requesting(...Array<string>(20).fill("no"));
  request.start();
  await clock.advance(10_000_000);
  expect((times.at(-1) ?? 0) - (times.at(-2) ?? 0)).toBe(RETRY.most);
});

test("where no call can be made none is, until somebody starts again; then at once, and one at a time", async () => {
  const { request, clock, times } = requesting(undefined, "went", 0);
  request.start();
  await clock.advance(1000);
  expect(times).toEqual([]);
  request.start();
  request.start();
  await clock.advance(1000);
  request.start();
  await clock.advance(100_000);
  expect(times).toEqual([1000, 2000]);
});
