// Every key of the configuration, changed while the firewall runs: in force afterwards, or refused by its name. Two routers
// get the same packets, one that was started with the changed configuration and one that took it over: they must do the
// same, and something else than one that has the old configuration still.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ARP_TYPE, arp, ethernet, IPV4_TYPE, icmp, ip, ipv4, mac, payload, tcp, toHex, udp } from "../../lab/frames.ts";
import { IPV6_TYPE, icmpv6, ip6, tcp6, text6, udp6 } from "../../lab/frames6.ts";
import { ICMPV6 } from "../../lab/protocols.ts";
import { formatAddress } from "../../src/base/address.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { needsRestart } from "../../src/control/restart.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import { flowText } from "../../src/control/views/flow-text.ts";
import { Router } from "../../src/dataplane/frame/router.ts";
import { MemoryRing } from "../../src/dataplane/memory-ring.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { DROPS } from "../../src/dataplane/tables/drop-records.ts";
import type { Flow } from "../../src/dataplane/types.ts";
import { VERDICT_NAMES } from "../../src/dataplane/verdict.ts";
import { sound } from "../support/sound.ts";

const EVERYTHING = readFileSync(new URL("../config/everything.toml", import.meta.url), "utf8");

/** The first line of each section, and its keys: `client 2` is the second [[client]]. */
function keysOf(text: string): { readonly line: number; readonly key: string }[] {
  const counts = new Map<string, number>();
  let section = "";
  return text.split("\n").flatMap((line, i) => {
    const [, double, name] = /^\[(\[)?([a-z.]+)\]/.exec(line) ?? [];
    if (name !== undefined) {
      counts.set(name, (counts.get(name) ?? 0) + 1);
      section = double === undefined ? name : `${name} ${counts.get(name)}`;
    }
    const [, key] = /^([a-z0-9_]+) = /.exec(line) ?? [];
    return key === undefined ? [] : [{ line: i, key: `${section}: ${key}` }];
  });
}

/** @param line what stands instead of the key's line */
function withKey(text: string, key: string, line: string): string {
  const place = keysOf(text).find((other) => other.key === key);
  if (place === undefined) throw new Error(`no key ${key}`);
  return text.split("\n").with(place.line, line).join("\n");
}

type Change = readonly [key: string, line: string, given?: Readonly<Record<string, string>>];

/** Without these the probes below would not come to where the key shows. */
const OPEN_RULES = { "client 1: rules": 'rules = ["action=drop dst4=10.1.1.1"]' };
const OPEN_LAN = { "client 3: refuse": 'policy = "accept"' };

const APPLIED: readonly Change[] = [
  ["uplink: interface", 'interface = "02:00:00:00:00:0B"'],
  ["uplink: own_mac", 'own_mac = "FE:FF:FF:FF:FF:FE"'],
  ["uplink: address", 'address = "192.0.2.253/24"'],
  ["uplink: gateway", 'gateway = "192.0.2.3"', { "uplink: gateway_mac": "" }],
  ["uplink: address6", 'address6 = "2001:db8::3/64"', { "client 1: gateway6": 'gateway6 = "fd09::1"' }],
  ["uplink: gateway6", 'gateway6 = "fe80::2"'],
  ["uplink: gateway_mac", 'gateway_mac = "02:00:00:00:00:99"'],
  ["uplink: dns", 'dns = ["10.200.0.53"]'],
  ["uplink: clamp_mss", "clamp_mss = false", { "client 3: refuse": 'policy = "accept"' }],
  ["client 1: interface", 'interface = "eth5"'],
  ["client 1: own_mac", 'own_mac = "02:00:00:00:00:33"'],
  ["client 1: mac", 'mac = "02:00:00:00:00:44"'],
  ["client 1: address", 'address = "10.137.0.12"'],
  ["client 1: gateway", 'gateway = "10.137.0.2"'],
  ["client 1: address6", 'address6 = "fd09:24ef:4179::a89:8"'],
  ["client 1: gateway6", 'gateway6 = "fd09::1"'],
  ["client 1: nat6", 'nat6 = "route"'],
  ["client 1: policy", 'policy = "drop"'],
  ["client 1: rules", 'rules = ["action=accept"]'],
  ["client 1: reach", 'reach = ["lan"]', OPEN_RULES],
  ["client 1: max_flows", "max_flows = 3"],
  ["client 1: max_mappings", "max_mappings = 3"],
  ["client 1: flows_per_second", "flows_per_second = 2"],
  ["client 1: refuse", 'refuse = "drop"'],
  ["client 1: log", "log = false"],
  ["client 1: drop_ip_options", "drop_ip_options = false"],
  ["client 1: random_ip_id", "random_ip_id = false"],
  ["client 1: min_ttl", "min_ttl = 0"],
  ["client 1: clear_dscp", "clear_dscp = false"],
  ["client 2: interface", 'interface = "eth6"'],
  ["client 2: address", 'address = "10.137.0.13"', { "forward 3: to": 'to = "game"' }],
  ["client 2: gateway", 'gateway = "10.137.0.3"'],
  [
    "client 2: filtering",
    'filtering = "address-and-port-dependent"',
    { "client 2: log": 'log = false\npolicy = "accept"' },
  ],
  ["client 2: refuse", 'refuse = "icmp"'],
  ["client 2: log", "log = true"],
  ["client 2: clamp_mss", "", OPEN_RULES],
  ["client 3: interface", 'interface = "eth7"'],
  ["client 3: network", 'network = "192.168.1.0/25"'],
  ["client 3: gateway", 'gateway = "192.168.1.2"'],
  ["client 3: network6", 'network6 = "2001:db8:1::/65"', OPEN_LAN],
  ["client 3: gateway6", 'gateway6 = "2001:db8:1::2"'],
  ["client 3: nat6", 'nat6 = "masquerade"', OPEN_LAN],
  ["client 3: refuse", 'refuse = "reset"'],
  ["client 3: clamp_mss", "clamp_mss = true", { "uplink: clamp_mss": "", "client 3: refuse": 'policy = "accept"' }],
  ["forward 1: proto", 'proto = "udp"'],
  ["forward 1: port", "port = 8444"],
  ["forward 1: to", 'to = "game"'],
  ["forward 1: to_port", "to_port = 444"],
  ["forward 1: from", 'from = ["198.51.100.7"]'],
  ["forward 2: proto", 'proto = "tcp"'],
  ["forward 2: port", 'port = "8000-8004"'],
  ["forward 2: to", 'to = "192.168.1.11"'],
  ["forward 3: proto", 'proto = "udp"'],
  ["forward 3: port", 'port = "65002-65535"'],
  ["forward 3: to", 'to = "work"'],
  ["forward 3: to_port", "to_port = 2"],
  ["forward 4: proto", 'proto = "tcp"'],
  ["forward 4: port", 'port = "8000-8004"'],
  ["forward 4: to", 'to = "2001:db8:1::11"'],
  ["dns: redirect", 'redirect = { "10.139.1.1" = "192.0.2.54" }', OPEN_RULES],
  ["nat: reset", "reset = true"],
  ["nat: min_path_mtu", "min_path_mtu = 700"],
  ["nat.timeouts: udp", 'udp = "3m"'],
  ["nat.timeouts: udp_new", "udp_new = 40"],
  ["nat.timeouts: dns", "dns = 20"],
  ["nat.timeouts: tcp_established", "tcp_established = 7500"],
  ["nat.timeouts: tcp_opening", "tcp_opening = 100"],
  ["nat.timeouts: tcp_closing", 'tcp_closing = "1h10m"'],
  ["nat.timeouts: icmp", "icmp = 70"],
  ["nat.timeouts: other", "other = 60"],
];

const REFUSED: readonly Change[] = [
  ["nat: max_flows", "max_flows = 8192"],
  ["nat: kernel_path", "kernel_path = true"],
];

/**
 * No packet shows a client's name: tests/net/reload.test.ts has what control prints. Nor the line's rate, which is the kernel's business:
 * tests/net/queueing.test.ts.
 */
const ONLY_SHOWN = ["client 1: name", "client 2: name", "client 3: name", "uplink: rate"];

function configOf(text: string): Config {
  return sound(parseConfig(text, "firewall.toml")).config;
}

function settingsOf(text: string): Settings {
  const config = configOf(text);
  return sound(makeSettings(config, configuredDevices(config))).settings;
}

const [WORK, GAME, LAN, REMOTE, FRIEND] = ["10.137.0.10", "10.137.0.11", "192.168.1.10", "198.51.100.9", "203.0.113.9"];
const LAN_HIGH = "192.168.1.200";
const [WORK_6, LAN_6, LAN_HIGH_6] = ["fd09:24ef:4179::a89:7", "2001:db8:1::10", "2001:db8:1::8000:0:0:10"];
const REMOTE_6 = "2001:db8:7::9";
const US = "192.0.2.254";
const MACS: Readonly<Record<string, string>> = {
  [WORK]: "02:00:00:00:00:04",
  [WORK_6]: "02:00:00:00:00:04",
  [GAME]: "02:00:00:00:00:11",
};
/** Interfaces by number, and what a host there takes for our MAC address. */
const OURS = ["fe:ff:ff:ff:ff:ff", "02:00:00:00:00:03", "02:00:00:00:00:00"];
const MSS = Uint8Array.of(2, 4, 0x23, 0x28);
/** Seconds, on both sides of each timeout. */
const LOOKS = [0.5, 1.5, 3, 12, 25, 35, 50, 65, 80, 110, 125, 150, 200, 3500, 3700, 4300, 7450, 7600, 8100];

/** What becomes of packets that between them meet every key. */
class Probe {
  readonly lines: string[] = [];
  private readonly ring = new MemoryRing();
  private readonly router: Router;
  private now = 1_000_000;

  /** @param then what it takes over, if anything, before the first packet */
  constructor(
    private settings: Settings,
    then?: Settings,
  ) {
    this.router = new Router(this.ring, settings, (words) => words.fill(0x5eed));
    this.router.advance(this.now);
    this.router.announce();
    this.settle();
    if (then !== undefined) {
      this.settings = then;
      this.router.apply(then);
    }
    this.settle();
    this.lines.length = 0;
  }

  /** Waits until our addresses of IPv6 are known to be nobody else's. */
  private settle(): void {
    for (let second = 0; second < 5; second++) {
      this.takeSent();
      this.now += 1000;
      this.router.advance(this.now);
    }
    this.takeSent();
  }

  run(): readonly string[] {
    this.fromClients();
    this.fromUplink();
    this.ofIpv6();
    for (const [i, seconds] of LOOKS.entries()) {
      this.now += (seconds - (LOOKS[i - 1] ?? 0)) * 1000;
      for (let turn = 0; turn < 20; turn++) this.router.advance(this.now);
      this.lines.push(`after ${seconds} s: ${this.flows().join(", ")}`);
    }
    this.lines.push(`${Atomics.load(this.router.drops.words, DROPS.LOGGED)} refusals noted`);
    return this.lines;
  }

  private fromClients(): void {
    for (const [host, gateway] of [
      [WORK, "10.137.0.1"],
      [GAME, "10.137.0.1"],
      [LAN, "192.168.1.1"],
    ] as const) {
      this.send(host, icmp({ source: host, destination: gateway, type: 8, rest: 1 }, payload(8)));
      this.send(host, tcp({ ...ends(host, 4000, REMOTE, 80), flags: "S", tcpOptions: MSS }));
      this.send(host, tcp({ ...ends(host, 4001, "10.1.1.1", 25), flags: "S" }));
      this.send(host, tcp({ ...ends(host, 4002, REMOTE, 80), flags: "." }));
      this.send(host, udp(ends(host, 5000, REMOTE, 5000), payload(4)));
    }
    const marked = { ...ends(WORK, 5002, REMOTE, 5000), identification: 7, ttl: 20, tos: 0xb9 };
    this.send(WORK, udp(marked, payload(4)));
    this.send(WORK, udp({ ...marked, options: Uint8Array.of(1, 1, 1, 0) }, payload(4)));
    this.send(LAN_HIGH, udp(ends(LAN_HIGH, 5001, REMOTE, 5000), payload(4)));
    for (const server of ["198.51.100.53", "10.200.0.53", "10.139.1.1"])
      this.send(WORK, udp(ends(WORK, 53, server, 53), payload(4)));
    this.send(WORK, icmp({ source: WORK, destination: REMOTE, type: 8, rest: 77 << 16 }, payload(8)));
    this.send(WORK, ipv4({ source: WORK, destination: REMOTE }, 47, payload(8)));
    for (const peer of [LAN, GAME])
      this.send(WORK, tcp({ ...ends(WORK, 4003, peer, 80), flags: "S", tcpOptions: MSS }));
    // A name server's answer, an answered stream, a connection that stays and one that ends.
    this.send(REMOTE, udp(ends("198.51.100.53", 53, US, 53), payload(4)));
    this.send(REMOTE, udp(ends(REMOTE, 5000, US, 5000), payload(4)));
    this.tellMtu();
    this.connect(6000);
    this.connect(6001);
    this.send(WORK, tcp({ ...ends(WORK, 6001, REMOTE, 80), flags: "F.", sequence: 101, acknowledgment: 501 }));
    this.send(REMOTE, tcp({ ...ends(REMOTE, 80, US, 6001), flags: "F.", sequence: 501, acknowledgment: 102 }));
    this.send(WORK, tcp({ ...ends(WORK, 6001, REMOTE, 80), flags: ".", sequence: 102, acknowledgment: 502 }));
  }

  /** A router says that a client's datagram was too long for a path. */
  private tellMtu(): void {
    const left = udp(ends(US, this.portOf(WORK), REMOTE, 5000), payload(1000));
    this.send(REMOTE, icmp({ source: REMOTE, destination: US, type: 3, code: 4, rest: 650 }, left.subarray(0, 576)));
  }

  private connect(port: number): void {
    this.send(WORK, tcp({ ...ends(WORK, port, REMOTE, 80), flags: "S", sequence: 100 }));
    this.send(REMOTE, tcp({ ...ends(REMOTE, 80, US, port), flags: "S.", sequence: 500, acknowledgment: 101 }));
    this.send(WORK, tcp({ ...ends(WORK, port, REMOTE, 80), flags: ".", sequence: 101, acknowledgment: 501 }));
  }

  private fromUplink(): void {
    for (const port of [8443, 8444, 8003, 8005, 65000, 65001]) {
      this.send(FRIEND, tcp({ ...ends(FRIEND, 7000, US, port), flags: "S" }));
      this.send(FRIEND, udp(ends(FRIEND, 7000, US, port), payload(4)));
    }
    this.send("198.51.100.7", tcp({ ...ends("198.51.100.7", 7001, US, 8443), flags: "S" }));
    this.send("8.8.4.4", udp(ends("8.8.4.4", 7002, US, this.portOf(GAME)), payload(4)));
  }

  private ofIpv6(): void {
    for (const [host, gateway] of [
      [WORK_6, "fd09::1"],
      [LAN_6, "2001:db8:1::1"],
      [LAN_HIGH_6, "2001:db8:1::1"],
    ] as const) {
      this.send(host, icmpv6({ source: host, destination: gateway, type: 128, rest: 1 }, payload(8)));
      this.send(host, tcp6({ ...ends(host, 4000, REMOTE_6, 80), flags: "S" }));
      this.send(host, udp6(ends(host, 5000, REMOTE_6, 5000), payload(4)));
    }
    for (const port of [8003, 8005]) {
      for (const host of [LAN_6, "2001:db8:1::11"]) {
        this.send(REMOTE_6, tcp6({ ...ends(REMOTE_6, 7000, host, port), flags: "S" }));
        this.send(REMOTE_6, udp6(ends(REMOTE_6, 7000, host, port), payload(4)));
      }
    }
  }

  /** The external port of a client's stream. */
  private portOf(client: string): number {
    const flow = this.flows().find((text) => text.startsWith(`udp ${client}:5000 `));
    return Number(/ as [\d.]+:(\d+)/.exec(flow ?? "")?.[1] ?? 1);
  }

  /** Notes what becomes of a packet, and all that is sent; who is asked for says where he is. */
  private send(host: string, packet: Uint8Array): void {
    const iface = /^(10|fd09:)/.test(host) ? 1 : /^(192\.168\.|2001:db8:1:)/.test(host) ? 2 : 0;
    const from = iface === 0 ? "02:00:00:00:00:02" : macOf(host);
    const frame = ethernet(from, OURS[iface], host.includes(":") ? IPV6_TYPE : IPV4_TYPE, packet);
    const verdict = VERDICT_NAMES[this.router.receive(iface, this.ring.put(frame), frame.length)];
    this.lines.push(`${this.settings.interfaces[iface]?.name} ${host}: ${verdict}, rule ${this.router.lastRule}`);
    this.takeSent();
  }

  private takeSent(): void {
    for (const { iface, bytes } of this.ring.takeSent()) {
      this.lines.push(`sent on ${this.settings.interfaces[iface].name}\n${toHex(bytes)}`);
      const answer = arpAnswer(bytes) ?? advertisement(bytes);
      if (answer === undefined) continue;
      this.router.receive(iface, this.ring.put(answer), answer.length);
      this.takeSent();
    }
  }

  private flows(): string[] {
    const { flows } = this.router;
    const texts: string[] = [];
    for (let flow = 0 as Flow; flow < this.settings.nat.maxFlows; flow++) {
      if (!flows.isUsed(flow)) continue;
      const { protocol, source, destination, mapped, reached = "" } = flowText(flows, flow);
      texts.push(`${protocol} ${source} to ${destination} as ${mapped} ${reached}`);
    }
    return texts.sort();
  }
}

/** @returns what a host answers that is asked for by ARP, undefined for any other frame */
function arpAnswer(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes[12] * 256 + bytes[13] !== ARP_TYPE || bytes[21] !== 1) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [us, host] = [formatAddress(view.getUint32(28)), formatAddress(view.getUint32(38))];
  const ours = macText(bytes.subarray(6, 12));
  const ends = { senderMac: macOf(host), senderIp: host, targetMac: ours, targetIp: us };
  return ethernet(macOf(host), ours, ARP_TYPE, arp({ operation: "reply", ...ends }));
}

