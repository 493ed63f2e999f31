// Drops of IPv6: with whole addresses, alike frames together and no others, found by filters of that family, and kept through new settings.

import { beforeEach, expect, test } from "bun:test";
import { payload } from "../../../lab/frames.ts";
import { fragment, icmpv6, ip6, ipv6, tcp6, udp6 } from "../../../lab/frames6.ts";
import { TCP } from "../../../lab/protocols.ts";
import { ACCEPT_ALL, Lab, SETTINGS, WORK } from "../../../lab/router-lab.ts";
import {
  frameFrom6,
  from6,
  LAN_HOST_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  SETTINGS_6,
  WORK_HOST_6,
} from "../../../lab/router-lab6.ts";
import { type Config, parseConfig } from "../../../src/config/config.ts";
import { RefusalLog } from "../../../src/control/refusal-log.ts";
import { readDropFilter } from "../../../src/control/views/drop-filter.ts";
import { DropBook, dropLine } from "../../../src/control/views/drops.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import type { Iface } from "../../../src/dataplane/types.ts";
import { VERDICT } from "../../../src/dataplane/verdict.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { sound } from "../../support/sound.ts";

const PORTS = { sourcePort: 40000, destinationPort: 443 };
const SYN = { source: WORK_HOST_6, destination: REMOTE_6, ...PORTS, flags: "S" };
/** "work" may nothing, and says so. */
const CLOSED: Settings = {
  ...SETTINGS_6,
  clients: [
    { ...SETTINGS_6.clients[0], ruleset: compileRuleset([], false), log: true },
    { ...SETTINGS_6.clients[1], ruleset: ACCEPT_ALL },
  ],
};

/** Names are the settings'; of the configuration nothing is asked but where rules stand. */
const CONFIG: Config = (() => {
  const parsed = sound(
    parseConfig(
      '[uplink]\ninterface = "u"\naddress = "192.0.2.2/24"\ngateway = "192.0.2.1"\n[[client]]\nname = "w"\ninterface = "w"\naddress = "10.0.0.2"\ngateway = "10.0.0.1"\n',
      "x",
    ),
  );
  return parsed.config;
})();

const clock = new SimulatedClock();
let lab: Lab;
let book: DropBook;
beforeEach(() => {
  lab = new Lab({ settings: CLOSED });
  book = new DropBook(lab.router.drops.words, clock, CONFIG, CLOSED);
});

function lines(...words: readonly string[]): string[] {
  const meaning = {
    settings: CLOSED,
    addressesOf: () => undefined,
    addresses6Of: (name: string) => (name === "six.example" ? [ip6(REMOTE_62)] : undefined),
  };
  return book
    .list(readDropFilter(words, meaning))
    .map((entry) => dropLine(entry, clock.unixTime()).replace(/; last.*/, ""));
}

const BY = "on work, client work, policy";

test("addresses, ports, flags and types are told; frames that are alike count together, and others do not", () => {
  from6(lab, WORK_HOST_6, tcp6(SYN));
  from6(lab, WORK_HOST_6, tcp6(SYN));
  from6(lab, WORK_HOST_6, tcp6({ ...SYN, destination: REMOTE_62 }));
  from6(lab, WORK_HOST_6, udp6({ source: WORK_HOST_6, destination: REMOTE_62, ...PORTS }, payload(3)));
  from6(
    lab,
    WORK_HOST_6,
    icmpv6({ source: WORK_HOST_6, destination: REMOTE_62, type: 128, rest: 7 << 16 }, payload(3)),
  );
  expect(lines().toSorted()).toEqual([
    `1 refused by rules: icmp ${WORK_HOST_6} id 7 to ${REMOTE_62} type 128 ${BY}`,
    `1 refused by rules: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_62}]:443 SYN ${BY}`,
    `1 refused by rules: udp [${WORK_HOST_6}]:40000 to [${REMOTE_62}]:443 ${BY}`,
    `2 refused by rules: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443 SYN ${BY}`,
  ]);
  const [entry] = book.list(({ entry: { count } }) => count === 2);
  expect(entry).toMatchObject({
    ...{ ethertype: 0x86dd, protocol: TCP, proto: "tcp", flags: ["SYN"] },
    source: { address: WORK_HOST_6, port: 40000 },
    destination: { address: REMOTE_6, port: 443 },
  });
});

