// Rates of flows in `top`: what has been counted between two looks, by the time between them.
import { expect, test } from "bun:test";
import type { FlowEntry } from "../../src/control/views/flow-list.ts";
import { FlowRates } from "../../src/watch/flow-rates.ts";

const flow = (port: number, sent?: number, received = 0): FlowEntry => ({
  ...{ protocol: 17, proto: "udp", client: "work", rule: 1 },
  source: { address: "10.137.0.10", port },
  destination: { address: "198.51.100.7", port: 443 },
  mapped: { address: "192.0.2.254", port },
  ...(sent !== undefined && { sent: { bytes: sent, packets: 1 }, received: { bytes: received, packets: 1 } }),
});

test("a flow that is there at two looks has its bytes of both ways a second; a new one has no rate yet", () => {
  const rates = new FlowRates();
  expect(rates.rate([flow(1, 100, 10), flow(2, 5)], 10).map(({ rate }) => rate)).toEqual([undefined, undefined]);
  const later = rates.rate([flow(2, 5), flow(1, 300, 30), flow(3, 7)], 12);
  expect(later.map(({ source, rate }) => [source.port, rate])).toEqual([
    [2, 0],
    [1, 110],
    [3, undefined],
  ]);
});

test("none where nothing is counted, where time stood still, and where there is less than before: it is another flow", () => {
  const rates = new FlowRates();
  rates.rate([flow(1, 100), flow(2)], 10);
  expect(rates.rate([flow(1, 200), flow(2)], 10).map(({ rate }) => rate)).toEqual([undefined, undefined]);
  expect(rates.rate([flow(1, 199)], 11).map(({ rate }) => rate)).toEqual([undefined]);
});
