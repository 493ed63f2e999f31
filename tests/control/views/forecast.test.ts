// What would end under other settings is what ends when they are put in force: no flow more, none less; and to ask changes nothing.
import { expect, test } from "bun:test";
import { payload, udp } from "../../../lab/frames.ts";
import { ip6, udp6 } from "../../../lab/frames6.ts";
import { UDP } from "../../../lab/protocols.ts";
import { Random } from "../../../lab/random.ts";
import { LAN_HOST, LAN_SETTINGS, Lab, REMOTE, SETTINGS, WORK_HOST, WORK_SETTINGS } from "../../../lab/router-lab.ts";
import {
  from6,
  GATEWAY_6,
  LAN_6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED_6,
  ROUTED_HOST,
  SETTINGS_6,
  UPLINK_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../../lab/router-lab6.ts";
import { randomMatches, randomMatches6 } from "../../../lab/rulesets.ts";
import { foresee } from "../../../src/control/views/forecast.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import type { Flow } from "../../../src/dataplane/types.ts";
import { changed, talk } from "../../support/setting-changes.ts";

const NAT = { ...SETTINGS.nat, maxFlows: 256 };

/** A flow by what it is known by: its number, and which life of that. */
function alive({ router: { flows } }: Lab, isAsked: (flow: Flow) => boolean = () => true): string[] {
  return Array.from({ length: flows.capacity }, (_, number) => number as Flow)
    .filter((flow) => flows.isUsed(flow) && isAsked(flow))
    .map((flow) => `${flow} ${flows.birth(flow)}`);
}

/** Puts settings in force, and looks at all flows. @returns how many ended, and lived on */
function compare(lab: Lab, before: Settings, after: Settings): { ended: number; lived: number } {
  const { flows } = lab.router;
  const words = flows.words.slice();
  const ends = foresee(flows, before, after);
  const all = alive(lab).length;
  const expected = alive(lab, (flow) => !ends(flow));
  expect(flows.words).toEqual(words);
  lab.apply(after);
  while (lab.router.isBusy) lab.leap(0);
  expect(alive(lab)).toEqual(expected);
  return { ended: all - expected.length, lived: expected.length };
}

test("whatever is new in the settings: clients, networks, forwards, the uplink", () => {
  const random = new Random(19);
  let settings: Settings = { ...SETTINGS, nat: NAT };
  const lab = new Lab({ settings });
  let mixed = 0;
  for (let round = 0; round < 300; round++) {
    talk([lab], random);
    const next = changed(settings, random);
    const { ended, lived } = compare(lab, settings, next);
    if (ended > 0 && lived > 0) mixed++;
    settings = next;
  }
  expect(mixed).toBeGreaterThan(30);
});

test("a thousand random pairs of rule sets", () => {
  const random = new Random(20);
  const rules = () => compileRuleset(randomMatches(random, random.below(6), 0.5), random.chance(0.5));
  const pick = (): Settings => ({
    ...{ ...SETTINGS, nat: NAT },
    clients: [
      { ...WORK_SETTINGS, ruleset: rules() },
      { ...LAN_SETTINGS, ruleset: rules() },
    ],
  });
  let settings = pick();
  const lab = new Lab({ settings });
  let mixed = 0;
  for (let round = 0; round < 1000; round++) {
    for (let i = 0; i < 10; i++) {
      const source = random.pick([WORK_HOST, LAN_HOST]);
      const ports = { sourcePort: 1024 + random.below(60_000), destinationPort: random.below(65_536) };
      lab.from(source, udp({ source, destination: REMOTE, ...ports }, payload(4)));
    }
    const next = pick();
    const { ended, lived } = compare(lab, settings, next);
    if (ended > 0 && lived > 0) mixed++;
    settings = next;
  }
  expect(mixed).toBeGreaterThan(100);
});

test("the same of IPv6: rules, networks that are routed or translated, forwards, our address, the gateway, another client's network", () => {
  const random = new Random(21);
  const sources = [WORK_HOST_6, LAN_HOST_6, ROUTED_HOST, REMOTE_6];
  const { ipv6: _, ...lan } = LAN_SETTINGS_6;
  const pick = (): Settings => {
    const ruleset = () => compileRuleset([], true, randomMatches6(random, random.below(4), 0.5), random.chance(0.7));
    const ofLan = random.pick([LAN_6, LAN_6, ROUTED_6, ROUTED_6, undefined]);
    const address = ip6(random.pick([OUTSIDE_6, OUTSIDE_6, OUTSIDE_6, "2001:db8:ffff::3"]));
    const gateway = ip6(random.pick([GATEWAY_6, GATEWAY_6, GATEWAY_6, "fe80::2"]));
    const forward = {
      protocol: UDP,
      portLow: 8080,
      portHigh: 8081,
      client: 0,
      to: undefined,
      toPort: 8080,
      from: [],
      from6: [],
    };
    return {
      ...SETTINGS_6,
      nat: NAT,
      uplink: { ...SETTINGS_6.uplink, ipv6: { ...UPLINK_6, address, gateway } },
      clients: [
        { ...WORK_SETTINGS_6, ruleset: ruleset() },
        { ...lan, ruleset: ruleset(), ...(ofLan && { ipv6: ofLan }) },
      ],
      forwards: random.chance(0.5) ? [{ ...forward, to6: ip6(WORK_HOST_6) }] : [],
    };
  };
  let settings = pick();
  const lab = new Lab({ settings });
  let mixed = 0;
  for (let round = 0; round < 500; round++) {
    for (let i = 0; i < 20; i++) {
      const source = random.pick(sources);
      const destination = source === REMOTE_6 ? OUTSIDE_6 : random.pick([REMOTE_6, REMOTE_62, WORK_HOST_6]);
      const ports = { sourcePort: 1024 + random.below(60_000), destinationPort: random.pick([80, 8080, 8081]) };
      from6(lab, source, udp6({ source, destination, ...ports }, payload(4)));
    }
    const next = pick();
    const { ended, lived } = compare(lab, settings, next);
    if (ended > 0 && lived > 0) mixed++;
    settings = next;
  }
  expect(mixed).toBeGreaterThan(50);
});
