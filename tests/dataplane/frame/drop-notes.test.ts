// What the drop ring is told: of each frame that is not forwarded who sent what to whom, as it came in, whatever has become of it since;
// and as many frames as the counters have.
import { describe, expect, test } from "bun:test";
import { ARP_TYPE, arp, ethernet, fragmented, icmp, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import {
  ANYTHING,
  BROADCAST,
  frameFrom,
  GATEWAY,
  HOST_MAC,
  interfaceOf,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_HOST_2,
  LAN_SETTINGS,
  Lab,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  UPLINK,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import { VERDICT } from "../../../src/dataplane/verdict.ts";
import { type Noted, noted } from "../../support/drops.ts";

const TO_REMOTE = { source: WORK_HOST, destination: REMOTE };
const BACK = { source: REMOTE, destination: OUTSIDE };
const PORTS = { sourcePort: 40000, destinationPort: 443 };
const SMALL = payload(8);
const STRANGER = "203.0.113.66";

/** @returns what is noted but of ARP, in a line each */
function lines(lab: Lab): string[] {
  return noted(lab.router.drops.words)
    .filter(({ etherType }) => etherType !== ARP_TYPE)
    .map(line);
}

function line({ verdict, count, iface, protocol, addresses, ports, flags, client, rule, isFragment }: Noted): string {
  const parts = [
    `${count} ${verdict.replace(/^dropped: /, "")}`,
    `if ${iface}`,
    `${protocol} ${addresses}${ports === undefined ? "" : ` ${ports.join(">")}`}`,
    flags === undefined ? "" : `flags ${flags}`,
    client < 0 ? "" : `client ${client}`,
    rule < 0 ? "" : `rule ${rule}`,
    isFragment ? "fragment" : "",
  ];
  return parts.filter((part) => part !== "").join(", ");
}

describe("noted is", () => {
  test("nothing of what is forwarded", () => {
    const lab = new Lab({ answering: [WORK_HOST, REMOTE, GATEWAY] });
    for (let i = 0; i < 3; i++) lab.from(WORK_HOST, udp({ ...TO_REMOTE, ...PORTS }, SMALL));
    expect(lines(lab)).toEqual([]);
  });

  test("who sent it, and which rule decided", () => {
    const ruleset = compileRuleset([{ ...ANYTHING, rule: 4, accept: false, protocol: 6 }], true);
    const lab = new Lab({ settings: withClient({ ...WORK_SETTINGS, ruleset }) });
    lab.from(WORK_HOST, tcp({ ...TO_REMOTE, ...PORTS, flags: "S" }));
    lab.from(WORK_HOST, udp({ ...TO_REMOTE, ...PORTS, ttl: 1 }, SMALL));
    lab.from(WORK_HOST, udp({ ...TO_REMOTE, ...PORTS, source: STRANGER }, SMALL));
    lab.from(WORK_HOST, udp({ ...TO_REMOTE, ...PORTS, destination: "127.0.0.1" }, SMALL));
    lab.from(REMOTE, udp({ ...BACK, ...PORTS }, SMALL));
    expect(lines(lab)).toEqual([
      `1 refused by rules, if ${WORK}, 6 ${WORK_HOST} to ${REMOTE} 40000>443, flags 2, client 0, rule 4`,
      `1 TTL exceeded, if ${WORK}, 17 ${WORK_HOST} to ${REMOTE} 40000>443, client 0, rule 0`,
      `1 source address spoofed, if ${WORK}, 17 ${STRANGER} to ${REMOTE} 40000>443`,
      `1 destination not routable, if ${WORK}, 17 ${WORK_HOST} to 127.0.0.1 40000>443, client 0`,
      `1 unsolicited, if ${UPLINK}, 17 ${REMOTE} to ${OUTSIDE} 40000>443`,
    ]);
  });

  test("the client whose flow it is, of what comes from the uplink", () => {
    const lab = new Lab({ settings: withClient(WORK_SETTINGS) });
    const ends = { ...TO_REMOTE, ...PORTS };
    const back = { ...BACK, sourcePort: 443, destinationPort: 40000 };
    lab.from(WORK_HOST, tcp({ ...ends, flags: "S", sequence: 100 }));
    lab.from(REMOTE, tcp({ ...back, flags: "S.", sequence: 900, acknowledgment: 101 }));
    lab.from(REMOTE, tcp({ ...back, flags: ".", sequence: 5_000_000, acknowledgment: 101 }, SMALL));
    expect(lines(lab)).toEqual([
      `1 TCP outside the window, if ${UPLINK}, 6 ${REMOTE} to ${OUTSIDE} 443>40000, flags 16, client 0`,
    ]);
  });

  test("what a malformed packet says, as far as it says anything", () => {
    const lab = new Lab();
    const packet = tcp({ ...TO_REMOTE, ...PORTS, flags: "S" });
    const broken = frameFrom(WORK_HOST, packet);
    broken[14 + 10] ^= 0xff; // the header's checksum
    lab.receive(WORK, broken);
    lab.from(WORK_HOST, tcp({ ...TO_REMOTE, ...PORTS, flags: "SF" }));
    lab.from(WORK_HOST, ipv4(TO_REMOTE, 17, payload(5)));
    lab.receive(WORK, broken.subarray(0, 30));
    lab.receive(WORK, broken.subarray(0, 9));
    expect(lines(lab)).toEqual([
      `1 malformed ipv4: header checksum, if ${WORK}, 6 ${WORK_HOST} to ${REMOTE} 40000>443, flags 2, client 0`,
      `1 malformed tcp: flags, if ${WORK}, 6 ${WORK_HOST} to ${REMOTE} 40000>443, flags 3, client 0`,
      expect.stringContaining(`1 malformed udp: truncated, if ${WORK}, 17 ${WORK_HOST} to ${REMOTE}`),
      `1 malformed ipv4: truncated, if ${WORK}, 0 `,
      `1 malformed ethernet: truncated, if ${WORK}, 0 `,
    ]);
  });

  test("a later fragment, which has no ports", () => {
    const lab = new Lab({ settings: withClient({ ...WORK_SETTINGS, ruleset: compileRuleset([], false) }) });
    const [first, last] = fragmented(udp({ ...TO_REMOTE, ...PORTS, identification: 7 }, payload(64)), 40);
    lab.from(WORK_HOST, first);
    lab.from(WORK_HOST, last);
    expect(lines(lab)).toEqual([
      `1 refused by rules, if ${WORK}, 17 ${WORK_HOST} to ${REMOTE} 40000>443, client 0, rule 0, fragment`,
      `1 fragment of a dropped packet, if ${WORK}, 17 ${WORK_HOST} to ${REMOTE}, client 0, fragment`,
    ]);
  });

  test("what is tagged: without the tag of VLAN 0", () => {
    const lab = new Lab();
    const tag = (frame: Uint8Array, vlan: number) =>
      Uint8Array.of(...frame.subarray(0, 12), 0x81, 0, vlan >>> 8, vlan & 0xff, ...frame.subarray(12));
    const frame = frameFrom(REMOTE, udp({ ...BACK, ...PORTS }, SMALL));
    lab.receive(UPLINK, tag(frame, 0));
    const broken = frame.slice();
    broken[14 + 10] ^= 0xff;
    lab.receive(UPLINK, tag(broken, 0));
    lab.receive(UPLINK, tag(frame, 7));
    expect(lines(lab)).toEqual([
      `1 unsolicited, if ${UPLINK}, 17 ${REMOTE} to ${OUTSIDE} 40000>443`,
      `1 malformed ipv4: header checksum, if ${UPLINK}, 17 ${REMOTE} to ${OUTSIDE} 40000>443`,
      `1 of a VLAN, if ${UPLINK}, 0 `,
    ]);
    expect(noted(lab.router.drops.words).at(-1)?.etherType).toBe(0x8100);
  });

  test("how a packet came in that is translated and then waits, is answered, or comes in again", () => {
    const lab = new Lab({ answering: [WORK_HOST] });
    lab.from(WORK_HOST, udp({ ...TO_REMOTE, ...PORTS }, SMALL));
    lab.from(WORK_HOST, icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type: 8, rest: 0x70001 }, SMALL));
    lab.from(WORK_HOST, udp({ source: WORK_HOST, destination: OUTSIDE, ...PORTS }, SMALL));
    expect(lines(lab)).toEqual([
      `1 queued for ARP, if ${WORK}, 17 ${WORK_HOST} to ${REMOTE} 40000>443, client 0, rule 0`,
      `1 answered, if ${WORK}, 1 ${WORK_HOST} to ${WORK_GATEWAY} 7>8, flags 8, client 0`,
      `1 unsolicited, if ${WORK}, 17 ${WORK_HOST} to ${OUTSIDE} 40000>443, client 0, rule 0`,
    ]);
  });

  test("whose addresses ARP speaks of", () => {
    const lab = new Lab();
    const before = noted(lab.router.drops.words).length;
    const ask = (senderIp: string, targetIp: string) =>
      lab.receive(
        interfaceOf(LAN_HOST),
        ethernet(
          HOST_MAC[LAN_HOST],
          BROADCAST,
          ARP_TYPE,
          arp({ operation: "request", senderMac: HOST_MAC[LAN_HOST], senderIp, targetIp }),
        ),
      );
    ask(LAN_HOST, LAN_GATEWAY);
    ask(LAN_HOST, LAN_HOST_2);
    ask(STRANGER, LAN_GATEWAY);
    expect(
      noted(lab.router.drops.words)
        .slice(before)
        .map(({ verdict, addresses }) => `${verdict}: ${addresses}`),
    ).toEqual([
      `answered: ${LAN_HOST} to ${LAN_GATEWAY}`,
      `ARP taken: ${LAN_HOST} to ${LAN_HOST_2}`,
      `dropped: ARP spoofed: ${STRANGER} to ${LAN_GATEWAY}`,
    ]);
  });

  test("how a frame came in that was lost in transmission", () => {
    const lab = new Lab();
    const outward = { ...TO_REMOTE, ...PORTS };
    const inward = { ...BACK, sourcePort: 443, destinationPort: 40000 };
    for (const [host, packet] of [
      [WORK_HOST, udp(outward, SMALL)],
      [WORK_HOST, udp(outward, SMALL)],
      [REMOTE, udp(inward, SMALL)],
    ] as const) {
      lab.from(host, packet);
    }
    // As they lie in memory when they could not be sent: translated.
    const sent = udp({ source: OUTSIDE, destination: REMOTE, ...PORTS, ttl: 63 }, SMALL);
    const received = udp({ source: REMOTE, destination: WORK_HOST, sourcePort: 443, destinationPort: 40000 }, SMALL);
    for (const [host, packet] of [
      [WORK_HOST, sent],
      [REMOTE, received],
    ] as const) {
      const frame = ethernet(OUR_MAC[UPLINK], HOST_MAC[GATEWAY], 0x0800, packet);
      const at = lab.ring.put(frame);
      lab.router.countLost(VERDICT.EGRESS_FULL, interfaceOf(host), at, frame.length, lab.flow);
    }
    expect(lines(lab).filter((text) => text.includes("queue full"))).toEqual([
      `1 egress interface's queue full, if ${WORK}, 17 ${WORK_HOST} to ${REMOTE} 40000>443, client 0`,
      `1 egress interface's queue full, if ${UPLINK}, 17 ${REMOTE} to ${OUTSIDE} 443>40000, client 0`,
    ]);
  });

  test("what counts say, and who: the parts of others are theirs, of whoever says to be nobody's too", () => {
    const lab = new Lab({
      settings: { ...SETTINGS, clients: [{ ...WORK_SETTINGS, ruleset: compileRuleset([], false) }, LAN_SETTINGS] },
    });
    for (let i = 0; i < 10; i++)
      lab.from(WORK_HOST, udp({ ...TO_REMOTE, sourcePort: 1000 + i, destinationPort: 1 }, SMALL));
    for (let i = 0; i < 20_000; i++) {
      const source = `203.0.${(i >>> 8) & 0xff}.${i & 0xff}`;
      lab.from(WORK_HOST, udp({ ...TO_REMOTE, ...PORTS, source }, SMALL));
      if (i % 4 === 0) lab.from(LAN_HOST, udp({ ...TO_REMOTE, sourcePort: i, destinationPort: 1 }, SMALL));
    }
    const byVerdict = new Map<string, number>();
    for (const { verdict } of noted(lab.router.drops.words)) byVerdict.set(verdict, (byVerdict.get(verdict) ?? 0) + 1);
    expect(byVerdict.get("dropped: refused by rules")).toBe(10);
    expect(byVerdict.get("dropped: source address spoofed")).toBeGreaterThan(1000);
  });

  test("on with other settings: records live on, and what comes next says which settings its numbers are of", () => {
    const settings = { ...SETTINGS, clients: [{ ...WORK_SETTINGS, ruleset: compileRuleset([], false) }, LAN_SETTINGS] };
    const lab = new Lab({ settings });
    const packet = udp({ ...TO_REMOTE, ...PORTS }, SMALL);
    lab.from(WORK_HOST, packet);
    // Another order of interfaces, and of clients.
    const order = [2, 1, 0].map((i) => settings.interfaces[i]);
    const moved = (iface: number) => 2 - iface;
    lab.apply({
      ...settings,
      interfaces: order,
      uplink: { ...settings.uplink, iface: moved(settings.uplink.iface) },
      clients: [...settings.clients].reverse().map((client) => ({ ...client, iface: moved(client.iface) })),
    });
    const frame = frameFrom(WORK_HOST, packet);
    lab.receive(moved(WORK), frame);
    const [{ count, client, iface, settings: number }] = noted(lab.router.drops.words).filter(
      ({ verdict }) => verdict === "dropped: refused by rules",
    );
    expect({ count, client, iface, number }).toEqual({ count: 2, client: 1, iface: moved(WORK), number: 1 });
  });
});

