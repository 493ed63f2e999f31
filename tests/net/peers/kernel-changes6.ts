// kernel-changes6.ts INTERFACE… [routed]: which frames of open flows of IPv6 take the kernel path right after something has changed,
// and which once the router has handled some since. It ends with the difference where the slow path does otherwise with them.

import { advertisement, OVERRIDE } from "../../../lab/discovery-frames.ts";
import { mac } from "../../../lab/frames.ts";
import { ip6 } from "../../../lab/frames6.ts";
import { LAN, UPLINK, WORK } from "../../../lab/router-lab.ts";
import { OUTSIDE_6 } from "../../../lab/router-lab6.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { ClientSettings, InterfaceSettings, Settings, Uplink6Settings } from "../../../src/dataplane/settings.ts";
import { USUAL, type Way, Ways6 } from "../../support/kernel-ways6.ts";
import type { Frame } from "../../support/twins.ts";

const ways = new Ways6(process.argv.slice(2));
const { settings, twins } = ways;
const [WORK_CLIENT, LAN_CLIENT] = [0, 1];
const NAMES = ["work", "to work", "lan", "to lan"];
const OTHER_MAC = "02:00:00:00:00:99";

/** How the interfaces are numbered, by their number at first. */
let numbers = [UPLINK, WORK, LAN];

function frameOf(way: Way): Frame {
  const { iface, bytes } = way.frame(USUAL);
  return { iface: numbers[iface], bytes };
}

/** Ways whose next frame takes the kernel path. */
function taken(): string {
  return NAMES.filter((_, i) => ways.takes(frameOf(ways.all[i]))).join(", ");
}

const apply = (what: Settings): void => void twins.do("other settings", (lab) => lab.apply(what));
const wait = (ms: number): void => void twins.do(`${ms} ms`, (lab) => lab.wait(ms));

function withUplink6(changes: Partial<Uplink6Settings>): Settings {
  const { uplink } = settings;
  if (uplink.ipv6 === undefined) throw new Error("the uplink has no IPv6");
  return { ...settings, uplink: { ...uplink, ipv6: { ...uplink.ipv6, ...changes } } };
}

function withClient(number: number, changes: Partial<ClientSettings>): Settings {
  const clients = settings.clients.map((client, i) => (i === number ? { ...client, ...changes } : client));
  return { ...settings, clients };
}

function withInterface(number: number, changes: Partial<InterfaceSettings>): Settings {
  const interfaces = settings.interfaces.map((iface, i) => (i === number ? { ...iface, ...changes } : iface));
  return { ...settings, interfaces };
}

/** Without IPv6, on the uplink or of a client. */
function without6(number?: number): Settings {
  const { ipv6: _, ...uplink } = settings.uplink;
  if (number === undefined) return { ...settings, uplink };
  const { ipv6: __, ...client } = settings.clients[number];
  return { ...settings, clients: settings.clients.map((one, i) => (i === number ? client : one)) };
}

/** Interfaces and clients in another order. */
function renumbered(): Settings {
  const [uplink, work, lan] = settings.interfaces;
  const clients = settings.clients.toReversed().map((client) => ({
    ...client,
    iface: client.iface === WORK ? LAN : WORK,
    reach: client.reach.map((peer) => settings.clients.length - 1 - peer),
  }));
  return { ...settings, interfaces: [uplink, lan, work], clients };
}

/** A client's settings of IPv6 with another one. */
function client6(number: number, changes: Partial<NonNullable<ClientSettings["ipv6"]>>): Settings {
  const { ipv6 } = settings.clients[number];
  if (ipv6 === undefined) throw new Error("the client has no IPv6");
  return withClient(number, { ipv6: { ...ipv6, ...changes } });
}

/** Somebody on the uplink says that our address is his. */
function claim(): void {
  const bytes = advertisement({ mac: OTHER_MAC, target: OUTSIDE_6, destination: "ff02::1", flags: OVERRIDE });
  twins.receive({ iface: UPLINK, bytes });
}

const refuseAll = compileRuleset([], false);
const isRouted = settings.clients[LAN_CLIENT].ipv6?.nat === "route";

const CHANGES: Readonly<Record<string, () => void>> = {
  nothing: () => {},
  "the uplink has another address": () => apply(withUplink6({ address: ip6("2001:db8:ffff::3") })),
  "it had, for a moment": () => { apply(withUplink6({ address: ip6("2001:db8:ffff::3") })); apply(settings); },
  "another gateway": () => apply(withUplink6({ gateway: ip6("fe80::2") })),
  "the gateway has another MAC address": () => apply(withUplink6({ gatewayMac: mac(OTHER_MAC) })),
  "lan is no longer translated, or routed": () => apply(client6(LAN_CLIENT, { nat: isRouted ? "masquerade" : "route" })),
  "lan has a longer prefix": () => apply(client6(LAN_CLIENT, { prefix: 65 })),
  "work has no IPv6": () => apply(without6(WORK_CLIENT)),
  "the uplink has no IPv6": () => apply(without6()),
  "work is refused all": () => apply(withClient(WORK_CLIENT, { ruleset: refuseAll })),
  "lan is, by its rules alone": () => void twins.do("rules", (lab) => lab.command((router) => router.setClient(LAN_CLIENT, { ruleset: refuseAll }))),
  "work has another MAC address": () => apply(withClient(WORK_CLIENT, { mac: mac(OTHER_MAC) })),
  "we have another MAC address to work": () => apply(withInterface(WORK, { mac: mac("52:54:00:00:00:99") })),
  "the uplink takes smaller packets": () => apply(withInterface(UPLINK, { mtu: 80 })),
  "clients and interfaces have other numbers": () => { numbers = [UPLINK, LAN, WORK]; apply(renumbered()); },
  "lan has no link": () => apply(withInterface(LAN, { isDown: true })),
  "lan has a new link": () => { apply(withInterface(LAN, { isDown: true })); apply(settings); },
  "the uplink has no link": () => apply(withInterface(UPLINK, { isDown: true })),
  "the uplink has a new one": newLink,
  "nobody said there that our address is his": () => { newLink(); wait(OURS); },
  "somebody did": () => { newLink(); claim(); wait(OURS); },
  "somebody says so later": claim,
}; // biome-ignore format: a table

/** ms after which an address that nobody claims is ours. */
const OURS = 3000;

function newLink(): void {
  apply(withInterface(UPLINK, { isDown: true }));
  apply(settings);
}

/** @returns which ways take the kernel path right after a change, and once the router has had frames of all of them */
function tryChange(change: () => void): [string, string] {
  numbers = [UPLINK, WORK, LAN];
  newLink(); // somebody may have had our address on that from before
  wait(OURS);
  ways.open();
  change();
  const first = taken();
  for (let i = 0; i < 2; i++) taken();
  const later = taken();
  twins.compareTables();
  return [first, later];
}

const outcomes = Object.entries(CHANGES).map(([what, change]) => [what, tryChange(change)]);
console.log(JSON.stringify(Object.fromEntries(outcomes)));
