// The dataplane's thread as control sees it. These settings have no interfaces, so no root is needed.

import { expect, test } from "bun:test";
import { constants } from "node:os";
import { Dataplane } from "../../src/control/dataplane-thread.ts";
import { RING_COUNTERS } from "../../src/dataplane/io/packet-ring.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { FLOW_WORDS } from "../../src/dataplane/tables/flow-records.ts";
import { VERDICT_NAMES } from "../../src/dataplane/verdict.ts";
import { SystemError } from "../../src/linux/libc.ts";
import { rejectionOf } from "../support/rejection.ts";

const SETTINGS: Settings = {
  interfaces: [],
  uplink: {
    iface: 0,
    address: 0xc0000201,
    prefix: 24,
    dns: [],
    gateway: 0xc0000202,
    gatewayMac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  },
  clients: [],
  forwards: [],
  redirects: [],
  nat: {
    maxFlows: 1024,
    resetUnknown: false,
    minPathMtu: 552,
    kernelPath: true,
    timeouts: { udpNew: 1, udp: 1, dns: 1, tcpEstablished: 1, tcpOpening: 1, tcpClosing: 1, icmp: 1, other: 1 },
  },
};

const NOWHERE: Settings = {
  ...SETTINGS,
  interfaces: [
    { name: "nowhere", index: 0x7fffffff, mac: new Uint8Array(6), anyMac: false, mtu: 1500, clampMss: false },
  ],
};

/** Settings with a hole in them, as only a mistake of ours could make them. */
const BROKEN = { ...SETTINGS, nat: { ...SETTINGS.nat, timeouts: undefined } } as unknown as Settings;

test("it starts, takes new settings, shares its state, and stops", async () => {
  const { dataplane, state } = await Dataplane.start(SETTINGS, []);
  await dataplane.apply({ ...SETTINGS, uplink: { ...SETTINGS.uplink, prefix: 16 } }, []);
  expect(state.verdicts).toHaveLength(VERDICT_NAMES.length);
  expect(state.ring).toHaveLength(RING_COUNTERS.length);
  expect(state.flows).toHaveLength(SETTINGS.nat.maxFlows * FLOW_WORDS);
  for (const shared of [state.verdicts, state.ring, state.drops])
    expect(shared.buffer).toBeInstanceOf(SharedArrayBuffer);
  await dataplane.stop();
});

test("settings whose interface can't be opened are refused, and it goes on with the old ones", async () => {
  const { dataplane } = await Dataplane.start(SETTINGS, []);
  const answers = await Promise.allSettled([dataplane.apply(NOWHERE, []), dataplane.apply(SETTINGS, [])]);
  expect(answers).toEqual([
    { status: "rejected", reason: new SystemError("bind to interface 2147483647", constants.errno.ENODEV) },
    { status: "fulfilled", value: undefined },
  ]);
  await dataplane.stop();
});

test("it does not start on settings whose interface can't be opened", async () => {
  expect(await rejectionOf(Dataplane.start(NOWHERE, []))).toContain("bind to interface 2147483647: ENODEV");
});

test("an interface that is not there harms nobody: what is sent there is counted as that", async () => {
  const absent = { ...NOWHERE.interfaces[0], index: 0, isDown: true };
  const { dataplane, state } = await Dataplane.start(
    { ...NOWHERE, interfaces: [absent, { ...absent, name: "b" }] },
    [],
  );
  await dataplane.apply({ ...NOWHERE, interfaces: [absent] }, []);
  expect(state.ring.some((count) => count > 0)).toBe(false);
  await dataplane.stop();
});

test("an exception in the thread reaches control, with where it was thrown, and whoever waits for an answer", async () => {
  const { dataplane } = await Dataplane.start(SETTINGS, []);
  expect(await rejectionOf(dataplane.apply(BROKEN, []))).toMatch(/^the dataplane failed: TypeError: /);
  expect(await rejectionOf(dataplane.failed)).toMatch(/dataplane\/tables\/timeouts\.ts:\d+/);
});

test("so does one while it starts", async () => {
  expect(await rejectionOf(Dataplane.start(BROKEN, []))).toMatch(/^the dataplane failed: TypeError: /);
});
