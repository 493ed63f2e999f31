// When flows are counted: from the first who asks until a minute after the last, and again later.
import { expect, test } from "bun:test";
import { FlowCounting, GOES_ON } from "../../../src/control/views/flow-counting.ts";
import { rejectionOf } from "../../support/rejection.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

test("from the first who asks until a minute after the last, and from zero later", async () => {
  const clock = new SimulatedClock();
  const said: string[] = [];
  const counting = new FlowCounting(
    {
      async beginCounting() {
        said.push("begin");
        return new Int32Array(8);
      },
      async endCounting() {
        said.push("end");
      },
    },
    clock,
  );

  expect(counting.words).toBeUndefined();
  await Promise.all([counting.ask(), counting.ask()]);
  expect(counting.words?.length).toBe(8);
  for (let i = 0; i < 5; i++) {
    await clock.advance(GOES_ON - 1000);

    await counting.ask();
  }
  expect(said).toEqual(["begin"]);
  await clock.advance(GOES_ON + 1);

  await clock.advance(GOES_ON + 1);

  expect(counting.words).toBeUndefined();
  expect(said).toEqual(["begin", "end"]);
  await counting.ask();
  expect(said).toEqual(["begin", "end", "begin"]);
});

test("a thread that can't end it, or begin it, is told to who asks, and to nobody else", async () => {
  const clock = new SimulatedClock();
  let ends = 0;
  const counting = new FlowCounting(
    {
      beginCounting: async () => {
        if (ends === 1) throw new Error("it died");
        return new Int32Array(8);
      },
      endCounting: async () => {
        ends++;
        throw new Error("it died");
      },
    },
    clock,
  );
  const unheard: unknown[] = [];
  const hear = (error: unknown) => unheard.push(error);
  process.on("unhandledRejection", hear);
  await counting.ask();
  await clock.advance(2 * GOES_ON);
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
  process.off("unhandledRejection", hear);
  expect({ ends, unheard, words: counting.words }).toEqual({ ends: 1, unheard: [], words: undefined });
  expect(await rejectionOf(counting.ask())).toBe("it died");
  ends = 2;
  await counting.ask();
  expect(counting.words?.length).toBe(8);
});
