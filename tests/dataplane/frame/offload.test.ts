// Frames whose checksum or cutting is left to the interface: what a NIC makes of them comes out right, and lies are dropped.
import { describe, expect, test } from "bun:test";
import { fromHex, icmp, payload, type TcpFields, tcp, toHex, udp } from "../../../lab/frames.ts";
import { completeChecksum, GSO, leaveChecksum, NEEDS_CSUM, type VnetFields, vnet } from "../../../lab/offload.ts";
import { Random } from "../../../lab/random.ts";
import {
  arpReply,
  frameFrom,
  frameTo,
  GATEWAY,
  interfaceOf,
  Lab,
  NEIGHBOUR,
  OUTSIDE,
  REMOTE,
  UPLINK,
  WORK,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../../lab/router-lab.ts";

const OUT = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 5000 };
const OUTSIDE_OUT = { ...OUT, source: OUTSIDE, ttl: 63 };
const BACK = { source: REMOTE, destination: OUTSIDE, sourcePort: 5000, destinationPort: 4000 };
const BACK_INSIDE = { ...BACK, destination: WORK_HOST, ttl: 63 };

/** Sends a frame whose checksum is left to do; what comes out must be the other, when a NIC has done its work. */
function expectOffloaded(
  lab: Lab,
  host: string,
  to: string,
  packet: Uint8Array,
  after: Uint8Array,
  fields: VnetFields,
) {
  const left = leaveChecksum(frameFrom(host, packet), fields);
  const { verdict } = lab.receive(interfaceOf(host), left.frame, left.vnet);
  expect(verdict).toBe("forwarded");
  const [sent] = lab.last;
  expect(sent.iface).toBe(interfaceOf(to));
  expect(toHex(sent.vnet)).toBe(toHex(left.vnet));
  expect(toHex(completeChecksum({ frame: sent.bytes, vnet: sent.vnet }))).toBe(toHex(frameTo(to, after)));
}

/** A lab with a connection between the ports of OUT. */
function connectedLab(): Lab {
  const lab = new Lab();
  const options = { window: 65535, tcpOptions: fromHex("01030307") };
  lab.from(WORK_HOST, tcp({ ...OUT, ...options, flags: "S", sequence: 1000 }));
  lab.from(REMOTE, tcp({ ...BACK, ...options, flags: "S.", sequence: 9000, acknowledgment: 1001 }));
  lab.from(WORK_HOST, tcp({ ...OUT, flags: ".", sequence: 1001, acknowledgment: 9001, window: 65535 }));
  return lab;
}

const DATA: Omit<TcpFields, "source" | "destination" | "sourcePort" | "destinationPort"> = {
  flags: "P.",
  sequence: 1001,
  acknowledgment: 9001,
  window: 65535,
};
const DATA_BACK = { ...DATA, sequence: 9001, acknowledgment: 1001 };

