// The configuration file: what it says, and for each thing that can be wrong with it the whole error.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_LIMITS, DEFAULT_NAT, NO_SCRUB } from "../../lab/defaults.ts";
import { ip6 } from "../../lab/frames6.ts";
import { Random } from "../../lab/random.ts";
import { formatIp } from "../../src/base/ip.ts";
import { parseConfig, readConfig } from "../../src/config/config.ts";
import { openedHosts } from "../../src/config/forwards.ts";
import { sound } from "../support/sound.ts";

const EXAMPLE = readFileSync(new URL("example.toml", import.meta.url), "utf8");
const EVERYTHING = readFileSync(new URL("everything.toml", import.meta.url), "utf8");

/** Two clients and no comments; the tests change a line of it. */
const BASE = `[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
dns = ["192.0.2.1"]
own_mac = "02:00:00:00:00:01"
[[client]]
name = "work"
interface = "eth0"
address = "10.137.0.10"
gateway = "10.137.0.1"
mac = "02:00:00:00:00:0a"
rules = [
  "action=accept",
]
[[client]]
name = "lan"
interface = "eth2"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
[nat]
max_flows = 65536
`;

function errorsOf(text: string): readonly string[] {
  const result = parseConfig(text, "firewall.toml");
  return "errors" in result ? result.errors : [];
}

/** The base with one line replaced. */
function withLine(number: number, line: string): string {
  return BASE.split("\n")
    .with(number - 1, line)
    .join("\n");
}

function withoutLine(number: number): string {
  return BASE.split("\n")
    .toSpliced(number - 1, 1)
    .join("\n");
}

const WRITE_TOML = '(write key = "text", key = 5 or key = ["one", "another"], each in a line of its own)';

/** The defaults of one client among several. */
const DEFAULTS = {
  reach: [],
  filtering: "address-and-port-dependent" as const,
  limits: DEFAULT_LIMITS,
  refuse: "icmp" as const,
  log: false,
  scrub: NO_SCRUB,
  clampMss: undefined,
};

test("the uplink's gateway may be outside its network, as with hosters who give a /32", () => {
  const text = BASE.replace('address = "192.0.2.254/24"', 'address = "203.0.113.200/32"').replace(
    'gateway = "192.0.2.1"',
    'gateway = "198.51.100.1"',
  );
  const result = parseConfig(text, "firewall.toml");
  expect("errors" in result ? result.errors : result.config.uplink).toMatchObject({
    address: 0xcb0071c8,
    prefix: 32,
    gateway: 0xc6336401,
  });
});

const BASE6 = BASE.replace("dns =", 'address6 = "2001:db8::2/128"\ngateway6 = "fe80::1"\ndns =')
  .replace("\nmac =", '\naddress6 = "fd00::10"\ngateway6 = "2001:db8::2"\nmac =')
  .replace(
    "[nat]",
    'network6 = "2001:DB8:0:1::/64"\ngateway6 = "2001:db8:0:1:0:0:0:1"\nnat6 = "route"\npolicy = "accept"\n[nat]',
  );

test("IPv6 is understood: a gateway that is link-local, one /64 for the uplink and a network, our address the same on both sides", () => {
  const result = sound(parseConfig(BASE6, "firewall.toml"));
  const { uplink, clients } = result.config;
  expect(result.warnings).toEqual([]);
  expect(uplink.ipv6).toEqual({ address: ip6("2001:db8::2"), prefix: 128, gateway: ip6("fe80::1"), dns: [] });
  expect(clients.map(({ ipv6 }) => ipv6)).toEqual([
    { network: ip6("fd00::10"), prefix: 128, gateway: ip6("2001:db8::2"), nat: "masquerade" },
    { network: ip6("2001:db8:0:1::"), prefix: 64, gateway: ip6("2001:db8:0:1::1"), nat: "route" },
  ]);
});

const FORWARDED_443 = '[[forward]]\nproto = "tcp"\nport = 443\n';

test("a forward to a name is one of each family that the client has and that somebody is let in by", () => {
  const openedBy = (text: string, from = "") => {
    const result = sound(parseConfig(`${text}${FORWARDED_443}to = "work"\n${from}`, "firewall.toml"));
    return result.config.forwards.map((forward) => openedHosts(forward.to, forward.from).map(formatIp));
  };
  expect(openedBy(BASE)).toEqual([["10.137.0.10"]]);
  expect(openedBy(BASE6)).toEqual([["10.137.0.10", "fd00::10"]]);
  expect(openedBy(BASE6, 'from = ["203.0.113.0/24"]')).toEqual([["10.137.0.10"]]);
  expect(openedBy(BASE6, 'from = ["2001:db8:9::/48"]')).toEqual([["fd00::10"]]);
});

test("two forwards of one port are good where one is of IPv4 and the other of IPv6, or they open ports of two routed hosts", () => {
  const forwards = ["192.168.1.7", "2001:db8:0:1::7", "2001:db8:0:1::8"].map((to) => `${FORWARDED_443}to = "${to}"\n`);
  expect(errorsOf(BASE6 + forwards.join(""))).toEqual([]);
});

test("the example is understood", () => {
  expect(parseConfig(EXAMPLE, "firewall.toml")).toEqual({
    config: {
      uplink: {
        interface: { text: "eth1", mac: undefined, place: "firewall.toml:2: uplink" },
        address: 0xc00002fe,
        prefix: 24,
        gateway: 0xc0000201,
        dns: [0xc0000201],
        ownMac: undefined,
        gatewayMac: undefined,
        rate: undefined,
        clampMss: undefined,
      },
      clients: [
        {
          name: "work",
          interface: { text: "eth0", mac: undefined, place: 'firewall.toml:10: client "work"' },
          network: 0x0a89000a,
          prefix: 32,
          gateway: 0x0a890001,
          ownMac: undefined,
          mac: undefined,
          policy: "drop",
          rules: [
            { action: "accept", proto: "tcp", dstports: { low: 443, high: 443 } },
            {
              action: "accept",
              dst4: { address: 0xc0000200, prefix: 28 },
              proto: "udp",
              dstports: { low: 53, high: 53 },
            },
            { action: "accept", proto: "icmp", icmptype: 8 },
          ],
          ...DEFAULTS,
        },
        {
          name: "lan",
          interface: { text: "eth2", mac: undefined, place: 'firewall.toml:23: client "lan"' },
          network: 0xc0a80100,
          prefix: 24,
          gateway: 0xc0a80101,
          ownMac: undefined,
          mac: undefined,
          policy: "accept",
          rules: [],
          ...DEFAULTS,
        },
      ],
      forwards: [],
      redirects: [],
      nat: DEFAULT_NAT,
      natPlaces: { maxFlows: "firewall.toml:29: nat", kernelPath: "firewall.toml:28: nat" },
      rulePlaces: [["firewall.toml:16", "firewall.toml:17", "firewall.toml:18"], []],
    },
    warnings: [],
  });
});

