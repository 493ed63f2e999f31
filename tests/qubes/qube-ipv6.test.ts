// IPv6 of qubes: what QubesDB and the clients' interfaces come to; and that what is no good of it leaves IPv4 as it is.

import { expect, test } from "bun:test";
import { ip, mac } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { makeSettings } from "../../src/control/settings.ts";
import type { ClientRules } from "../../src/qubes/client-rules.ts";
import { makeQubeConfig } from "../../src/qubes/qube-config.ts";
import type { QubeState } from "../../src/qubes/qube-state.ts";
import { databaseOf } from "../support/database.ts";
import { sound } from "../support/sound.ts";

const PREFIX = "fd09:24ef:4179::a89";
const FIREWALL = `${PREFIX}:5`;
const WORK = { name: "vif2.0", address: ip("10.137.0.9"), address6: ip6(`${PREFIX}:9`), mac: mac("00:16:3e:5e:6c:09") };
const HOME = { name: "vif3.0", address: ip("10.137.0.10"), mac: undefined };
/** What qubesd writes for a firewall and a client that have the feature. */
const IPV4 = {
  "/qubes-ip": "10.137.0.5",
  "/qubes-gateway": "10.137.0.1",
  "/qubes-netvm-gateway": "10.137.0.5",
  "/connected-ips": "10.137.0.9 10.137.0.10",
  "/mapped-ip/10.137.0.9/visible-ip": "10.137.0.9",
  "/mapped-ip/10.137.0.9/visible-gateway": "10.137.0.5",
};
const BOTH = {
  ...IPV4,
  "/qubes-netvm-gateway6": FIREWALL,
  "/qubes-ip6": FIREWALL,
  "/qubes-gateway6": `${PREFIX}:1`,
  "/connected-ips6": `${PREFIX}:9 ${PREFIX}:b`,
};
const RULES: Readonly<Record<string, ClientRules>> = {
  "10.137.0.9": {
    policy: "drop",
    rules: [
      { action: "accept", proto: "icmp" },
      { action: "accept", dst4: { address: ip("192.0.2.0"), prefix: 24 } },
    ],
    numbers: [0, 1],
  },
  [`${PREFIX}:9`]: {
    policy: "drop",
    rules: [
      { action: "accept", proto: "icmp" },
      { action: "accept", dst6: { address: ip6("2001:db8::"), prefix: 32 } },
    ],
    numbers: [0, 2],
  },
};
const ADDRESSES = { network: WORK.address6, prefix: 128, gateway: ip6(FIREWALL), nat: "masquerade" } as const;
const LINK = { prefix: 128, gatewayMac: mac("fe:ff:ff:ff:ff:ff"), dns: [] };
const WAY = {
  ...LINK,
  address: ip6(FIREWALL),
  gateway: ip6(`${PREFIX}:1`),
  inside: [ip6(`${PREFIX}:9`), ip6(`${PREFIX}:b`)],
};

function make(entries: Readonly<Record<string, string>>, state: Partial<QubeState> = {}) {
  return makeQubeConfig({
    database: databaseOf(entries),
    rulesOf: (address) => RULES[address],
    vifs: [WORK, HOME],
    uplink: "eth0",
    options: undefined,
    ...state,
  });
}

/** All but what is about IPv6. */
function ipv4Of({ config }: ReturnType<typeof make>) {
  const { clients, uplink, ...rest } = config;
  const plain = clients.map(({ rules, ...client }) => {
    const mine = rules.filter(({ family, dst6 }) => family !== 6 && dst6 === undefined);
    return { ...client, ipv6: undefined, rules: mine.map((rule) => ({ ...rule, family: undefined })) };
  });
  return { ...rest, uplink: { ...uplink, ipv6: undefined }, clients: plain };
}

test("a firewall and a client have both families, another client IPv4 alone", () => {
  const { config, problems } = make(BOTH);
  expect(problems).toEqual([]);
  expect(config.uplink.ipv6).toEqual(WAY);
  expect(config.clients.map(({ name, ipv6 }) => [name, ipv6])).toEqual([
    ["10.137.0.9", ADDRESSES],
    ["10.137.0.10", undefined],
  ]);
  expect(config.clients.map(({ policy, rules }) => [policy, rules])).toEqual([
    [
      "drop",
      [
        { action: "accept", proto: "icmp" },
        { action: "accept", dst4: { address: ip("192.0.2.0"), prefix: 24 }, family: 4 },
        { action: "accept", dst6: { address: ip6("2001:db8::"), prefix: 32 }, family: 6 },
      ],
    ],
    ["drop", []],
  ]);
});

test("the feature is off for the client, or for the firewall and all, and on again", () => {
  const off = [WORK, HOME].map((vif) => ({ ...vif, address6: undefined }));
  const { config, problems } = make(BOTH, { vifs: off });
  expect([config.uplink.ipv6, config.clients.map(({ ipv6 }) => ipv6), problems]).toEqual([
    WAY,
    [undefined, undefined],
    [],
  ]);
  const none = make({ ...IPV4, "/connected-ips6": "" }, { vifs: off });
  expect([none.config.uplink.ipv6, none.problems]).toEqual([undefined, []]);
  expect(ipv4Of(none)).toEqual(ipv4Of(make(BOTH)));
  expect(make({ ...BOTH, "/connected-ips6": "" }).config.uplink.ipv6).toEqual({ ...WAY, inside: [] });
});

test("a client that was told another address of IPv4 has no IPv6", () => {
  const mapped = { ...BOTH, "/mapped-ip/10.137.0.9/visible-ip": "192.168.1.128" };
  const { config, problems } = make(mapped);
  expect([config.clients.map(({ network, ipv6 }) => [network, ipv6]), problems]).toEqual([
    [
      [ip("192.168.1.128"), undefined],
      [ip("10.137.0.10"), undefined],
    ],
    [],
  ]);
});

