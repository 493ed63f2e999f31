// What becomes of interfaces while frames are under way: they go, come again, get another MTU or MAC address, lose their link.
import { describe, expect, test } from "bun:test";
import { ARP_TYPE, arp, ethernet, ip, mac, payload, tcp, udp } from "../../../lab/frames.ts";
import {
  announcement,
  BROADCAST,
  forwarded,
  frameTo,
  GATEWAY,
  HOST_MAC,
  INTERFACES,
  LAN,
  LAN_HOST,
  Lab,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  shown,
  UPLINK,
  UPLINK_SETTINGS,
  WORK,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import type { InterfaceSettings, Settings } from "../../../src/dataplane/settings.ts";

const OUT = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 9 };
const SENT = { ...OUT, source: OUTSIDE, ttl: 63 };
const OTHER_MAC = "52:54:00:00:00:99";

/** Settings in which one interface is otherwise. */
function withInterface(iface: number, change: Partial<InterfaceSettings>): Settings {
  return { ...SETTINGS, interfaces: INTERFACES.map((same, i) => (i === iface ? { ...same, ...change } : same)) };
}

const DOWN = withInterface(UPLINK, { isDown: true });
const GONE = withInterface(UPLINK, { isDown: true, index: 0 });
const ANEW = withInterface(UPLINK, { index: 99 });

/** A bench with an open flow from "work" to a remote. */
function withFlow(options: ConstructorParameters<typeof Lab>[0] = {}): Lab {
  const lab = new Lab(options);
  expect(lab.from(WORK_HOST, udp(OUT, payload(10)))).toEqual(forwarded(REMOTE, udp(SENT, payload(10))));
  return lab;
}

/** An ARP request of ours, as text. */
function question(iface: number, senderIp: string, targetIp: string): string {
  const senderMac = OUR_MAC[iface];
  const packet = arp({ operation: "request", senderMac, senderIp, targetMac: "00:00:00:00:00:00", targetIp });
  return shown(iface, ethernet(senderMac, BROADCAST, ARP_TYPE, packet));
}

for (const slow of [false, true]) {
  describe(slow ? "on the slow path" : "on the fast path", () => {
    test("nothing is sent out of an interface that is down or gone, and its sender is told; its flows live on", () => {
      for (const [settings, back] of [
        [DOWN, SETTINGS],
        [GONE, ANEW],
      ] as const) {
        const lab = withFlow({ slow });
        expect(lab.apply(settings)).toEqual([]);
        const { verdict, sent } = lab.from(WORK_HOST, udp(OUT, payload(10)));
        expect([verdict, sent.length]).toEqual(["dropped: egress interface down", 1]);
        expect(sent[0]).toStartWith("work\n"); // the ICMP error
        expect(lab.wait(30_000)).toEqual([]); // nobody is asked there either
        expect(lab.apply(back)).toEqual([announcement(UPLINK)]);
        expect(lab.from(WORK_HOST, udp(OUT, payload(10)))).toEqual(forwarded(REMOTE, udp(SENT, payload(10))));
        expect(lab.router.flows.size).toBe(1);
      }
    });

    test("a lowered MTU is in force at once: fragmentation needed", () => {
      const lab = withFlow({ slow });
      expect(lab.from(WORK_HOST, udp(OUT, payload(1400))).verdict).toBe("forwarded");
      expect(lab.apply(withInterface(UPLINK, { mtu: 1300 }))).toEqual([]);
      const { verdict, sent } = lab.from(WORK_HOST, udp(OUT, payload(1400)));
      expect([verdict, sent.length]).toEqual(["dropped: larger than the egress MTU", 1]);
      expect(sent[0]).toContain(" 03 04"); // ICMP destination unreachable, fragmentation needed
      expect(lab.router.flows.size).toBe(1);
      lab.apply(SETTINGS);
      expect(lab.from(WORK_HOST, udp(OUT, payload(1400))).verdict).toBe("forwarded");
    });

    test("another MAC address of ours is told twice, and frames leave with it", () => {
      const lab = withFlow({ slow });
      expect(lab.apply(withInterface(UPLINK, { mac: mac(OTHER_MAC) }))).toEqual([announcement(UPLINK, OTHER_MAC)]);
      const sent = shown(UPLINK, frameTo(REMOTE, udp(SENT, payload(10))).with(11, 0x99));
      expect(lab.from(WORK_HOST, udp(OUT, payload(10)))).toEqual({ verdict: "forwarded", sent: [sent] });
      expect(lab.wait(10_000)).toEqual([announcement(UPLINK, OTHER_MAC)]);
    });
  });
}