test("everything optional is understood", () => {
  const result = parseConfig(
    `[uplink]
interface = "02:00:00:00:00:0A"
address = "192.0.2.254/31"
gateway = "192.0.2.255"
own_mac = "fe:ff:ff:ff:ff:ff"
gateway_mac = "02:00:00:00:00:02"
[[client]]
name = "a"
interface = "eth0"
address = "10.137.0.10"
gateway = "192.0.2.254" # ours on both sides, as in Qubes OS
own_mac = "fe:ff:ff:ff:ff:ff"
mac = "02:00:00:00:00:03"
rules = [{ action = "drop", proto = "icmp", icmptype = 8 }, { dstports = 80, action = "accept" }]
[[client]]
name = "b"
interface = "eth0"
address = "10.137.0.11"
gateway = "192.0.2.254"
`,
    "f",
  );
  const common = { prefix: 32, gateway: 0xc00002fe, policy: "drop", ...DEFAULTS };
  expect(result).toEqual({
    config: {
      uplink: {
        interface: {
          text: "02:00:00:00:00:0a",
          mac: Uint8Array.of(2, 0, 0, 0, 0, 10),
          place: "f:2: uplink",
        },
        address: 0xc00002fe,
        prefix: 31,
        gateway: 0xc00002ff,
        dns: [],
        ownMac: Uint8Array.of(254, 255, 255, 255, 255, 255),
        gatewayMac: Uint8Array.of(2, 0, 0, 0, 0, 2),
        rate: undefined,
        clampMss: undefined,
      },
      clients: [
        {
          ...common,
          name: "a",
          interface: { text: "eth0", mac: undefined, place: 'f:9: client "a"' },
          network: 0x0a89000a,
          ownMac: Uint8Array.of(254, 255, 255, 255, 255, 255),
          mac: Uint8Array.of(2, 0, 0, 0, 0, 3),
          rules: [
            { action: "drop", proto: "icmp", icmptype: 8 },
            { action: "accept", dstports: { low: 80, high: 80 } },
          ],
        },
        {
          ...common,
          name: "b",
          interface: { text: "eth0", mac: undefined, place: 'f:17: client "b"' },
          network: 0x0a89000b,
          ownMac: undefined,
          mac: undefined,
          rules: [],
        },
      ],
      forwards: [],
      redirects: [],
      nat: DEFAULT_NAT,
      natPlaces: { maxFlows: "f:1: nat", kernelPath: "f:1: nat" },
      rulePlaces: [["f:14", "f:14"], []],
    },
    warnings: [
      'f:16: warning: client "b": has no rules, and its policy is to drop: all is refused (write rules, or policy = "accept")',
    ],
  } as never);
});

const INTERFACE = 'is neither an interface\'s name nor a MAC address (write interface = "eth1" or its MAC address)';
const ADDRESS = "is not an IPv4 address";
const UPLINK_ADDRESS = '(write address = "192.0.2.254/24")';
const UPLINK_GATEWAY = '(write gateway = "192.0.2.1")';
const NAME =
  'is not a name of 1 to 31 letters, digits and _.- that begins with a letter or digit (write name = "work")';
const ONE_OR_MANY = '(write address = "10.137.0.10" for one host or network = "192.168.1.0/24" for many)';
const NETWORK = '(write network = "192.168.1.0/24")';
const MTU = "is not a whole number from 68 to 1500 (write min_path_mtu = 552)";
const FLOWS = "is not a whole number from 1024 to 1048576 (write max_flows = 65536)";

const REACH = '(write reach = ["lan"])';
const LIMIT = "is not a whole number from 1 to";
const TIMEOUT = "is neither a whole number of seconds nor a duration";
const BOOLEAN = "is neither true nor false";

/** A line of [nat.timeouts], and its error. */
const TIMEOUT_ERRORS: [string, string][] = [
  ["udp = true", `udp true ${TIMEOUT} (write udp = "5m")`],
  ["udp = 300.0", `udp 300 ${TIMEOUT} (write udp = "5m")`],
  ['udp = ""', `udp "" ${TIMEOUT} (write udp = "5m")`],
  ['udp = "300"', `udp "300" ${TIMEOUT} (write udp = "5m")`],
  ['udp = "5 m"', `udp "5 m" ${TIMEOUT} (write udp = "5m")`],
  ["udp = 119", 'udp 119 is shorter than 2m, the least by RFC 4787 REQ-5 (write udp = "5m")'],
  ['udp = "1m59s"', 'udp "1m59s" is shorter than 2m, the least by RFC 4787 REQ-5 (write udp = "5m")'],
  ["udp = 432001", 'udp 432001 is longer than 120h (write udp = "5m")'],
  ["udp = 99999999999999999999", 'udp 99999999999999999999 is longer than 120h (write udp = "5m")'],
  ["udp_new = 0", 'udp_new 0 is shorter than 1s (write udp_new = "30s")'],
  ['udp_new = "121h"', 'udp_new "121h" is longer than 120h (write udp_new = "30s")'],
  ["dns = -1", 'dns -1 is shorter than 1s (write dns = "10s")'],
  ["dns = 432001", 'dns 432001 is longer than 120h (write dns = "10s")'],
  [
    "tcp_established = 7439",
    'tcp_established 7439 is shorter than 2h4m, the least by RFC 5382 REQ-5 (write tcp_established = "2h4m")',
  ],
  ["tcp_established = 432001", 'tcp_established 432001 is longer than 120h (write tcp_established = "2h4m")'],
  ["tcp_closing = 239", 'tcp_closing 239 is shorter than 4m, the least by RFC 5382 REQ-5 (write tcp_closing = "4m")'],
  ["tcp_closing = 432001", 'tcp_closing 432001 is longer than 120h (write tcp_closing = "4m")'],
  ["tcp_opening = 0", 'tcp_opening 0 is shorter than 1s (write tcp_opening = "4m")'],
  ["icmp = 59", 'icmp 59 is shorter than 1m, the least by RFC 5508 REQ-2 (write icmp = "1m")'],
  ["icmp = 432001", 'icmp 432001 is longer than 120h (write icmp = "1m")'],
  ["other = 0", 'other 0 is shorter than 1s (write other = "10m")'],
  ["other = 432001", 'other 432001 is longer than 120h (write other = "10m")'],
];

