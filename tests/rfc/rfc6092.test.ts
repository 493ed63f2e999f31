// RFC 6092, "Recommended Simple Security Capabilities in Customer Premises Equipment for Providing Residential IPv6 Internet Service": a
// test or more for each recommendation that applies, by its name in docs/NAT.md. A home's network is routed to the firewall.

import { describe, expect, test } from "bun:test";
import { fromHex, payload } from "../../lab/frames.ts";
import {
  ah,
  type Extension,
  type Ipv6Fields,
  icmpv6,
  ipv6,
  routing,
  type Tcp6Fields,
  tcp6,
  type Udp6Fields,
  udp6,
} from "../../lab/frames6.ts";
import { dropped, Lab, type Outcome } from "../../lab/router-lab.ts";
import {
  ANYTHING_6,
  FAR_ROUTER_6,
  forwarded6,
  from6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED,
  ROUTED_GATEWAY,
  ROUTED_HOST,
  SETTINGS_6,
  WORK_SETTINGS_6,
} from "../../lab/router-lab6.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import { expectToLive } from "../support/expiry.ts";

const HOST = ROUTED_HOST;
const [ESP, SHIM6, MOBILITY, HIP, GRE, SCTP, DCCP, UDP_LITE] = [50, 140, 135, 139, 47, 132, 33, 136] as const;
const UNSOLICITED = dropped("unsolicited");

const home = () => new Lab({ settings: ROUTED, now: 1_000_900 });

const OUT: Udp6Fields = { source: HOST, destination: REMOTE_6, sourcePort: 40000, destinationPort: 5000 };
const BACK: Udp6Fields = { source: REMOTE_6, destination: HOST, sourcePort: 5000, destinationPort: 40000 };

/** Makes a packet with the hop limit that it is sent with, or has one hop on. */
type Maker = (hopLimit: number) => Uint8Array;
const datagram =
  (fields: Udp6Fields, length = 9): Maker =>
  (hopLimit) =>
    udp6({ ...fields, hopLimit }, payload(length));
const segment =
  (fields: Omit<Tcp6Fields, "hopLimit">): Maker =>
  (hopLimit) =>
    tcp6({ ...fields, hopLimit });
const carrying =
  (ends: Ipv6Fields, protocol: number, content = payload(40)): Maker =>
  (hopLimit) =>
    ipv6({ ...ends, hopLimit }, protocol, content);

const ENDS = { source: HOST, destination: REMOTE_6 };
const ENDS_BACK = { source: REMOTE_6, destination: HOST };

/** A packet passes unchanged, but for its hop limit. */
function expectPass(lab: Lab, from: string, make: Maker): void {
  expect(from6(lab, from, make(64))).toEqual(forwarded6(from === HOST ? REMOTE_6 : HOST, make(63)));
}

/** Nothing is said about it, and it goes nowhere. */
function expectSilence({ verdict, sent }: Outcome): void {
  expect(verdict).toStartWith("dropped: ");
  expect(sent).toEqual([]);
}

/** Errors about a packet that has passed come to who sent it; and it still belongs to a flow then, whatever they said. */
function expectErrorsPass(lab: Lab, sent: Maker, answer: Maker): void {
  for (const fields of [
    { type: 1, code: 0 },
    { type: 1, code: 4 },
    { type: 2, rest: 1280 },
    { type: 3, code: 0 },
    { type: 4, code: 1, rest: 6 },
  ]) {
    const error = icmpv6(
      { ...fields, source: FAR_ROUTER_6, destination: HOST, hopLimit: 64 },
      sent(60).subarray(0, 1232),
    );
    const { verdict, sent: left } = from6(lab, FAR_ROUTER_6, error);
    expect([fields.type, verdict, left.length]).toEqual([fields.type, "forwarded", 1]);
  }
  expectPass(lab, REMOTE_6, answer);
}

/** A packet that is longer than the least MTU, so that any error about it can be true. */
const LONG = 1300;

