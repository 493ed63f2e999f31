// New settings between two frames: which flows live on, which end, and what waits meanwhile.

import { describe, expect, test } from "bun:test";
import { ethernet, IPV4_TYPE, icmp, ip, mac, payload, udp } from "../../../lab/frames.ts";
import { ICMP, TCP, UDP } from "../../../lab/protocols.ts";
import {
  ANYTHING,
  arpReply,
  dropped,
  forwarded,
  frameFrom,
  frameTo,
  GATEWAY,
  HOST_MAC,
  INTERFACES,
  LAN_HOST,
  LAN_SETTINGS,
  Lab,
  NEIGHBOUR,
  OUR_MAC,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  SETTINGS,
  shown,
  UPLINK,
  UPLINK_SETTINGS,
  WORK,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
  withRules,
} from "../../../lab/router-lab.ts";
import type { Match } from "../../../src/dataplane/rules/match.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { Conversation } from "../../support/conversation.ts";

const OUT = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 5000 };
const OUTSIDE_OUT = { ...OUT, source: OUTSIDE, ttl: 63 };
const BACK = { source: REMOTE, destination: OUTSIDE, sourcePort: 5000, destinationPort: 4000 };
const BACK_INSIDE = { ...BACK, destination: WORK_HOST, ttl: 63 };
const LAN_OUT = { ...OUT, source: LAN_HOST, sourcePort: 4001 };

const ONLY_5000: Match = { ...ANYTHING, rule: 7, protocol: UDP, portLow: 5000, portHigh: 5000 };

/** A lab in which "work" and "lan" have one flow each. */
function labWithFlows(): Lab {
  const lab = new Lab();
  expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))));
  expect(lab.from(LAN_HOST, udp(LAN_OUT, payload(1))).verdict).toBe("forwarded");
  expect(lab.router.flows.size).toBe(2);
  return lab;
}

/** The flow of "work" is as it was, in both directions. */
function expectWorkFlow(lab: Lab): void {
  expect(lab.from(WORK_HOST, udp(OUT, payload(2)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(2))));
  expect(lab.from(REMOTE, udp(BACK, payload(3)))).toEqual(forwarded(WORK_HOST, udp(BACK_INSIDE, payload(3))));
}

