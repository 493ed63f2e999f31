// The AF_PACKET ring at its limits: frames that the kernel refuses, slots that run out, interfaces that go.
import { afterAll, expect, test } from "bun:test";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab } from "../../lab/namespaces.ts";

const lab = new Lab("ring");
const namespace = lab.namespace("only");
lab.cable(namespace, "a0", namespace, "b0");

afterAll(() => lab.close());

async function outcome(name: string): Promise<unknown> {
  return JSON.parse(await namespace.run(peer("ring", name)));
}

test("a frame that the kernel refuses is counted, and those around it are transmitted", async () => {
  expect(await outcome("refused")).toEqual({
    received: [1, 3, 5, 7],
    counters: { transmitted: 4, "transmit refused": 3 },
    lost: [2, 4, 6],
  });
});

test("a validated checksum is not passed on as validated", async () => {
  expect(await outcome("flags")).toEqual({ flags: 0, counters: { transmitted: 1 } });
});

test("a VLAN tag that the kernel took off stands in its frame again", async () => {
  const tagged = (length: number) => [
    `${length} ffffffffffff 8100000788b51234 5678`,
    `${length} ffffffffffff 88a8e00088b51234 5678`,
    `${length} ffffffffffff 88b5000100000000 0000`,
  ];
  expect(await outcome("tagged")).toEqual({
    frames: [...tagged(60), ...tagged(2030)],
    counters: { transmitted: 6 },
  });
});

test("frames that find no slot are counted, and slots given back are used again", async () => {
  expect(await outcome("full")).toEqual({
    first: [512, 0, 511],
    again: [],
    after: [600],
    counters: { received: 512, transmitted: 601, "receive ring full": 88 },
  });
});

test("an interface that is down transmits nothing, lets others sleep, and comes back", async () => {
  expect(await outcome("down")).toEqual({
    woken: false,
    slept: true,
    received: [3],
    counters: { transmitted: 1, "interface down": 2 },
  });
});

test("the wake event ends a sleep once", async () => {
  expect(await outcome("wake")).toEqual({ before: false, woken: true, after: false });
});

test("interfaces come and go without a trace, and those that stay lose nothing", async () => {
  expect(await outcome("configure")).toEqual({
    error: "Error: nowhere: there is no such interface",
    received: [1, 2],
    fewDescriptors: true,
    rings: 2,
  });
});

test("no object is allocated for a frame, nor for a batch of them", async () => {
  expect(await outcome("steady")).toEqual({ parts: 3, settled: 33, more: [] });
});

test("what waits in the kernel takes a sixteenth of the memory each way, shared by the sockets that there are", async () => {
  const part = (sockets: number) => {
    const bytes = Math.floor((128 * 1024 * 1024) / 16 / sockets) & ~1;
    return Array(sockets).fill([bytes, bytes]);
  };
  expect(await outcome("shares")).toEqual([part(2), part(3), part(1)]);
});

test("an interface that takes nothing holds up no more than its part", async () => {
  expect(await outcome("stalled")).toEqual({ allowed: 1024 * 1024, waits: true, dropped: true });
});
