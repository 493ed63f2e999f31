// Whom new settings are about.
import { expect, test } from "bun:test";
import { ANYTHING, LAN, SETTINGS, UPLINK } from "../../lab/router-lab.ts";
import { parsePrefix6 } from "../../src/base/address.ts";
import { type Concerned, concernedBy, EVERYBODY } from "../../src/dataplane/concerned.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import {
  type ClientSettings,
  type InterfaceSettings,
  NO_SCRUB,
  type Settings,
  type Uplink6Settings,
} from "../../src/dataplane/settings.ts";
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

const GUEST = 0x0a890063;
const FORWARD = { protocol: 6, portLow: 80, portHigh: 80, client: 1, to: lan.network + 2, toPort: 80, from: [] };

const mac = (last: number) => Uint8Array.of(2, 0, 0, 0, 0, last);

function withInside(settings: Settings, ...inside: readonly number[]): Settings {
  return { ...settings, uplink: { ...settings.uplink, inside } };
}

function withInterface(which: number, change: Partial<InterfaceSettings>): Settings {
  return { ...SETTINGS, interfaces: interfaces.map((one, i) => (i === which ? { ...one, ...change } : one)) };
}

/** The settings with a client more, on an interface more. */
function withGuest(settings: Settings, change: Partial<ClientSettings> = {}): Settings {
  const guest = { ...work, name: "guest", iface: settings.interfaces.length, network: GUEST, ...change };
  const iface = { ...settings.interfaces[LAN], name: "guest", index: 99 };
  return { ...settings, interfaces: [...settings.interfaces, iface], clients: [...settings.clients, guest] };
}

const CHANGES: readonly [string, Settings, Concerned][] = [
  ["nothing", structuredClone(SETTINGS), NOBODY],
  ["one client's rules", withLan({ ruleset }), [1 as Client]],
  ["one client's policy", withLan({ ruleset: compileRuleset([], false) }), [1 as Client]],
  ["both clients' rules", { ...SETTINGS, clients: clients.map((one) => ({ ...one, ruleset })) }, [0, 1] as Client[]],
  ["limits", withLan({ limits: { ...lan.limits, flows: 1 } }), NOBODY],
  ["how refused packets are answered", withLan({ refuse: "drop", log: true }), NOBODY],
  ["what is changed in a client's packets", withLan({ scrub: { ...NO_SCRUB, minTtl: 9 } }), [1 as Client]],
  ["timeouts", { ...SETTINGS, nat: { ...nat, timeouts: { ...nat.timeouts, udp: 999 } } }, EVERYBODY],
  ["no kernel path", { ...SETTINGS, nat: { ...nat, kernelPath: false } }, EVERYBODY],
  ["a client that goes", { ...SETTINGS, clients: [work] }, [1 as Client]],
  ["a client before others that goes", { ...SETTINGS, clients: [lan] }, [0, 1] as Client[]],
  ["a client whose address was anybody's", withGuest(SETTINGS), EVERYBODY],
  ["our address as a client sees it, which was anybody's", withLan({ gateway: GUEST }), EVERYBODY],
  ["our address as a client sees it, in its network", withLan({ gateway: lan.gateway + 1 }), [1 as Client]],
  ["an open filter", withLan({ openFilter: true }), [1 as Client]],
  ["whom a client reaches", withLan({ reach: [0] }), [1 as Client]],
  ["a rate", { ...SETTINGS, uplink: { ...uplink, rate: 1e6 } }, EVERYBODY],
  ["forwards", { ...SETTINGS, forwards: [FORWARD] }, EVERYBODY],
  ["an address that is a client's, and was not", withInside(SETTINGS, GUEST), EVERYBODY],
  ["one client's link", withInterface(LAN, { isDown: true }), [1 as Client]],
  ["the uplink's link", withInterface(UPLINK, { isDown: true }), EVERYBODY],
  ["the uplink", { ...SETTINGS, uplink: { ...uplink, prefix: 16 } }, EVERYBODY],
  ["an interface", { ...SETTINGS, interfaces: interfaces.map((one) => ({ ...one, mtu: 1400 })) }, EVERYBODY],
];

for (const [what, settings, concerned] of CHANGES) {
  test(`of ${what}: ${concerned === EVERYBODY ? concerned : `${concerned.length}`}`, () => {
    expect(concernedBy(SETTINGS, settings)).toEqual(concerned);
  });
}

const READY = withInside(SETTINGS, GUEST);
const REACHING: Settings = { ...READY, clients: [{ ...work, reach: [2] }, lan] };
const AROUND: readonly [string, Settings, Settings, Concerned][] = [
  ["comes", READY, withGuest(READY), [2 as Client]],
  ["goes", withGuest(READY), READY, [2 as Client]],
  ["comes, and its address is a client's in another way", READY, withInside(withGuest(READY)), [2 as Client]],
  ["goes, and may come again", withInside(withGuest(READY)), READY, [2 as Client]],
  ["goes whom another reaches", withGuest(REACHING), { ...READY, clients: REACHING.clients }, [0, 2] as Client[]],
  ["is changed whom another reaches", withGuest(REACHING), withGuest(REACHING, { mac: mac(9) }), [0, 2] as Client[]],
  ["comes, and with it a forward", READY, { ...withGuest(READY), forwards: [FORWARD] }, EVERYBODY],
];

for (const [what, before, after, concerned] of AROUND) {
  test(`of a client that ${what}: ${concerned === EVERYBODY ? concerned : `${concerned}`}`, () => {
    expect(concernedBy(before, after)).toEqual(concerned);
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
  ["how a client is translated", lan6({ nat: "masquerade" }), [1 as Client]],
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