describe("new settings", () => {
  test("that are the old ones change nothing: no frame is sent, no flow ends, nobody is asked by ARP", () => {
    const lab = labWithFlows();
    lab.answering.clear();
    expect(lab.apply(structuredClone(SETTINGS))).toEqual([]);
    expectWorkFlow(lab);
    expect(lab.router.flows.size).toBe(2);
  });

  test("whose rules allow a flow let it live, under the new rule's number", () => {
    const lab = labWithFlows();
    lab.apply(withRules([{ ...ANYTHING, rule: 3, protocol: TCP }, ONLY_5000]));
    expectWorkFlow(lab);
    expect(lab.router.flows.size).toBe(2);
  });

  test("whose rules refuse a flow cut it, and no other", () => {
    const lab = labWithFlows();
    lab.apply(withRules([{ ...ONLY_5000, accept: false }], true));
    lab.leap(1); // the sweep over the flows goes on with the clock
    expect(lab.router.flows.size).toBe(1);
    expect(lab.from(WORK_HOST, udp(OUT, payload(2))).verdict).toBe("dropped: refused by rules");
    expect(lab.from(REMOTE, udp(BACK, payload(3)))).toEqual(dropped("unsolicited"));
    expect(lab.from(LAN_HOST, udp(LAN_OUT, payload(1))).verdict).toBe("forwarded");
  });

  test("judge a TCP connection by its first packet's direction, and leave its state alone", () => {
    const talk = new Conversation(new Lab());
    talk.open();
    talk.lab.apply(withRules([{ ...ANYTHING, protocol: TCP, portLow: 443, portHigh: 443 }]));
    expect(talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(10))).toBe("forwarded");
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1011 }, payload(10))).toBe("forwarded");
    expect(talk.remote({ flags: "P.", sequence: 5001 + 200_000, acknowledgment: 1011 }, payload(1))).toBe(
      "dropped: TCP outside the window",
    );
  });

  test("judge pings by their type", () => {
    const ping = { source: WORK_HOST, destination: REMOTE, type: 8, rest: 0x00090001 };
    const pong = { ...ping, source: REMOTE, destination: OUTSIDE, type: 0 };
    for (const icmpType of [8, 13]) {
      const lab = new Lab();
      lab.from(WORK_HOST, icmp(ping, payload(8)));
      lab.apply(withRules([{ ...ANYTHING, protocol: ICMP, icmpType }]));
      expect(lab.from(REMOTE, icmp(pong, payload(8)))).toEqual(
        icmpType === 8
          ? forwarded(WORK_HOST, icmp({ ...pong, destination: WORK_HOST, ttl: 63 }, payload(8)))
          : dropped("unsolicited"),
      );
    }
  });

  test("with the interfaces in another order keep flows and neighbours", () => {
    const lab = labWithFlows();
    lab.answering.clear();
    const [uplink, work, lan] = INTERFACES;
    const order = { uplink: 2, work: 0, lan: 1 };
    const settings: Settings = {
      ...SETTINGS,
      interfaces: [work, lan, uplink],
      uplink: { ...UPLINK_SETTINGS, iface: order.uplink },
      clients: [
        { ...LAN_SETTINGS, iface: order.lan },
        { ...WORK_SETTINGS, iface: order.work },
      ],
    };
    expect(lab.apply(settings)).toEqual([]);
    const out = lab.receive(order.work, frameFrom(WORK_HOST, udp(OUT, payload(2))));
    expect([out.verdict, lab.last[0].iface]).toEqual(["forwarded", order.uplink]);
    expect(shown(0, lab.last[0].bytes)).toBe(shown(0, frameTo(REMOTE, udp(OUTSIDE_OUT, payload(2)))));
    const back = lab.receive(order.uplink, frameFrom(REMOTE, udp(BACK, payload(3))));
    expect([back.verdict, lab.last[0].iface]).toEqual(["forwarded", order.work]);
    expect(shown(0, lab.last[0].bytes)).toBe(shown(0, frameTo(WORK_HOST, udp(BACK_INSIDE, payload(3)))));
  });

  test("with one more client before the others keep flows, and the pinned MAC addresses are the right clients'", () => {
    const lab = labWithFlows();
    const newcomer = { ...WORK_SETTINGS, name: "new", network: ip("10.137.0.11"), mac: mac("02:00:00:00:01:11") };
    const pinned = { ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]) };
    lab.apply({ ...SETTINGS, clients: [newcomer, pinned, LAN_SETTINGS] });
    expectWorkFlow(lab);
    const forged = ethernet("02:00:00:00:01:11", OUR_MAC[WORK], IPV4_TYPE, udp(OUT, payload(1)));
    expect(lab.receive(WORK, forged)).toEqual(dropped("source MAC address spoofed"));
  });

  test("that pin another MAC address hold for the flows that there are", () => {
    const lab = labWithFlows();
    lab.apply(withClient({ ...WORK_SETTINGS, mac: mac("02:00:00:00:0b:ad") }));
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(dropped("source MAC address spoofed"));
    const frame = frameTo(WORK_HOST, udp(BACK_INSIDE, payload(3)));
    frame.set(mac("02:00:00:00:0b:ad"));
    expect(lab.from(REMOTE, udp(BACK, payload(3)))).toEqual({ verdict: "forwarded", sent: [shown(WORK, frame)] });
  });

  test("without a client end its flows", () => {
    const lab = labWithFlows();
    lab.apply({ ...SETTINGS, clients: [LAN_SETTINGS] });
    expect(lab.router.flows.size).toBe(1);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(dropped("source address spoofed"));
    expect(lab.from(REMOTE, udp(BACK, payload(1)))).toEqual(dropped("unsolicited"));
    // Back again, it starts afresh.
    lab.apply(SETTINGS);
    expect(lab.from(REMOTE, udp(BACK, payload(1)))).toEqual(dropped("unsolicited"));
    expectWorkFlow(lab);
  });

  test("without a client's interface end its flows", () => {
    const lab = labWithFlows();
    lab.apply({
      ...SETTINGS,
      interfaces: [INTERFACES[UPLINK], INTERFACES[WORK]],
      clients: [WORK_SETTINGS],
    });
    expect(lab.router.flows.size).toBe(1);
    expectWorkFlow(lab);
  });

  test("with another uplink address end all flows, and new ones leave from that address", () => {
    const lab = labWithFlows();
    const address = "192.0.2.200";
    lab.apply({ ...SETTINGS, uplink: { ...UPLINK_SETTINGS, address: ip(address) } });
    expect(lab.router.flows.size).toBe(0);
    expect(lab.from(REMOTE, udp(BACK, payload(1)))).toEqual(dropped("unsolicited"));
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...OUTSIDE_OUT, source: address }, payload(1))),
    );
  });

  test("with another gateway end the flows through it, not those to hosts on the link", () => {
    const lab = labWithFlows();
    const near = { ...OUT, destination: NEIGHBOUR };
    lab.from(WORK_HOST, udp(near, payload(1)));
    lab.apply({ ...SETTINGS, uplink: { ...UPLINK_SETTINGS, gateway: ip("192.0.2.2") } });
    expect(lab.router.flows.size).toBe(1);
    expect(lab.from(WORK_HOST, udp(near, payload(2)))).toEqual(
      forwarded(NEIGHBOUR, udp({ ...near, source: OUTSIDE, ttl: 63 }, payload(2))),
    );
  });

  test("with a client's address at the remote's end the flow to it", () => {
    const lab = labWithFlows();
    const newcomer = { ...WORK_SETTINGS, name: "new", network: ip(REMOTE) };
    lab.apply({ ...SETTINGS, clients: [...SETTINGS.clients, newcomer] });
    expect(lab.router.flows.size).toBe(0);
  });

  test("with a smaller MTU hold for the flows that there are", () => {
    const lab = labWithFlows();
    const interfaces = INTERFACES.map((iface, i) => (i === UPLINK ? { ...iface, mtu: 1280 } : iface));
    lab.apply({ ...SETTINGS, interfaces });
    expect(lab.from(WORK_HOST, udp(OUT, payload(1252)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1252))));
    expect(lab.from(WORK_HOST, udp(OUT, payload(1253))).verdict).toBe("dropped: larger than the egress MTU");
  });

  test("with other MAC addresses of ours hold for the flows that there are", () => {
    const lab = labWithFlows();
    const changed = "52:54:00:00:00:99";
    const interfaces = INTERFACES.map((iface, i) => (i === UPLINK ? { ...iface, mac: mac(changed) } : iface));
    lab.apply({ ...SETTINGS, interfaces });
    const frame = frameTo(REMOTE, udp(OUTSIDE_OUT, payload(1)));
    frame.set(mac(changed), 6);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual({ verdict: "forwarded", sent: [shown(UPLINK, frame)] });
    expect(lab.from(REMOTE, udp(BACK, payload(1)))).toEqual(dropped("not to our MAC address"));
  });
});

