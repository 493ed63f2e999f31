// The fast path does what the slow path does: two routers get the same frames, and must do the same with them, in the same
// state.
import { expect, test } from "bun:test";
import { Lab } from "../../../lab/router-lab.ts";
import { converse, PINNED, Twins } from "../../support/twins.ts";

test("does with every frame what the slow path does", () => {
  const fast = new Lab({ settings: PINNED });
  let slowly = 0;
  const receiveSlowly = fast.router.receiveSlowly.bind(fast.router);
  fast.router.receiveSlowly = (...frame) => {
    slowly++;
    return receiveSlowly(...frame);
  };
  const twins = new Twins(fast, new Lab({ settings: PINNED, slow: true }));
  const forwarded = converse(twins, 25_000);
  const quickly = twins.frames - slowly;
  expect(quickly).toBeGreaterThan(twins.frames / 8);
  expect(forwarded - quickly).toBeGreaterThan(twins.frames / 50);
});
