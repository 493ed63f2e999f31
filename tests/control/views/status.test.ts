// The state as people read it: counters that are not zero, then every flow, however many there are.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ip } from "../../../lab/frames.ts";
import { ip6 } from "../../../lab/frames6.ts";
import { parseConfig } from "../../../src/config/config.ts";
import { makeSettings } from "../../../src/control/settings.ts";
import { flowLine, listFlows, viewFlows } from "../../../src/control/views/flow-list.ts";
import { counterLines, type DataplaneState, interfaceLines, takeStatus } from "../../../src/control/views/status.ts";
import { RING_COUNTERS } from "../../../src/dataplane/io/packet-ring.ts";
import { FLOW, FLOW_WORDS, FlowRecords } from "../../../src/dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../../../src/dataplane/tables/flow-state.ts";
import type { Client, Flow, Neighbour } from "../../../src/dataplane/types.ts";
import { VERDICT, VERDICT_NAMES } from "../../../src/dataplane/verdict.ts";
import { PROTOCOL, toAddress } from "../../../src/wire/ipv4.ts";
import type { Ports } from "../../../src/wire/ports.ts";
import { sound } from "../../support/sound.ts";

const FLOWS = 65_536;
const DEVICES = ["eth0", "eth1", "eth2"].map((name, i) => ({
  ...{ name, index: 2 + i, mtu: 1500 },
  mac: Uint8Array.of(2, 0, 0, 0, 0, i),
  isUp: true,
}));

/** Of eth0, and of another that is none of ours. */
const TRAFFIC = new Map(
  [2, 9].map((index) => [
    index,
    { received: { frames: index, bytes: 60 * index }, transmitted: { frames: 1, bytes: 60 } },
  ]),
);

const RESOLVER = { names: 2, unknown: 1, failing: 1, addresses: 3, lookups: 4, failures: 1 };

/** @param more sections of the configuration */
function settings(more = "") {
  const text = readFileSync(new URL("../../config/example.toml", import.meta.url), "utf8");
  const parsed = sound(parseConfig(`${text}\n${more}`, "firewall.toml"));
  return sound(makeSettings(parsed.config, DEVICES)).settings;
}

/** A table that is full. */
function fullState(): DataplaneState {
  const flows = new Int32Array(FLOWS * FLOW_WORDS);
  for (let flow = 0; flow < FLOWS; flow++) flows[flow * FLOW_WORDS + FLOW.STATE] = FLOW_STATE.OUTBOUND;
  return {
    verdicts: new Float64Array(VERDICT_NAMES.length),
    ring: new Float64Array(RING_COUNTERS.length),
    addresses: new Int32Array(0),
    drops: new Int32Array(0),
    ruleHits: new SharedArrayBuffer(0),
    kernel: { forwarded: 5, failed: 0 },
    conflict6: { mac: undefined },
    flows,
  };
}

test("counters come first, then how many flows there are, and each of them has a line", () => {
  const state = fullState();
  state.verdicts[VERDICT.FORWARDED] = 2;
  const lines = counterLines(takeStatus(state, settings(), RESOLVER, TRAFFIC));
  expect(lines).toEqual(["frames: 7 forwarded", "kernel path: 5 forwarded", `flows: ${FLOWS}`]);
  expect([...listFlows(viewFlows(state, settings()))].length).toBe(FLOWS);
});

test("a flow is read when it is asked for: of a full table, nothing is kept", () => {
  const state = fullState();
  const flows = listFlows(viewFlows(state, settings()));
  const taken = flows.next();
  expect(taken.done === true ? "" : flowLine(taken.value)).toStartWith("flow: ");
  state.flows.fill(0); // all flows end
  expect([...flows]).toEqual([]);
});