describe("a checksum left to the NIC comes out right", () => {
  test("for UDP, both ways", () => {
    const lab = new Lab();
    for (const length of [0, 1, 2, 1000, 1472]) {
      expectOffloaded(lab, WORK_HOST, REMOTE, udp(OUT, payload(length)), udp(OUTSIDE_OUT, payload(length)), {});
      expectOffloaded(lab, REMOTE, WORK_HOST, udp(BACK, payload(length)), udp(BACK_INSIDE, payload(length)), {});
    }
  });

  test("for TCP, both ways, with the ports changed too", () => {
    const lab = connectedLab();
    const data = payload(1400);
    expectOffloaded(lab, WORK_HOST, REMOTE, tcp({ ...OUT, ...DATA }, data), tcp({ ...OUTSIDE_OUT, ...DATA }, data), {});
    expectOffloaded(
      lab,
      REMOTE,
      WORK_HOST,
      tcp({ ...BACK, ...DATA_BACK }, data),
      tcp({ ...BACK_INSIDE, ...DATA_BACK }, data),
      {},
    );
  });

  test("for random addresses, ports and payloads", () => {
    const random = new Random(77);
    for (let i = 0; i < 300; i++) {
      const lab = new Lab();
      const destination = `198.51.${random.below(256)}.${random.below(256)}`;
      // Not one of the resolver's ports, which are not kept.
      const sourcePort = random.chance(0.5) ? 1 + random.below(16_383) : 24_576 + random.below(40_960);
      const ports = { sourcePort, destinationPort: random.below(65536) };
      const data = Uint8Array.from({ length: random.below(20) }, () => random.below(256));
      const packet = { source: WORK_HOST, destination, ...ports, ttl: 2 + random.below(254) };
      const after = { ...packet, source: OUTSIDE, ttl: packet.ttl - 1 };
      expectOffloaded(lab, WORK_HOST, destination, udp(packet, data), udp(after, data), {});
      const back = { source: destination, destination: OUTSIDE, sourcePort: ports.destinationPort };
      const answer = { ...back, destinationPort: ports.sourcePort };
      const inside = { ...answer, destination: WORK_HOST, ttl: 63 };
      expectOffloaded(lab, destination, WORK_HOST, udp(answer, data), udp(inside, data), {});
    }
  });

  test("for a packet that waits for ARP", () => {
    const lab = new Lab({ answering: [GATEWAY, WORK_HOST] });
    const ends = { source: WORK_HOST, destination: NEIGHBOUR, sourcePort: 4000, destinationPort: 5000 };
    const left = leaveChecksum(frameFrom(WORK_HOST, udp(ends, payload(20))));
    expect(lab.receive(WORK, left.frame, left.vnet).verdict).toBe("queued for ARP");
    lab.receive(UPLINK, arpReply(NEIGHBOUR, lab.last[0].bytes));
    const whole = lab.last.map(({ bytes, vnet }) => toHex(completeChecksum({ frame: bytes, vnet })));
    const outside = { ...ends, source: OUTSIDE, ttl: 63 };
    expect(whole).toEqual([toHex(frameTo(NEIGHBOUR, udp(outside, payload(20))))]);
  });
});

describe("segments that the NIC is to cut", () => {
  test("of 64 KiB of TCP pass with their header unharmed, both ways", () => {
    const lab = connectedLab();
    const fields = { gsoType: GSO.TCPV4, gsoSize: 1448, headerLength: 66 };
    const timestamps = { tcpOptions: fromHex("0101080a 00112233 44556677") };
    const data = payload(65535 - 20 - 32);
    const out = { ...DATA, ...timestamps };
    expectOffloaded(
      lab,
      WORK_HOST,
      REMOTE,
      tcp({ ...OUT, ...out }, data),
      tcp({ ...OUTSIDE_OUT, ...out }, data),
      fields,
    );
    const back = { ...DATA_BACK, ...timestamps, acknowledgment: 1001 + data.length };
    expectOffloaded(
      lab,
      REMOTE,
      WORK_HOST,
      tcp({ ...BACK, ...back }, data),
      tcp({ ...BACK_INSIDE, ...back }, data),
      fields,
    );
  });

  test("of UDP pass", () => {
    const lab = new Lab();
    const fields = { gsoType: GSO.UDP_L4, gsoSize: 1400, headerLength: 42 };
    expectOffloaded(lab, WORK_HOST, REMOTE, udp(OUT, payload(20_000)), udp(OUTSIDE_OUT, payload(20_000)), fields);
  });

  test("are 640 of a frame at most, of TCP on either path and of UDP in any form; and none is of less than 8 bytes", () => {
    const forms = [
      { packet: tcp, gsoType: GSO.TCPV4, headers: 40 },
      { packet: tcp, gsoType: GSO.TCPV4, headers: 44, options: fromHex("01010100") },
      { packet: udp, gsoType: GSO.UDP, headers: 28 },
      { packet: udp, gsoType: GSO.UDP_L4, headers: 28 },
    ];
    const sizes: [total: number, gsoSize: number, verdict: string][] = [
      [65535, 496, "forwarded"],
      [65535, 103, "forwarded"],
      [65535, 102, "dropped: to be cut into too many segments"],
      [60_000, 1, "dropped: to be cut into too many segments"],
      [6400, 10, "forwarded"],
      [6401, 10, "dropped: to be cut into too many segments"],
      [5120, 8, "forwarded"],
      [100, 7, "dropped: to be cut into too many segments"],
    ];
    for (const { packet, gsoType, headers, options } of forms) {
      for (const [total, gsoSize, verdict] of sizes) {
        const lab = connectedLab();
        if (packet === udp) lab.from(WORK_HOST, udp(OUT, payload(1)));
        const fields = { ...OUT, ...DATA, ...(options && { options }) };
        const left = leaveChecksum(frameFrom(WORK_HOST, packet(fields, payload(total - headers))), {
          gsoType,
          gsoSize,
        });
        expect([headers, total, gsoSize, lab.receive(WORK, left.frame, left.vnet).verdict]).toEqual([
          headers,
          total,
          gsoSize,
          verdict,
        ]);
      }
    }
  });

  test("keep the mark of congestion experienced", () => {
    const lab = connectedLab();
    const fields = { gsoType: GSO.TCPV4 | 0x80, gsoSize: 1460, headerLength: 54 };
    const data = payload(5000);
    const marked = { ...DATA, flags: "P.W" };
    expectOffloaded(
      lab,
      WORK_HOST,
      REMOTE,
      tcp({ ...OUT, ...marked, tos: 3 }, data),
      tcp({ ...OUTSIDE_OUT, ...marked, tos: 3 }, data),
      fields,
    );
  });
});