describe("frames that wait for ARP when new settings come", () => {
  /** A lab where a frame of "work" to the neighbour waits; and the neighbour's answer. */
  function waiting(): { lab: Lab; answer: Uint8Array } {
    const lab = new Lab({ answering: [GATEWAY, WORK_HOST, LAN_HOST] });
    const near = { ...OUT, destination: NEIGHBOUR };
    expect(lab.from(WORK_HOST, udp(near, payload(1))).verdict).toBe("queued for ARP");
    return { lab, answer: arpReply(NEIGHBOUR, lab.last[0].bytes) };
  }

  test("leave if their flow lives on", () => {
    const { lab, answer } = waiting();
    lab.apply(withRules([ONLY_5000]));
    const outside = { ...OUT, source: OUTSIDE, destination: NEIGHBOUR, ttl: 63 };
    expect(lab.receive(UPLINK, answer)).toEqual({
      verdict: "ARP taken",
      sent: [shown(UPLINK, frameTo(NEIGHBOUR, udp(outside, payload(1))))],
    });
  });

  test("do not leave if their flow was cut", () => {
    const { lab, answer } = waiting();
    lab.apply(withRules([], false));
    expect(lab.receive(UPLINK, answer).sent).toEqual([]);
  });

  test("do not leave from an address that is no longer ours", () => {
    const { lab, answer } = waiting();
    lab.apply({ ...SETTINGS, uplink: { ...UPLINK_SETTINGS, address: ip("192.0.2.200") } });
    expect(lab.receive(UPLINK, answer).sent).toEqual([]);
  });
});