test("the status says by slugs what the lines say in words, and whose the flows are", () => {
  const state = fullState();
  state.verdicts[VERDICT.REFUSED] = 3;
  state.ring[2] = 4;
  const status = takeStatus(state, settings(), RESOLVER, TRAFFIC);
  expect(status.frames).toEqual({ forwarded: 5, refused: 3 });
  expect(status.ring).toEqual({ "receive-ring-full": 4 });
  expect(status.kernel_path).toEqual({ forwarded: 5 });
  expect(status.flows).toEqual({ used: FLOWS, most: FLOWS });
  expect(status.clients.map(({ flows }) => flows)).toEqual([FLOWS, 0]);
  expect(status.resolver).toEqual(RESOLVER);
  const counted = status.interfaces.map(({ name, received, transmitted }) => [name, received, transmitted]);
  expect(counted.sort()).toEqual([
    ["eth0", { frames: 2, bytes: 120 }, { frames: 1, bytes: 60 }],
    ["eth1", undefined, undefined],
    ["eth2", undefined, undefined],
  ]);
  expect(counterLines(status).slice(0, 3)).toEqual([
    "ring: 4 receive ring full",
    "frames: 5 forwarded",
    "frames: 3 dropped: refused by rules",
  ]);
});

test("a slug of another version's stands for itself, and a name of somebody else's can't colour a terminal", () => {
  const status = { ...takeStatus(fullState(), settings(), RESOLVER, TRAFFIC), frames: { "new-one": 1, forwarded: 2 } };
  expect(counterLines(status).slice(0, 2)).toEqual(["frames: 2 forwarded", "frames: 1 new-one"]);
  expect(interfaceLines([{ name: "eth0", state: "absent", clients: ["\x1b[31m\u202e"] }])).toEqual([
    "eth0 is not there: waiting for it: client \\u001b[31m\\u202e",
  ]);
});

test("a flow from the uplink has the forward, or the mapping, that let it in, and no rule", () => {
  const forwards = [22, 80].map((port) => `[[forward]]\nproto = "tcp"\nport = ${port}\nto = "work"\n`).join("\n");
  const state = { ...fullState(), flows: new Int32Array(2 * FLOW_WORDS) };
  const records = new FlowRecords(state.flows, toAddress(ip("192.0.2.254")));
  const fields = {
    client: 0 as Client,
    rule: 0,
    kind: FLOW_STATE.INBOUND,
    isMapped: false,
    protocol: PROTOCOL.TCP,
    source: toAddress(ip("203.0.113.7")),
    destination: toAddress(ip("192.0.2.254")),
    ports: ((40_000 << 16) | 80) as Ports,
    backSource: toAddress(ip("10.137.0.10")),
    backPorts: ((80 << 16) | 40_000) as Ports,
    hash: 0,
    backHash: 0,
    timeout: 0,
  };
  records.fill(0 as Flow, fields, 0 as Neighbour, 0 as Neighbour);
  records.fill(1 as Flow, { ...fields, isMapped: true }, 0 as Neighbour, 0 as Neighbour);
  const shown = (more: string) => [...listFlows(viewFlows(state, settings(more)))];
  const words = (more: string) => shown(more).map((entry) => flowLine(entry).split(", ").at(-1));
  expect(words(forwards)).toEqual(["forward 2", "open mapping"]);
  expect(words("")).toEqual(["a forward that is no more", "open mapping"]);
  expect(shown(forwards).map(({ rule, forward }) => [rule, forward])).toEqual([
    [undefined, 2],
    [undefined, undefined],
  ]);
});

test("an address of IPv6 that another machine has is said beside it, and only as long as it has it", () => {
  const ipv6 = { address: ip6("2001:db8::2"), prefix: 64, gateway: ip6("fe80::1"), dns: [] };
  const both = { ...settings(), uplink: { ...settings().uplink, ipv6 } };
  const line = (mac: Uint8Array | undefined) => {
    const state = { ...fullState(), conflict6: { mac } };
    return interfaceLines(takeStatus(state, both, RESOLVER, TRAFFIC).interfaces).find((one) => one.includes("uplink"));
  };
  expect(line(undefined)).toEndWith("and 2001:db8::2/64 gateway fe80::1");
  expect(line(Uint8Array.of(2, 0, 0, 0, 0, 9))).toEndWith(
    "and 2001:db8::2/64 (02:00:00:00:00:09 has that address too: no IPv6 leaves) gateway fe80::1",
  );
});
