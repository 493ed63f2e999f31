// The counter around the router: what is sent on counts for its flow, by the side that it came from, in bytes of IP; nothing else does.
import { expect, test } from "bun:test";
import { payload, udp } from "../../../lab/frames.ts";
import { udp6 } from "../../../lab/frames6.ts";
import { frameFrom, Lab, OUTSIDE, REMOTE, UPLINK, WORK, WORK_HOST, withRules } from "../../../lab/router-lab.ts";
import { frameFrom6, from6, OUTSIDE_6, REMOTE_6, SETTINGS_6, WORK_HOST_6 } from "../../../lab/router-lab6.ts";
import { FlowCounter } from "../../../src/dataplane/io/flow-counter.ts";
import { bytesOf, COUNT_WORDS, packetsOf } from "../../../src/dataplane/tables/flow-counts.ts";
import type { Flow, Side } from "../../../src/dataplane/types.ts";
import { VERDICT_NAMES, type Verdict } from "../../../src/dataplane/verdict.ts";

const ENDS = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 5000 };
const BACK = { source: REMOTE, destination: OUTSIDE, sourcePort: 5000, destinationPort: 4000 };
const there = (length: number) => frameFrom(WORK_HOST, udp(ENDS, payload(length)));
const back = (length: number) => frameFrom(REMOTE, udp(BACK, payload(length)));

function counted(settings = withRules([], true)) {
  const lab = new Lab({ settings });
  lab.from(WORK_HOST, udp({ ...ENDS, sourcePort: 1 }, payload(1))); // so that nobody is asked for by ARP
  const counter = new FlowCounter(lab.ring, lab.router, 4);
  const words = new Int32Array(1024 * COUNT_WORDS);
  /** Has frames come in a batch. */
  const batch = (iface: number, frames: readonly Uint8Array[], lost: readonly number[] = []) => {
    for (const [i, frame] of frames.entries()) {
      const at = lab.ring.put(frame);
      const verdict = lab.router.receive(iface, at, frame.length);
      counter.note(i, iface, at, frame.length, verdict);
    }
    counter.add(
      frames.length,
      Uint8Array.from({ length: 4 }, (_, i) => lost[i] ?? 0),
    );
    return lab.router.lastFlow;
  };
  const sums = (flow: Flow) =>
    ([0, 1] as Side[]).map((side) => [bytesOf(words, flow, side), packetsOf(words, flow, side)]);
  return { lab, counter, words, batch, sums };
}

test("both ways, on the slow path and on the fast one, and no padding", () => {
  const { counter, words, batch, sums } = counted();
  counter.configure(words);
  batch(WORK, [there(100), there(1000), there(1)]);
  const flow = batch(UPLINK, [back(200), Uint8Array.of(...back(1), ...payload(17))]);
  expect(sums(flow)).toEqual([
    [128 + 1028 + 29, 3],
    [228 + 29, 2],
  ]);
});

test("not what was lost when it was sent, nor what was refused", () => {
  const { counter, words, batch, sums } = counted();
  counter.configure(words);
  const flow = batch(WORK, [there(1), there(2), there(3)], [0, 1, 0]);
  expect(sums(flow)[0]).toEqual([29 + 31, 2]);
  const refusing = counted(withRules([]));
  refusing.counter.configure(refusing.words);
  refusing.batch(WORK, [there(1)]);
  expect(refusing.words.every((word) => word === 0)).toBeTrue();
});

test("nothing while nobody asks; and from zero when somebody does again, and for a new flow of that number", () => {
  const { lab, counter, words, batch, sums } = counted();
  expect(counter.isOn).toBeFalse();
  const flow = batch(WORK, [there(1)]);
  expect(words.every((word) => word === 0)).toBeTrue();
  counter.configure(words);
  batch(WORK, [there(5)]);
  lab.command((router) => {
    const key = Int32Array.of(
      router.flows.source(flow, 0),
      router.flows.destination(flow, 0),
      router.flows.ports(flow, 0),
    );
    router.endFlow(17, new Uint8Array(key.buffer), 0);
  });
  expect(lab.router.flows.isUsed(flow)).toBeFalse();
  expect(batch(WORK, [there(7)])).toBe(flow);
  expect(sums(flow)[0]).toEqual([35, 1]);
  counter.configure(undefined);
  batch(WORK, [there(7)]);
  expect(sums(flow)[0]).toEqual([35, 1]);
});

test("what waits for ARP counts: it goes as soon as that answers", () => {
  const lab = new Lab({ answering: [] });
  const counter = new FlowCounter(lab.ring, lab.router, 1);
  const words = new Int32Array(1024 * COUNT_WORDS);
  counter.configure(words);
  const frame = there(1);
  const at = lab.ring.put(frame);
  const verdict: Verdict = lab.router.receive(WORK, at, frame.length);
  expect(VERDICT_NAMES[verdict]).toBe("queued for ARP");
  counter.note(0, WORK, at, frame.length, verdict);
  counter.add(1, new Uint8Array(1));
  expect(bytesOf(words, lab.router.lastFlow, 0)).toBe(29);
});

test("IPv6 likewise, with all of its header", () => {
  const lab = new Lab({ settings: SETTINGS_6 });
  const ends = { source: WORK_HOST_6, destination: REMOTE_6, sourcePort: 4000, destinationPort: 5000 };
  from6(lab, WORK_HOST_6, udp6({ ...ends, sourcePort: 1 }, payload(1)));
  const counter = new FlowCounter(lab.ring, lab.router, 1);
  const words = new Int32Array(1024 * COUNT_WORDS);
  counter.configure(words);
  const put = (iface: number, frame: Uint8Array) => {
    const at = lab.ring.put(frame);
    counter.note(0, iface, at, frame.length, lab.router.receive(iface, at, frame.length));
    counter.add(1, new Uint8Array(1));
  };
  const back = { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 5000, destinationPort: 4000 };
  put(WORK, frameFrom6(WORK_HOST_6, udp6(ends, payload(100))));
  put(UPLINK, frameFrom6(REMOTE_6, udp6(back, payload(10))));
  put(UPLINK, frameFrom6(REMOTE_6, udp6(back, payload(10))));
  const flow = lab.router.lastFlow;
  expect([bytesOf(words, flow, 0), bytesOf(words, flow, 1)]).toEqual([148, 116]);
});
