// Packets to the firewall's own addresses: echo requests are answered, all else is dropped.
import { describe, expect, test } from "bun:test";
import { concat, fragmented, fromHex, icmp, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import {
  ACCEPT_ALL,
  answered,
  dropped,
  frameFrom,
  LAN_GATEWAY,
  LAN_HOST,
  LAN_SETTINGS,
  Lab,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  refused,
  SETTINGS,
  shownTo,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
  WORK_SETTINGS,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { patched } from "../../support/place.ts";

/** A lab that does not add up ICMP checksums: those of fragments cover what is in others. */
function withoutSums(): Lab {
  const lab = new Lab();
  lab.verifiesChecksums = false;
  return lab;
}

const OWN = [WORK_GATEWAY, LAN_GATEWAY, OUTSIDE];

describe("an echo request to the firewall", () => {
  test("is answered at each of its addresses, to every client", () => {
    const lab = new Lab();
    for (const source of [WORK_HOST, LAN_HOST]) {
      for (const destination of OWN) {
        for (const length of [0, 1, 56, 1472]) {
          const ping = { source, destination, type: 8, rest: 0x00070001, ttl: 5 };
          const pong = { source: destination, destination: source, type: 0, rest: 0x00070001 };
          expect(lab.from(source, icmp(ping, payload(length)))).toEqual(answered(source, icmp(pong, payload(length))));
        }
      }
    }
  });

  test("from the uplink is answered at the address there, and at no other", () => {
    const lab = new Lab();
    for (const source of [REMOTE, NEIGHBOUR]) {
      const ping = { source, destination: OUTSIDE, type: 8, rest: 0x00070001 };
      expect(lab.from(source, icmp(ping, payload(56)))).toEqual(
        answered(source, icmp({ ...ping, source: OUTSIDE, destination: source, type: 0 }, payload(56))),
      );
      for (const destination of [WORK_GATEWAY, LAN_GATEWAY]) {
        expect(lab.from(source, icmp({ ...ping, destination }, payload(56)))).toEqual(dropped("unsolicited"));
      }
    }
  });

  test("is answered with its DSCP, identification and options, and without padding", () => {
    const lab = new Lab();
    const kept = { tos: 0x28, identification: 0x4242, fragment: 0, options: fromHex("94040000") };
    const ping = { ...kept, source: WORK_HOST, destination: WORK_GATEWAY, type: 8, rest: 9 };
    const pong = { ...ping, source: WORK_GATEWAY, destination: WORK_HOST, type: 0 };
    const padded = concat(frameFrom(WORK_HOST, icmp(ping, payload(3))), payload(11));
    expect(lab.receive(WORK, padded)).toEqual(answered(WORK_HOST, icmp(pong, payload(3))));
  });

  test("with a wrong checksum is dropped", () => {
    const lab = new Lab();
    for (const [source, destination] of [
      [WORK_HOST, WORK_GATEWAY],
      [REMOTE, OUTSIDE],
    ]) {
      const ping = icmp({ source, destination, type: 8 }, payload(56));
      expect(lab.from(source, patched(ping, 60, ping[60] ^ 1))).toEqual(dropped("malformed icmp: checksum"));
    }
  });

  test("is answered also while another client's query has its type as identifier outside", () => {
    const lab = new Lab();
    lab.from(WORK_HOST, icmp({ source: WORK_HOST, destination: REMOTE, type: 8, rest: 8 << 16 }, payload(8)));
    const ping = { source: LAN_HOST, destination: OUTSIDE, type: 8, rest: 0x00550001 };
    expect(lab.from(LAN_HOST, icmp(ping, payload(8)))).toEqual(
      answered(LAN_HOST, icmp({ ...ping, source: OUTSIDE, destination: LAN_HOST, type: 0 }, payload(8))),
    );
  });

  test("in fragments is answered in fragments, in whatever order they come (RFC 1122 section 3.2.1.4)", () => {
    const ends = [
      [WORK_HOST, WORK_GATEWAY],
      [LAN_HOST, OUTSIDE],
      [REMOTE, OUTSIDE],
    ] as const;
    for (const [source, destination] of ends) {
      for (const size of [1480, 488]) {
        const ping = { source, destination, type: 8, rest: 0x00070001, identification: 77, fragment: 0, ttl: 9 };
        const pong = { ...ping, source: destination, destination: source, type: 0, ttl: 64 };
        const requests = fragmented(icmp(ping, payload(3000)), size);
        const replies = fragmented(icmp(pong, payload(3000)), size);
        const inOrder = withoutSums();
        for (const [i, request] of requests.entries()) {
          expect(inOrder.from(source, request)).toEqual(answered(source, replies[i] as Uint8Array));
        }
        const backwards = withoutSums();
        const [first = payload(0), ...later] = requests;
        for (const request of later) {
          expect(backwards.from(source, request).verdict).toBe("held until the first fragment comes");
        }
        expect(backwards.from(source, first)).toEqual({
          verdict: "answered",
          sent: replies.map((reply) => shownTo(source, reply)),
        });
        // It is whole and forgotten: the next one may have its identification.
        expect(backwards.from(source, first)).toEqual(answered(source, replies[0] as Uint8Array));
      }
    }
  });

  test("that is larger than the MTU towards its sender is answered in fragments", () => {
    const lab = withoutSums();
    const ping = { source: WORK_HOST, destination: WORK_GATEWAY, type: 8, rest: 1, identification: 5 };
    const pong = { ...ping, source: WORK_GATEWAY, destination: WORK_HOST, type: 0, fragment: 0 };
    expect(lab.from(WORK_HOST, icmp(ping, payload(3000)))).toEqual({
      verdict: "answered",
      sent: fragmented(icmp(pong, payload(3000)), 1480).map((reply) => shownTo(WORK_HOST, reply)),
    });
  });

  test("in fragments that overlap is answered no further", () => {
    const lab = withoutSums();
    const ping = { source: WORK_HOST, destination: WORK_GATEWAY, type: 8, rest: 1, fragment: 0 };
    const [first, second, third] = fragmented(icmp(ping, payload(3000)), 1480) as [Uint8Array, Uint8Array, Uint8Array];
    const overlapping = ipv4(
      { source: WORK_HOST, destination: WORK_GATEWAY, fragment: 0x2000 | 180 },
      1,
      payload(1480),
    );
    expect(lab.from(WORK_HOST, first).verdict).toBe("answered");
    expect(lab.from(WORK_HOST, overlapping)).toEqual(dropped("fragments overlap"));
    for (const later of [second, third])
      expect(lab.from(WORK_HOST, later)).toEqual(dropped("fragment of a dropped packet"));
  });

  test("makes no flow", () => {
    const lab = new Lab();
    lab.from(WORK_HOST, icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type: 8 }, payload(8)));
    expect(lab.router.flows.size).toBe(0);
  });
});

