// What counts as the same packet when a real router is held against ours, and what doesn't.
import { expect, test } from "bun:test";
import { ethernet, IPV4_TYPE, icmp, payload, tcp, udp } from "../../lab/frames.ts";
import {
  DESTINATION,
  fragmented6,
  IPV6_TYPE,
  icmpv6,
  ip6,
  options,
  tcp6,
  type Udp6Fields,
  udp6,
} from "../../lab/frames6.ts";
import { SETTINGS } from "../../lab/router-lab.ts";
import { OUTSIDE_6, REMOTE_6, SETTINGS_6, WORK_HOST_6 } from "../../lab/router-lab6.ts";
import { Comparison } from "../../src/replay/comparison.ts";

const UPLINK = SETTINGS.uplink.iface;
const INSIDE = SETTINGS.clients[0].iface;
const OUR_ADDRESS = "192.0.2.254";
const ENDS = { source: OUR_ADDRESS, destination: "198.51.100.80" };
const PORTS = { ...ENDS, sourcePort: 5000, destinationPort: 443 };

function frame(packet: Uint8Array, source = "02:00:00:00:00:01"): Buffer {
  return Buffer.from(ethernet(source, "02:00:00:00:00:02", IPV4_TYPE, packet));
}

function frame6(packet: Uint8Array, source = "02:00:00:00:00:01"): Buffer {
  return Buffer.from(ethernet(source, "02:00:00:00:00:02", IPV6_TYPE, packet));
}

/** @returns how two packets compare, of which ours comes first */
function compared(ours: Buffer, theirs: Buffer, iface = UPLINK): string {
  const comparison = new Comparison(SETTINGS_6);
  comparison.ours(iface, 1, 0, ours, 0, ours.length);
  comparison.theirs(iface, 1, 5, theirs, 0, theirs.length, 7);
  comparison.end();
  return comparison.lines()[0];
}

const SAME = "compared: 1 packets the same, 0 only by the router, 0 only by us";
const DIFFERENT = "compared: 0 packets the same, 1 only by the router, 1 only by us";

test("the settings have the uplink address that the packets come from", () => {
  expect(SETTINGS.uplink.address).toBe(0xc00002fe);
});

test("MAC addresses, identification, checksums, and our port or identifier on the uplink may differ", () => {
  expect(compared(frame(udp(PORTS, payload(30))), frame(udp(PORTS, payload(30)), "02:00:00:00:00:09"))).toBe(SAME);
  const numbered = frame(tcp({ ...PORTS, identification: 77, flags: "S" }));
  expect(compared(frame(tcp({ ...PORTS, flags: "S" })), numbered)).toBe(SAME);
  for (const make of [udp, (fields: typeof PORTS, content: Uint8Array) => tcp({ ...fields, flags: "." }, content)]) {
    expect(compared(frame(make(PORTS, payload(9))), frame(make({ ...PORTS, sourcePort: 6000 }, payload(9))))).toBe(
      SAME,
    );
  }
  const echo = (rest: number) => frame(icmp({ ...ENDS, type: 8, rest }, payload(20)));
  expect(compared(echo(0x12340001), echo(0x56780001))).toBe(SAME);
  expect(compared(echo(0x12340001), echo(0x12340002))).toBe(DIFFERENT);
});

test("ports elsewhere, lengths, TTL and content must be the same", () => {
  const base = frame(udp(PORTS, payload(30)));
  const others = [
    udp({ ...PORTS, destinationPort: 444 }, payload(30)),
    udp({ ...PORTS, ttl: 63 }, payload(30)),
    udp({ ...PORTS, tos: 4 }, payload(30)),
    udp({ ...PORTS, destination: "198.51.100.81" }, payload(30)),
    udp(PORTS, payload(31)),
    udp(PORTS, payload(30).reverse()),
    tcp({ ...PORTS, flags: "." }, payload(18)),
  ];
  for (const other of others) expect(compared(base, frame(other))).toBe(DIFFERENT);
  const inside = { ...PORTS, source: "198.51.100.80", destination: "10.137.0.10" };
  expect(compared(frame(udp(inside, payload(9))), frame(udp({ ...inside, sourcePort: 1 }, payload(9))), INSIDE)).toBe(
    DIFFERENT,
  );
});

const ENDS_6 = { source: OUTSIDE_6, destination: REMOTE_6 };
const PORTS_6: Udp6Fields = { ...ENDS_6, sourcePort: 5000, destinationPort: 443 };

test("of IPv6 MAC addresses, checksums, our port or identifier on the uplink, and how fragments are numbered may differ", () => {
  const base = frame6(udp6(PORTS_6, payload(30)));
  expect(compared(base, frame6(udp6(PORTS_6, payload(30)), "02:00:00:00:00:09"))).toBe(SAME);
  const extensions = [options(DESTINATION, payload(4))];
  for (const more of [{}, { extensions }]) {
    const [ours, theirs] = [5000, 6000].map((sourcePort) => ({ ...PORTS_6, ...more, sourcePort }));
    expect(compared(frame6(udp6(ours, payload(9))), frame6(udp6(theirs, payload(9))))).toBe(SAME);
    expect(compared(frame6(tcp6({ ...ours, flags: "." })), frame6(tcp6({ ...theirs, flags: "." })))).toBe(SAME);
  }
  const echo = (rest: number) => frame6(icmpv6({ ...ENDS_6, type: 128, rest }, payload(20)));
  expect(compared(echo(0x12340001), echo(0x56780001))).toBe(SAME);
  expect(compared(echo(0x12340001), echo(0x12340002))).toBe(DIFFERENT);
  const [first, later] = fragmented6(udp6(PORTS_6, payload(40)), 24).map((piece) => frame6(piece));
  for (const piece of [first, later]) {
    const other = Buffer.from(piece);
    other.writeUInt32BE(0x12345678, 58);
    expect(other.equals(piece)).toBe(false);
    expect(compared(piece, other)).toBe(SAME);
    other[62 + 10] ^= 1;
    expect(compared(piece, other)).toBe(DIFFERENT);
  }
});