/** A line of [dns], and its error. */
const REDIRECT_ERRORS: [string, string][] = [
  ["redirect = 1", "1 is not a table"],
  ['redirect = ["10.139.1.1"]', "[…] is not a table"],
  ['redirect = { "10.139.1" = "192.0.2.53" }', `from "10.139.1" ${ADDRESS}`],
  ['redirect = { "dns.example" = "192.0.2.53" }', `from "dns.example" ${ADDRESS}`],
  ['redirect = { "127.0.0.1" = "192.0.2.53" }', 'from "127.0.0.1" lies in the loopback network, 127.0.0.0/8'],
  ['redirect = { "169.254.1.1" = "192.0.2.53" }', 'from "169.254.1.1" lies in the link-local network, 169.254.0.0/16'],
  ['redirect = { "192.0.2.254" = "192.0.2.53" }', 'from "192.0.2.254" is our own address on the uplink'],
  ['redirect = { "10.137.0.1" = "192.0.2.53" }', 'from "10.137.0.1" is our own address as client "work" sees it'],
  ['redirect = { "192.168.1.1" = "192.0.2.53" }', 'from "192.168.1.1" is our own address as client "lan" sees it'],
  ['redirect = { "10.137.0.10" = "192.0.2.53" }', 'from "10.137.0.10" belongs to client "work"'],
  ['redirect = { "192.168.1.7" = "192.0.2.53" }', 'from "192.168.1.7" belongs to client "lan"'],
  ['redirect = { "192.0.2.255" = "192.0.2.53" }', 'from "192.0.2.255" is the broadcast address of 192.0.2.0/24'],
  ['redirect = { "10.139.1.1" = 53 }', `to 53 ${ADDRESS}`],
  ['redirect = { "10.139.1.1" = "192.0.2.53/32" }', `to "192.0.2.53/32" ${ADDRESS}`],
  ['redirect = { "10.139.1.1" = "224.0.0.1" }', 'to "224.0.0.1" lies in the multicast range, 224.0.0.0/4'],
  ['redirect = { "10.139.1.1" = "169.254.0.1" }', 'to "169.254.0.1" lies in the link-local network, 169.254.0.0/16'],
  ['redirect = { "10.139.1.1" = "192.0.2.0" }', 'to "192.0.2.0" is the network\'s own address in 192.0.2.0/24'],
  ['redirect = { "10.139.1.1" = "192.0.2.254" }', 'to "192.0.2.254" is our own address on the uplink'],
  ['redirect = { "10.139.1.1" = "10.137.0.1" }', 'to "10.137.0.1" is our own address as client "work" sees it'],
  ['redirect = { "10.139.1.1" = "192.168.1.7" }', 'to "192.168.1.7" belongs to client "lan"'],
];

const FORWARD = ["[[forward]]", 'proto = "tcp"', "port = 8443", 'to = "work"', "to_port = 443", ""];
const FORWARD_SECTION = "(write [[forward]] for each, then proto, port and to)";
const PROTO = 'is neither tcp nor udp (write proto = "tcp")';
const PORT = 'is not a port from 1 to 65535, nor a range of them (write port = 8443 or "8000-8010")';
const THERE = '(known: "work", "lan")';
const TO = '(write to = "work" or "192.168.1.10")';
const TO_PORT = "is not a whole number from 1 to 65535 (write to_port = 443)";
const SOURCE = "is not a prefix or address";
const FROM = `28: forward 1: from "x" ${SOURCE} (write from = ["203.0.113.0/24"])`;

/** The number of a line of the forward, what to write there instead, and the one error. */
const FORWARD_ERRORS: [number, string, string][] = [
  [1, 'proto = "icmp"', `proto "icmp" ${PROTO}`],
  [1, "proto = 6", `proto 6 ${PROTO}`],
  [2, "port = 0", `port 0 ${PORT}`],
  [2, "port = 65536", `port 65536 ${PORT}`],
  [2, "port = -1", `port -1 ${PORT}`],
  [2, "port = 80.0", `port 80 ${PORT}`],
  [2, 'port = ""', `port "" ${PORT}`],
  [2, 'port = "0-5"', `port "0-5" ${PORT}`],
  [2, 'port = "8010-8000"', `port "8010-8000" ${PORT}`],
  [2, 'port = "8000-"', `port "8000-" ${PORT}`],
  [2, 'port = "8000-65536"', `port "8000-65536" ${PORT}`],
  [2, "port = [80, 90]", `port […] ${PORT}`],
  [3, "to = 5", `to 5 is neither a client's name nor an address ${TO}`],
  [3, 'to = "home"', `to "home" names no client ${THERE}`],
  [3, 'to = "lam"', 'to "lam" names no client (write to = "lan")'],
  [3, 'to = "wrok"', 'to "wrok" names no client (write to = "work")'],
  [3, 'to = "192.168.1"', `to "192.168.1" names no client ${THERE}`],
  [3, 'to = "lan"', `to "lan" names a network, 192.168.1.0/24, and not the host in it ${TO}`],
  [3, 'to = "192.168.2.10"', `to "192.168.2.10" belongs to no client ${TO}`],
  [3, 'to = "192.168.1.0"', `to "192.168.1.0" is the network's own address in 192.168.1.0/24 ${TO}`],
  [3, 'to = "192.168.1.255"', `to "192.168.1.255" is the broadcast address of 192.168.1.0/24 ${TO}`],
  [3, 'to = "192.168.1.1"', `to "192.168.1.1" is our own address as client "lan" sees it ${TO}`],
  [4, "to_port = 0", `to_port 0 ${TO_PORT}`],
  [4, "to_port = 65536", `to_port 65536 ${TO_PORT}`],
  [4, 'to_port = "443"', `to_port "443" ${TO_PORT}`],
  [5, 'from = "10.0.0.0/8"', 'from "10.0.0.0/8" is not an array (write from = ["203.0.113.0/24"])'],
  [5, "from = []", "from is empty (leave it out for anyone)"],
  [5, 'from = ["10.0.0.0/33"]', `from "10.0.0.0/33" ${SOURCE} (write from = ["203.0.113.0/24"])`],
  [5, "from = [10]", `from 10 ${SOURCE} (write from = ["203.0.113.0/24"])`],
  [
    5,
    'from = ["10.0.0.1/8"]',
    'from "10.0.0.1/8" has bits set behind its prefix; the network is 10.0.0.0/8 (write from = ["203.0.113.0/24"])',
  ],
  [5, "log = true", 'unknown key "log" (known: proto, port, to, to_port, from)'],
];

