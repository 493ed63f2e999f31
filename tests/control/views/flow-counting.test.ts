// When flows are counted: from the first who asks until a minute after the last, and again later.
import { expect, test } from "bun:test";
import { FlowCounting, GOES_ON } from "../../../src/control/views/flow-counting.ts";
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