test.each([
  ["no netvm", BOTH, undefined],
  ["no address there", { ...BOTH, "/qubes-ip6": "" }, "eth0"],
  ["no gateway there", { ...BOTH, "/qubes-gateway6": "" }, "eth0"],
])("with %s the client keeps its addresses, and is refused all of IPv6", (_, entries, uplink) => {
  const { config, problems } = make(entries, { uplink });
  expect(problems).toEqual([]);
  expect(config.uplink.ipv6).toEqual({ ...WAY, address: ip6(FIREWALL), gateway: ip6(FIREWALL) });
  expect(config.clients[0].ipv6).toEqual(ADDRESSES);
  const devices = ["eth0", "vif2.0", "vif3.0"].map((name, i) => ({
    name,
    index: i,
    mac: mac("fe:ff:ff:ff:ff:ff"),
    mtu: 1500,
    isUp: true,
  }));
  const result = sound(makeSettings(config, devices));
  const { ipv6 } = result.settings.clients[0].ruleset;
  expect([ipv6.accept, ipv6.matches.length]).toEqual([false, 0]);
});

const WORK_ALONE = "no IPv6 for 10.137.0.9 (qvm-features NAME ipv6 1, of this qube, and start it again)";
const WRONG: [string, Record<string, string>, string][] = [
  ["no gateway for clients", { "/qubes-netvm-gateway6": "" }, `/qubes-netvm-gateway6 is missing: ${WORK_ALONE}`],
  [
    "a gateway that is no address",
    { "/qubes-netvm-gateway6": "fd09::g" },
    '/qubes-netvm-gateway6: "fd09::g" is not an IPv6 address: no IPv6 of it',
  ],
  [
    "a gateway that is IPv4",
    { "/qubes-netvm-gateway6": "10.137.0.5" },
    '/qubes-netvm-gateway6: "10.137.0.5" is IPv4, and not an IPv6 address: no IPv6 of it',
  ],
  [
    "a link-local gateway",
    { "/qubes-netvm-gateway6": "fe80::1" },
    '/qubes-netvm-gateway6: "fe80::1" lies in the link-local network, fe80::/10: no IPv6 of it',
  ],
  [
    "a list that is none",
    { "/connected-ips6": `${PREFIX}:9 10.137.0.9` },
    '/connected-ips6: "10.137.0.9" is IPv4, and not an IPv6 address: no IPv6 of it',
  ],
  [
    "an address of ours that is none",
    { "/qubes-ip6": "ff02::1" },
    '/qubes-ip6: "ff02::1" lies in the multicast range, ff00::/8: no IPv6 of it',
  ],
  [
    "a netvm's that is none",
    { "/qubes-gateway6": "::1" },
    '/qubes-gateway6: "::1" is the loopback address, ::1: no IPv6 of it',
  ],
];

test.each(WRONG)("%s leaves IPv4 as it is, and is said", (_, wrong, problem) => {
  const made = make({ ...BOTH, ...wrong });
  expect(made.problems).toEqual([problem]);
  expect(ipv4Of(made)).toEqual(ipv4Of(make(BOTH)));
  const result = sound(makeSettings(made.config, []));
  for (const { ruleset } of result.settings.clients) {
    expect([ruleset.ipv6.accept, ruleset.ipv6.matches.length]).toEqual([false, 0]);
  }
});

test("without the list of clients there is no IPv6: from the netvm might come what is a client's", () => {
  const { "/connected-ips6": _, ...entries } = BOTH;
  const { config, problems } = make(entries);
  expect([config.uplink.ipv6, config.clients[0].ipv6]).toEqual([undefined, undefined]);
  expect(problems).toEqual([`/connected-ips6 is missing: ${WORK_ALONE}`]);
});

test("of two clients with one address the second has no IPv6; one with an address that none can have has none either", () => {
  const same = make(BOTH, { vifs: [WORK, { ...HOME, address6: WORK.address6 }] });
  expect(same.config.clients.map(({ ipv6 }) => ipv6)).toEqual([ADDRESSES, undefined]);
  expect(same.problems).toEqual([
    `client 10.137.0.10: its address ${PREFIX}:9 is that of client 10.137.0.9 too: it gets no IPv6`,
  ]);
  const odd = make(BOTH, { vifs: [{ ...WORK, address6: ip6("fe80::9"), unread: ["nonsense"] }] });
  expect(odd.config.clients.map(({ network, ipv6 }) => [network, ipv6])).toEqual([[WORK.address, undefined]]);
  expect(odd.problems).toEqual([
    'client 10.137.0.9: "nonsense" beside its addresses is none, or one too many: it is not used',
    'client 10.137.0.9: "fe80::9" lies in the link-local network, fe80::/10: no IPv6 of it',
  ]);
});

test("one family's rules that are no good drop everything of that family alone", () => {
  const broken = { policy: "drop" as const, rules: [], numbers: [], error: "client x" };
  const rulesOf = (bad: string) => (address: string) => (address === bad ? broken : RULES[address]);
  const compiled = (bad: string) => {
    const result = sound(makeSettings(make(BOTH, { rulesOf: rulesOf(bad) }).config, []));
    const { matches, ipv6 } = result.settings.clients[0].ruleset;
    return [matches.length > 0, ipv6.matches.length > 0];
  };
  expect([compiled("none"), compiled("10.137.0.9"), compiled(`${PREFIX}:9`)]).toEqual([
    [true, true],
    [false, true],
    [true, false],
  ]);
});
