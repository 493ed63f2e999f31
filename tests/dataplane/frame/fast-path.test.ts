// The fast path does what the slow path does: two routers get the same frames, and must do the same with them, in the same
// state. One reads every frame ahead, which changes nothing.
import { expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { LAN, Lab, UPLINK, WORK } from "../../../lab/router-lab.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { Twins } from "../../support/twins.ts";
import { converse, PINNED, SCRUBBED } from "../../support/twins4.ts";
import { converse6, ROUTED_TWIN_6, SCRUBBED_TWIN_6, TWIN_6 } from "../../support/twins6.ts";

/** Frames of each conversation of twins, whichever family. */
const STEPS = 25_000;

const ofIpv6 = (settings: Settings) => (twins: Twins) => converse6(twins, STEPS, settings, new Random(2026));

/**
 * @param talk has both routers forward frames
 * @returns how many frames were forwarded by the fast path, by the interface that they came in on, and in all
 */
function converseQuickly(settings: Settings, talk = (twins: Twins) => converse(twins, STEPS, settings)) {
  const fast = new Lab({ settings });
  const quickly = [0, 0, 0];
  const receive = fast.router.receive.bind(fast.router);
  const receiveSlowly = fast.router.receiveSlowly.bind(fast.router);
  fast.router.receive = (iface, at, length) => {
    quickly[iface]++;
    fast.router.readAhead(Int32Array.of(at), Int32Array.of(length), 1);
    return receive(iface, at, length);
  };
  fast.router.receiveSlowly = (iface, ...frame) => {
    quickly[iface]--;
    return receiveSlowly(iface, ...frame);
  };
  const twins = new Twins(fast, new Lab({ settings, slow: true }));
  const forwarded = talk(twins);
  return { frames: twins.frames, forwarded, quickly };
}

test("does with every frame what the slow path does", () => {
  const { frames, forwarded, quickly } = converseQuickly(PINNED);
  const sum = quickly.reduce((all, each) => all + each, 0);
  expect(sum).toBeGreaterThan(frames / 8);
  expect(forwarded - sum).toBeGreaterThan(frames / 50);
});

test("does so with those of IPv6, translated or routed", () => {
  for (const settings of [TWIN_6, ROUTED_TWIN_6]) {
    const { frames, forwarded, quickly } = converseQuickly(settings, ofIpv6(settings));
    const sum = quickly.reduce((all, each) => all + each, 0);
    expect(sum).toBeGreaterThan(frames / 8);
    expect(forwarded - sum).toBeGreaterThan(frames / 50);
  }
});

test("does so where a client's packets are changed, and takes none of them", () => {
  const { frames, quickly } = converseQuickly(SCRUBBED);
  expect(quickly[WORK]).toBe(0);
  expect(quickly[UPLINK] + quickly[LAN]).toBeGreaterThan(frames / 16);
});

test("does so with those of IPv6 that are changed, and takes none of them", () => {
  const { frames, quickly } = converseQuickly(SCRUBBED_TWIN_6, ofIpv6(SCRUBBED_TWIN_6));
  expect(quickly[WORK]).toBe(0);
  expect(quickly[UPLINK] + quickly[LAN]).toBeGreaterThan(frames / 16);
});
