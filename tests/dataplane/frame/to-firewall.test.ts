// Packets to the firewall's own addresses: echo requests are answered, all else is dropped.
import { describe, expect, test } from "bun:test";
import { concat, fragmented, fromHex, icmp, ipv4, payload, tcp, udp } from "../../../lab/frames.ts";
import {
  answered,
  dropped,
  frameFrom,
  LAN_GATEWAY,
  LAN_HOST,
  Lab,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  refused,
  shownTo,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
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
  test("from a client is refused with host prohibited, at each of its addresses", () => {
    for (const destination of OWN) {
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