test("of IPv6 ports elsewhere, lengths, hop limit, class, label, extension headers and content must be the same", () => {
  const base = frame6(udp6(PORTS_6, payload(30)));
  const labelled = Buffer.from(base);
  labelled[17] ^= 1;
  const extensions = [options(DESTINATION, payload(4))];
  const others = [
    labelled,
    frame6(udp6({ ...PORTS_6, destinationPort: 444 }, payload(30))),
    frame6(udp6({ ...PORTS_6, hopLimit: 63 }, payload(30))),
    frame6(udp6({ ...PORTS_6, destination: "2001:db8:7::8" }, payload(30))),
    frame6(udp6({ ...PORTS_6, extensions }, payload(30))),
    frame6(udp6(PORTS_6, payload(31))),
    frame6(udp6(PORTS_6, payload(30).reverse())),
  ];
  for (const other of others) expect(compared(base, other)).toBe(DIFFERENT);
  const inside = { ...PORTS_6, source: REMOTE_6, destination: WORK_HOST_6 };
  const moved = { ...inside, sourcePort: 1 };
  expect(compared(frame6(udp6(inside, payload(9))), frame6(udp6(moved, payload(9))), INSIDE)).toBe(DIFFERENT);
});

test("of errors of IPv6 who tells whom what about which packet is compared; messages between neighbours are not", () => {
  const error = (type: number, about: Udp6Fields, length = 30) =>
    frame6(icmpv6({ source: REMOTE_6, destination: WORK_HOST_6, type }, udp6(about, payload(length))));
  const about = { ...PORTS_6, source: WORK_HOST_6 };
  expect(compared(error(1, about), error(1, { ...about, sourcePort: 9 }, 20), INSIDE)).toBe(SAME);
  expect(compared(error(1, about), error(3, about), INSIDE)).toBe(DIFFERENT);
  expect(compared(error(1, about), error(1, { ...about, destination: "2001:db8:8::8" }), INSIDE)).toBe(DIFFERENT);
  const nothing = "compared: 0 packets the same, 0 only by the router, 0 only by us";
  for (const type of [133, 134, 135, 136, 143]) {
    const message = frame6(icmpv6({ ...ENDS_6, type, hopLimit: 255 }, ip6(REMOTE_6)));
    expect(compared(message, message)).toBe(nothing);
  }
});

test("each packet has one like it, whichever was first, and for some seconds only", () => {
  const comparison = new Comparison(SETTINGS);
  const packet = frame(udp(PORTS, payload(30)));
  expect(comparison.theirs(UPLINK, 1, 0, packet, 0, packet.length, 1)).toBe(false);
  comparison.ours(UPLINK, 2, 0, packet, 0, packet.length);
  comparison.ours(UPLINK, 3, 0, packet, 0, packet.length);
  expect(comparison.theirs(UPLINK, 4, 0, packet, 0, packet.length, 2)).toBe(true);
  expect(comparison.theirs(UPLINK, 9, 0, packet, 0, packet.length, 9)).toBe(false);
  comparison.ours(UPLINK, 10, 0, packet, 0, packet.length);
  comparison.ours(UPLINK, 10, 0, packet, 0, packet.length);
  const other = frame(udp({ ...PORTS, ttl: 9 }, payload(30)));
  comparison.ours(UPLINK, 16, 0, other, 0, other.length);
  expect(comparison.theirs(UPLINK, 17, 0, packet, 0, packet.length, 3)).toBe(false);
  comparison.end();
  expect(comparison.lines()).toEqual([
    "compared: 3 packets the same, 1 only by the router, 2 only by us",
    "  only by us: uplink at 10.000000000: 192.0.2.254 > 198.51.100.80 protocol 17, 58 bytes",
    "  only by us: uplink at 16.000000000: 192.0.2.254 > 198.51.100.80 protocol 17, 58 bytes",
    "  only by the router: uplink #3 at 17.000000000: 192.0.2.254 > 198.51.100.80 protocol 17, 58 bytes",
  ]);
});

test("memory is bounded: of very many only the newest wait", () => {
  const comparison = new Comparison(SETTINGS);
  const packet = frame(udp(PORTS, payload(30)));
  for (let i = 0; i < 200_000; i++) {
    packet.writeUInt32BE(i, 50);
    comparison.ours(UPLINK, 1, 0, packet, 0, packet.length);
  }
  packet.writeUInt32BE(0, 50);
  expect(comparison.theirs(UPLINK, 1, 0, packet, 0, packet.length, 1)).toBe(false);
  packet.writeUInt32BE(199_999, 50);
  expect(comparison.theirs(UPLINK, 1, 0, packet, 0, packet.length, 2)).toBe(true);
  comparison.end();
  const lines = comparison.lines();
  expect(lines[0]).toBe("compared: 1 packets the same, 1 only by the router, 199999 only by us");
  expect(lines.length).toBe(12);
});