const TCP_OUT = { source: HOST, destination: REMOTE_6, sourcePort: 40000, destinationPort: 443 };
const TCP_BACK = { source: REMOTE_6, destination: HOST, sourcePort: 443, destinationPort: 40000 };

function connected(): Lab {
  const lab = home();
  expectPass(lab, HOST, segment({ ...TCP_OUT, flags: "S", sequence: 100 }));
  expectPass(lab, REMOTE_6, segment({ ...TCP_BACK, flags: "S.", sequence: 900, acknowledgment: 101 }));
  expectPass(lab, HOST, segment({ ...TCP_OUT, flags: ".", sequence: 101, acknowledgment: 901 }));
  return lab;
}

/** A protocol without ports passes once a host inside has begun to use it with that remote. */
function expectBegun(protocol: number): void {
  const lab = home();
  expect(from6(lab, REMOTE_6, carrying(ENDS_BACK, protocol)(64))).toEqual(UNSOLICITED);
  for (let i = 0; i < 3; i++) {
    expectPass(lab, HOST, carrying(ENDS, protocol, payload(40 + i)));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, protocol, payload(80 + i)));
  }
  expect(lab.router.flows.size).toBe(1);
}

function expectToOutliveErrors(protocol: number): void {
  const lab = home();
  expectPass(lab, HOST, carrying(ENDS, protocol, payload(LONG)));
  expectErrorsPass(lab, carrying(ENDS, protocol, payload(LONG)), carrying(ENDS_BACK, protocol));
  expect(lab.router.flows.size).toBe(1);
  expectToLive(lab, 600);
}

