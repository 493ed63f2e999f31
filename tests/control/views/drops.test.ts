// Drops as control tells them: with the names of the settings that they were judged by, the last seen first, those that match.

import { beforeEach, describe, expect, test } from "bun:test";
import { ARP_TYPE, arp, ethernet, icmp, ip, payload, tcp, udp } from "../../../lab/frames.ts";
import { BROADCAST, frameFrom, HOST_MAC, LAN_HOST, Lab, REMOTE, WORK, WORK_HOST } from "../../../lab/router-lab.ts";
import type { Config } from "../../../src/config/config.ts";
import { parseConfig } from "../../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../../src/control/settings.ts";
import { findDrops } from "../../../src/control/views/drop-filter.ts";
import { DropBook, dropLine, formatAge } from "../../../src/control/views/drops.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";
import { sound } from "../../support/sound.ts";

/** Interfaces are numbered in this order, the uplink first, as the lab has them. */
function configOf(
  work: string,
  rules: string,
  file = "fw.toml",
): { readonly config: Config; readonly settings: Settings } {
  const parsed = sound(
    parseConfig(
      `[uplink]
interface = "up"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
own_mac = "52:54:00:00:00:00"

[[client]]
name = "${work}"
interface = "in"
address = "10.137.0.10"
gateway = "10.137.0.1"
own_mac = "52:54:00:00:00:01"
policy = "drop"
rules = [
${rules}
]

[[client]]
name = "lan"
interface = "lan"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
own_mac = "52:54:00:00:00:02"
`,
      file,
    ),
  );
  const made = sound(makeSettings(parsed.config, configuredDevices(parsed.config)));
  return { config: parsed.config, settings: made.settings };
}

const RULES = '  "action=accept proto=udp",\n  "action=drop proto=tcp dstports=25",';
const BEFORE = configOf("work", RULES);
const [SYN, SYN_443] = [25, 443].map((destinationPort) =>
  tcp({ source: WORK_HOST, destination: REMOTE, sourcePort: 40000, destinationPort, flags: "S" }),
);

let lab: Lab;
let book: DropBook;
const clock = new SimulatedClock();

/** Gives the router a packet, and lets a second go by. */
function drop(packet: Uint8Array, host = WORK_HOST): void {
  lab.from(host, packet);
  lab.wait(1000);
}

function lines(...words: readonly string[]): string[] {
  const meaning = {
    settings: BEFORE.settings,
    addressesOf: (name: string) => (name === "remote" ? [ip(REMOTE)] : undefined),
  };
  return findDrops(book, words, meaning).map((entry) => dropLine(entry, clock.unixTime()));
}

beforeEach(() => {
  lab = new Lab({ settings: BEFORE.settings });
  book = new DropBook(lab.router.drops.words, clock, BEFORE.config, BEFORE.settings);
});

describe("drops are told", () => {
  test("with the rule and its line, or the policy's; the last seen first", () => {
    drop(SYN);
    drop(SYN_443);
    drop(SYN);
    const ends = `tcp ${WORK_HOST}:40000 to ${REMOTE}`;
    expect(lines()).toEqual([
      `2 refused by rules: ${ends}:25 SYN on in, client work, rule 2, fw.toml:16; last 1 s ago`,
      `1 refused by rules: ${ends}:443 SYN on in, client work, policy; last 2 s ago`,
    ]);
    const [entry] = book.list();
    expect(entry).toEqual({
      verdict: "refused",
      count: 2,
      first: expect.any(Number),
      last: expect.any(Number),
      interface: "in",
      client: "work",
      ethertype: 0x0800,
      protocol: 6,
      proto: "tcp",
      source: { address: WORK_HOST, port: 40000 },
      destination: { address: REMOTE, port: 25 },
      flags: ["SYN"],
      rule: 2,
      place: "fw.toml:16",
    });
    expect([clock.unixTime() - entry.first, clock.unixTime() - entry.last].map(Math.round)).toEqual([3, 1]);
  });

  test("of ARP and of frames of no protocol that we know, too", () => {
    const request = arp({
      operation: "request",
      senderMac: HOST_MAC[WORK_HOST],
      senderIp: "10.9.9.9",
      targetIp: "10.137.0.1",
    });
    lab.receive(WORK, ethernet(HOST_MAC[WORK_HOST], BROADCAST, ARP_TYPE, request));
    const frame = frameFrom(WORK_HOST, SYN);
    frame.set([0x86, 0xdd], 12);
    lab.receive(WORK, frame);
    frame.set([0x88, 0xcc], 12);
    lab.receive(WORK, frame);
    lab.receive(WORK, frame.subarray(0, 8));
    expect(lines().toSorted()).toEqual([
      "1 ARP spoofed: arp 10.9.9.9 to 10.137.0.1 on in; last 0 s ago",
      "1 EtherType not handled: EtherType 0x88cc on in; last 0 s ago",
      "1 IPv6 is not configured: ipv6 on in; last 0 s ago",
      "1 malformed ethernet: truncated: EtherType 0x0000 on in; last 0 s ago",
    ]);
  });

  test("by the names of the settings that they were judged by, after others are in force", () => {
    drop(SYN);
    const after = configOf("job", `  "action=accept proto=udp",\n${RULES}`, "new.toml");
    lab.apply(after.settings);
    book.follow(after.config, after.settings);
    const old = `refused by rules: tcp ${WORK_HOST}:40000 to ${REMOTE}:25 SYN on in, client work, rule 2, fw.toml:16`;
    expect(lines()).toEqual([`1 ${old}; last 1 s ago`]);
    expect(findDrops(book, ["client=work"], { settings: after.settings, addressesOf: () => undefined })).toHaveLength(
      1,
    );
    drop(SYN_443);
    lab.apply(after.settings);
    book.follow(after.config, after.settings);
    drop(SYN);
    expect(lines()).toEqual([
      `2 ${old.replace("work", "job").replace("rule 2, fw.toml:16", "rule 3, new.toml:17")}; last 1 s ago`,
      `1 ${old.replace("work", "job").replace("rule 2, fw.toml:16", "policy").replace(":25", ":443")}; last 2 s ago`,
    ]);
  });

  test("in ASCII, whatever names are", () => {
    const { config, settings } = BEFORE;
    const clients = settings.clients.map((client) => ({ ...client, name: "b\u001b[31mad\u202e" }));
    book = new DropBook(lab.router.drops.words, clock, config, { ...settings, clients });
    drop(SYN);
    expect(lines()[0]).toContain("client b\\u001b[31mad\\u202e, rule 2");
  });
});

