// ICMPv6 messages: lengths, checksums, and which types are errors, queries, and of one link alone.
import { expect, test } from "bun:test";
import { payload, toHex } from "../../lab/frames.ts";
import { icmpv6, udp6 } from "../../lab/frames6.ts";
import { addressSum6, delta16, pseudoHeaderSum6, updateChecksum } from "../../src/wire/checksum.ts";
import { FAULT } from "../../src/wire/fault.ts";
import { checkIcmpv6, checkIcmpv6Sum, isError6, isOfLink6, isQuery6, writeIcmpv6Sum } from "../../src/wire/icmpv6.ts";
import { checkUdpSum6 } from "../../src/wire/udp.ts";
import { patched, place } from "../support/place.ts";

const ENDS = { source: "fd09:24ef:4179::a89:a", destination: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe" };
const ICMPV6 = 58;
const UDP = 17;

test("a message has at least eight bytes", () => {
  const faults = Array.from({ length: 10 }, (_, length) => checkIcmpv6(length));
  expect(faults).toEqual([...new Array(8).fill(FAULT.ICMPV6_TRUNCATED), FAULT.NONE, FAULT.NONE]);
});

test("the checksum is written as it should be, whatever stood there, also over an odd length", () => {
  for (const length of [0, 1, 55, 56, 1232]) {
    const packet = icmpv6({ ...ENDS, type: 128, rest: 0xbeef0001 }, payload(length));
    const { view, at } = place(patched(packet, 42, 0xde, 0xad));
    const bytes = packet.length - 40;
    const pseudo = pseudoHeaderSum6(view, at + 8, ICMPV6, bytes);
    expect(checkIcmpv6Sum(view, at + 40, bytes, pseudo)).toBe(FAULT.ICMPV6_CHECKSUM);
    writeIcmpv6Sum(view, at + 40, bytes, pseudo);
    expect(toHex(new Uint8Array(view.buffer, at))).toBe(toHex(packet));
    expect(checkIcmpv6Sum(view, at + 40, bytes, pseudo)).toBe(FAULT.NONE);
  }
});

test("a message with any single bit of it or of its addresses turned over fails its checksum", () => {
  const packet = icmpv6({ ...ENDS, type: 128, rest: 0xbeef0001 }, payload(9));
  for (let bit = 64; bit < packet.length * 8; bit++) {
    const { view, at } = place(patched(packet, bit >>> 3, packet[bit >>> 3] ^ (0x80 >>> (bit & 7))));
    const pseudo = pseudoHeaderSum6(view, at + 8, ICMPV6, 17);
    expect([bit, checkIcmpv6Sum(view, at + 40, 17, pseudo)]).toEqual([bit, FAULT.ICMPV6_CHECKSUM]);
  }
});

test("a checksum is right after one address has replaced another", () => {
  const before = icmpv6({ ...ENDS, type: 128, rest: 7 }, payload(9));
  const after = icmpv6({ source: "2001:db8::1:0:ff", destination: ENDS.destination, type: 128, rest: 7 }, payload(9));
  const [old, now] = [place(before), place(after)];
  const delta = delta16(addressSum6(old.view, old.at + 8), addressSum6(now.view, now.at + 8));
  expect(updateChecksum(old.view.getUint16(old.at + 42), delta)).toBe(now.view.getUint16(now.at + 42));
});

test("the longest datagram's length counts in the pseudo-header", () => {
  const packet = udp6({ ...ENDS, sourcePort: 1, destinationPort: 2 }, payload(65527));
  const { view, at } = place(packet);
  const pseudo = pseudoHeaderSum6(view, at + 8, UDP, 65535);
  expect(checkUdpSum6(view, at + 40, 65535, pseudo)).toBe(FAULT.NONE);
  expect(checkUdpSum6(view, at + 40, 65534, pseudo)).toBe(FAULT.UDP_CHECKSUM);
});

test("a datagram without a checksum is refused, unlike over IPv4", () => {
  const { view, at } = place(patched(udp6({ ...ENDS, sourcePort: 1, destinationPort: 2 }, payload(8)), 46, 0, 0));
  expect(checkUdpSum6(view, at + 40, 16, pseudoHeaderSum6(view, at + 8, UDP, 16))).toBe(FAULT.UDP_CHECKSUM);
});

test("types are errors below 128; echo alone is a query; those of one link pass no router", () => {
  const types = Array.from({ length: 256 }, (_, type) => type);
  expect(types.filter(isError6)).toEqual(types.slice(0, 128));
  expect(types.filter(isQuery6)).toEqual([128]);
  const ofLink = [130, 131, 132, 133, 134, 135, 136, 137, 141, 142, 143, 148, 149, 151, 152, 153, 157, 158];
  expect(types.filter(isOfLink6)).toEqual(ofLink);
});
