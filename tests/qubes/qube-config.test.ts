// The configuration that QubesDB and interfaces come to: whole, and for everything that may be missing.

import { describe, expect, test } from "bun:test";
import { NO_SCRUB } from "../../lab/defaults.ts";
import { ip, mac } from "../../lab/frames.ts";
import { makeSettings } from "../../src/control/settings.ts";
import type { ClientRules } from "../../src/qubes/client-rules.ts";
import { makeQubeConfig } from "../../src/qubes/qube-config.ts";
import type { QubeState } from "../../src/qubes/qube-state.ts";
import { databaseOf } from "../support/database.ts";
import { sound } from "../support/sound.ts";

const NETWORK = {
  "/qubes-ip": "10.137.0.5",
  "/qubes-gateway": "10.138.0.1",
  "/qubes-netmask": "255.255.255.255",
  "/qubes-primary-dns": "10.139.1.1",
  "/qubes-secondary-dns": "10.139.1.2",
  "/qubes-netvm-gateway": "10.137.0.1",
  "/qubes-netvm-primary-dns": "10.139.1.1",
  "/qubes-netvm-secondary-dns": "10.139.1.2",
  "/connected-ips": "10.137.0.9 10.137.0.10",
};
const RULES: ClientRules = { policy: "accept", rules: [{ action: "drop", proto: "icmp" }], numbers: [0] };
const VIF = { name: "vif2.0", address: ip("10.137.0.9"), mac: mac("00:16:3e:5e:6c:09") };

function make(entries: Readonly<Record<string, string>>, state: Partial<QubeState> = {}) {
  return makeQubeConfig({
    database: databaseOf(entries),
    rulesOf: (address) => (address === "10.137.0.9" ? RULES : undefined),
    vifs: [VIF],
    uplink: "eth0",
    options: undefined,
    ...state,
  });
}

test("a qube with a netvm and a client", () => {
  const { config, problems } = make(NETWORK);
  expect(problems).toEqual([]);
  expect(config.uplink).toEqual({
    interface: { text: "eth0", mac: undefined, place: "QubesDB" },
    address: ip("10.137.0.5"),
    gateway: ip("10.138.0.1"),
    prefix: 32,
    dns: [ip("10.139.1.1"), ip("10.139.1.2")],
    ownMac: undefined,
    gatewayMac: undefined,
    gatewayFallbackMac: mac("fe:ff:ff:ff:ff:ff"),
    rate: undefined,
    clampMss: undefined,
    inside: [ip("10.137.0.9"), ip("10.137.0.10")],
  });
  expect(config.clients).toEqual([
    {
      name: "10.137.0.9",
      interface: { text: "vif2.0", mac: undefined, place: "QubesDB" },
      network: ip("10.137.0.9"),
      prefix: 32,
      gateway: ip("10.137.0.1"),
      ownMac: mac("fe:ff:ff:ff:ff:ff"),
      mac: VIF.mac,
      policy: "accept",
      rules: RULES.rules,
      refuse: "icmp",
      log: false,
      scrub: NO_SCRUB,
      reach: [],
      filtering: "address-and-port-dependent",
      limits: { flows: 32768, mappings: 32768, flowsPerSecond: 20000 },
      clampMss: undefined,
    },
  ]);
  expect([config.forwards, config.redirects]).toEqual([[], []]);
});

test("a client without rules gets nothing", () => {
  const { config } = make(NETWORK, { rulesOf: () => undefined });
  expect(config.clients.map(({ policy, rules }) => [policy, rules])).toEqual([["drop", []]]);
});

test.each([
  ["address", { ...NETWORK, "/qubes-ip": "" }, "eth0"],
  ["gateway", { ...NETWORK, "/qubes-gateway": "" }, "eth0"],
  ["interface", NETWORK, undefined],
])("without its uplink's %s the clients keep their interfaces and get nothing", (_, entries, uplink) => {
  const { config, problems } = make(entries, { uplink });
  expect(problems).toEqual([]);
  expect([config.uplink.interface, config.uplink.address, config.uplink.gateway]).toEqual([undefined, 0, 0]);
  expect(config.clients.map(({ policy, rules, gateway }) => [policy, rules, gateway])).toEqual([
    ["drop", [], ip("10.137.0.1")],
  ]);
  const result = sound(
    makeSettings(config, [{ name: "vif2.0", index: 7, mac: mac("fe:ff:ff:ff:ff:ff"), mtu: 1500, isUp: true }]),
  );
  expect(result.settings.interfaces.length).toBe(1);
  expect([result.settings.uplink.iface, result.settings.uplink.inside]).toEqual([1, config.uplink.inside ?? []]);
});