test("every frame that is not forwarded is noted once", () => {
  const lab = new Lab();
  lab.verifiesChecksums = false;
  const fragments = fragmented(udp({ ...TO_REMOTE, ...PORTS, identification: 9 }, payload(64)), 40);
  for (const packet of [
    udp({ ...TO_REMOTE, ...PORTS }, SMALL),
    udp({ ...TO_REMOTE, ...PORTS, destination: WORK_GATEWAY }, SMALL),
    tcp({ ...TO_REMOTE, ...PORTS, flags: "." }),
    icmp({ ...TO_REMOTE, type: 5 }, SMALL),
    icmp(
      { ...TO_REMOTE, type: 3, code: 1 },
      udp({ ...TO_REMOTE, source: REMOTE, destination: WORK_HOST, ...PORTS }, SMALL),
    ),
    icmp({ ...TO_REMOTE, destination: WORK_GATEWAY, type: 8 }, SMALL),
    ...[...fragments].reverse(),
    ipv4(TO_REMOTE, 47, SMALL),
  ]) {
    for (let i = 0; i < 3; i++) lab.from(WORK_HOST, packet);
  }
  const counted = Object.entries(lab.counts()).filter(([verdict]) => verdict !== "forwarded");
  const told = new Map<string, number>();
  for (const { verdict, count } of noted(lab.router.drops.words)) told.set(verdict, (told.get(verdict) ?? 0) + count);
  expect(Object.fromEntries(told)).toEqual(Object.fromEntries(counted));
  expect(counted.length).toBeGreaterThan(5);
});