test("frames that are no client's, or no sound packets, are told by what they have", () => {
  from6(lab, WORK_HOST_6, tcp6({ ...SYN, source: LAN_HOST_6 }));
  lab.receive(WORK, frameFrom6(WORK_HOST_6, tcp6(SYN)).with(14 + 40 + 16, 0xaa)); // its checksum
  lab.receive(WORK, frameFrom6(WORK_HOST_6, tcp6(SYN)).subarray(0, 50));
  lab.receive(
    WORK,
    frameFrom6(WORK_HOST_6, ipv6({ ...SYN, source: REMOTE_6, extensions: [fragment(1200, true)] }, TCP, payload(8))),
  );
  const shown = lines().toSorted();
  expect(shown).toHaveLength(4);
  expect(shown[0]).toStartWith("1 malformed ipv6: truncated: ipv6 on work");
  expect(shown[1]).toContain(`tcp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443`);
  expect(shown[2]).toBe(`1 source address spoofed: tcp ${REMOTE_6} to ${REMOTE_6} fragment on work`);
  expect(shown[3]).toBe(`1 source address spoofed: tcp [${LAN_HOST_6}]:40000 to [${REMOTE_6}]:443 SYN on work`);
});

test("where IPv6 is not configured the addresses are told all the same", () => {
  const bare = new Lab({ settings: SETTINGS });
  book = new DropBook(bare.router.drops.words, clock, CONFIG, SETTINGS);
  for (const destination of [REMOTE_6, REMOTE_6, REMOTE_62]) from6(bare, WORK_HOST_6, tcp6({ ...SYN, destination }));
  expect(lines().toSorted()).toEqual([
    `1 IPv6 is not configured: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_62}]:443 SYN on work`,
    `2 IPv6 is not configured: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443 SYN on work`,
  ]);
});

test("filters are of either family", () => {
  from6(lab, WORK_HOST_6, tcp6(SYN));
  from6(lab, WORK_HOST_6, udp6({ source: WORK_HOST_6, destination: REMOTE_62, ...PORTS }, payload(3)));
  const [web, quic] = [
    `1 refused by rules: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443 SYN ${BY}`,
    `1 refused by rules: udp [${WORK_HOST_6}]:40000 to [${REMOTE_62}]:443 ${BY}`,
  ];
  expect(lines("dst=2001:db8:7::/48")).toEqual([web]);
  expect(lines(`dst6=${REMOTE_62}`)).toEqual([quic]);
  expect(lines("dsthost=six.example")).toEqual([quic]);
  expect(lines("src=fd00::/8", "proto=tcp")).toEqual([web]);
  expect(lines(`src=[${WORK_HOST_6}]`).toSorted()).toEqual([web, quic]);
  expect([lines("dst=0.0.0.0/0"), lines("dst4=0.0.0.0/0"), lines("src=2001:db8::/32")]).toEqual([[], [], []]);
});

test("what was dropped under settings before is told still, and more of it counts with it", () => {
  from6(lab, WORK_HOST_6, tcp6(SYN));
  const after = { ...CLOSED, clients: CLOSED.clients.toReversed() };
  lab.apply(after);
  book.follow(CONFIG, after);
  from6(lab, WORK_HOST_6, tcp6(SYN));
  expect(lines()).toEqual([`2 refused by rules: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443 SYN ${BY}`]);
});

test("a frame that was lost in transmission, where it lies translated, is told as it came in", () => {
  const open = new Lab({ settings: SETTINGS_6 });
  book = new DropBook(open.router.drops.words, clock, CONFIG, SETTINGS_6);
  const out = { source: WORK_HOST_6, destination: REMOTE_6, ...PORTS };
  expect(from6(open, WORK_HOST_6, udp6(out, payload(3))).verdict).toBe("forwarded");
  const frame = frameFrom6(WORK_HOST_6, udp6({ ...out, source: OUTSIDE_6 }, payload(3)));
  const at = open.ring.put(frame);
  open.router.countLost(VERDICT.EGRESS_FULL, WORK as Iface, at, frame.length, open.flow);
  expect(lines()).toEqual([
    `1 egress interface's queue full: udp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443 on work, client work`,
  ]);
});

test("the log of refused packets has them", async () => {
  const printed: string[] = [];
  const log = new RefusalLog(lab.router.drops.words, clock, (line) => printed.push(line));
  log.watch(CLOSED.clients);
  from6(lab, WORK_HOST_6, tcp6(SYN));
  await clock.advance(1000);
  log.stop();
  expect(printed).toEqual([`refused: client work, policy: tcp [${WORK_HOST_6}]:40000 to [${REMOTE_6}]:443`]);
});

test("a line says what finds neighbours of the frame's family", () => {
  const entry = { verdict: "unresolved", count: 1, first: 1, last: 1, interface: "in", protocol: 17, proto: "udp" };
  const line = (ethertype: number) => dropLine({ ...entry, ethertype }, 3);
  expect(line(0x86dd)).toBe("1 next hop does not answer Neighbour Discovery: udp on in; last 2 s ago");
  expect(line(0x0800)).toBe("1 next hop does not answer ARP: udp on in; last 2 s ago");
});