describe("a qube whose netvm is its client", () => {
  const options = {
    uplinkClient: ip("10.137.0.7"),
    address: ip("10.137.0.6"),
    dns: [ip("10.139.1.1"), ip("9.9.9.9"), ip("9.9.9.10")],
    place: "",
  };
  const SEEN = { ...NETWORK, "/connected-ips": "10.137.0.7 10.137.0.9" };

  test("has its uplink there, whatever QubesDB says of one", () => {
    const { config, problems } = make({ ...SEEN, "/qubes-gateway": "nonsense" }, { uplink: "vif7.0", options });
    expect(problems).toEqual([]);
    expect(config.uplink).toEqual({
      interface: { text: "vif7.0", mac: undefined, place: "QubesDB" },
      address: ip("10.137.0.6"),
      gateway: ip("10.137.0.7"),
      prefix: 32,
      dns: [ip("10.139.1.1"), ip("9.9.9.9"), ip("9.9.9.10"), ip("10.139.1.2")],
      ownMac: mac("fe:ff:ff:ff:ff:ff"),
      gatewayMac: undefined,
      rate: undefined,
      clampMss: undefined,
      inside: [ip("10.137.0.9")],
    });
    expect(config.redirects).toEqual([{ from: ip("10.139.1.2"), to: ip("9.9.9.9") }]);
    expect(config.clients.map(({ name, gateway, rules }) => [name, gateway, rules])).toEqual([
      ["10.137.0.9", ip("10.137.0.1"), RULES.rules],
    ]);
  });

  test("redirects both servers that clients were told of to the only one that there is, and none to none", () => {
    const [only] = [{ ...options, dns: [ip("9.9.9.9")] }];
    expect(make(SEEN, { uplink: "vif7.0", options: only }).config.redirects).toEqual([
      { from: ip("10.139.1.1"), to: ip("9.9.9.9") },
      { from: ip("10.139.1.2"), to: ip("9.9.9.9") },
    ]);
    expect(make(SEEN, { uplink: "vif7.0", options: { ...options, dns: [] } }).config.redirects).toEqual([]);
  });

  test("waits while that client is not there: the others keep their interfaces and get nothing", () => {
    const { config } = make(SEEN, { uplink: undefined, options });
    const { interface: place, address, gateway, gatewayMac } = config.uplink;
    expect([place, address, gateway, gatewayMac]).toEqual([undefined, 0, 0, mac("fe:ff:ff:ff:ff:ff")]);
    expect(config.clients.map(({ policy, rules }) => [policy, rules])).toEqual([["drop", []]]);
  });
});

test("of connected clients' addresses those that are none are named, and the others count", () => {
  const { config, problems } = make({ ...NETWORK, "/connected-ips": " 10.137.0.9  10.137.0.300 fd09::1 10.137.0.11" });
  expect(config.uplink.inside).toEqual([ip("10.137.0.9"), ip("10.137.0.11")]);
  expect(problems).toEqual([
    '/connected-ips: "10.137.0.300" is not an IPv4 address',
    '/connected-ips: "fd09::1" is not an IPv4 address',
  ]);
});

test("an empty database is a qube that waits", () => {
  const { config, problems } = make({}, { vifs: [], uplink: undefined });
  expect([config.uplink.interface, config.clients, problems]).toEqual([undefined, [], []]);
});

test("values that are no addresses are named", () => {
  const { config, problems } = make({ ...NETWORK, "/qubes-gateway": "10.138.0", "/qubes-primary-dns": "fd00::1" });
  expect(config.uplink.interface).toBeUndefined();
  expect(problems).toEqual([
    '/qubes-primary-dns: "fd00::1" is not an IPv4 address',
    '/qubes-gateway: "10.138.0" is not an IPv4 address',
  ]);
});

test("a qube that provides no network has no clients, and says so when some come", () => {
  const { "/qubes-netvm-gateway": _, ...entries } = NETWORK;
  expect(make(entries, { vifs: [] }).problems).toEqual([]);
  const { config, problems } = make(entries);
  expect(config.clients).toEqual([]);
  expect(problems).toEqual([
    "/qubes-netvm-gateway is missing: this qube does not provide network (qvm-prefs NAME provides_network True)",
  ]);
});

test("a name server that clients know by another address is redirected to", () => {
  const { config } = make({ ...NETWORK, "/qubes-primary-dns": "10.8.0.1" });
  expect(config.redirects).toEqual([{ from: ip("10.139.1.1"), to: ip("10.8.0.1") }]);
  expect(config.uplink.dns).toEqual([ip("10.8.0.1"), ip("10.139.1.1"), ip("10.139.1.2")]);
});

test("a client that was told another address has that, and the rules of its own", () => {
  const { config } = make({
    ...NETWORK,
    "/mapped-ip/10.137.0.9/visible-ip": "192.168.1.128",
    "/mapped-ip/10.137.0.9/visible-gateway": "192.168.1.1",
  });
  expect(config.clients.map(({ name, network, gateway, policy }) => [name, network, gateway, policy])).toEqual([
    ["10.137.0.9", ip("192.168.1.128"), ip("192.168.1.1"), "accept"],
  ]);
});

test("of two clients that were told the same address, one has network", () => {
  const { config, problems } = make(
    {
      ...NETWORK,
      "/mapped-ip/10.137.0.9/visible-ip": "192.168.1.128",
      "/mapped-ip/10.137.0.10/visible-ip": "192.168.1.128",
    },
    { vifs: [VIF, { name: "vif3.0", address: ip("10.137.0.10"), mac: undefined }] },
  );
  expect(config.clients.map(({ name }) => name)).toEqual(["10.137.0.9"]);
  expect(problems).toEqual([
    "client 10.137.0.10: its visible address is that of client 10.137.0.9 too: it gets no network",
  ]);
});
