// Which check a verdict is of, and their order: of two things that are wrong with a packet the router names the one checked first.
import { expect, test } from "bun:test";
import { payload, tcp, udp } from "../../lab/frames.ts";
import {
  ANYTHING,
  LAN_HOST,
  Lab,
  OUTSIDE,
  REMOTE,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
  withRules,
} from "../../lab/router-lab.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import { VERDICT, VERDICT_NAMES, type Verdict } from "../../src/dataplane/verdict.ts";
import { checkOf, checksOf } from "../../src/why/checks.ts";

test("every verdict that drops is of one check, and no other is", () => {
  const without = VERDICT_NAMES.map((name, verdict) => ({ name, check: checkOf(verdict) })).filter(
    ({ name, check }) => name.startsWith("dropped: ") !== (check !== undefined),
  );
  expect(without.map(({ name }) => name)).toEqual(["held until the first fragment comes"]);
});

const verdictOf = (name: string) => VERDICT_NAMES.indexOf(name) as Verdict;
const datagram = (change: object) =>
  udp({ source: WORK_HOST, destination: REMOTE, sourcePort: 5000, destinationPort: 9, ...change }, payload(4));
const REFUSE = withRules([{ ...ANYTHING, accept: false }]);
const FULL = withClient({ ...WORK_SETTINGS, limits: { ...WORK_SETTINGS.limits, flowsPerSecond: 0 } });

test.each([
  ["sender", "destination", datagram({ source: "10.9.9.9", destination: "169.254.7.7" }), REFUSE],
  ["destination", "rules", datagram({ destination: "169.254.7.7", ttl: 1 }), REFUSE],
  [
    "destination",
    "flow",
    tcp({ source: WORK_HOST, destination: LAN_HOST, sourcePort: 1, destinationPort: 2, flags: "." }),
    REFUSE,
  ],
  [
    "flow",
    "rules",
    tcp({ source: WORK_HOST, destination: REMOTE, sourcePort: 1, destinationPort: 2, flags: "." }),
    REFUSE,
  ],
  ["rules", "ttl", datagram({ ttl: 1 }), REFUSE],
  ["ttl", "room", datagram({ ttl: 1 }), FULL],
])("of a packet that opens a flow: %s before %s", (first, second, packet, settings) => {
  const { verdict } = new Lab({ settings }).from(WORK_HOST, packet);
  const checks = checksOf(verdictOf(verdict), true);
  expect([verdict, checks.failed]).toEqual([verdict, first]);
  expect(checks.passed).not.toContain(second);
});

test("of a packet of a known flow: its TTL before its place in the connection", () => {
  const lab = new Lab({ settings: withClient({ ...WORK_SETTINGS, ruleset: compileRuleset([], true) }) });
  const ends = { source: WORK_HOST, destination: REMOTE, sourcePort: 5000, destinationPort: 80 };
  lab.from(WORK_HOST, tcp({ ...ends, flags: "S", sequence: 1 }));
  lab.from(
    REMOTE,
    tcp({
      source: REMOTE,
      destination: OUTSIDE,
      sourcePort: 80,
      destinationPort: 5000,
      flags: "S.",
      sequence: 9,
      acknowledgment: 2,
    }),
  );
  const wild = { ...ends, flags: ".", sequence: 0x7000_0000, acknowledgment: 10 };
  expect(checksOf(verdictOf(lab.from(WORK_HOST, tcp(wild)).verdict), false)).toEqual({
    passed: ["frame", "format", "fragments", "flow", "sender", "ttl", "egress"],
    failed: "segment",
  });
  expect(checksOf(verdictOf(lab.from(WORK_HOST, tcp({ ...wild, ttl: 1 })).verdict), false).failed).toBe("ttl");
});

test("what passes has passed all of them", () => {
  expect(checksOf(VERDICT.FORWARDED, true).failed).toBeUndefined();
  expect(checksOf(VERDICT.FORWARDED, true).passed).toHaveLength(10);
});
