// Source NAT and forwarded ports, whole frames on both sides: addresses, ports, checksums, mappings.
import { describe, expect, test } from "bun:test";
import { concat, fromHex, icmp, ipv4, payload, tcp, toHex, type UdpFields, udp } from "../../../lab/frames.ts";
import {
  dropped,
  forwarded,
  frameFrom,
  frameTo,
  LAN_HOST,
  Lab,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  shown,
  UPLINK,
  WORK,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import { patched } from "../../support/place.ts";

const QUERY: UdpFields = { source: WORK_HOST, destination: REMOTE, sourcePort: 40000, destinationPort: 53 };
const QUERY_OUTSIDE: UdpFields = { ...QUERY, source: OUTSIDE, ttl: 63 };
const ANSWER: UdpFields = { source: REMOTE, destination: OUTSIDE, sourcePort: 53, destinationPort: 40000, ttl: 50 };
const ANSWER_INSIDE: UdpFields = { ...ANSWER, destination: WORK_HOST, ttl: 49 };

/** The external port of the packet last sent. */
function sourcePortOf(lab: Lab): number {
  const { bytes } = lab.last[0];
  return bytes[34] * 256 + bytes[35];
}

describe("source NAT", () => {
  test("of UDP changes source, TTL, checksums and MAC addresses, and nothing else, both ways", () => {
    const lab = new Lab();
    expect(lab.from(WORK_HOST, udp(QUERY, payload(33)))).toEqual(forwarded(REMOTE, udp(QUERY_OUTSIDE, payload(33))));
    expect(lab.from(REMOTE, udp(ANSWER, payload(90)))).toEqual(forwarded(WORK_HOST, udp(ANSWER_INSIDE, payload(90))));
  });

  test("of TCP keeps flags, options, windows and the urgent pointer", () => {
    const lab = new Lab();
    const ends = { source: WORK_HOST, destination: REMOTE, sourcePort: 40000, destinationPort: 443 };
    const syn = {
      ...ends,
      flags: "SEW",
      sequence: 0xfffffff0,
      window: 64240,
      tcpOptions: fromHex("020405b4 01030307"),
    };
    expect(lab.from(WORK_HOST, tcp(syn))).toEqual(forwarded(REMOTE, tcp({ ...syn, source: OUTSIDE, ttl: 63 })));

    const back = { source: REMOTE, destination: OUTSIDE, sourcePort: 443, destinationPort: 40000, ttl: 61 };
    const synAck = { ...back, flags: "S.E", sequence: 77, acknowledgment: 0xfffffff1, tcpOptions: fromHex("01030308") };
    expect(lab.from(REMOTE, tcp(synAck))).toEqual(
      forwarded(WORK_HOST, tcp({ ...synAck, destination: WORK_HOST, ttl: 60 })),
    );

    const data = { ...ends, flags: "P.U", sequence: 0xfffffff1, acknowledgment: 78, window: 502 };
    const urgent = (packet: Uint8Array) => {
      const sum = packet[36] * 256 + packet[37] - 5;
      return patched(packet, 36, sum >>> 8, sum & 255, 0, 5);
    };
    expect(lab.from(WORK_HOST, urgent(tcp(data, payload(100))))).toEqual(
      forwarded(REMOTE, urgent(tcp({ ...data, source: OUTSIDE, ttl: 63 }, payload(100)))),
    );
  });

  test("of echo and timestamp works by their identifier", () => {
    for (const [request, reply, length] of [
      [8, 0, 56],
      [13, 14, 12],
    ]) {
      const lab = new Lab();
      const ask = { source: WORK_HOST, destination: REMOTE, type: request, rest: 0xbeef0001 };
      expect(lab.from(WORK_HOST, icmp(ask, payload(length)))).toEqual(
        forwarded(REMOTE, icmp({ ...ask, source: OUTSIDE, ttl: 63 }, payload(length))),
      );
      const answer = { source: REMOTE, destination: OUTSIDE, type: reply, rest: 0xbeef0001 };
      expect(lab.from(REMOTE, icmp(answer, payload(length)))).toEqual(
        forwarded(WORK_HOST, icmp({ ...answer, destination: WORK_HOST, ttl: 63 }, payload(length))),
      );
    }
  });

  test("gives an identifier that is taken another one, and translates it back", () => {
    const lab = new Lab();
    const ask = { source: WORK_HOST, destination: REMOTE, type: 8, rest: 0x12340001 };
    lab.from(WORK_HOST, icmp(ask, payload(8)));
    lab.from(LAN_HOST, icmp({ ...ask, source: LAN_HOST }, payload(8)));
    const { bytes } = lab.last[0];
    const identifier = bytes[38] * 256 + bytes[39];
    expect(identifier).not.toBe(0x1234);
    const rest = identifier * 65536 + 1;
    expect([shown(UPLINK, bytes)]).toEqual([
      shown(UPLINK, frameTo(REMOTE, icmp({ ...ask, source: OUTSIDE, rest, ttl: 63 }, payload(8)))),
    ]);
    const answer = { source: REMOTE, destination: OUTSIDE, type: 0, rest };
    expect(lab.from(REMOTE, icmp(answer, payload(8)))).toEqual(
      forwarded(LAN_HOST, icmp({ ...answer, destination: LAN_HOST, rest: 0x12340001, ttl: 63 }, payload(8))),
    );
  });

  test("keeps DSCP, ECN, identification, DF and IP options", () => {
    for (const fragment of [0, 0x4000, 0x8000]) {
      const lab = new Lab();
      const kept = { tos: 0xbb, identification: 0xabcd, fragment, options: fromHex("94040000 07070400000000 00") };
      expect(lab.from(WORK_HOST, udp({ ...QUERY, ...kept }, payload(5)))).toEqual(
        forwarded(REMOTE, udp({ ...QUERY_OUTSIDE, ...kept }, payload(5))),
      );
      expect(lab.from(REMOTE, udp({ ...ANSWER, ...kept }, payload(6)))).toEqual(
        forwarded(WORK_HOST, udp({ ...ANSWER_INSIDE, ...kept }, payload(6))),
      );
    }
  });

  test("trims what is behind the packet", () => {
    const lab = new Lab();
    const padded = concat(frameFrom(WORK_HOST, udp(QUERY, payload(3))), payload(15));
    expect(lab.receive(WORK, padded)).toEqual(forwarded(REMOTE, udp(QUERY_OUTSIDE, payload(3))));
  });

  test("reaches hosts of the uplink's own network without the gateway", () => {
    const lab = new Lab();
    const packet = { ...QUERY, destination: NEIGHBOUR };
    const outside = { ...QUERY_OUTSIDE, destination: NEIGHBOUR };
    expect(lab.from(WORK_HOST, udp(packet, payload(3)))).toEqual({
      verdict: "queued for ARP",
      sent: [shown(UPLINK, frameTo(NEIGHBOUR, udp(outside, payload(3))))],
    });
    expect(lab.from(WORK_HOST, udp(packet, payload(4)))).toEqual(forwarded(NEIGHBOUR, udp(outside, payload(4))));
  });

  test("passes payloads of every length up to the MTU", () => {
    const lab = new Lab();
    for (let length = 0; length <= 1472; length += length < 64 || length > 1460 ? 1 : 37) {
      expect(lab.from(WORK_HOST, udp(QUERY, payload(length)))).toEqual(
        forwarded(REMOTE, udp(QUERY_OUTSIDE, payload(length))),
      );
    }
  });
});

describe("checksums", () => {
  test("of UDP that are absent stay absent", () => {
    const lab = new Lab();
    const without = (packet: Uint8Array) => patched(packet, 26, 0, 0);
    expect(lab.from(WORK_HOST, without(udp(QUERY, payload(9))))).toEqual(
      forwarded(REMOTE, without(udp(QUERY_OUTSIDE, payload(9)))),
    );
    expect(lab.from(REMOTE, without(udp(ANSWER, payload(9))))).toEqual(
      forwarded(WORK_HOST, without(udp(ANSWER_INSIDE, payload(9)))),
    );
  });

  test("of UDP that come out as zero are sent as all ones", () => {
    const lab = new Lab();
    lab.from(WORK_HOST, udp(QUERY, payload(2)));
    // Two bytes of payload bring the sum of the translated datagram to any value wanted.
    const bare = udp(QUERY_OUTSIDE, Uint8Array.of(0, 0)).subarray(26, 28);
    const packet = udp(QUERY, bare);
    const outside = udp(QUERY_OUTSIDE, bare);
    expect(toHex(outside.subarray(26, 28))).toBe("ff ff");
    expect(lab.from(WORK_HOST, packet)).toEqual(forwarded(REMOTE, outside));
  });

  test("are right whatever their value, in both directions", () => {
    const lab = new Lab();
    for (let value = 0; value < 0x10000; value += 251) {
      const data = Uint8Array.of(value >>> 8, value & 255);
      expect(lab.from(WORK_HOST, udp(QUERY, data))).toEqual(forwarded(REMOTE, udp(QUERY_OUTSIDE, data)));
      expect(lab.from(REMOTE, udp(ANSWER, data))).toEqual(forwarded(WORK_HOST, udp(ANSWER_INSIDE, data)));
    }
  });

  test("that were wrong stay wrong: the end that they protect must find it out", () => {
    const lab = new Lab();
    lab.verifiesChecksums = false;
    const damaged = (packet: Uint8Array) => patched(packet, 28, packet[28] ^ 0x40);
    expect(lab.from(WORK_HOST, damaged(udp(QUERY, payload(9))))).toEqual(
      forwarded(REMOTE, damaged(udp(QUERY_OUTSIDE, payload(9)))),
    );
  });

  test("of the IPv4 header are right for every identification", () => {
    const lab = new Lab();
    for (let identification = 0; identification < 0x10000; identification += 127) {
      expect(lab.from(WORK_HOST, udp({ ...QUERY, identification }, payload(1)))).toEqual(
        forwarded(REMOTE, udp({ ...QUERY_OUTSIDE, identification }, payload(1))),
      );
    }
  });
});

describe("a mapping", () => {
  test("is the same for all remotes (RFC 4787 REQ-1)", () => {
    const lab = new Lab();
    lab.from(LAN_HOST, udp({ ...QUERY, source: LAN_HOST }, payload(1)));
    lab.from(WORK_HOST, udp(QUERY, payload(1)));
    const external = sourcePortOf(lab);
    expect(external).not.toBe(40000);
    for (const [destination, destinationPort] of [[REMOTE, 54] as const, [REMOTE_2, 53] as const]) {
      const packet = { ...QUERY, destination, destinationPort };
      expect(lab.from(WORK_HOST, udp(packet, payload(2)))).toEqual(
        forwarded(REMOTE, udp({ ...packet, source: OUTSIDE, sourcePort: external, ttl: 63 }, payload(2))),
      );
    }
  });

  test("keeps a port that is free, also below 1024", () => {
    for (const sourcePort of [1, 123, 1023, 1024, 65535]) {
      const lab = new Lab();
      expect(lab.from(WORK_HOST, udp({ ...QUERY, sourcePort }, payload(1)))).toEqual(
        forwarded(REMOTE, udp({ ...QUERY_OUTSIDE, sourcePort }, payload(1))),
      );
    }
  });

  test("of a port that is taken has another port of the same parity and range (RFC 4787 REQ-3a, REQ-4)", () => {
    const ports = new Set<number>();
    for (const sourcePort of [500, 501, 40000, 40001]) {
      for (let seed = 1; seed <= 10; seed++) {
        const lab = new Lab({ seed });
        lab.from(LAN_HOST, udp({ ...QUERY, source: LAN_HOST, sourcePort }, payload(1)));
        const outcome = lab.from(WORK_HOST, udp({ ...QUERY, sourcePort }, payload(1)));
        const external = sourcePortOf(lab);
        expect(external % 2).toBe(sourcePort % 2);
        expect(external < 1024).toBe(sourcePort < 1024);
        expect(outcome).toEqual(forwarded(REMOTE, udp({ ...QUERY_OUTSIDE, sourcePort: external }, payload(1))));
        const back = { ...ANSWER, destinationPort: external };
        expect(lab.from(REMOTE, udp(back, payload(1)))).toEqual(
          forwarded(WORK_HOST, udp({ ...ANSWER_INSIDE, destinationPort: sourcePort }, payload(1))),
        );
        ports.add(external);
      }
    }
    expect(ports.size).toBeGreaterThan(15);
  });

  test("of TCP does not keep a port from UDP", () => {
    const lab = new Lab();
    const syn = { ...QUERY, source: LAN_HOST, flags: "S" };
    lab.from(LAN_HOST, tcp(syn));
    expect(lab.from(WORK_HOST, udp(QUERY, payload(1)))).toEqual(forwarded(REMOTE, udp(QUERY_OUTSIDE, payload(1))));
  });

  test("ends with its last flow, and leaves its port to others", () => {
    const lab = new Lab();
    lab.from(LAN_HOST, udp({ ...QUERY, source: LAN_HOST }, payload(1)));
    lab.wait(20_000);
    lab.from(LAN_HOST, udp({ ...QUERY, source: LAN_HOST, destination: REMOTE_2 }, payload(1)));
    lab.wait(15_000);
    expect(lab.router.flows.size).toBe(1);
    lab.from(WORK_HOST, udp({ ...QUERY, destinationPort: 99 }, payload(1)));
    expect(sourcePortOf(lab)).not.toBe(40000);
    lab.wait(32_000);
    expect(lab.router.flows.size).toBe(0);
    lab.wait(122_000); // it lingers
    expect(lab.from(WORK_HOST, udp(QUERY, payload(1)))).toEqual(forwarded(REMOTE, udp(QUERY_OUTSIDE, payload(1))));
  });
});

describe("a packet from the uplink", () => {
  test("passes only from the address and port that the client sent to", () => {
    const lab = new Lab();
    lab.from(WORK_HOST, udp(QUERY, payload(1)));
    const others = [
      { ...ANSWER, source: REMOTE_2 },
      { ...ANSWER, sourcePort: 54 },
      { ...ANSWER, destinationPort: 40001 },
      { ...ANSWER, destination: "192.0.2.253" },
    ];
    for (const other of others) {
      expect(lab.from(REMOTE, udp(other, payload(1)))).toEqual(dropped("unsolicited"));
    }
    expect(lab.from(REMOTE, tcp({ ...ANSWER, flags: "S." })).sent).toEqual([]);
    expect(lab.from(REMOTE, udp(ANSWER, payload(1)))).toEqual(forwarded(WORK_HOST, udp(ANSWER_INSIDE, payload(1))));
  });

  test("of no flow is dropped in silence, whatever it is", () => {
    const lab = new Lab();
    const ends = { source: REMOTE, destination: OUTSIDE };
    const ports = { sourcePort: 1, destinationPort: 22 };
    for (const packet of [
      udp({ ...ends, ...ports }, payload(1)),
      tcp({ ...ends, ...ports, flags: "S" }),
      tcp({ ...ends, ...ports, flags: "." }),
      icmp({ ...ends, type: 0, rest: 1 }, payload(1)),
      icmp({ ...ends, type: 13, rest: 1 }, payload(12)),
      udp({ ...ends, ...ports, destination: WORK_HOST }, payload(1)),
      udp({ ...ends, ...ports, destination: "192.168.1.20" }, payload(1)),
      udp({ ...ends, ...ports, destination: REMOTE_2 }, payload(1)),
      icmp({ ...ends, destination: WORK_HOST, type: 8 }, payload(1)),
    ]) {
      expect(lab.from(REMOTE, packet)).toEqual(dropped("unsolicited"));
    }
  });

  test("that asks does not pass as an answer, whatever its identifier", () => {
    for (const [asked, asks] of [
      [8, 8],
      [13, 13],
      [13, 8],
      [8, 13],
    ]) {
      const lab = new Lab();
      // The asker's identifier is the type of the other side's question: both would look alike as ports.
      lab.from(WORK_HOST, icmp({ source: WORK_HOST, destination: REMOTE, type: asked, rest: asks << 16 }, payload(12)));
      const question = { source: REMOTE, destination: OUTSIDE, type: asks, rest: asked << 16 };
      const outcome = lab.from(REMOTE, icmp(question, payload(12)));
      expect(outcome).toEqual(
        asks === 8
          ? {
              verdict: "answered",
              sent: [
                shown(
                  UPLINK,
                  frameTo(REMOTE, icmp({ ...question, source: OUTSIDE, destination: REMOTE, type: 0 }, payload(12))),
                ),
              ],
            }
          : dropped("unsolicited"),
      );
    }
  });
});

test("an answer that a client makes up does not pass as its question", () => {
  const lab = new Lab();
  lab.from(WORK_HOST, icmp({ source: WORK_HOST, destination: REMOTE, type: 8, rest: 8 << 16 }, payload(8)));
  const reply = icmp({ source: WORK_HOST, destination: REMOTE, type: 0, rest: 8 << 16 }, payload(8));
  expect(lab.from(WORK_HOST, reply)).toEqual(dropped("unsolicited"));
});

test("a UDP length shorter than the packet leaves the rest alone", () => {
  const lab = new Lab();
  const short = (fields: UdpFields) => {
    const { source, destination, ttl } = fields;
    const datagram = udp(fields, payload(4)).subarray(20);
    return ipv4({ source, destination, ...(ttl && { ttl }) }, 17, concat(datagram, payload(10)));
  };
  lab.verifiesChecksums = false; // the test support adds up all there is
  expect(lab.from(WORK_HOST, short(QUERY))).toEqual(forwarded(REMOTE, short(QUERY_OUTSIDE)));
});
