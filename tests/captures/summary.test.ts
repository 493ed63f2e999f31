// What replay says of a frame: addresses, ports and flags, whatever the frame is, and never more than it has.
import { describe, expect, test } from "bun:test";
import {
  ARP_TYPE,
  arp,
  concat,
  ethernet,
  fragmented,
  fromHex,
  IPV4_TYPE,
  icmp,
  ipv4,
  payload,
  tcp,
  udp,
} from "../../lab/frames.ts";
import { type FrameSummary, summarise } from "../../src/captures/summary.ts";
import { summaryText } from "../../src/captures/summary-text.ts";
import { sinceStart, timestamp } from "../../src/replay/moment.ts";
import { patched } from "../support/place.ts";

const [HOST, ROUTER] = ["02:00:00:00:00:0a", "02:00:00:00:01:00"];
const ENDS = { source: "10.137.0.10", destination: "198.51.100.80" };
const PORTS = { ...ENDS, sourcePort: 40000, destinationPort: 80 };
const SEGMENT = { ...PORTS, sequence: 1 };

const ofPacket = (packet: Uint8Array) => ethernet(HOST, ROUTER, IPV4_TYPE, packet);
const summaryOf = (frame: Uint8Array, captured = frame.length): FrameSummary =>
  summarise(Buffer.from(frame), 0, captured);
const error = (type: number, rest: number, about: Uint8Array) =>
  ofPacket(icmp({ source: "192.0.2.1", destination: "192.0.2.254", type: type >> 8, code: type & 255, rest }, about));

describe("a frame is told as", () => {
  const quoted = udp(
    { source: "192.0.2.254", destination: "198.51.100.80", sourcePort: 4000, destinationPort: 53 },
    payload(4),
  );
  const lines: readonly (readonly [string, Uint8Array])[] = [
    ["tcp 10.137.0.10:40000 > 198.51.100.80:80 SYN", ofPacket(tcp({ ...SEGMENT, flags: "S" }))],
    ["tcp 10.137.0.10:40000 > 198.51.100.80:80 FIN PSH ACK", ofPacket(tcp({ ...SEGMENT, flags: "FP." }))],
    ["udp 10.137.0.10:40000 > 198.51.100.80:80", ofPacket(udp(PORTS, payload(4)))],
    [
      "icmp 10.137.0.10 > 198.51.100.80 echo request id 258 seq 772",
      ofPacket(icmp({ ...ENDS, type: 8, rest: 0x01020304 }, payload(4))),
    ],
    [
      "icmp 192.0.2.1 > 192.0.2.254 unreachable (port) about udp 192.0.2.254:4000 > 198.51.100.80:53",
      error(0x303, 0, quoted),
    ],
    [
      "icmp 192.0.2.1 > 192.0.2.254 unreachable (fragmentation needed, MTU 1400) about udp 192.0.2.254:4000 > 198.51.100.80:53",
      error(0x304, 1400, quoted),
    ],
    [
      "icmp 192.0.2.1 > 192.0.2.254 time exceeded about udp 192.0.2.254:4000 > 198.51.100.80:53",
      error(0xb00, 0, quoted),
    ],
    ["icmp 192.0.2.1 > 192.0.2.254 type 200 (code 7)", error(0xc807, 0, quoted)],
    ["protocol 47 10.137.0.10 > 198.51.100.80", ofPacket(ipv4(ENDS, 47, payload(8)))],
    [
      "arp who has 192.0.2.1, tell 192.0.2.254",
      ethernet(
        HOST,
        ROUTER,
        ARP_TYPE,
        arp({ operation: "request", senderMac: HOST, senderIp: "192.0.2.254", targetIp: "192.0.2.1" }),
      ),
    ],
    [
      "arp 192.0.2.254 is at 02:00:00:00:00:0a",
      ethernet(
        HOST,
        ROUTER,
        ARP_TYPE,
        arp({ operation: "reply", senderMac: HOST, senderIp: "192.0.2.254", targetIp: "192.0.2.1" }),
      ),
    ],
    ["02:00:00:00:00:0a > 02:00:00:00:01:00 type 0x86dd (IPv6)", ethernet(HOST, ROUTER, 0x86dd, payload(40))],
    ["02:00:00:00:00:0a > 02:00:00:00:01:00 type 0x88cc", ethernet(HOST, ROUTER, 0x88cc, payload(40))],
    [
      "vlan 5 udp 10.137.0.10:40000 > 198.51.100.80:80",
      ethernet(HOST, ROUTER, 0x8100, concat(fromHex("6005 0800"), udp(PORTS, payload(4)))),
    ],
    ["", payload(13)],
  ];
  test.each(lines)("%s", (text, frame) => {
    expect(summaryText(summaryOf(frame))).toBe(text);
  });

  test("fragments, of which only the first has ports", () => {
    const parts = fragmented(udp(PORTS, payload(100)), 48);
    expect(parts.map((part) => summaryText(summaryOf(ofPacket(part))))).toEqual([
      "udp 10.137.0.10:40000 > 198.51.100.80:80 first fragment",
      "udp 10.137.0.10 > 198.51.100.80 fragment at 48",
      "udp 10.137.0.10 > 198.51.100.80 fragment at 96",
    ]);
    const { packet } = summaryOf(ofPacket(parts[1]));
    expect(packet).toMatchObject({ fragment: { offset: 48, more: true }, length: 68 });
  });
});