/** The number of a line of the base, what to write there instead, and the one error. */
const ONE_LINE: [number, string, string][] = [
  [2, "interface = 1", `2: uplink: interface 1 ${INTERFACE}`],
  [2, 'interface = ""', `2: uplink: interface "" ${INTERFACE}`],
  [2, 'interface = "a/b"', `2: uplink: interface "a/b" ${INTERFACE}`],
  [2, 'interface = "eth 1"', `2: uplink: interface "eth 1" ${INTERFACE}`],
  [2, 'interface = ".."', `2: uplink: interface ".." ${INTERFACE}`],
  [2, 'interface = "sixteencharacter"', `2: uplink: interface "sixteencharacter" ${INTERFACE}`],
  [2, 'interface = "02:00:00:00:00"', `2: uplink: interface "02:00:00:00:00" ${INTERFACE}`],
  [
    2,
    'interface = "01:00:00:00:00:00"',
    '2: uplink: interface "01:00:00:00:00:00" is no interface\'s MAC address, but a multicast or broadcast one (write interface = "eth1" or its MAC address)',
  ],
  [
    3,
    'address = "192.0.2.254"',
    `3: uplink: address "192.0.2.254" is not an IPv4 address with the length of its network's prefix ${UPLINK_ADDRESS}`,
  ],
  [
    3,
    'address = "192.0.2.254/33"',
    `3: uplink: address "192.0.2.254/33" is not an IPv4 address with the length of its network's prefix ${UPLINK_ADDRESS}`,
  ],
  [
    3,
    "address = 3.5",
    `3: uplink: address 3.5 is not an IPv4 address with the length of its network's prefix ${UPLINK_ADDRESS}`,
  ],
  [
    3,
    'address = "127.0.0.1/24"',
    `3: uplink: address "127.0.0.1/24" lies in the loopback network, 127.0.0.0/8 ${UPLINK_ADDRESS}`,
  ],
  [
    3,
    'address = "192.0.2.0/24"',
    "3: uplink: address \"192.0.2.0/24\" is the network's own address in 192.0.2.0/24 (write a host's)",
  ],
  [
    3,
    'address = "192.0.2.255/24"',
    '3: uplink: address "192.0.2.255/24" is the broadcast address of 192.0.2.0/24 (write a host\'s)',
  ],
  [4, 'gateway = "192.0.2"', `4: uplink: gateway "192.0.2" ${ADDRESS} ${UPLINK_GATEWAY}`],
  [4, 'gateway = "0.0.0.0"', `4: uplink: gateway "0.0.0.0" lies in "this network", 0.0.0.0/8 ${UPLINK_GATEWAY}`],
  [
    4,
    'gateway = "255.255.255.255"',
    `4: uplink: gateway "255.255.255.255" lies in the reserved and broadcast range, 240.0.0.0/4 ${UPLINK_GATEWAY}`,
  ],
  [
    4,
    'gateway = "10.137.0.10"',
    '4: uplink: gateway "10.137.0.10" belongs to client "work" (write the next router\'s)',
  ],
  [
    4,
    'gateway = "10.137.0.1"',
    '4: uplink: gateway "10.137.0.1" is our own address as client "work" sees it (write the next router\'s)',
  ],
  [4, 'gateway = "192.0.2.254"', '4: uplink: gateway "192.0.2.254" is our own address (write the next router\'s)'],
  [
    4,
    'gateway = "192.0.2.0"',
    "4: uplink: gateway \"192.0.2.0\" is the network's own address in 192.0.2.0/24 (write the next router's)",
  ],
  [
    4,
    'gateway = "192.0.2.255"',
    '4: uplink: gateway "192.0.2.255" is the broadcast address of 192.0.2.0/24 (write the next router\'s)',
  ],
  [5, 'dns = "192.0.2.1"', '5: uplink: dns "192.0.2.1" is not an array (write dns = ["192.0.2.1"])'],
  [5, 'dns = ["192.0.2.1", "::1"]', `5: uplink: dns "::1" is the loopback address, ::1 (write dns = ["192.0.2.1"])`],
  [
    5,
    'dns = ["224.0.0.251"]',
    '5: uplink: dns "224.0.0.251" lies in the multicast range, 224.0.0.0/4 (write dns = ["192.0.2.1"])',
  ],
  [6, 'own_mac = "02:00"', '6: uplink: own_mac "02:00" is not a MAC address (write own_mac = "02:00:00:00:00:01")'],
  [
    6,
    'own_mac = "ff:ff:ff:ff:ff:ff"',
    '6: uplink: own_mac "ff:ff:ff:ff:ff:ff" is no interface\'s MAC address, but a multicast or broadcast one (write own_mac = "02:00:00:00:00:01")',
  ],
  [
    6,
    'gateway_mac = "00:00:00:00:00:00"',
    '6: uplink: gateway_mac "00:00:00:00:00:00" is no interface\'s MAC address, but all zero (write gateway_mac = "02:00:00:00:00:02")',
  ],
  [
    5,
    'gateway_mac = "02:00:00:00:00:01"',
    '5: uplink: gateway_mac "02:00:00:00:00:01" is own_mac too (write two different ones)',
  ],
  [
    6,
    'ownmac = "02:00:00:00:00:01"',
    '6: uplink: unknown key "ownmac" (known: interface, address, gateway, address6, gateway6, dns, own_mac, gateway_mac, rate, clamp_mss)',
  ],
  [8, 'name = ""', `8: client 1: name "" ${NAME}`],
  [8, "name = 1979-05-27", `8: client 1: name 1979-05-27 ${NAME}`],
  [8, 'name = "über"', `8: client 1: name "\\u00fcber" ${NAME}`],
  [8, 'name = "two\\nlines"', `8: client 1: name "two\\nlines" ${NAME}`],
  [8, `name = "${"x".repeat(32)}"`, `8: client 1: name "${"x".repeat(32)}" ${NAME}`],
  [8, 'name = "lan"', '17: client "lan": the client in line 8 has the same name (give each its own)'],
  [
    9,
    'interface = "eth1"',
    '9: client "work": interface "eth1" is the uplink\'s (write the one that leads to this client)',
  ],
  [
    10,
    'address = "10.137.0.10/32"',
    `10: client "work": address "10.137.0.10/32" ${ADDRESS} (write address = "10.137.0.10")`,
  ],
  [10, "address = []", `10: client "work": address […] ${ADDRESS} (write address = "10.137.0.10")`],
  [10, "address = {}", `10: client "work": address {…} ${ADDRESS} (write address = "10.137.0.10")`],
  [10, "", `7: client "work": address is missing ${ONE_OR_MANY}`],
  [
    10,
    'address = "192.168.1.10"',
    '19: client "lan": network "192.168.1.0/24" overlaps client "work", 192.168.1.10 (give each client addresses of its own)',
  ],
  [
    10,
    'address = "192.0.2.7"',
    '10: client "work": address "192.0.2.7" overlaps the uplink\'s network, 192.0.2.0/24, and would hide its hosts (write others)',
  ],
  [
    11,
    'gateway = "10.137.0.10"',
    '11: client "work": gateway "10.137.0.10" is the client\'s own address (write ours as the client sees it)',
  ],
  [
    11,
    'gateway = "192.168.1.77"',
    '11: client "work": gateway "192.168.1.77" belongs to client "lan" (write an address that no other client has)',
  ],
  [
    11,
    'gateway = "192.0.2.1"',
    '11: client "work": gateway "192.0.2.1" lies in the uplink\'s network, 192.0.2.0/24, and would hide a host (write 192.0.2.254 or one outside)',
  ],
  [
    11,
    'gateway = "127.0.0.1"',
    '11: client "work": gateway "127.0.0.1" lies in the loopback network, 127.0.0.0/8 (write gateway = "10.137.0.1")',
  ],
  [12, 'mac = "x"', '12: client "work": mac "x" is not a MAC address (write mac = "02:00:00:00:00:02")'],
  [12, 'policy = "reject"', '12: client "work": policy "reject" is neither accept nor drop (write policy = "drop")'],
  [
    12,
    "color = 1",
    '12: client "work": unknown key "color" (known: name, address, network, interface, gateway, address6, network6, gateway6, nat6, own_mac, mac, policy, rules, reach, filtering, max_flows, max_mappings, flows_per_second, refuse, log, drop_ip_options, random_ip_id, min_ttl, clear_dscp, clamp_mss)',
  ],
  [
    14,
    '  "action=accept dstports=80-"',
    '14: client "work": rule 1: dstports "80-" is not a port range (write 80 or 80-443)',
  ],
  [
    14,
    '  "action=accept", # 1\n  { action = "accept", dst4 = 5 }',
    '15: client "work": rule 2: dst4 "5" is not an IPv4 prefix (write 10.1.2.3 or 10.1.2.0/24)',
  ],
  [14, "  { dstports = 53.0 }", '14: client "work": rule 1: "dstports" is 53, which is not text (write it in quotes)'],
  [
    14,
    '  { action = "accept", dst6 = "2001:db8::/32" }',
    '14: client "work": rule 1: dst6 is not for a client with an IPv4 address (write dst4, or leave the rule out)',
  ],
  [
    14,
    "  true",
    '14: client "work": rule 1: true is no rule (write "action=accept proto=tcp" or { action = "accept", proto = "tcp" })',
  ],
  [19, 'network = "192.168.1.0"', `19: client "lan": network "192.168.1.0" is not an IPv4 network ${NETWORK}`],
  [
    19,
    'network = "192.168.1.1/24"',
    `19: client "lan": network "192.168.1.1/24" has bits set behind its prefix; the network is 192.168.1.0/24 ${NETWORK}`,
  ],
  [
    19,
    'network = "192.168.1.0/32"',
    `19: client "lan": network "192.168.1.0/32" has no room for our address beside a host's ${NETWORK}`,
  ],
  [
    19,
    'network = "224.0.0.0/3"',
    `19: client "lan": network "224.0.0.0/3" overlaps the multicast range, 224.0.0.0/4 ${NETWORK}`,
  ],
  [
    19,
    'network = "192.168.1.0/24"\naddress = "192.168.1.7"',
    `19: client "lan": there are both address and network ${ONE_OR_MANY}`,
  ],
  [
    20,
    'gateway = "192.168.2.1"',
    '20: client "lan": gateway "192.168.2.1" is not in 192.168.1.0/24 (write our address in the client\'s network)',
  ],
  [
    20,
    'gateway = "192.168.1.0"',
    '20: client "lan": gateway "192.168.1.0" is the network\'s own address in 192.168.1.0/24 (write our address in the client\'s network)',
  ],
  [
    20,
    'gateway = "192.168.1.255"',
    '20: client "lan": gateway "192.168.1.255" is the broadcast address of 192.168.1.0/24 (write our address in the client\'s network)',
  ],
  [
    20,
    'gateway = "192.168.1.1"\nrules = "action=accept"',
    '21: client "lan": rules "action=accept" is not an array (write rules = ["action=accept proto=tcp dstports=443"])',
  ],
  [22, "max_flows = 1023", `22: nat: max_flows 1023 ${FLOWS}`],
  [22, "max_flows = 1048577", `22: nat: max_flows 1048577 ${FLOWS}`],
  [22, "max_flows = 99999999999999999999", `22: nat: max_flows 99999999999999999999 ${FLOWS}`],
  [22, 'max_flows = "65536"', `22: nat: max_flows "65536" ${FLOWS}`],
  [22, "max_flows = 65536.0", `22: nat: max_flows 65536 ${FLOWS}`],
  [22, "flows = 1", '22: nat: unknown key "flows" (known: max_flows, reset, min_path_mtu, kernel_path, timeouts)'],
  [6, "clamp_mss = 1", `6: uplink: clamp_mss 1 ${BOOLEAN} (write clamp_mss = true)`],
  [12, 'clamp_mss = "yes"', `12: client "work": clamp_mss "yes" ${BOOLEAN} (write clamp_mss = true)`],
  [
    12,
    'filtering = "open"',
    '12: client "work": filtering "open" is neither address-and-port-dependent nor endpoint-independent (write filtering = "endpoint-independent")',
  ],
  [12, 'reach = "lan"', `12: client "work": reach "lan" is not an array ${REACH}`],
  [12, 'reach = [\n"lan",\n"home"]', `14: client "work": reach "home" names no client (known: "lan")`],
  [12, "reach = [2]", `12: client "work": reach 2 names no client (known: "lan")`],
  [12, 'reach = ["Lan"]', `12: client "work": reach "Lan" names no client ${REACH}`],
  [12, 'reach = ["work"]', `12: client "work": reach "work" is this client itself ${REACH}`],
  [12, "max_flows = 0", `12: client "work": max_flows 0 ${LIMIT} 65536 (write max_flows = 32768)`],
  [12, "max_flows = 65537", `12: client "work": max_flows 65537 ${LIMIT} 65536 (write max_flows = 32768)`],
  [12, "max_mappings = 0", `12: client "work": max_mappings 0 ${LIMIT} 196608 (write max_mappings = 32768)`],
  [12, "max_mappings = 196609", `12: client "work": max_mappings 196609 ${LIMIT} 196608 (write max_mappings = 32768)`],
  [
    12,
    "flows_per_second = 0",
    `12: client "work": flows_per_second 0 ${LIMIT} 1000000 (write flows_per_second = 20000)`,
  ],
  [
    12,
    "flows_per_second = 1000001",
    `12: client "work": flows_per_second 1000001 ${LIMIT} 1000000 (write flows_per_second = 20000)`,
  ],
  [12, 'refuse = "rst"', '12: client "work": refuse "rst" is none of icmp, reset and drop (write refuse = "reset")'],
  [12, "refuse = true", '12: client "work": refuse true is none of icmp, reset and drop (write refuse = "reset")'],
  [12, "random_ip_id = 1", `12: client "work": random_ip_id 1 ${BOOLEAN} (write random_ip_id = true)`],
  [12, "min_ttl = 256", '12: client "work": min_ttl 256 is not a whole number from 0 to 255 (write min_ttl = 64)'],
  [12, "log = 1", `12: client "work": log 1 ${BOOLEAN} (write log = true)`],
  ...REDIRECT_ERRORS.map(([line, error]): [number, string, string] => [
    22,
    `[dns]\n${line}`,
    `23: dns: redirect ${error} (write redirect = { "10.139.1.1" = "192.0.2.53" })`,
  ]),
  [22, "[dns]\nredirects = 1", '23: dns: unknown key "redirects" (known: redirect)'],
  [
    22,
    '[dns.redirect]\n\n10 = "192.0.2.53"',
    '24: dns: redirect from "10" is not an IPv4 address (write redirect = { "10.139.1.1" = "192.0.2.53" })',
  ],
  [21, "[[dns]]", "21: dns: is not one table (write [dns])"],
  [22, "min_path_mtu = 67", `22: nat: min_path_mtu 67 ${MTU}`],
  [22, "min_path_mtu = 1501", `22: nat: min_path_mtu 1501 ${MTU}`],
  [22, 'min_path_mtu = "552"', `22: nat: min_path_mtu "552" ${MTU}`],
  [22, "kernel_path = 0", `22: nat: kernel_path 0 ${BOOLEAN} (write kernel_path = true)`],
  [22, "reset = 1", `22: nat: reset 1 ${BOOLEAN} (write reset = true)`],
  [22, "timeouts = 300", '22: nat: timeouts 300 is not a table (write timeouts = { udp = "5m" })'],
  [22, "[[nat.timeouts]]", '22: nat: timeouts […] is not a table (write timeouts = { udp = "5m" })'],
  [
    22,
    "[nat.timeouts]\ntcp = 1",
    '23: nat.timeouts: unknown key "tcp" (known: udp, udp_new, dns, tcp_established, tcp_opening, tcp_closing, icmp, other)',
  ],
  ...TIMEOUT_ERRORS.map(([line, error]): [number, string, string] => [
    22,
    `[nat.timeouts]\n${line}`,
    `23: nat.timeouts: ${error}`,
  ]),
  ...FORWARD_ERRORS.map(([line, text, error]): [number, string, string] => [
    22,
    `max_flows = 65536\n${FORWARD.with(line, text).join("\n")}`,
    `${23 + line}: forward 1: ${error}`,
  ]),
  [22, "[[forward]]\nproto = 'tcp'\nport = 1\nto = 'work'\nfrom = [\n'10.0.0.0/8',\n'x']", FROM],
  [21, "[forward]", `21: forward: is not an array of tables ${FORWARD_SECTION}`],
  [
    21,
    "[Nat]",
    '21: "Nat": is not a section (write [uplink], [[client]], [[forward]], [dns] or [nat], or [qubes] alone)',
  ],
  [21, "[[nat]]", "21: nat: is not one table (write [nat])"],
  [1, "[[uplink]]", "1: uplink: is not one table (write [uplink], then interface, address and gateway)"],
  [2, 'interface "eth1"', `2: column 11: not TOML: Expected equal (=) token ${WRITE_TOML}`],
  [
    22,
    "max_flows = 1\nmax_flows = 2",
    "23: column 1: not TOML: Defining a key multiple times is invalid (write it once; of sections, only [[client]] and [[forward]] repeat)",
  ],
  [
    22,
    `max_flows = ${"[".repeat(40)}${"]".repeat(40)}`,
    "22: nat: max_flows […] is not a whole number from 1024 to 1048576 (write max_flows = 65536)",
  ],
];

