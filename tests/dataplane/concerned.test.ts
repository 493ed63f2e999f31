// Whom new settings are about.
import { expect, test } from "bun:test";
import { ANYTHING, SETTINGS } from "../../lab/router-lab.ts";
import { type Concerned, concernedBy, EVERYBODY } from "../../src/dataplane/concerned.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import { type ClientSettings, NO_SCRUB, type Settings } from "../../src/dataplane/settings.ts";
import type { Client } from "../../src/dataplane/types.ts";

const { nat, uplink, interfaces, clients } = SETTINGS;
const [work, lan] = clients;
const ruleset = compileRuleset([ANYTHING], true);
const NOBODY: Concerned = [];

/** The settings with another client "lan". */
const withLan = (change: Partial<ClientSettings>): Settings => ({
  ...SETTINGS,
  clients: [work, { ...lan, ...change }],
});

const CHANGES: readonly [string, Settings, Concerned][] = [
  ["nothing", structuredClone(SETTINGS), NOBODY],
  ["one client's rules", withLan({ ruleset }), [1 as Client]],
  ["one client's policy", withLan({ ruleset: compileRuleset([], false) }), [1 as Client]],
  ["both clients' rules", { ...SETTINGS, clients: clients.map((one) => ({ ...one, ruleset })) }, [0, 1] as Client[]],
  ["limits", withLan({ limits: { ...lan.limits, flows: 1 } }), NOBODY],
  ["how refused packets are answered", withLan({ refuse: "drop", log: true }), NOBODY],
  ["what is changed in a client's packets", withLan({ scrub: { ...NO_SCRUB, minTtl: 9 } }), EVERYBODY],
  ["timeouts", { ...SETTINGS, nat: { ...nat, timeouts: { ...nat.timeouts, udp: 999 } } }, EVERYBODY],
  ["no kernel path", { ...SETTINGS, nat: { ...nat, kernelPath: false } }, EVERYBODY],
  ["another client", { ...SETTINGS, clients: [work] }, EVERYBODY],
  ["the uplink", { ...SETTINGS, uplink: { ...uplink, prefix: 16 } }, EVERYBODY],
  ["an interface", { ...SETTINGS, interfaces: interfaces.map((one) => ({ ...one, mtu: 1400 })) }, EVERYBODY],
];

for (const [what, settings, concerned] of CHANGES) {
  test(`of ${what}: ${concerned === EVERYBODY ? concerned : `${concerned.length}`}`, () => {
    expect(concernedBy(SETTINGS, settings)).toEqual(concerned);
  });
}
