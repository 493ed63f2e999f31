// RFC 4890, "Recommendations for Filtering ICMPv6 Messages in Firewalls": a test or more for each, by its name in docs/NAT.md.

import { describe, expect, test } from "bun:test";
import { advertisement, listenerQuery, OVERRIDE, ROUTER, SOLICITED, solicitation } from "../../lab/discovery-frames.ts";
import { concat, ethernet, fromHex, payload } from "../../lab/frames.ts";
import { type Icmpv6Fields, IPV6_TYPE, icmpv6, ip6, udp6 } from "../../lab/frames6.ts";
import {
  ANYTHING,
  dropped,
  HOST_MAC,
  LAN,
  LAN_HOST as LAN_HOST_4,
  Lab,
  OUR_MAC,
  type Outcome,
  shown,
  UPLINK,
} from "../../lab/router-lab.ts";
import {
  ANYTHING_6,
  answered6,
  FAR_ROUTER_6,
  forwarded6,
  from6,
  LAN_GATEWAY_6,
  LAN_HOST_6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  QUERY_6,
  REMOTE_6,
  REMOTE_62,
  ROUTED,
  ROUTED_HOST,
  refused6,
  SETTINGS_6,
  WORK_GATEWAY_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../lab/router-lab6.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";

/** Of its payload, behind 48 bytes of headers. */
const LENGTH = 1400;
const NOT_HANDLED = dropped("ICMP type not handled");

/** A client that has sent a datagram, whose network is translated; and one whose network is routed. */
function asked(): Lab[] {
  const translated = new Lab({ settings: SETTINGS_6 });
  from6(translated, WORK_HOST_6, udp6(QUERY_6, payload(LENGTH)));
  const routed = new Lab({ settings: ROUTED });
  from6(routed, ROUTED_HOST, udp6({ ...QUERY_6, source: ROUTED_HOST }, payload(LENGTH)));
  return [translated, routed];
}

/** Has an error come to each of them, about what it sent, and expects that the sender gets it. */
function expectErrorPasses(fields: Pick<Icmpv6Fields, "type" | "code" | "rest">): void {
  for (const [i, lab] of asked().entries()) {
    const [inside, outside] = i === 0 ? [WORK_HOST_6, OUTSIDE_6] : [ROUTED_HOST, ROUTED_HOST];
    const quoted = (source: string) => udp6({ ...QUERY_6, source, hopLimit: 60 }, payload(LENGTH)).subarray(0, 1232);
    const came = icmpv6({ ...fields, source: FAR_ROUTER_6, destination: outside, hopLimit: 50 }, quoted(outside));
    const goes = icmpv6({ ...fields, source: FAR_ROUTER_6, destination: inside, hopLimit: 49 }, quoted(inside));
    expect(from6(lab, FAR_ROUTER_6, came)).toEqual(forwarded6(inside, goes));
  }
}

/** @returns what becomes of a message of each type, from a client that may do all and from the uplink */
function transit(types: readonly number[]): Outcome[] {
  const message = (source: string, destination: string, type: number) =>
    icmpv6({ source, destination, type, hopLimit: 255 }, concat(ip6(REMOTE_6), payload(16)));
  return types.flatMap((type) => [
    from6(new Lab({ settings: SETTINGS_6 }), WORK_HOST_6, message(WORK_HOST_6, REMOTE_6, type)),
    from6(new Lab({ settings: SETTINGS_6 }), REMOTE_6, message(REMOTE_6, OUTSIDE_6, type)),
    from6(new Lab({ settings: ROUTED }), ROUTED_HOST, message(ROUTED_HOST, REMOTE_6, type)),
    from6(new Lab({ settings: ROUTED }), REMOTE_6, message(REMOTE_6, ROUTED_HOST, type)),
  ]);
}

/** @returns what becomes of a message of each type to the firewall itself, from a client's host and from the uplink */
function local(types: readonly number[]): Outcome[] {
  const message = (source: string, destination: string, type: number) =>
    icmpv6({ source, destination, type, hopLimit: 255 }, payload(16));
  return types.flatMap((type) => [
    from6(new Lab({ settings: SETTINGS_6 }), WORK_HOST_6, message(WORK_HOST_6, WORK_GATEWAY_6, type)),
    from6(new Lab({ settings: SETTINGS_6 }), REMOTE_6, message(REMOTE_6, OUTSIDE_6, type)),
  ]);
}

const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const allNotHandled = (outcomes: readonly Outcome[]) => expect(outcomes).toEqual(outcomes.map(() => NOT_HANDLED));

/** The host of "lan", which has the MAC address that it is pinned to. */
const LAN_MAC = HOST_MAC[LAN_HOST_4];

describe("RFC 4890", () => {
  test("4.3.1a: destination unreachable of every code comes to who sent the packet", () => {
    for (const code of range(0, 8)) expectErrorPasses({ type: 1, code });
  });

  test("4.3.1b: packet too big comes to who sent the packet", () => {
    for (const mtu of [1280, 1400, 48 + LENGTH - 1]) expectErrorPasses({ type: 2, rest: mtu });
  });

  test("4.3.1b: an MTU that no link has, or that the packet would fit, is not believed", () => {
    for (const mtu of [0, 68, 1279, 48 + LENGTH, 1500, 0xffffffff]) {
      const [lab] = asked();
      const quoted = udp6({ ...QUERY_6, source: OUTSIDE_6 }, payload(LENGTH)).subarray(0, 1232);
      const error = icmpv6({ source: FAR_ROUTER_6, destination: OUTSIDE_6, type: 2, rest: mtu }, quoted);
      expect(from6(lab, FAR_ROUTER_6, error)).toEqual(dropped("ICMP error that states an impossible MTU"));
    }
  });

  test("4.3.1c: time exceeded comes to who sent the packet", () => {
    expectErrorPasses({ type: 3, code: 0 });
  });

  test("4.3.1d: parameter problem comes to who sent the packet", () => {
    for (const code of [1, 2]) expectErrorPasses({ type: 4, code, rest: 40 });
  });

  test("4.3.1e: echo requests leave where rules let them, and their answers come back", () => {
    const echo = { source: WORK_HOST_6, destination: REMOTE_6, type: 128, rest: 0x12340001 };
    const lab = new Lab({ settings: SETTINGS_6 });
    expect(from6(lab, WORK_HOST_6, icmpv6(echo, payload(9)))).toEqual(
      forwarded6(REMOTE_6, icmpv6({ ...echo, source: OUTSIDE_6, hopLimit: 63 }, payload(9))),
    );
    const reply = { source: REMOTE_6, destination: OUTSIDE_6, type: 129, rest: 0x12340001 };
    expect(from6(lab, REMOTE_6, icmpv6(reply, payload(9)))).toEqual(
      forwarded6(WORK_HOST_6, icmpv6({ ...reply, destination: WORK_HOST_6, hopLimit: 63 }, payload(9))),
    );
    const ruleset = compileRuleset(
      [ANYTHING],
      false,
      [{ ...ANYTHING_6, accept: false, protocol: 58, icmpType: 128 }],
      true,
    );
    const refusing = new Lab({
      settings: { ...SETTINGS_6, clients: [{ ...WORK_SETTINGS_6, ruleset }, LAN_SETTINGS_6] },
    });
    const request = icmpv6(echo, payload(9));
    const refusal = icmpv6({ source: WORK_GATEWAY_6, destination: WORK_HOST_6, type: 1, code: 1 }, request);
    expect(from6(refusing, WORK_HOST_6, request)).toEqual(refused6("refused by rules", WORK_HOST_6, refusal));
  });

  test("4.3.1e: an echo request from outside opens nothing, and gets through to no host", () => {
    const request = { source: REMOTE_6, type: 128, rest: 0x12340001 };
    const lab = new Lab({ settings: ROUTED });
    const outcome = from6(lab, REMOTE_6, icmpv6({ ...request, destination: ROUTED_HOST }, payload(9)));
    expect(outcome).toEqual(dropped("unsolicited"));
  });

  test("4.3.2a: time exceeded in reassembly, and parameter problem of a field, come to who sent the packet", () => {
    expectErrorPasses({ type: 3, code: 1 });
    expectErrorPasses({ type: 4, code: 0, rest: 6 });
  });

  test("4.3.2b: messages of Mobile IPv6 are dropped", () => {
    allNotHandled(transit(range(144, 147)));
  });

  test("4.3.3: messages of one link alone do not leave it, whatever addresses they have", () => {
    const ofLink = [130, 131, 132, 133, 134, 135, 136, 137, 141, 142, 143, 148, 149, 151, 152, 153];
    for (const { verdict, sent } of transit(ofLink)) {
      expect(verdict).toStartWith("dropped: ");
      expect(sent).toEqual([]);
    }
  });

  test("4.3.4: errors and messages of types that nobody knows are dropped", () => {
    allNotHandled(transit([5, 50, 99, 102, 126, 150, 154, 199, 202, 254]));
  });

  test("4.3.5: renumbering of routers, questions about nodes, and experiments are dropped", () => {
    allNotHandled(transit([138, 139, 140, 100, 101, 127, 200, 201, 255]));
  });

  test("4.4.1a: errors about what the firewall itself has asked change nothing", () => {
    const lab = new Lab({ settings: SETTINGS_6 });
    const quoted = udp6(
      { source: OUTSIDE_6, destination: REMOTE_62, sourcePort: 60000, destinationPort: 53 },
      payload(9),
    );
    for (const type of [1, 2, 3, 4]) {
      const { verdict, sent } = from6(
        lab,
        FAR_ROUTER_6,
        icmpv6({ source: FAR_ROUTER_6, destination: OUTSIDE_6, type }, quoted),
      );
      expect([verdict, sent]).toEqual(["dropped: ICMP error that belongs to no flow", []]);
    }
  });

  test("4.4.1b: echo requests to the firewall's own addresses are answered", () => {
    const lab = new Lab({ settings: SETTINGS_6 });
    for (const [source, destination] of [
      [WORK_HOST_6, WORK_GATEWAY_6],
      [LAN_HOST_6, LAN_GATEWAY_6],
      [REMOTE_6, OUTSIDE_6],
    ] as const) {
      const request = icmpv6({ source, destination, type: 128, rest: 7 }, payload(5));
      const reply = icmpv6({ source: destination, destination: source, type: 129, rest: 7 }, payload(5));
      expect(from6(lab, source, request)).toEqual(answered6(source, reply));
    }
  });

  test("4.4.1c: solicitations of neighbours are answered, and their advertisements heard", () => {
    const lab = new Lab({ settings: SETTINGS_6 });
    const ours = { mac: OUR_MAC[LAN], target: LAN_GATEWAY_6, destination: LAN_HOST_6, destinationMac: LAN_MAC };
    expect(lab.receive(LAN, solicitation({ mac: LAN_MAC, source: LAN_HOST_6, target: LAN_GATEWAY_6 }))).toEqual({
      verdict: "answered",
      sent: [shown(LAN, advertisement({ ...ours, flags: ROUTER | SOLICITED | OVERRIDE }))],
    });
    const theirs = { mac: LAN_MAC, target: LAN_HOST_6, destination: LAN_GATEWAY_6, destinationMac: OUR_MAC[LAN] };
    expect(lab.receive(LAN, advertisement({ ...theirs, flags: SOLICITED | OVERRIDE })).verdict).toBe("ND taken");
  });

  test("4.4.1d: router solicitations and advertisements are dropped, on every interface", () => {
    for (const type of [133, 134]) {
      for (const iface of [UPLINK, LAN]) {
        const lab = new Lab({ settings: SETTINGS_6 });
        const packet = icmpv6({ source: "fe80::1", destination: "ff02::1", type, hopLimit: 255 }, payload(24));
        expect(lab.receive(iface, ethernet(LAN_MAC, "33:33:00:00:00:01", IPV6_TYPE, packet))).toEqual(NOT_HANDLED);
      }
    }
  });

  test("4.4.1e: questions who listens to groups are answered, and others' reports go nowhere", () => {
    const lab = new Lab({ settings: SETTINGS_6 });
    lab.command((router) => router.announce());
    lab.wait(5000);
    expect(lab.receive(LAN, listenerQuery(LAN_MAC, 2))).toEqual({ verdict: "ND taken", sent: [] });
    const reports = lab.wait(1000).filter((frame) => frame.includes("33 33 00 00 00 16"));
    expect(reports.length).toBe(1);
    const report = icmpv6({ source: "fe80::1", destination: "ff02::16", type: 143, hopLimit: 1 }, fromHex("00000000"));
    expect(lab.receive(LAN, ethernet(LAN_MAC, "33:33:00:00:00:16", IPV6_TYPE, report))).toEqual(NOT_HANDLED);
  });

  test("4.4.3: renumbering of routers, and messages of Mobile IPv6, are dropped", () => {
    allNotHandled(local([138, ...range(144, 147), 150]));
  });

  test("4.4.4: redirects, questions about nodes, and unknown errors are dropped", () => {
    allNotHandled(local([137, 139, 140, 5, 99, 102, 126]));
  });

  test("4.4.5: all other types are dropped", () => {
    allNotHandled(local([100, 101, 127, 154, 199, 200, 201, 202, 254, 255]));
  });
});