/** The number of a line to leave out, and the one error. */
const MISSING: [number, string][] = [
  [2, '1: uplink: interface is missing (write interface = "eth1" or its MAC address)'],
  [3, `1: uplink: address is missing ${UPLINK_ADDRESS}`],
  [4, `1: uplink: gateway is missing ${UPLINK_GATEWAY}`],
  [8, '7: client 1: name is missing (write name = "work")'],
  [9, '7: client "work": interface is missing (write interface = "eth1" or its MAC address)'],
  [11, '7: client "work": gateway is missing (write gateway = "10.137.0.1")'],
  [19, `16: client "lan": address is missing ${ONE_OR_MANY}`],
];

const CLIENT = "(write [[client]] for each, then name, interface, address and gateway)";

describe("an error", () => {
  test("isn't in the base", () => {
    expect(errorsOf(BASE)).toEqual([]);
  });

  test.each(ONE_LINE)("of line %d, %j", (number, line, error) => {
    expect(errorsOf(withLine(number, line))).toEqual([`firewall.toml:${error}`]);
  });

  test.each(MISSING)("of the lack of line %d", (number, error) => {
    expect(errorsOf(withoutLine(number))).toEqual([`firewall.toml:${error}`]);
  });

  test("of missing and mistaken sections", () => {
    expect(errorsOf("")).toEqual([
      "firewall.toml:1: uplink: is missing (write [uplink], then interface, address and gateway)",
      `firewall.toml:1: client: is missing ${CLIENT}`,
    ]);
    expect(errorsOf("uplink = 1\nclient = []\nnat = 3")).toEqual([
      "firewall.toml:1: uplink: is not one table (write [uplink], then interface, address and gateway)",
      `firewall.toml:2: client: is not an array of tables ${CLIENT}`,
      "firewall.toml:3: nat: is not one table (write [nat])",
    ]);
    const uplink = BASE.split("\n").slice(0, 6).join("\n");
    expect(errorsOf(`${uplink}\n[client]\nname = "a"`)).toEqual([
      `firewall.toml:7: client: is not an array of tables ${CLIENT}`,
    ]);
    expect(errorsOf(`client = [\n5]\n${uplink}`)).toEqual([`firewall.toml:2: client 1: is not a table ${CLIENT}`]);
  });

  test("of a forward's missing keys", () => {
    expect(errorsOf(`${BASE}[[forward]]`)).toEqual([
      'firewall.toml:23: forward 1: proto is missing (write proto = "tcp")',
      'firewall.toml:23: forward 1: port is missing (write port = 8443 or "8000-8010")',
      `firewall.toml:23: forward 1: to is missing ${TO}`,
    ]);
  });

  test("of forwards that are no tables", () => {
    expect(errorsOf(`forward = [\n5]\n${BASE}`)).toEqual([
      `firewall.toml:2: forward 1: is not a table ${FORWARD_SECTION}`,
    ]);
    expect(errorsOf(`forward = []\n${BASE}`)).toEqual([
      `firewall.toml:1: forward: is not an array of tables ${FORWARD_SECTION}`,
    ]);
  });

  test("of a range of ports that doesn't fit where it leads", () => {
    const forward = (toPort: number) =>
      `${BASE}[[forward]]\nproto = "udp"\nport = "8000-8010"\nto = "work"\nto_port = ${toPort}`;
    expect(errorsOf(forward(65525))).toEqual([]);
    expect(errorsOf(forward(65526))).toEqual([
      "firewall.toml:27: forward 1: to_port 65526 leaves no room for the 11 ports 8000-8010 (write 65525 or less)",
    ]);
  });

  test("of forwards of one protocol that overlap", () => {
    const forward = (proto: string, port: string) => `[[forward]]\nproto = "${proto}"\nto = "work"\nport = ${port}\n`;
    const text = [
      BASE,
      forward("tcp", '"8000-8010"'),
      forward("udp", '"8000-8010"'),
      forward("tcp", "8011"),
      forward("tcp", "7999"),
      forward("tcp", '"8010-8011"'),
      forward("udp", "8005"),
    ].join("");
    expect(errorsOf(text)).toEqual([
      "firewall.toml:42: forward 5: port 8010-8011 overlaps forward 1, tcp port 8000-8010, line 26 (write others)",
      "firewall.toml:42: forward 5: port 8010-8011 overlaps forward 3, tcp port 8011, line 34 (write others)",
      "firewall.toml:46: forward 6: port 8005 overlaps forward 2, udp port 8000-8010, line 30 (write others)",
    ]);
  });

  test("of a forward isn't there where it would follow from another", () => {
    const forward = (to: string) => `[[forward]]\nproto = "tcp"\nport = 1\nto = "${to}"\n`;
    const address = '10: client "work": address "x" is not an IPv4 address (write address = "10.137.0.10")';
    for (const to of ["work", "10.137.0.10"]) {
      expect(errorsOf(withLine(10, 'address = "x"') + forward(to))).toEqual([`firewall.toml:${address}`]);
    }
    expect(errorsOf(withoutLine(8) + forward("work"))).toEqual([
      'firewall.toml:7: client 1: name is missing (write name = "work")',
    ]);
  });

  test("of clamp_mss on one interface with two clients", () => {
    const client = (name: string, host: number, clamp: string) =>
      `[[client]]\nname = "${name}"\ninterface = "eth3"\naddress = "10.0.0.${host}"\ngateway = "10.0.0.1"\n${clamp}\n`;
    const text = BASE + client("a", 2, "") + client("b", 3, "clamp_mss = true");
    expect(errorsOf(text + client("c", 4, "clamp_mss = true"))).toEqual([]);
    expect(errorsOf(text + client("c", 4, "clamp_mss = false"))).toEqual([
      'firewall.toml:37: client "c": clamp_mss false is not that of the clients before it on the same interface (write clamp_mss = true)',
    ]);
  });

  test("of own_mac on one interface with two clients", () => {
    const client = (name: string, host: number, mac: string) =>
      `[[client]]\nname = "${name}"\ninterface = "eth3"\naddress = "10.0.0.${host}"\ngateway = "10.0.0.1"\nown_mac = "${mac}"\n`;
    const text = BASE + client("a", 2, "02:00:00:00:00:05") + client("b", 3, "02:00:00:00:00:06");
    expect(errorsOf(text)).toEqual([
      'firewall.toml:31: client "b": own_mac "02:00:00:00:00:06" is not that of the clients before it on the same interface (write own_mac = "02:00:00:00:00:05")',
    ]);
  });

  test("of our MAC address being the client's", () => {
    expect(errorsOf(withLine(12, 'mac = "02:00:00:00:00:0A"\nown_mac = "02:00:00:00:00:0a"'))).toEqual([
      'firewall.toml:12: client "work": mac "02:00:00:00:00:0a" is own_mac too (write two different ones)',
    ]);
  });

  test("comes with all others, by line", () => {
    const text = `[[client]]
name = "a"
interface = "eth0"
address = "10.0.0.1"
gateway = "10.0.0.2"
rules = [
  "action=accept dstports=80-",
  "action=accept",
  "proto=tcp",
]
[[client]]
name = "a"
interface = "eth0"
address = "10.0.0.1"
gateway = "10.0.0"
policy = true
[uplink]
interface = "eth0"
gateway = "10.0.0.2"
typo = 1
[other]
`;
    expect(errorsOf(text)).toEqual([
      'firewall.toml:3: client "a": interface "eth0" is the uplink\'s (write the one that leads to this client)',
      'firewall.toml:7: client "a": rule 1: dstports "80-" is not a port range (write 80 or 80-443)',
      'firewall.toml:9: client "a": rule 3: action is missing (write action=accept or action=drop)',
      'firewall.toml:12: client "a": the client in line 2 has the same name (give each its own)',
      'firewall.toml:13: client "a": interface "eth0" is the uplink\'s (write the one that leads to this client)',
      'firewall.toml:14: client "a": address "10.0.0.1" overlaps client "a", 10.0.0.1 (give each client addresses of its own)',
      'firewall.toml:15: client "a": gateway "10.0.0" is not an IPv4 address (write gateway = "10.137.0.1")',
      'firewall.toml:16: client "a": policy true is neither accept nor drop (write policy = "drop")',
      `firewall.toml:17: uplink: address is missing ${UPLINK_ADDRESS}`,
      'firewall.toml:20: uplink: unknown key "typo" (known: interface, address, gateway, address6, gateway6, dns, own_mac, gateway_mac, rate, clamp_mss)',
      'firewall.toml:21: "other": is not a section (write [uplink], [[client]], [[forward]], [dns] or [nat], or [qubes] alone)',
    ]);
  });
});