describe("anything else to the firewall", () => {
  test("from a client is refused with host prohibited, at each of its addresses but the uplink's", () => {
    for (const destination of [WORK_GATEWAY, LAN_GATEWAY]) {
      const ends = { source: LAN_HOST, destination, sourcePort: 1000, destinationPort: 22 };
      for (const packet of [
        tcp({ ...ends, flags: "S" }),
        udp(ends, payload(30)),
        udp({ ...ends, destinationPort: 53 }, payload(30)),
      ]) {
        const lab = new Lab();
        const error = icmp({ source: LAN_GATEWAY, destination: LAN_HOST, type: 3, code: 10 }, packet);
        expect(lab.from(LAN_HOST, packet)).toEqual(refused("to the firewall itself", LAN_HOST, error));
      }
    }
  });

  test("from a client by ICMP is dropped in silence", () => {
    const lab = new Lab();
    for (const type of [0, 13, 14]) {
      const packet = icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type }, payload(12));
      expect(lab.from(WORK_HOST, packet)).toEqual(dropped("to the firewall itself"));
    }
  });

  test("from the uplink is dropped in silence", () => {
    const lab = new Lab();
    const ends = { source: REMOTE, destination: OUTSIDE, sourcePort: 1000, destinationPort: 22 };
    for (const packet of [tcp({ ...ends, flags: "S" }), udp(ends, payload(30))]) {
      expect(lab.from(REMOTE, packet)).toEqual(dropped("unsolicited"));
    }
  });
});

