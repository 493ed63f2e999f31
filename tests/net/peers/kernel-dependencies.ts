// kernel-dependencies.ts INTERFACE…: which frames of two clients' flows take the kernel path, both ways, after something has changed;
// and after the router has handled one of each since.
import { ARP_TYPE, arp, ethernet, payload, udp } from "../../../lab/frames.ts";
import {
  ANYTHING,
  BROADCAST,
  frameFrom,
  GATEWAY,
  LAN,
  LAN_GATEWAY,
  LAN_HOST,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  UPLINK,
  WORK,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import { NO_SCRUB, type Settings } from "../../../src/dataplane/settings.ts";
import type { Client } from "../../../src/dataplane/types.ts";
import { KernelLab, withInterfaces } from "../../support/kernel-lab.ts";
import { sentPort } from "../../support/nat.ts";

const GUEST = 0x0a890063;
const there = withInterfaces(SETTINGS, process.argv.slice(2));
const settings: Settings = { ...there, uplink: { ...there.uplink, inside: [GUEST] } };
const lab = new KernelLab(settings);
const REMOTE_END = { address: REMOTE, port: 9 };

/** The two ways of a client's flow, which is open then. */
function open(host: string, iface: number) {
  const ends = { source: host, sourcePort: 40_000, destination: REMOTE_END.address, destinationPort: REMOTE_END.port };
  const there = frameFrom(host, udp(ends, payload(50)));
  for (let i = 0; i < 2; i++) lab.receive(iface, there); // the first has the client asked for its MAC address
  const back = { source: REMOTE_END.address, sourcePort: REMOTE_END.port, destination: OUTSIDE };
  return [
    { iface, frame: there },
    { iface: UPLINK, frame: frameFrom(REMOTE, udp({ ...back, destinationPort: sentPort(lab) }, payload(60))) },
  ];
}

const ways = [...open(WORK_HOST, WORK), ...open(LAN_HOST, LAN)];
const NAMES = ["work", "to work", "lan", "to lan"];
const handle = () => {
  for (const { iface, frame } of ways) lab.receive(iface, frame);
};
const taken = () => NAMES.filter((_, i) => lab.filter(ways[i].iface, ways[i].frame));
const settle = () => lab.gate.settle(lab.gate.passed);

const LAN_CLIENT = settings.clients.findIndex(({ name }) => name === "lan") as Client;
const TIMEOUTS = { ...settings.nat.timeouts, udp: settings.nat.timeouts.udp + 1 };

/** The settings, but that a client has a rule more. */
function withRules(name: string): Settings {
  const ruleset = compileRuleset([ANYTHING], true);
  return { ...settings, clients: settings.clients.map((one) => (one.name === name ? { ...one, ruleset } : one)) };
}

/** The settings, but that a client's packets are changed. */
function withTtl(name: string): Settings {
  const scrub = { ...NO_SCRUB, minTtl: 10 };
  return { ...settings, clients: settings.clients.map((one) => (one.name === name ? { ...one, scrub } : one)) };
}

/** The settings with a client more, whose address was nobody's, on an interface that is not there. */
function withGuest(): Settings {
  const iface = settings.interfaces.length;
  const { mac: _, ...guest } = { ...settings.clients[0], name: "guest", iface, network: GUEST };
  const interfaces = [...settings.interfaces, { ...settings.interfaces[WORK], name: "guest", index: 0, isDown: true }];
  return { ...settings, interfaces, clients: [...settings.clients, guest] };
}

/** The settings, but that lan's interface has no link. */
function withoutLink(): Settings {
  return { ...settings, interfaces: settings.interfaces.map((one, i) => (i === LAN ? { ...one, isDown: true } : one)) };
}

/** The settings with the clients' numbers the other way round. */
function renumbered(): Settings {
  return { ...settings, clients: settings.clients.toReversed() };
}

/** Has a host say that its MAC address is another. */
function moves(host: string, iface: number, target: string, senderMac: string): void {
  const request = arp({ operation: "request", senderMac, senderIp: host, targetIp: target });
  lab.receive(iface, ethernet(senderMac, BROADCAST, ARP_TYPE, request));
}

const events: Record<string, () => void> = {
  nothing: () => {},
  "a host of lan has another MAC address": () => moves(LAN_HOST, LAN, LAN_GATEWAY, "02:00:00:00:02:99"),
  "the gateway has another MAC address": () => moves(GATEWAY, UPLINK, OUTSIDE, "02:00:00:00:00:99"),
  "new rules of work": () => lab.command((router) => router.setClient(0, settings.clients[0])),
  "new rules of lan are announced": () => lab.announcements.announce([LAN_CLIENT]),
  "they are in force": () => lab.kernelPath.carryOut(),
  "the same settings": () => lab.apply(structuredClone(settings)),
  "other rules of lan among them": () => lab.apply(withRules("lan")),
  "the rules from before": () => lab.apply(settings),
  "other timeouts": () => lab.apply({ ...settings, nat: { ...settings.nat, timeouts: TIMEOUTS } }),
  "another client's packets are changed": () => lab.apply(withTtl("work")),
  "they are not": () => lab.apply(settings),
  "a client comes": () => lab.apply(withGuest()),
  "it goes": () => lab.apply(settings),
  "lan has no link": () => lab.apply(withoutLink()),
  "it has it again": () => lab.apply(settings),
  "clients have other numbers": () => lab.apply(renumbered()),
  "an address may be a client's": () =>
    lab.apply({ ...settings, uplink: { ...settings.uplink, inside: [GUEST, GUEST + 1] } }),
  "other settings": () => lab.apply({ ...settings, uplink: { ...settings.uplink, dns: [] } }),
  "the settings from before": () => lab.apply(settings),
  "lan goes": () => lab.apply({ ...settings, clients: settings.clients.filter(({ name }) => name !== "lan") }),
};

const outcomes: Record<string, [string[], string[]]> = {};
for (let i = 0; i < 2; i++) handle();
for (const [what, happen] of Object.entries(events)) {
  happen();
  settle();
  const before = taken();
  settle();
  handle();
  settle();
  handle();
  outcomes[what] = [before, taken()];
}
console.log(JSON.stringify(outcomes));