test("a file is read, or said to be unreadable", async () => {
  const directory = await mkdtemp(join(tmpdir(), "firebreak-config-"));
  const file = join(directory, "firewall.toml");
  try {
    expect(await readConfig(file)).toEqual({ errors: [`${file}: can't be read: ENOENT: no such file or directory`] });
    await writeFile(file, `\ufeff${BASE}`);
    const [read, parsed] = [await readConfig(file), parseConfig(BASE, file)];
    if (!("config" in read && "config" in parsed)) throw new Error("not read");
    const { source, ...config } = read.config;
    expect({ ...read, config }).toEqual(parsed);
    expect(source).toEqual({ name: file, bytes: Buffer.from(`\ufeff${BASE}`) });
    await writeFile(file, Buffer.from(`# \xe9\n${BASE}`, "latin1"));
    expect(await readConfig(file)).toEqual({ errors: [`${file}: is not UTF-8 text (save it as UTF-8)`] });
  } finally {
    await rm(directory, { recursive: true });
  }
});

const PIECES = [
  ..."[ ] [[ ]] { } = , . \" ' \"\"\" ''' # \\ - 0 9e9 nan true 1979-05-27 [uplink] [[client]] [nat] [[forward]] [nat.timeouts] [dns] redirect rules dns reach udp".split(
    " ",
  ),
  ..."__proto__ constructor [[client.rules]] [client.rules] \\u0000 \ud800 \u0000".split(" "),
  "\n",
  "\r",
  " ",
  '"action=accept"',
  '"8000-8010"',
  '"2h4m"',
  '{ action = "drop" }',
  'address = "0.0.0.0/0"\n',
];