describe("a filter", () => {
  beforeEach(() => {
    drop(SYN);
    drop(icmp({ source: WORK_HOST, destination: REMOTE, type: 8, rest: 7 << 16 }, payload(8)));
    drop(udp({ source: "10.9.9.9", destination: REMOTE, sourcePort: 1, destinationPort: 53 }, payload(8)));
    drop(
      udp({ source: LAN_HOST, destination: "198.51.100.1", sourcePort: 9, destinationPort: 9 }, payload(8)),
      LAN_HOST,
    );
    drop(tcp({ source: WORK_HOST, destination: REMOTE, sourcePort: 40000, destinationPort: 25, flags: "SF" }));
  });

  test.each([
    ["", 5],
    ["client=work", 3],
    ["interface=in", 4],
    ["proto=tcp", 2],
    ["proto=17", 2],
    ["src=10.9.0.0/16", 1],
    ["dst=198.51.100.1", 1],
    ["dst4=198.51.100.0/24", 5],
    ["dsthost=remote", 4],
    ["srcports=40000", 2],
    ["dstports=20-60", 3],
    ["icmptype=8", 1],
    ["rule=2", 1],
    ["rule=policy", 2],
    ["verdict=refused", 3],
    ["verdict=malformed", 1],
    ["verdict=malformed-tcp-flags", 1],
    ["verdict=arp-taken", 1],
    ["verdict=ttl", 0],
    ["client=work proto=tcp verdict=refused", 1],
  ])("%p leaves %p", (words, count) => {
    expect(lines(...words.split(" ").filter((word) => word !== ""))).toHaveLength(count);
  });

  test.each([
    ["colour=red", '"colour=red" is no filter (write KEY=VALUE, where KEY is one of client, interface, proto'],
    ["verdict=bad", 'verdict "bad" is none (docs/VERDICTS.md has all)'],
    ["verdict=Refusd", 'verdict "Refusd" is none (write refused; docs/VERDICTS.md has all)'],
    ["verdict=window", 'verdict "window" is none (write tcp-window; docs/VERDICTS.md has all)'],
    ["verdict=malformd", 'verdict "malformd" is none (write malformed; docs/VERDICTS.md has all)'],
    ["verdict=", 'verdict "" is none (docs/VERDICTS.md has all)'],
    ["interface=none-such", 'interface "none-such" is not there (there are up, in, lan)'],
    ["client=nobody", 'client "nobody" is not there (there are work, lan)'],
    ["dst=nowhere", 'dst "nowhere" is no address or prefix (write 10.1.2.0/24 or 2001:db8::/32)'],
    ["dst=2001:db8::g", 'dst "2001:db8::g" is no address or prefix'],
    ["dst=[2001:db8::80]:81", "dst has no port (write dst=2001:db8::80 dstports=81)"],
    ["src=10.1.2.3:4000", "src has no port (write src=10.1.2.3 srcports=4000)"],
    ["proto=256", "proto=256 is no protocol: a number is from 0 to 255"],
    ["dsthost=unknown.example", "is in no rule"],
  ])("%p is refused, with what can be written", (word, error) => {
    expect(() => lines(word)).toThrow(error);
  });
});

test("an age is told in seconds, minutes or hours", () => {
  expect([-1, 0.4, 119.4, 121, 7100, 7300, 90_000].map(formatAge)).toEqual([
    "0 s",
    "0 s",
    "119 s",
    "2 min",
    "118 min",
    "2 h",
    "25 h",
  ]);
});