describe("RFC 6092", () => {
  test("REC-1: packets from multicast addresses are forwarded nowhere", () => {
    for (const source of ["ff02::1", "ff0e::1", "ff00::"]) {
      expectSilence(from6(home(), HOST, udp6({ ...OUT, source }, payload(9))));
      expectSilence(from6(home(), REMOTE_6, udp6({ ...BACK, source }, payload(9))));
    }
  });

  test("REC-2: packets to multicast addresses of any scope are forwarded nowhere", () => {
    for (const scope of ["1", "2", "4", "5", "8", "e"]) {
      const destination = `ff0${scope}::1234`;
      for (const [from, packet] of [
        [HOST, udp6({ ...OUT, destination }, payload(9))],
        [REMOTE_6, udp6({ ...BACK, destination }, payload(9))],
      ] as const) {
        expectSilence(from6(home(), from, packet));
      }
    }
  });

  test("REC-3: addresses that can be no host's on the internet are not forwarded from or to", () => {
    for (const address of ["::", "::1", "::192.0.2.1", "::ffff:192.0.2.1", "fe80::1", "febf::1"]) {
      expect(from6(home(), HOST, udp6({ ...OUT, destination: address }, payload(9))).verdict).toStartWith("dropped: ");
      expect(from6(home(), HOST, udp6({ ...OUT, source: address }, payload(9))).verdict).toStartWith("dropped: ");
      const lab = home();
      from6(lab, HOST, udp6({ ...OUT, destination: address }, payload(9)));
      expectSilence(from6(lab, REMOTE_6, udp6({ ...BACK, source: address }, payload(9))));
    }
  });

  test("REC-4: a routing header of type 0 is dropped, whatever it has left", () => {
    for (const left of [0, 1]) {
      const extensions = [routing(0, left, new Uint8Array(20))];
      expect(from6(home(), HOST, udp6({ ...OUT, extensions }, payload(9))).verdict).toContain("source route");
      const lab = home();
      expectPass(lab, HOST, datagram(OUT));
      expect(from6(lab, REMOTE_6, udp6({ ...BACK, extensions }, payload(9))).verdict).toContain("source route");
    }
  });

  test("REC-5: nothing leaves from an address that is not of the network's prefix", () => {
    for (const source of ["2001:db8:2::20", LAN_HOST_6, REMOTE_62, OUTSIDE_6]) {
      const { verdict, sent } = from6(home(), HOST, udp6({ ...OUT, source }, payload(9)));
      expect([source, verdict]).toEqual([source, "dropped: source address spoofed"]);
      expect(sent.filter((frame) => frame.startsWith("uplink"))).toEqual([]);
    }
  });

  test("REC-6: nothing comes in from an address of the network's prefix", () => {
    for (const source of [HOST, "2001:db8:1::21", OUTSIDE_6]) {
      const lab = home();
      expectPass(lab, HOST, datagram({ ...OUT, destination: REMOTE_6 }));
      expect(from6(lab, REMOTE_6, udp6({ ...BACK, source }, payload(9)))).toEqual(dropped("source address spoofed"));
    }
  });

  test("REC-7: of a translated network no unique local address leaves, and a rule keeps packets from such ones outside", () => {
    const lab = new Lab({ settings: SETTINGS_6 });
    const packet = { ...OUT, source: LAN_HOST_6 };
    expect(LAN_HOST_6).toStartWith("fd");
    const translated = udp6({ ...packet, source: OUTSIDE_6, hopLimit: 63 }, payload(9));
    expect(from6(lab, LAN_HOST_6, udp6(packet, payload(9)))).toEqual(forwarded6(REMOTE_6, translated));
    const locals = { ...ANYTHING_6, accept: false, address: Uint8Array.of(0xfc, ...new Array(15).fill(0)), prefix: 7 };
    const ruleset = compileRuleset([], true, [locals], true);
    const clients = [WORK_SETTINGS_6, { ...LAN_SETTINGS_6, ruleset }];
    const refusing = new Lab({ settings: { ...SETTINGS_6, clients } });
    const local = udp6({ ...packet, destination: "fd12:3456::1" }, payload(9));
    expect(from6(refusing, LAN_HOST_6, local).verdict).toBe("dropped: refused by rules");
    expect(from6(refusing, LAN_HOST_6, udp6(packet, payload(9))).verdict).toBe("forwarded");
  });

  test("REC-8: questions to a name server from outside are dropped in silence", () => {
    const question = udp6({ ...BACK, destination: OUTSIDE_6, destinationPort: 53 }, payload(30));
    expect(from6(home(), REMOTE_6, question)).toEqual(UNSOLICITED);
  });

  test("REC-9: DHCPv6 from outside is dropped in silence", () => {
    for (const destination of [OUTSIDE_6, "ff02::1:2", "ff05::1:3"]) {
      const solicit = { source: REMOTE_6, destination, sourcePort: 546, destinationPort: 547 };
      expectSilence(from6(home(), REMOTE_6, udp6(solicit, payload(30))));
    }
  });

  test("REC-10: errors about packets of no flow are dropped in silence", () => {
    for (const fields of [{ type: 1 }, { type: 2, rest: 1280 }]) {
      const about = udp6(OUT, payload(LONG)).subarray(0, 1232);
      const error = icmpv6({ ...fields, source: FAR_ROUTER_6, destination: HOST }, about);
      expect(from6(home(), FAR_ROUTER_6, error)).toEqual(dropped("ICMP error that belongs to no flow"));
    }
  });

  test("REC-11: of any protocol only the remote may answer that the host has sent to", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, GRE));
    expect(from6(lab, REMOTE_62, carrying({ ...ENDS_BACK, source: REMOTE_62 }, GRE)(64))).toEqual(UNSOLICITED);
    expect(from6(lab, REMOTE_6, carrying(ENDS_BACK, SCTP)(64))).toEqual(UNSOLICITED);
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, GRE));
  });

  test("REC-12: a flow of any protocol lives ten minutes without traffic", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, GRE));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, GRE));
    expectToLive(lab, 600);
  });

  test("REC-14: a flow of UDP that has been answered lives five minutes without traffic", () => {
    const lab = home();
    expectPass(lab, HOST, datagram(OUT));
    expectPass(lab, REMOTE_6, datagram(BACK));
    expectToLive(lab, 300);
  });

  test("REC-14: one that nobody has answered lives thirty seconds", () => {
    const lab = home();
    expectPass(lab, HOST, datagram(OUT));
    expectToLive(lab, 30);
  });

  test("REC-15: a question to port 53 is over ten seconds after its answer", () => {
    const lab = home();
    expectPass(lab, HOST, datagram({ ...OUT, destinationPort: 53 }));
    expectPass(lab, REMOTE_6, datagram({ ...BACK, sourcePort: 53 }));
    expectToLive(lab, 10);
  });

  test("REC-16: the host's packets keep its flow alive", () => {
    const lab = home();
    expectPass(lab, HOST, datagram(OUT));
    expectPass(lab, REMOTE_6, datagram(BACK));
    for (let i = 0; i < 5; i++) {
      lab.wait(200_000);
      expectPass(lab, HOST, datagram(OUT));
    }
    expectPass(lab, REMOTE_6, datagram(BACK));
  });

  test("REC-17: of UDP only the remote address and port may answer that the host has sent to", () => {
    const lab = home();
    expectPass(lab, HOST, datagram(OUT));
    for (const other of [{ source: REMOTE_62 }, { sourcePort: 5001 }, { destinationPort: 40001 }]) {
      const packet = { ...BACK, ...other };
      expect(from6(lab, packet.source, udp6(packet, payload(9)))).toEqual(UNSOLICITED);
    }
    expectPass(lab, REMOTE_6, datagram(BACK));
  });

  test("REC-18: errors about a flow of UDP come to the host", () => {
    const lab = home();
    expectPass(lab, HOST, datagram(OUT, LONG));
    expectErrorsPass(lab, datagram(OUT, LONG), datagram(BACK));
  });

  test("REC-19: no ICMPv6 message ends a flow of UDP", () => {
    const lab = home();
    expectPass(lab, HOST, datagram(OUT, LONG));
    expectErrorsPass(lab, datagram(OUT, LONG), datagram(BACK));
    expect(lab.router.flows.size).toBe(1);
  });

  test("REC-20: UDP-Lite passes, and is not taken for UDP, nor UDP for it", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, UDP_LITE));
    expect(from6(lab, REMOTE_6, udp6(BACK, payload(9)))).toEqual(UNSOLICITED);
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, UDP_LITE));
    const other = home();
    expectPass(other, HOST, datagram(OUT));
    expect(from6(other, REMOTE_6, carrying(ENDS_BACK, UDP_LITE)(64))).toEqual(UNSOLICITED);
  });

  test("REC-21: an authentication header passes, and what is behind it belongs to its flow", () => {
    const lab = home();
    expectPass(lab, HOST, datagram({ ...OUT, extensions: [ah()] }));
    expectPass(lab, REMOTE_6, datagram({ ...BACK, extensions: [ah()] }));
  });

  test("REC-22: ESP passes that a host inside has begun, and no other", () => {
    const lab = home();
    expect(from6(lab, REMOTE_6, carrying(ENDS_BACK, ESP)(64))).toEqual(UNSOLICITED);
    expectPass(lab, HOST, carrying(ENDS, ESP));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, ESP));
  });

  test("REC-23: errors about ESP come to the host", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, ESP, payload(LONG)));
    expectErrorsPass(lab, carrying(ENDS, ESP, payload(LONG)), carrying(ENDS_BACK, ESP));
  });

  test("REC-24: IKE passes that a host inside has begun, and no other", () => {
    const lab = home();
    const ike = { ...OUT, sourcePort: 500, destinationPort: 500 };
    const answer = { ...BACK, sourcePort: 500, destinationPort: 500 };
    expect(from6(lab, REMOTE_6, udp6(answer, payload(9)))).toEqual(UNSOLICITED);
    expectPass(lab, HOST, datagram(ike));
    expectPass(lab, REMOTE_6, datagram(answer));
  });

  test("REC-25: a flow of ESP is known by its addresses, whatever its SPI is", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, ESP, fromHex("11111111 00000001 00000000")));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, ESP, fromHex("22222222 00000001 00000000")));
    expectPass(lab, HOST, carrying(ENDS, ESP, fromHex("33333333 00000002 00000000")));
    expect(lab.router.flows.size).toBe(1);
  });

  test("REC-26: HIP passes that a host inside has begun", () => {
    const lab = home();
    const content = Uint8Array.from([0x3b, 4, 1, 1, ...new Uint8Array(36)]);
    expectPass(lab, HOST, carrying(ENDS, HIP, content));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, HIP, content));
  });

  test("REC-27: a routing header of type 2 that has a segment left is dropped", () => {
    const lab = home();
    expectPass(lab, HOST, datagram(OUT));
    const extensions = [routing(2, 1, new Uint8Array(20))];
    expect(from6(lab, REMOTE_6, udp6({ ...BACK, extensions }, payload(9))).verdict).toContain("source route");
  });

  test("REC-28: mobility headers pass that a host inside has begun", () => {
    const lab = home();
    const binding = Uint8Array.from([0x3b, 1, 5, 0, ...new Uint8Array(12)]);
    expectPass(lab, HOST, carrying(ENDS, MOBILITY, binding));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, MOBILITY, binding));
  });

  test("REC-31: a connection opened from inside passes, by handshake or by simultaneous open", () => {
    const lab = connected();
    expectPass(lab, REMOTE_6, segment({ ...TCP_BACK, flags: "F.", sequence: 901, acknowledgment: 101 }));
    expectPass(lab, HOST, segment({ ...TCP_OUT, flags: "F.", sequence: 101, acknowledgment: 902 }));
    expectPass(lab, REMOTE_6, segment({ ...TCP_BACK, flags: ".", sequence: 902, acknowledgment: 102 }));
    const both = home();
    expectPass(both, HOST, segment({ ...TCP_OUT, flags: "S", sequence: 100 }));
    expectPass(both, REMOTE_6, segment({ ...TCP_BACK, flags: "S", sequence: 900 }));
    expectPass(both, HOST, segment({ ...TCP_OUT, flags: "S.", sequence: 100, acknowledgment: 901 }));
    expectPass(both, REMOTE_6, segment({ ...TCP_BACK, flags: "S.", sequence: 900, acknowledgment: 101 }));
    expectPass(both, HOST, segment({ ...TCP_OUT, flags: ".", sequence: 101, acknowledgment: 901 }));
  });

  test("REC-32: no connection begins in the middle, so that each one's window scale is known", () => {
    const outcome = from6(home(), HOST, tcp6({ ...TCP_OUT, flags: ".", sequence: 101, acknowledgment: 901 }));
    expect(outcome.verdict).toBe("dropped: TCP without a connection");
  });

  test("REC-33: of TCP only the remote address and port may send a SYN that the host connects to", () => {
    const lab = home();
    expectPass(lab, HOST, segment({ ...TCP_OUT, flags: "S", sequence: 100 }));
    for (const other of [{ source: REMOTE_62 }, { sourcePort: 444 }, { destinationPort: 40001 }]) {
      const syn = { ...TCP_BACK, ...other, flags: "S", sequence: 900 };
      expect(from6(lab, syn.source, tcp6(syn))).toEqual(UNSOLICITED);
    }
    expectPass(lab, REMOTE_6, segment({ ...TCP_BACK, flags: "S", sequence: 900 }));
  });

  test("REC-34: an unsolicited SYN is dropped in silence, which is the firewall's policy", () => {
    const lab = home();
    expect(from6(lab, REMOTE_6, tcp6({ ...TCP_BACK, flags: "S", sequence: 900 }))).toEqual(UNSOLICITED);
    expect(lab.wait(10_000).filter((frame) => !frame.includes("33 33"))).toEqual([]);
    expectPass(lab, HOST, segment({ ...TCP_OUT, flags: "S", sequence: 100 }));
  });

  test("REC-35: an established connection lives 2 h 4 min without traffic, one that opens four minutes", () => {
    expectToLive(connected(), 7440);
    const opening = home();
    expectPass(opening, HOST, segment({ ...TCP_OUT, flags: "S", sequence: 100 }));
    expectToLive(opening, 240);
  });

  test("REC-36: errors about a connection come to the host", () => {
    const lab = connected();
    const data = (hopLimit: number) =>
      tcp6({ ...TCP_OUT, flags: ".", sequence: 101, acknowledgment: 901, hopLimit }, payload(LONG));
    expectPass(lab, HOST, data);
    expectErrorsPass(lab, data, segment({ ...TCP_BACK, flags: ".", sequence: 901, acknowledgment: 101 }));
  });

  test("REC-37: no ICMPv6 message ends a connection", () => {
    const lab = connected();
    const data = (hopLimit: number) =>
      tcp6({ ...TCP_OUT, flags: ".", sequence: 101, acknowledgment: 901, hopLimit }, payload(LONG));
    expectPass(lab, HOST, data);
    expectErrorsPass(lab, data, segment({ ...TCP_BACK, flags: ".", sequence: 901, acknowledgment: 101 }));
    expectToLive(lab, 7440);
  });

  test("REC-38: SCTP passes that a host inside has begun, and no other", () => {
    expectBegun(SCTP);
  });

  test("REC-39: an unsolicited INIT is dropped in silence, as a SYN is", () => {
    const lab = home();
    expect(from6(lab, REMOTE_6, carrying(ENDS_BACK, SCTP)(64))).toEqual(UNSOLICITED);
    expect(lab.wait(10_000).filter((frame) => !frame.includes("33 33"))).toEqual([]);
  });

  test("REC-40: SCTP lives ten minutes without traffic", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, SCTP));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, SCTP));
    expectToLive(lab, 600);
  });

  test("REC-41: errors about SCTP come to the host", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, SCTP, payload(LONG)));
    expectErrorsPass(lab, carrying(ENDS, SCTP, payload(LONG)), carrying(ENDS_BACK, SCTP));
  });

  test("REC-42: no ICMPv6 message ends SCTP", () => {
    expectToOutliveErrors(SCTP);
  });

  test("REC-43: DCCP passes that a host inside has begun, and no other", () => {
    expectBegun(DCCP);
  });

  test("REC-44: DCCP lives ten minutes without traffic", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, DCCP));
    expectPass(lab, REMOTE_6, carrying(ENDS_BACK, DCCP));
    expectToLive(lab, 600);
  });

  test("REC-45: errors about DCCP come to the host", () => {
    const lab = home();
    expectPass(lab, HOST, carrying(ENDS, DCCP, payload(LONG)));
    expectErrorsPass(lab, carrying(ENDS, DCCP, payload(LONG)), carrying(ENDS_BACK, DCCP));
  });

  test("REC-46: no ICMPv6 message ends DCCP", () => {
    expectToOutliveErrors(DCCP);
  });

  test("REC-47: packets with a Shim6 header belong to the flow of what is behind it", () => {
    const lab = home();
    const shim: Extension = [SHIM6, fromHex("00 80 00 00 00 00 01")];
    expectPass(lab, HOST, datagram(OUT));
    expectPass(lab, HOST, datagram({ ...OUT, extensions: [shim] }));
    expectPass(lab, REMOTE_6, datagram({ ...BACK, extensions: [shim] }));
    expect(lab.router.flows.size).toBe(1);
  });

  test("REC-50: from outside nothing is offered at the firewall's own addresses", () => {
    for (const destination of [OUTSIDE_6, ROUTED_GATEWAY]) {
      for (const destinationPort of [22, 23, 80, 443, 7547]) {
        const syn = { ...TCP_BACK, destination, destinationPort, flags: "S", sequence: 900 };
        expectSilence(from6(home(), REMOTE_6, tcp6(syn)));
      }
    }
  });
});