test("settings changed a hundred times under traffic lose no packet of an allowed flow", () => {
  const lab = labWithFlows();
  const variants: Settings[] = [
    SETTINGS,
    withRules([ONLY_5000]),
    withRules([{ ...ANYTHING, accept: false, address: ip(REMOTE_2), prefix: 32 }], true),
    withClient({ ...WORK_SETTINGS, mac: mac(HOST_MAC[WORK_HOST]) }),
    withClient({ ...LAN_SETTINGS, ruleset: compileRuleset([], false) }),
    { ...SETTINGS, clients: [WORK_SETTINGS] },
    { ...SETTINGS, clients: [LAN_SETTINGS, WORK_SETTINGS] },
  ];
  for (let i = 0; i < 100; i++) {
    lab.apply(variants[i % variants.length]);
    expectWorkFlow(lab);
    lab.leap(700);
  }
});

describe("an external port that is forwarded to a client", () => {
  const forward = { protocol: 17, portLow: 6000, portHigh: 6000, client: 0, to: ip(WORK_HOST), toPort: 4000, from: [] };
  const forwards = { ...SETTINGS, forwards: [forward] };

  test("ends with its forward, and so do the flows that leave from it", () => {
    const lab = new Lab({ settings: forwards });
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...OUTSIDE_OUT, sourcePort: 6000 }, payload(1))),
    );
    lab.apply({ ...forwards, forwards: [forward, { ...forward, protocol: 6 }] });
    expect(lab.router.flows.size).toBe(1);
    lab.apply(SETTINGS);
    expect(lab.router.flows.size).toBe(0);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))));
  });

  test("is nobody's by IPv4 where the forward is one of IPv6", () => {
    const to6 = Uint8Array.of(0xfd, ...new Uint8Array(14), 1);
    const lab = new Lab({ settings: { ...SETTINGS, forwards: [{ ...forward, to: undefined, to6, from6: [] }] } });
    expect(lab.from(REMOTE, udp({ ...BACK, destinationPort: 6000 }, payload(1)))).toEqual(dropped("unsolicited"));
    const out = { ...OUT, sourcePort: 6000 };
    expect(lab.from(WORK_HOST, udp(out, payload(1)))).toEqual(
      forwarded(REMOTE, udp({ ...OUTSIDE_OUT, sourcePort: 6000 }, payload(1))),
    );
    expectWorkFlow(lab);
  });

  test("is not its own while another client has it from before", () => {
    const lab = new Lab();
    const other = { ...OUT, source: LAN_HOST, sourcePort: 6000 };
    expect(lab.from(LAN_HOST, udp(other, payload(1))).verdict).toBe("forwarded");
    lab.apply(forwards);
    expect(lab.from(WORK_HOST, udp(OUT, payload(1)))).toEqual(forwarded(REMOTE, udp(OUTSIDE_OUT, payload(1))));
    expect(lab.from(REMOTE, udp({ ...BACK, destinationPort: 6000 }, payload(1))).sent).toEqual([
      shown(2, frameTo(LAN_HOST, udp({ ...BACK_INSIDE, destination: LAN_HOST, destinationPort: 6000 }, payload(1)))),
    ]);
  });
});