function mutate(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  const lines = text.split("\n");
  const line = random.below(lines.length);
  switch (random.below(6)) {
    case 0:
      return text.slice(0, at) + text.slice(at + 1 + random.below(8));
    case 1:
      return text.slice(0, at) + random.pick(PIECES) + text.slice(at);
    case 2:
      return lines.toSpliced(line, 1).join("\n");
    case 3:
      return lines.toSpliced(line, 0, random.pick(lines)).join("\n");
    case 4:
      return lines.with(line, (lines[line] ?? "").replace(/=.*/, `= ${random.pick(PIECES)}`)).join("\n");
    default:
      return text.replace(/\d+/g, (number) => (random.chance(0.05) ? String(random.below(300)) : number));
  }
}

test("documents mutated at random give a configuration or errors with lines, never an exception", () => {
  const random = new Random(5);
  let good = 0;
  let bad = 0;
  for (let i = 0; i < 5_000; i++) {
    let text = random.pick([EXAMPLE, EVERYTHING, BASE]);
    for (let left = random.below(5); left > 0; left--) text = mutate(text, random);
    const result = parseConfig(text, "f");
    if ("config" in result) {
      good++;
      continue;
    }
    bad++;
    const lines = text.split("\n").length;
    expect(result.errors).not.toBeEmpty();
    for (const error of result.errors) {
      const [, line] = /^f:(\d+): [ -~…]+$/.exec(error) ?? [];
      if (!(Number(line) >= 1 && Number(line) <= lines)) throw new Error(`${JSON.stringify(text)}: ${error}`);
    }
  }
  expect(good).toBeGreaterThan(500);
  expect(bad).toBeGreaterThan(500);
});
