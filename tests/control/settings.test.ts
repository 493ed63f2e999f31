// From the configuration to the dataplane's settings: devices found and numbered, rules as matches.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { DEFAULT_LIMITS, DEFAULT_NAT, NO_SCRUB } from "../../lab/defaults.ts";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { ICMP, TCP, UDP } from "../../lab/protocols.ts";
import { type Config, parseConfig } from "../../src/config/config.ts";
import { configuredDevices, type Device, makeSettings, type SettingsOptions } from "../../src/control/settings.ts";
import type { Match, Match6 } from "../../src/dataplane/rules/match.ts";
import { compileRuleset, type Ruleset } from "../../src/dataplane/rules/ruleset.ts";
import { sound } from "../support/sound.ts";

/** Rule sets are numbered as they are compiled. */
function rulesetOf(
  matches: readonly Match[],
  accept: boolean,
  matches6: readonly Match6[] = [],
  accept6 = false,
): Ruleset {
  return { ...compileRuleset(matches, accept, matches6, accept6), version: expect.any(Number) };
}

const EXAMPLE = readFileSync(new URL("../config/example.toml", import.meta.url), "utf8");
const EVERYTHING = readFileSync(new URL("../config/everything.toml", import.meta.url), "utf8");

const ETH0: Device = { name: "eth0", index: 2, mac: Uint8Array.of(2, 0, 0, 0, 0, 0x10), mtu: 1500, isUp: true };
const ETH1: Device = { name: "eth1", index: 3, mac: Uint8Array.of(2, 0, 0, 0, 0, 0x11), mtu: 9000, isUp: true };
const ETH2: Device = { name: "eth2", index: 4, mac: Uint8Array.of(2, 0, 0, 0, 0, 0x12), mtu: 1500, isUp: true };

function configOf(text: string): Config {
  return sound(parseConfig(text, "firewall.toml")).config;
}

function uplinkAndClients(uplink: string, ...clients: string[]): Config {
  const tables = clients.map((lines, i) => {
    return `[[client]]\nname = "c${i}"\naddress = "10.0.0.${i + 2}"\ngateway = "10.0.0.1"\n${lines}\n`;
  });
  return configOf(`[uplink]\naddress = "192.0.2.254/24"\ngateway = "192.0.2.1"\n${uplink}\n${tables.join("")}`);
}

const ANY: Match = {
  rule: 1,
  accept: true,
  address: 0,
  prefix: 0,
  protocol: 0,
  portLow: 0,
  portHigh: 65535,
  icmpType: -1,
};

/** What becomes of refused packets, and of answers with names, where nothing is said. */
const QUIET = { refuse: "icmp", log: false, scrub: NO_SCRUB, watchNames: false } as const;

/** The defaults of one client among several. */
const DEFAULTS = {
  reach: [],
  openFilter: false,
  limits: DEFAULT_LIMITS,
  ...QUIET,
};