test("who is known on an interface that was made anew is asked once more, and served meanwhile", () => {
  const lab = withFlow();
  lab.answering.clear();
  expect(lab.apply(ANEW)).toEqual([announcement(UPLINK), question(UPLINK, OUTSIDE, GATEWAY)]);
  expect(lab.from(WORK_HOST, udp(OUT, payload(10)))).toEqual(forwarded(REMOTE, udp(SENT, payload(10))));
  const moved = "02:00:00:00:00:55";
  const reply = {
    operation: "reply",
    senderMac: moved,
    senderIp: GATEWAY,
    targetMac: OUR_MAC[UPLINK],
    targetIp: OUTSIDE,
  } as const;
  lab.receive(UPLINK, ethernet(moved, OUR_MAC[UPLINK], ARP_TYPE, arp(reply)));
  const sent = shown(UPLINK, frameTo(REMOTE, udp(SENT, payload(10))).with(5, 0x55));
  expect(lab.from(WORK_HOST, udp(OUT, payload(10)))).toEqual({ verdict: "forwarded", sent: [sent] });
});

test("who did not answer while an interface was gone is asked again when it is back", () => {
  const lab = new Lab({ answering: [WORK_HOST, LAN_HOST] });
  const queued = lab.from(WORK_HOST, udp(OUT, payload(10)));
  expect(queued.verdict).toBe("queued for ARP");
  lab.apply(GONE);
  expect(lab.wait(10_000)).toEqual([]);
  lab.answering.add(GATEWAY);
  lab.apply(SETTINGS);
  expect(lab.from(WORK_HOST, udp(OUT, payload(10)))).toEqual(forwarded(REMOTE, udp(SENT, payload(10))));
});

test("a TCP connection outlives the time in which its interface is gone", () => {
  const lab = new Lab();
  const client = { source: WORK_HOST, destination: REMOTE, sourcePort: 5000, destinationPort: 80 };
  const server = { source: REMOTE, destination: OUTSIDE, sourcePort: 80, destinationPort: 5000 };
  lab.from(WORK_HOST, tcp({ ...client, sequence: 100, flags: "S" }));
  lab.from(REMOTE, tcp({ ...server, sequence: 500, acknowledgment: 101, flags: "S." }));
  lab.from(WORK_HOST, tcp({ ...client, sequence: 101, acknowledgment: 501, flags: "." }));
  lab.apply(withInterface(WORK, { index: 0, isDown: true }));
  const data = tcp({ ...server, sequence: 501, acknowledgment: 101, flags: "." }, payload(100));
  expect(lab.from(REMOTE, data).verdict).toBe("dropped: egress interface down");
  lab.apply(withInterface(WORK, { index: 50 }));
  expect(lab.from(REMOTE, data).verdict).toBe("forwarded");
});

test("an address of ours that is new is told; one that stays is not", () => {
  const lab = withFlow();
  const moved = { ...SETTINGS, uplink: { ...UPLINK_SETTINGS, address: ip("192.0.2.253") } };
  expect(lab.apply(moved)).toEqual([announcement(UPLINK, OUR_MAC[UPLINK], "192.0.2.253")]);
  const [work, lan] = SETTINGS.clients;
  const gateway = { ...moved, clients: [work, { ...lan, gateway: ip("192.168.1.2") }] };
  expect(lab.apply(gateway)).toEqual([announcement(LAN, OUR_MAC[LAN], "192.168.1.2")]);
  expect(HOST_MAC[LAN_HOST]).toBeDefined();
});
