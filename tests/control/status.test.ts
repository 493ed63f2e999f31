// The state as people read it: counters that are not zero, then every flow, however many there are.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseConfig } from "../../src/config/config.ts";
import { makeSettings } from "../../src/control/settings.ts";
import { type DataplaneState, describeState } from "../../src/control/status.ts";
import { RING_COUNTERS } from "../../src/dataplane/io/packet-ring.ts";
import { FLOW, FLOW_WORDS } from "../../src/dataplane/tables/flow-records.ts";
import { FLOW_STATE } from "../../src/dataplane/tables/flow-state.ts";
import { VERDICT, VERDICT_NAMES } from "../../src/dataplane/verdict.ts";

const FLOWS = 65_536;
const DEVICES = ["eth0", "eth1", "eth2"].map((name, i) => ({
  ...{ name, index: 2 + i, mtu: 1500 },
  mac: Uint8Array.of(2, 0, 0, 0, 0, i),
  isUp: true,
}));

function settings() {
  const text = readFileSync(new URL("../config/example.toml", import.meta.url), "utf8");
  const parsed = parseConfig(text, "firewall.toml");
  if ("errors" in parsed) throw new Error(parsed.errors.join("\n"));
  const made = makeSettings(parsed.config, DEVICES);
  if ("errors" in made) throw new Error(made.errors.join("\n"));
  return made.settings;
}

/** A table that is full. */
function fullState(): DataplaneState {
  const flows = new Int32Array(FLOWS * FLOW_WORDS);
  for (let flow = 0; flow < FLOWS; flow++) flows[flow * FLOW_WORDS + FLOW.STATE] = FLOW_STATE.OUTBOUND;
  return {
    verdicts: new Float64Array(VERDICT_NAMES.length),
    ring: new Float64Array(RING_COUNTERS.length),
    refusals: new Int32Array(0),
    kernel: { forwarded: 5, failed: 0 },
    flows,
  };
}

test("counters come first, then how many flows there are, then each of them", () => {
  const state = fullState();
  state.verdicts[VERDICT.FORWARDED] = 2;
  const lines = [...describeState(state, settings())];
  expect(lines.slice(0, 3)).toEqual(["frames: 7 forwarded", "kernel path: 5 forwarded", `flows: ${FLOWS}`]);
  expect(lines.filter((line) => line.startsWith("flow: ")).length).toBe(FLOWS);
});

test("a flow's line is made when it is asked for: of a full table, nothing is kept", () => {
  const state = fullState();
  const lines = describeState(state, settings());
  const taken = Array.from({ length: 4 }, () => lines.next().value ?? "");
  expect(taken.at(-2)).toBe(`flows: ${FLOWS}`);
  expect(taken.at(-1)).toStartWith("flow: ");
  state.flows.fill(0); // all flows end
  expect([...lines]).toEqual([]);
});
