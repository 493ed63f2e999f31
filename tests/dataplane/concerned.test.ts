// Whom new settings are about.
import { expect, test } from "bun:test";
import { ANYTHING, SETTINGS } from "../../lab/router-lab.ts";
import { parsePrefix6 } from "../../src/base/address.ts";
import { type Concerned, concernedBy, EVERYBODY } from "../../src/dataplane/concerned.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import { type ClientSettings, NO_SCRUB, type Settings, type Uplink6Settings } from "../../src/dataplane/settings.ts";
import type { Client } from "../../src/dataplane/types.ts";

const { nat, uplink, interfaces, clients } = SETTINGS;
const [work, lan] = clients;
const ruleset = compileRuleset([ANYTHING], true);
const NOBODY: Concerned = [];
const prefix6 = (text: string) => {
  const prefix = parsePrefix6(text);
  if (prefix === undefined) throw new Error(`no prefix: ${text}`);
  return prefix;
};
const ipv6 = { ...prefix6("2001:db8::2/64"), gateway: prefix6("fe80::1/128").address, dns: [] };
const LAN6 = {
  network: prefix6("2001:db8:1::/64").address,
  prefix: 64,
  gateway: prefix6("2001:db8:1::1/128").address,
  nat: "route",
} as const;
const SETTINGS6: Settings = { ...withLan({ ipv6: LAN6 }), uplink: { ...uplink, ipv6 } };

/** The settings with another client "lan". */
function withLan(change: Partial<ClientSettings>): Settings {
  return { ...SETTINGS, clients: [work, { ...lan, ...change }] };
}

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

const lan6 = (change: Partial<typeof LAN6 | { nat: "masquerade" }>): Settings => ({
  ...SETTINGS6,
  clients: [work, { ...lan, ipv6: { ...LAN6, ...change } }],
});
const uplink6 = (change: Partial<Uplink6Settings>): Settings => ({
  ...SETTINGS6,
  uplink: { ...uplink, ipv6: { ...ipv6, ...change } },
});

const CHANGES6: readonly [string, Settings, Concerned][] = [
  ["nothing", structuredClone(SETTINGS6), NOBODY],
  ["none any more", SETTINGS, EVERYBODY],
  ["a client's network", lan6({ network: prefix6("2001:db8:2::/64").address }), EVERYBODY],
  ["our address as a client sees it", lan6({ gateway: prefix6("2001:db8:1::2/128").address }), EVERYBODY],
  ["how a client is translated", lan6({ nat: "masquerade" }), EVERYBODY],
  ["the uplink's address", uplink6(prefix6("2001:db8::3/64")), EVERYBODY],
  ["the uplink's gateway", uplink6({ gateway: prefix6("fe80::2/128").address }), EVERYBODY],
  ["name servers", uplink6({ dns: [prefix6("2001:db8::53/128").address] }), EVERYBODY],
  ["addresses that are clients'", uplink6({ inside: [prefix6("fd00::1/128").address] }), EVERYBODY],
];

for (const [what, settings, concerned] of CHANGES6) {
  test(`of IPv6, ${what}: ${concerned === EVERYBODY ? concerned : `${concerned.length}`}`, () => {
    expect(concernedBy(SETTINGS6, settings)).toEqual(concerned);
  });
}