describe("what a client sends to the uplink address", () => {
  const PORT = 5000;
  const EMPTY = payload(0);
  /** Another client's mappings, by rules of the one that asks. */
  const labs = (): [string, Lab][] => {
    const settings = (rules: typeof ACCEPT_ALL, refuse: "icmp" | "reset"): Settings => ({
      ...SETTINGS,
      clients: [WORK_SETTINGS, { ...LAN_SETTINGS, ruleset: rules, refuse }],
    });
    return [
      ["accepts", new Lab({ settings: settings(ACCEPT_ALL, "icmp") })],
      ["refuses", new Lab({ settings: settings(compileRuleset([], false), "icmp") })],
      ["resets", new Lab({ settings: settings(compileRuleset([], false), "reset") })],
    ];
  };
  const ends = { source: LAN_HOST, destination: OUTSIDE, sourcePort: 7000, destinationPort: PORT };
  const probes: readonly [string, readonly Uint8Array[]][] = [
    ["a datagram", [udp(ends, payload(20))]],
    ["two", [udp(ends, payload(20)), udp(ends, payload(21))]],
    ["one in fragments", fragmented(udp({ ...ends, fragment: 0 }, payload(2000)), 1480)],
    ["one that has one hop left", [udp({ ...ends, ttl: 1 }, payload(20))]],
    ["one that has two", [udp({ ...ends, ttl: 2 }, payload(20))]],
    ["one larger than the MTU", [udp({ ...ends, fragment: 0x4000 }, payload(1600))]],
    ["one from a name server's port", [udp({ ...ends, sourcePort: 53 }, payload(20))]],
    ["a SYN", [tcp({ ...ends, flags: "S" }, EMPTY)]],
    ["a SYN and another", [tcp({ ...ends, flags: "S" }, EMPTY), tcp({ ...ends, flags: "S", sequence: 9 }, EMPTY)]],
    ["a SYN-ACK", [tcp({ ...ends, flags: "S." }, EMPTY)]],
    ["a segment", [tcp({ ...ends, flags: "." }, payload(9))]],
    ["a RST", [tcp({ ...ends, flags: "R" }, EMPTY)]],
  ];

  test("has the same answer, and leaves the same behind, whether the port is another client's or nobody's", () => {
    for (const [what, packets] of probes) {
      const taken = labs();
      for (const [i, [rules, free]] of labs().entries()) {
        const [, used] = taken[i];
        for (const protocol of [udp, tcp]) {
          const theirs = { source: WORK_HOST, destination: REMOTE, sourcePort: PORT, destinationPort: 9 };
          const packet = protocol === tcp ? tcp({ ...theirs, flags: "S" }, EMPTY) : udp(theirs, payload(1));
          expect(used.from(WORK_HOST, packet).verdict).toBe("forwarded");
        }
        for (const packet of packets)
          expect([what, rules, used.from(LAN_HOST, packet)]).toEqual([what, rules, free.from(LAN_HOST, packet)]);
        expect([what, rules, used.router.flows.size - 2]).toEqual([what, rules, free.router.flows.size]);
      }
    }
  });

  test("is not answered where the rules let it pass, and is refused like any other where they do not", () => {
    const verdicts = labs().map(([, lab]) => lab.from(LAN_HOST, udp(ends, payload(20))));
    const prohibited = icmp({ source: LAN_GATEWAY, destination: LAN_HOST, type: 3, code: 13 }, udp(ends, payload(20)));
    const refusal = refused("refused by rules", LAN_HOST, prohibited);
    expect(verdicts).toEqual([dropped("unsolicited"), refusal, refusal]);
  });
});