/** The same of Neighbour Discovery: but for who asks whether an address of his is somebody else's. */
function advertisement(bytes: Uint8Array): Uint8Array | undefined {
  const [nextHeader, type] = [bytes[20], bytes[54]];
  if (bytes[12] * 256 + bytes[13] !== IPV6_TYPE || nextHeader !== ICMPV6 || type !== 135) return undefined;
  const [us, host] = [text6(bytes.slice(22, 38)), text6(bytes.slice(62, 78))];
  if (us === "::") return undefined;
  const content = Uint8Array.of(...bytes.subarray(62, 78), 2, 1, ...mac(macOf(host)));
  const packet = icmpv6({ source: host, destination: us, hopLimit: 255, type: 136, rest: 0x60000000 }, content);
  return ethernet(macOf(host), macText(bytes.subarray(6, 12)), IPV6_TYPE, packet);
}

function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function ends(source: string, sourcePort: number, destination: string, destinationPort: number) {
  return { source, sourcePort, destination, destinationPort };
}

function macOf(host: string): string {
  if (host.includes(":")) return MACS[host] ?? `02:66:${macText(ip6(host).slice(12))}`;
  const bytes = [24, 16, 8, 0].map((shift) => ((ip(host) >>> shift) & 255).toString(16).padStart(2, "0"));
  return MACS[host] ?? `02:aa:${bytes.join(":")}`;
}