describe("what is not there is left out", () => {
  const frame = ofPacket(tcp({ ...SEGMENT, flags: "S" }));

  test("however much of a frame was captured", () => {
    const told = new Set(Array.from(frame, (_, captured) => summaryText(summaryOf(frame, captured))));
    expect([...told]).toEqual([
      "",
      "02:00:00:00:00:0a > 02:00:00:00:01:00 type 0x0800",
      "tcp 10.137.0.10 > 198.51.100.80",
      "tcp 10.137.0.10:40000 > 198.51.100.80:80",
      "tcp 10.137.0.10:40000 > 198.51.100.80:80 SYN",
    ]);
  });

  test("where lengths lie, and behind an impossible header", () => {
    expect(summaryText(summaryOf(patched(frame, 14, 0x44)))).toBe("tcp 10.137.0.10 > 198.51.100.80");
    expect(summaryText(summaryOf(patched(frame, 14, 0x4f)))).toBe("tcp 10.137.0.10 > 198.51.100.80");
    expect(summaryText(summaryOf(patched(frame, 16, 0, 22)))).toBe("tcp 10.137.0.10 > 198.51.100.80");
  });

  test("and nothing in a frame makes it fail or tells of more than printable ASCII", () => {
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return state >>> 16;
    };
    for (let i = 0; i < 20_000; i++) {
      const mutant = Uint8Array.from(frame);
      for (let n = 0; n < 4; n++) mutant[random() % mutant.length] = random();
      const summary = summaryOf(mutant, random() % (mutant.length + 1));
      expect(summaryText(summary)).toMatch(/^[ -~]*$/);
      expect(JSON.stringify(summary)).toMatch(/^[ -~]+$/);
    }
  });
});

test("a moment has the time since the start and of the day, at any time that a file can tell", () => {
  const at = (seconds: number, nanoseconds = 1) => ({ seconds, nanoseconds, startSeconds: 0, startNanoseconds: 2000 });
  expect(sinceStart(at(5), "ns")).toBe("4.999998001");
  expect([timestamp(at(0), "us"), timestamp(at(0), "ns")]).toEqual([
    "1970-01-01T00:00:00.000000Z",
    "1970-01-01T00:00:00.000000001Z",
  ]);
  expect(timestamp(at(1_700_000_000, 999_999_999), "us")).toBe("2023-11-14T22:13:20.999999Z");
  expect(timestamp(at(8_639_999_999_999, 0), "us")).toBe("+275760-09-12T23:59:59.000000Z");
  expect(timestamp(at(2 ** 60, 0), "us")).toBe("@1152921504606847000.000000");
  expect(timestamp(at(-(2 ** 60), 0), "us")).toBe("@-1152921504606847000.000000");
});