describe("settings", () => {
  test("pin the gateway of IPv4 alone by gateway_mac: that of IPv6 may be another machine, and is asked for", () => {
    const uplink = ['interface = "eth1"', 'gateway_mac = "02:00:00:00:00:99"', 'address6 = "2001:db8::2/64"'];
    const config = uplinkAndClients([...uplink, 'gateway6 = "fe80::1"'].join("\n"), 'interface = "eth0"');
    const made = sound(makeSettings(config, [ETH0, ETH1]));
    expect(made.settings.uplink.gatewayMac).toEqual(Uint8Array.of(2, 0, 0, 0, 0, 0x99));
    expect(made.settings.uplink.ipv6?.gateway).toEqual(ip6("fe80::1"));
    expect(made.settings.uplink.ipv6?.gatewayMac).toBeUndefined();
  });

  test("of the example", () => {
    expect(makeSettings(configOf(EXAMPLE), [ETH0, ETH1, ETH2])).toEqual({
      settings: {
        interfaces: [
          { name: "eth1", index: 3, mac: ETH1.mac, anyMac: false, mtu: 9000, clampMss: false },
          { name: "eth0", index: 2, mac: ETH0.mac, anyMac: false, mtu: 1500, clampMss: false },
          { name: "eth2", index: 4, mac: ETH2.mac, anyMac: false, mtu: 1500, clampMss: false },
        ],
        uplink: { iface: 0, address: 0xc00002fe, prefix: 24, gateway: 0xc0000201, dns: [0xc0000201] },
        clients: [
          {
            name: "work",
            iface: 1,
            network: 0x0a89000a,
            prefix: 32,
            gateway: 0x0a890001,
            ruleset: rulesetOf(
              [
                { ...ANY, rule: 1, protocol: TCP, portLow: 443, portHigh: 443 },
                { ...ANY, rule: 2, address: 0xc0000200, prefix: 28, protocol: UDP, portLow: 53, portHigh: 53 },
                { ...ANY, rule: 3, protocol: ICMP, icmpType: 8 },
              ],
              false,
            ),
            ...DEFAULTS,
          },
          {
            name: "lan",
            iface: 2,
            network: 0xc0a80100,
            prefix: 24,
            gateway: 0xc0a80101,
            ruleset: rulesetOf([], true),
            ...DEFAULTS,
          },
        ],
        forwards: [],
        redirects: [],
        nat: DEFAULT_NAT,
      },
    });
  });

  /** Those of the uplink, and what redirects name. */
  const NAME_SERVERS = ["192.0.2.1", "198.51.100.53", "192.0.2.53", "10.139.1.1", "10.139.1.2"].map(ip);

  test("of every key", () => {
    const eth3 = { name: "eth3", index: 5, mac: Uint8Array.of(2, 0, 0, 0, 0, 0x0a), mtu: 1400, isUp: true };
    const lan = rulesetOf([], false);
    expect(makeSettings(configOf(EVERYTHING), [ETH0, ETH2, eth3])).toEqual({
      settings: {
        interfaces: [
          {
            name: "eth3",
            index: 5,
            mac: Uint8Array.of(254, 255, 255, 255, 255, 255),
            anyMac: false,
            mtu: 1400,
            clampMss: true,
          },
          { name: "eth0", index: 2, mac: Uint8Array.of(2, 0, 0, 0, 0, 3), anyMac: false, mtu: 1500, clampMss: true },
          { name: "eth2", index: 4, mac: ETH2.mac, anyMac: false, mtu: 1500, clampMss: false },
        ],
        uplink: {
          iface: 0,
          address: 0xc00002fe,
          prefix: 24,
          gateway: 0xc0000201,
          dns: NAME_SERVERS,
          ipv6: { address: ip6("2001:db8::2"), prefix: 64, gateway: ip6("fe80::1"), dns: [ip6("2001:db8::53")] },
          gatewayMac: Uint8Array.of(2, 0, 0, 0, 0, 2),
          rate: 2_500_000_000,
        },
        clients: [
          {
            name: "work",
            iface: 1,
            network: 0x0a89000a,
            prefix: 32,
            gateway: 0x0a890001,
            ipv6: {
              network: ip6("fd09:24ef:4179::a89:7"),
              prefix: 128,
              gateway: ip6("2001:db8::2"),
              nat: "masquerade",
            },
            mac: Uint8Array.of(2, 0, 0, 0, 0, 4),
            ruleset: rulesetOf(
              [
                ...NAME_SERVERS.flatMap((address) =>
                  [TCP, UDP].map((protocol) => ({ ...ANY, address, prefix: 32, protocol, portLow: 53, portHigh: 53 })),
                ),
                { ...ANY, rule: 2, accept: false, address: 0x0a000000, prefix: 8 },
              ],
              true,
              [TCP, UDP].map((protocol) => ({
                ...{ ...ANY, address: ip6("2001:db8::53"), prefix: 128, protocol, portLow: 53, portHigh: 53 },
              })),
              true,
            ),
            reach: [2, 1],
            openFilter: false,
            limits: { flows: 2000, mappings: 1000, flowsPerSecond: 50 },
            ...QUIET,
            refuse: "reset",
            log: true,
            scrub: { dropOptions: true, randomId: true, minTtl: 32, clearDscp: true },
          },
          {
            name: "game",
            iface: 1,
            network: 0x0a89000b,
            prefix: 32,
            gateway: 0x0a890001,
            ruleset: lan,
            reach: [],
            openFilter: true,
            limits: { flows: 2048, mappings: 32768, flowsPerSecond: 20000 },
            ...QUIET,
            refuse: "drop",
          },
          {
            name: "lan",
            iface: 2,
            network: 0xc0a80100,
            prefix: 24,
            gateway: 0xc0a80101,
            ipv6: { network: ip6("2001:db8:1::"), prefix: 64, gateway: ip6("2001:db8:1::1"), nat: "route" },
            ruleset: lan,
            reach: [],
            openFilter: false,
            limits: { flows: 2048, mappings: 32768, flowsPerSecond: 20000 },
            ...QUIET,
          },
        ],
        forwards: [
          {
            protocol: TCP,
            portLow: 8443,
            portHigh: 8443,
            client: 0,
            to: 0x0a89000a,
            toPort: 443,
            from: [
              { address: 0xcb007100, prefix: 24 },
              { address: 0xc6336407, prefix: 32 },
            ],
            to6: ip6("fd09:24ef:4179::a89:7"),
            from6: [
              { address: ip6("2001:db8:9::"), prefix: 48 },
              { address: ip6("2001:db8:ffff::1"), prefix: 128 },
            ],
          },
          { protocol: UDP, portLow: 8000, portHigh: 8010, client: 2, to: 0xc0a8010a, toPort: 8000, from: [] },
          { protocol: TCP, portLow: 65000, portHigh: 65535, client: 1, to: 0x0a89000b, toPort: 1, from: [] },
          {
            ...{ protocol: UDP, portLow: 8000, portHigh: 8010, client: 2, toPort: 8000 },
            ...{ to: undefined, from: [], to6: ip6("2001:db8:1::10"), from6: [] },
          },
        ],
        redirects: [
          { from: 0x0a8b0101, to: 0xc0000235 },
          { from: 0x0a8b0102, to: 0xc6336435 },
        ],
        nat: {
          maxFlows: 4096,
          resetUnknown: false,
          minPathMtu: 600,
          kernelPath: false,
          timeouts: {
            udpNew: 1,
            udp: 120,
            dns: 1,
            tcpEstablished: 8000,
            tcpOpening: 30,
            tcpClosing: 3601,
            icmp: 61,
            other: 120,
          },
        },
      },
    });
  });

  test("clamp the MSS of an interface for all of its users if one asks for it", () => {
    const config = uplinkAndClients(
      'interface = "eth1"',
      'interface = "eth0"',
      'interface = "02:00:00:00:00:10"\nclamp_mss = true',
      'interface = "eth0"',
    );
    const result = makeSettings(config, [ETH0, ETH1]);
    expect("settings" in result && result.settings.interfaces).toEqual([
      { name: "eth1", index: 3, mac: ETH1.mac, anyMac: false, mtu: 9000, clampMss: false },
      { name: "eth0", index: 2, mac: ETH0.mac, anyMac: false, mtu: 1500, clampMss: true },
    ]);
  });

  test("have rules as they stand now: without those that have expired, and with the addresses that names have", () => {
    const rules = `rules = ["action=drop dsthost=www.example.org", "action=accept expire=1700000000"]`;
    const config = uplinkAndClients('interface = "eth1"', `interface = "eth0"\n${rules}`);
    const accept = { ...ANY, rule: 2 };
    const drop = { ...ANY, accept: false, address: 0xc0000250, prefix: 32 };
    const rulesetWith = (options: SettingsOptions) => {
      const result = makeSettings(config, [ETH0, ETH1], options);
      return "settings" in result && result.settings.clients[0].ruleset;
    };
    const addressesOf = (name: string) => (name === "www.example.org" ? [0xc0000250] : []);
    expect(rulesetWith({ now: 1699999999.9, addressesOf })).toEqual(rulesetOf([drop, accept], false));
    expect(rulesetWith({ now: 1700000000, addressesOf })).toEqual(rulesetOf([drop], false));
    const none = () => [];
    expect(rulesetWith({ now: 0, addressesOf: none })).toEqual(rulesetOf([accept], false));
    expect(rulesetWith({ addressesOf: none })).toEqual(rulesetOf([], false));
    // As long as nobody knows the name, it may be any address.
    expect(rulesetWith({ now: 0 })).toEqual(rulesetOf([{ ...ANY, accept: false }, accept], false));
  });

  test("ask to see the name servers' answers to those clients whose rules have host names", () => {
    const rules = `rules = ["action=accept dsthost=www.example.org", "action=accept"]`;
    const config = uplinkAndClients('interface = "eth1"', `interface = "eth0"\n${rules}`, 'interface = "eth0"');
    const result = makeSettings(config, [ETH0, ETH1]);
    expect("settings" in result && result.settings.clients.map(({ watchNames }) => watchNames)).toEqual([true, false]);
  });

  test("survive being posted to a worker", () => {
    const devices = [ETH0, ETH2, { ...ETH1, mac: Uint8Array.of(2, 0, 0, 0, 0, 0x0a) }];
    const result = makeSettings(configOf(EVERYTHING), devices);
    expect("settings" in result).toBeTrue();
    expect(structuredClone(result)).toEqual(result);
  });

  test("find an interface by its MAC address, and let own_mac win over the device's", () => {
    const config = uplinkAndClients(
      'interface = "02:00:00:00:00:11"\nown_mac = "fe:ff:ff:ff:ff:ff"\ngateway_mac = "02:00:00:00:00:77"',
      'interface = "eth0"',
      'interface = "02:00:00:00:00:10"\nown_mac = "02:00:00:00:00:99"\nmac = "02:00:00:00:00:88"',
    );
    const result = makeSettings(config, [ETH0, ETH1]);
    const host = { prefix: 32, gateway: 0x0a000001, ruleset: rulesetOf([], false), ...DEFAULTS };
    expect(result).toEqual({
      settings: {
        interfaces: [
          {
            name: "eth1",
            index: 3,
            mac: Uint8Array.of(254, 255, 255, 255, 255, 255),
            anyMac: false,
            mtu: 9000,
            clampMss: false,
          },
          {
            name: "eth0",
            index: 2,
            mac: Uint8Array.of(2, 0, 0, 0, 0, 0x99),
            anyMac: false,
            mtu: 1500,
            clampMss: false,
          },
        ],
        uplink: {
          iface: 0,
          address: 0xc00002fe,
          prefix: 24,
          gateway: 0xc0000201,
          dns: [],
          gatewayMac: Uint8Array.of(2, 0, 0, 0, 0, 0x77),
        },
        clients: [
          { ...host, name: "c0", iface: 1, network: 0x0a000002 },
          { ...host, name: "c1", iface: 1, network: 0x0a000003, mac: Uint8Array.of(2, 0, 0, 0, 0, 0x88) },
        ],
        forwards: [],
        redirects: [],
        nat: DEFAULT_NAT,
      },
    });
  });

  test("name the place of an interface that is there twice", () => {
    const config = uplinkAndClients('interface = "02:00:00:00:00:10"', 'interface = "eth2"');
    expect(makeSettings(config, [ETH0, { ...ETH0, name: "eth9" }])).toEqual({
      errors: [
        'firewall.toml:4: uplink: interface "02:00:00:00:00:10" is there 2 times (write one of these: eth0, eth9)',
      ],
    });
  });

  test("have interfaces that are not there as they are: down, under the name that they had last", () => {
    const config = uplinkAndClients('interface = "02:00:00:00:00:10"', 'interface = "eth2"');
    const interfacesWith = (devices: readonly Device[], options?: SettingsOptions) => {
      const result = makeSettings(config, devices, options);
      return "settings" in result && result.settings.interfaces;
    };
    const absent = { index: 0, mac: new Uint8Array(6), anyMac: false, mtu: 1500, isDown: true, clampMss: false };
    expect(interfacesWith([])).toEqual([
      { ...absent, name: "02:00:00:00:00:10" },
      { ...absent, name: "eth2" },
    ]);
    const lastNames = new Map([["02:00:00:00:00:10", "eth0"]]);
    const [uplink, client] = [
      { ...absent, name: "eth0" },
      { name: "eth2", index: 4, mac: ETH2.mac, anyMac: false, mtu: 1500, isDown: true, clampMss: false },
    ];
    expect(interfacesWith([{ ...ETH2, isUp: false }], { lastNames })).toEqual([uplink, client]);
  });

  test("refuse a name and a MAC address that contradict each other by being the same device", () => {
    const config = uplinkAndClients(
      'interface = "eth1"',
      'interface = "02:00:00:00:00:11"',
      'interface = "eth0"\nown_mac = "02:00:00:00:00:01"',
      'interface = "02:00:00:00:00:10"\nown_mac = "02:00:00:00:00:02"',
      'interface = "eth2"\nclamp_mss = false',
      'interface = "02:00:00:00:00:12"\nclamp_mss = true',
    );
    expect(makeSettings(config, [ETH0, ETH1, ETH2])).toEqual({
      errors: [
        'firewall.toml:9: client "c0": interface "eth1" is the uplink\'s (write the one that leads to this client)',
        'firewall.toml:20: client "c2": own_mac "02:00:00:00:00:02" is not that of the clients before it on the same interface (write own_mac = "02:00:00:00:00:01")',
        'firewall.toml:32: client "c4": clamp_mss true is not that of the clients before it on the same interface (write clamp_mss = false)',
      ],
    });
  });

  test("for replay come from the configuration's own interfaces, with any MAC address where none is configured", () => {
    const config = uplinkAndClients(
      'interface = "02:00:00:00:00:11"',
      'interface = "tap0"\nown_mac = "02:00:00:00:00:99"',
      'interface = "tap0"',
      'interface = "tap1"',
    );
    const result = makeSettings(config, configuredDevices(config), { anyMac: true });
    expect("settings" in result && result.settings.interfaces).toEqual([
      { name: "02:00:00:00:00:11", index: 0, mac: ETH1.mac, anyMac: true, mtu: 1500, clampMss: false },
      { name: "tap0", index: 0, mac: Uint8Array.of(2, 0, 0, 0, 0, 0x99), anyMac: false, mtu: 1500, clampMss: false },
      { name: "tap1", index: 0, mac: Uint8Array.of(2, 0, 0, 0, 0, 0), anyMac: true, mtu: 1500, clampMss: false },
    ]);
  });
});