function pairOf([key, line, given = {}]: Change): { readonly before: string; readonly after: string } {
  const before = Object.entries(given).reduce((text, [other, value]) => withKey(text, other, value), EVERYTHING);
  return { before, after: withKey(before, key, line) };
}

test("each key of the configuration is changed below", () => {
  const changed = [...APPLIED, ...REFUSED].map(([key]) => key);
  expect([...changed, ...ONLY_SHOWN].sort()).toEqual(
    keysOf(EVERYTHING)
      .map(({ key }) => key)
      .sort(),
  );
});

describe("a running firewall", () => {
  test.each(APPLIED)("takes over %s: %s", (key, line, given = {}) => {
    const { before, after } = pairOf([key, line, given]);
    expect(needsRestart(configOf(after), configOf(before).nat)).toEqual([]);
    const fresh = new Probe(settingsOf(after)).run();
    expect(fresh).not.toEqual(new Probe(settingsOf(before)).run());
    expect(new Probe(settingsOf(before), settingsOf(after)).run()).toEqual(fresh);
  });

  test.each(REFUSED)("refuses %s by name: %s", (key, line, given = {}) => {
    const { before, after } = pairOf([key, line, given]);
    const [, name] = key.split(": ");
    const number = after.split("\n").indexOf(line) + 1;
    const [error, ...more] = needsRestart(configOf(after), configOf(before).nat);
    expect(error).toStartWith(`firewall.toml:${number}: nat: ${name} `);
    expect(error).toContain("needs a restart");
    expect(more).toEqual([]);
  });

  test("takes over kernel_path = false, and true again where it was started with it", () => {
    const started = configOf(EVERYTHING.replace("kernel_path = false", "kernel_path = true")).nat;
    expect(needsRestart(configOf(EVERYTHING), started)).toEqual([]);
    expect(needsRestart({ ...configOf(EVERYTHING), nat: started }, started)).toEqual([]);
  });
});