describe("an offload header that lies is not passed on", () => {
  // The kernel would write the checksum where the header says: into the address or the port that we have just judged.
  const packet = udp(OUT, payload(64));
  const lies: readonly (readonly [string, VnetFields])[] = [
    ["checksum into the destination address", { flags: NEEDS_CSUM, checksumStart: 14, checksumOffset: 16 }],
    ["checksum into the destination port", { flags: NEEDS_CSUM, checksumStart: 34, checksumOffset: 2 }],
    ["checksum from the payload on", { flags: NEEDS_CSUM, checksumStart: 42, checksumOffset: 6 }],
    ["checksum where TCP has it", { flags: NEEDS_CSUM, checksumStart: 34, checksumOffset: 16 }],
    ["checksum behind the frame", { flags: NEEDS_CSUM, checksumStart: 34, checksumOffset: 2000 }],
    ["checksum before the packet", { flags: NEEDS_CSUM, checksumStart: 0, checksumOffset: 6 }],
  ];
  for (const [name, fields] of lies) {
    test(name, () => {
      const lab = new Lab();
      lab.verifiesChecksums = false;
      const first = lab.receive(WORK, frameFrom(WORK_HOST, packet), vnet(fields));
      expect([first.sent, first.verdict.startsWith("dropped")]).toEqual([[], true]);
      lab.from(WORK_HOST, packet);
      const inFlow = lab.receive(WORK, frameFrom(WORK_HOST, packet), vnet(fields));
      expect([inFlow.sent, inFlow.verdict.startsWith("dropped")]).toEqual([[], true]);
      lab.receive(UPLINK, frameFrom(REMOTE, udp(BACK, payload(64))), vnet(fields));
      expect(lab.last).toEqual([]);
    });
  }

  test("checksum of an ICMP message, which no sender leaves to its NIC", () => {
    const lab = new Lab();
    lab.verifiesChecksums = false;
    const ping = icmp({ source: WORK_HOST, destination: REMOTE, type: 8 }, payload(64));
    const lie = vnet({ flags: NEEDS_CSUM, checksumStart: 14, checksumOffset: 16 });
    expect(lab.receive(WORK, frameFrom(WORK_HOST, ping), lie).sent).toEqual([]);
  });

  test("checksum of a ping to us: no answer leaves with it", () => {
    const lab = new Lab();
    lab.verifiesChecksums = false;
    const ping = icmp({ source: WORK_HOST, destination: WORK_GATEWAY, type: 8 }, payload(64));
    lab.receive(WORK, frameFrom(WORK_HOST, ping), vnet({ flags: NEEDS_CSUM, checksumStart: 34, checksumOffset: 30 }));
    expect(lab.last.filter(({ vnet }) => vnet.some((byte) => byte !== 0))).toEqual([]);
  });

  test("TCP segments of a UDP datagram", () => {
    const lab = new Lab();
    const left = leaveChecksum(frameFrom(WORK_HOST, packet), { gsoType: GSO.TCPV4, gsoSize: 10, headerLength: 54 });
    expect(lab.receive(WORK, left.frame, left.vnet).sent).toEqual([]);
  });

  test("segments of no length", () => {
    const lab = new Lab();
    const big = udp(OUT, payload(3000));
    const left = leaveChecksum(frameFrom(WORK_HOST, big), { gsoType: GSO.UDP_L4, gsoSize: 0, headerLength: 42 });
    expect(lab.receive(WORK, left.frame, left.vnet).verdict).not.toBe("forwarded");
  });
});
