// What dom0's user says by qvm-features: read strictly, whole or not at all, and what the configuration is made of it.
import { describe, expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { ip6 } from "../../lab/frames6.ts";
import { readFeatures } from "../../src/qubes/features.ts";
import { makeQubeConfig } from "../../src/qubes/qube-config.ts";
import { databaseOf } from "../support/database.ts";

const [WORK, GAME, AWAY] = ["10.137.0.9", "10.137.0.10", "10.137.0.11"];
const NETWORK = { "/qubes-ip": "10.137.0.5", "/qubes-gateway": "10.138.0.1", "/qubes-netvm-gateway": "10.137.0.1" };
const NOTHING = { log: [], refuse: "icmp", reach: [], forwards: [], rate: undefined } as const;

function read(features: Readonly<Record<string, string>>) {
  const problems: string[] = [];
  const entries = Object.entries(features).map(([name, value]) => [`/vm-config/firebreak-${name}`, value]);
  return { features: readFeatures(databaseOf(Object.fromEntries(entries)), problems), problems };
}

function configure(
  features: Readonly<Record<string, string>>,
  more: Readonly<Record<string, string>> = {},
  addresses6: Readonly<Record<string, Uint8Array>> = {},
) {
  const entries = Object.entries(features).map(([name, value]) => [`/vm-config/firebreak-${name}`, value]);
  return makeQubeConfig({
    database: databaseOf({ ...NETWORK, ...more, ...Object.fromEntries(entries) }),
    rulesOf: () => ({ policy: "accept", rules: [], numbers: [] }),
    vifs: [WORK, GAME].map((address, i) => {
      return { name: `vif${i + 1}.0`, address: ip(address), address6: addresses6[address], mac: undefined };
    }),
    uplink: "eth0",
    options: undefined,
  });
}

describe("features are", () => {
  test("nothing where dom0 has said nothing, or taken it back", () => {
    expect(read({})).toEqual({ features: NOTHING, problems: [] });
    expect(read({ log: "", refuse: "", reach: "", forwards: "" })).toEqual({ features: NOTHING, problems: [] });
  });

  test("what is printed: of all clients, or of some", () => {
    expect(read({ log: "1" }).features.log).toBe("all");
    expect(read({ log: `${WORK} ${AWAY}` }).features.log).toEqual([ip(WORK), ip(AWAY)]);
  });

  test("how refused packets are answered", () => {
    for (const refuse of ["icmp", "reset", "drop"] as const) expect(read({ refuse }).features.refuse).toBe(refuse);
  });

  test("the rate of the line", () => {
    expect(read({ rate: "100 Mbit" })).toEqual({ features: { ...NOTHING, rate: 100_000_000 }, problems: [] });
    expect(configure({ rate: "2.5 Gbit" }).config.uplink.rate).toBe(2_500_000_000);
    expect(configure({}).config.uplink.rate).toBeUndefined();
    expect(read({ rate: "100 Mbps" })).toEqual({
      features: NOTHING,
      problems: [
        '/vm-config/firebreak-rate: "100 Mbps" is not a number of kbit, Mbit or Gbit a second, so none of it is in force (write 100 Mbit)',
      ],
    });
  });

  test("who reaches whom", () => {
    expect(read({ reach: `${WORK}>${GAME} ${AWAY}>${WORK}` }).features.reach).toEqual([
      { from: ip(WORK), to: ip(GAME) },
      { from: ip(AWAY), to: ip(WORK) },
    ]);
  });

  test("forwarded ports", () => {
    const text = `tcp:8443>${WORK}:443@203.0.113.0/24,198.51.100.7 udp:5000-5010>${GAME} tcp:5005>${GAME}:1`;
    const port = (low: number, high = low) => ({ low, high });
    const one = { address: ip("198.51.100.7"), prefix: 32 };
    expect(read({ forwards: text })).toEqual({
      features: {
        ...NOTHING,
        forwards: [
          {
            proto: "tcp",
            ports: port(8443),
            to: ip(WORK),
            toPorts: port(443),
            from: [{ address: ip("203.0.113.0"), prefix: 24 }, one],
          },
          { proto: "udp", ports: port(5000, 5010), to: ip(GAME), toPorts: port(5000, 5010), from: [] },
          { proto: "tcp", ports: port(5005), to: ip(GAME), toPorts: port(1), from: [] },
        ],
      },
      problems: [],
    });
  });
});

test.each([
  ["log", "yes", '"yes" is not an IPv4 address'],
  ["log", "0", '"0" is not an IPv4 address'],
  ["log", `${WORK}  ${GAME}`, "has a space too many"],
  ["log", "127.0.0.1", '"127.0.0.1" lies in the loopback network'],
  ["log", "10.137.0.9\u001b[31m", '"10.137.0.9\\u001b[31m" is not an IPv4 address'],
  ["refuse", "rst", '"rst" is none of icmp, reset and drop'],
  ["refuse", "reset ", '"reset " is none of icmp, reset and drop'],
  ["reach", WORK, `"${WORK}" is not one client's address, ">" and another's`],
  ["reach", `${WORK}>${GAME}>${AWAY}`, "is not one client's address"],
  ["reach", `${WORK}>${WORK}`, "is one client twice"],
  ["reach", `${WORK}>${GAME} work>${GAME}`, '"work" is not an IPv4 address'],
  ["forwards", `8443>${WORK}`, "is not PROTO:PORTS>ADDRESS"],
  ["forwards", `sctp:8443>${WORK}`, '"sctp" is neither tcp nor udp'],
  ["forwards", `tcp:0>${WORK}`, '"0" is not a port from 1 to 65535'],
  ["forwards", `tcp:8443>${WORK}:0`, '"0" is not a port from 1 to 65535'],
  ["forwards", "tcp:8443>work:443", '"work" is not an IPv4 address'],
  ["forwards", `tcp:8443>${WORK}:443@`, '"" is not a prefix'],
  ["forwards", `tcp:8443>${WORK}:443@10.0.0.1/8`, "has bits set behind its prefix"],
  ["forwards", `tcp:8000-8010>${WORK}:65530`, '"65530" is not the first of 11 ports'],
  ["forwards", `tcp:8000-8010>${WORK}:80-90`, '"80-90" is not the first of 11 ports'],
  ["forwards", `tcp:8000-8010>${WORK} tcp:8010>${GAME}`, "tcp port 8010 overlaps tcp port 8000-8010 before it"],
  ["forwards", `tcp:80>${WORK} nonsense`, '"nonsense" is not PROTO:PORTS>ADDRESS'],
])("%s %p is refused whole, and said", (name, text, problem) => {
  const { features, problems } = read({ [name]: text });
  expect(features).toEqual(NOTHING);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toStartWith(`/vm-config/firebreak-${name}: `);
  expect(problems[0]).toContain(problem);
  expect(problems[0]).toContain(", so none of it is in force (write ");
  expect(problems[0]).toMatch(/^[ -~]*$/);
});

describe("the configuration has of features", () => {
  test("what is about clients that are there", () => {
    const { config, problems } = configure({
      log: `${GAME} ${AWAY}`,
      refuse: "reset",
      reach: `${WORK}>${GAME} ${WORK}>${AWAY} ${AWAY}>${WORK} ${WORK}>${GAME}`,
      forwards: `tcp:8443>${GAME}:443 udp:53>${AWAY}`,
    });
    expect(problems).toEqual([]);
    expect(config.clients.map(({ log, refuse, reach }) => ({ log, refuse, reach }))).toEqual([
      { log: false, refuse: "reset", reach: [1] },
      { log: true, refuse: "reset", reach: [] },
    ]);
    const ports = { ports: { low: 8443, high: 8443 }, toPorts: { low: 443, high: 443 } };
    expect(config.forwards).toEqual([{ proto: "tcp", ...ports, to: { client: 1, address: ip(GAME) }, from: [] }]);
  });

  test("what leads to a client at the address that it was told", () => {
    const told = { [`/mapped-ip/${GAME}/visible-ip`]: "10.200.0.1" };
    const { config } = configure({ forwards: `tcp:80>${GAME}`, reach: `${WORK}>${GAME}` }, told);
    expect(config.forwards.map(({ to }) => to)).toEqual([{ client: 1, address: ip("10.200.0.1") }]);
    expect(config.clients[0].reach).toEqual([1]);
  });

  test("a forward of each family that its client has and that somebody is let in by", () => {
    const [work6, gateway6] = ["fd09:24ef:4179::a89:9", "fd09:24ef:4179::a89:5"];
    const keys = { "/qubes-netvm-gateway6": gateway6, "/connected-ips6": work6 };
    const from6 = { address: ip6("2001:db8::"), prefix: 32 };
    const forwards = `tcp:80>${WORK} udp:53>${WORK}@2001:db8::/32 tcp:81>${GAME}`;
    const { config, problems } = configure({ forwards }, keys, { [WORK]: ip6(work6) });
    const both = { client: 0, address: ip(WORK), address6: ip6(work6) };
    expect(problems).toEqual([]);
    expect(config.forwards.map(({ to, from }) => ({ to, from }))).toEqual([
      { to: both, from: [] },
      { to: both, from: [from6] },
      { to: { client: 1, address: ip(GAME) }, from: [] },
    ]);
  });

  test("nothing of one that is no good, all of the others, and the line for dom0", () => {
    const { config, problems } = configure({ log: "1", refuse: "rst" });
    expect(config.clients.map(({ log, refuse }) => [log, refuse])).toEqual([
      [true, "icmp"],
      [true, "icmp"],
    ]);
    expect(problems).toEqual([
      '/vm-config/firebreak-refuse: "rst" is none of icmp, reset and drop, so none of it is in force (write icmp, reset or drop)',
    ]);
  });
});
