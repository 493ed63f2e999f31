// Who may capture, and how much is kept for it: however many ask at once, no more rings than there should be, and none that nobody ends.

import { expect, test } from "bun:test";
import { parseConfig } from "../../../src/config/config.ts";
import { Captures, MOST_CAPTURES, TooManyCaptures } from "../../../src/control/captures/captures.ts";
import { configuredDevices, makeSettings } from "../../../src/control/settings.ts";
import type { CaptureOrder } from "../../../src/dataplane/io/tap.ts";
import { rejectionOf } from "../../support/rejection.ts";
import { sound } from "../../support/sound.ts";

function meaning() {
  const parsed = sound(
    parseConfig(
      `[uplink]
interface = "up"
address = "192.0.2.254/24"
gateway = "192.0.2.1"

[[client]]
name = "work"
interface = "in"
address = "10.137.0.10"
gateway = "10.137.0.1"
`,
      "fw.toml",
    ),
  );
  const made = sound(makeSettings(parsed.config, configuredDevices(parsed.config)));
  return { settings: made.settings, addressesOf: () => undefined };
}
const MEANING = meaning();
/** Of a machine that is so small that rings are, too. */
const MEMORY = 1 << 20;

/** With a thread that takes a while to do what it is told. */
function open(): { readonly captures: Captures; readonly told: (readonly CaptureOrder[])[] } {
  const told: (readonly CaptureOrder[])[] = [];
  const tell = async (orders: readonly CaptureOrder[]) => {
    for (let i = 0; i < 3; i++) await new Promise(setImmediate);
    told.push(orders);
  };
  return { captures: new Captures(tell, () => MEANING, MEMORY), told };
}

test("who begins to record at the same time is one after the other: one ring at a time, and none when it is ended", async () => {
  const { captures, told } = open();
  await Promise.all(
    ["proto=tcp", "proto=udp", "client=work", "proto=icmp"].map((word) => captures.record([word], 128)),
  );
  expect(told.map((orders) => orders.length)).toEqual([1, 0, 1, 0, 1, 0, 1]);
  await Promise.all([captures.record([], 128), captures.stopRecording(), captures.stopRecording()]);
  expect(told.at(-1)).toEqual([]);
  expect(captures.last(60)).toBeUndefined();
});

test("a filter that can't be understood is told to who asked, and what is recorded goes on", async () => {
  const { captures } = open();
  const asked = [captures.record([], 128), rejectionOf(captures.record(["client=nobody"], 128))];
  expect(await Promise.all(asked)).toEqual([undefined, 'client "nobody" is not there (there are work)']);
  expect(captures.last(60)).toBeDefined();
  await captures.stopRecording();
});

test("as many read what was recorded as may capture; when one has done so there is room again", async () => {
  const { captures } = open();
  await captures.record([], 128);
  const readers = Array.from({ length: MOST_CAPTURES }, () => captures.last(60));
  expect(() => captures.last(60)).toThrow(new TooManyCaptures("4 read already what was recorded"));
  await readers[0]?.close();
  await readers[0]?.close();
  expect(captures.last(60)).toBeDefined();
  expect(() => captures.last(60)).toThrow(TooManyCaptures);
  await captures.stopRecording();
});
