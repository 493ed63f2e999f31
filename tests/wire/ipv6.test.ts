// IPv6 headers: which are sound, which fault each unsound one has, and how ours are written.
import { describe, expect, test } from "bun:test";
import { concat, fromHex, payload, toHex } from "../../lab/frames.ts";
import { ip6, ipv6, udp6 } from "../../lab/frames6.ts";
import { FAULT, FAULT_NAMES } from "../../src/wire/fault.ts";
import {
  checkIpv6,
  checkQuotedIpv6,
  copyAddress6,
  isLinkLocal6,
  isMulticast6,
  isUnspecified6,
  sameAddress6,
  writeIpv6,
} from "../../src/wire/ipv6.ts";
import { judgePrefixes, patched, place } from "../support/place.ts";

const ENDS = { source: "fd09:24ef:4179::a89:a", destination: "2001:db8::1" };
const PORTS = { ...ENDS, sourcePort: 40000, destinationPort: 53 };
const UDP = 17;

function judge(packet: Uint8Array): string {
  const { view, at, length } = place(packet);
  return FAULT_NAMES[checkIpv6(view, at, length)];
}

describe("an IPv6 header", () => {
  test("is sound with padding behind the packet, without payload, and at the longest", () => {
    expect(judge(concat(udp6(PORTS, payload(8)), new Uint8Array(18)))).toBe("none");
    expect(judge(ipv6(ENDS, UDP, new Uint8Array(0)))).toBe("none");
    expect(judge(ipv6(ENDS, UDP, payload(65535)))).toBe("none");
  });

  test("cut short anywhere is refused, and nothing behind it is read", () => {
    const faults = judgePrefixes(udp6(PORTS, payload(8)), (p) => checkIpv6(p.view, p.at, p.length));
    expect(faults).toEqual(faults.map((_, n) => (n < 40 ? FAULT.IPV6_TRUNCATED : FAULT.IPV6_PAYLOAD_LENGTH)));
  });

  test("of another version is refused", () => {
    const versions = Array.from({ length: 16 }, (_, version) =>
      judge(patched(udp6(PORTS, payload(8)), 0, version << 4)),
    );
    expect(versions).toEqual(versions.map((_, version) => (version === 6 ? "none" : "ipv6: version is not 6")));
  });

  test("of a jumbogram is refused", () => {
    const jumbo = ipv6({ ...ENDS, extensions: [[0, fromHex("00 c2 04 00 01 00 00")]] }, UDP, payload(8));
    expect(judge(patched(jumbo, 4, 0, 0))).toBe("ipv6: jumbogram");
  });

  test("that is quoted may stand before less than it says", () => {
    const faults = judgePrefixes(udp6(PORTS, payload(8)), (p) => checkQuotedIpv6(p.view, p.at, p.length));
    expect(faults).toEqual(faults.map((_, n) => (n < 40 ? FAULT.IPV6_TRUNCATED : FAULT.NONE)));
    const { view, at, length } = place(patched(udp6(PORTS, payload(8)), 0, 0x45));
    expect(checkQuotedIpv6(view, at, length)).toBe(FAULT.IPV6_VERSION);
  });

  test("is written byte for byte", () => {
    const { view, at } = place(new Uint8Array(40));
    const ends = place(concat(ip6(ENDS.source), ip6(ENDS.destination)));
    writeIpv6(view, at, 0xc2, 16, UDP, 255);
    copyAddress6(ends.view, ends.at, view, at + 8);
    copyAddress6(ends.view, ends.at + 16, view, at + 24);
    const expected = udp6({ ...PORTS, trafficClass: 0xc2, hopLimit: 255 }, payload(8)).subarray(0, 40);
    expect(toHex(new Uint8Array(view.buffer, at))).toBe(toHex(expected));
  });
});

describe("addresses", () => {
  test("are known by their kind", () => {
    const kinds = ["::", "::1", "fe80::1", "febf::1", "fec0::1", "fe7f::1", "ff02::1", "feff::1", "2001:db8::1"].map(
      (text) => {
        const { view, at } = place(ip6(text));
        return [isUnspecified6, isLinkLocal6, isMulticast6].map((is) => (is(view, at) ? 1 : 0)).join("");
      },
    );
    expect(kinds).toEqual(["100", "000", "010", "010", "000", "000", "001", "000", "000"]);
  });

  test("are the same where every byte is", () => {
    const one = place(ip6(ENDS.source));
    expect(sameAddress6(one.view, one.at, one.view, one.at)).toBe(true);
    for (let i = 0; i < 16; i++) {
      const other = place(patched(ip6(ENDS.source), i, ip6(ENDS.source)[i] ^ 1));
      expect([i, sameAddress6(one.view, one.at, other.view, other.at)]).toEqual([i, false]);
    }
  });
});
