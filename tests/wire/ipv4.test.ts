// IPv4 headers: which are sound, which fault each unsound one has, and how ours are written.
import { describe, expect, test } from "bun:test";
import { concat, fromHex, ip, ipv4, payload, toHex } from "../../lab/frames.ts";
import { FAULT, FAULT_NAMES } from "../../src/wire/fault.ts";
import { checkIpv4, headerLength, writeIpv4 } from "../../src/wire/ipv4.ts";
import { judgePrefixes, patched, place } from "../support/place.ts";

const ENDS = { source: "10.137.0.10", destination: "192.0.2.1" };

function judge(packet: Uint8Array): string {
  const { view, at, length } = place(packet);
  return FAULT_NAMES[checkIpv4(view, at, length)];
}

function withOptions(hex: string): Uint8Array {
  return ipv4({ ...ENDS, options: fromHex(hex) }, 17, payload(8));
}

describe("an IPv4 header", () => {
  test("is sound with padding behind the packet", () => {
    expect(judge(concat(ipv4(ENDS, 17, payload(8)), new Uint8Array(18)))).toBe("none");
  });

  test("is sound without payload, and at the longest", () => {
    expect(judge(ipv4(ENDS, 17, new Uint8Array(0)))).toBe("none");
    expect(judge(ipv4(ENDS, 17, payload(65515)))).toBe("none");
  });

  test("cut short anywhere is refused, and nothing behind it is read", () => {
    for (const packet of [ipv4(ENDS, 17, payload(8)), withOptions("94 04 00 00")]) {
      const faults = judgePrefixes(packet, (p) => checkIpv4(p.view, p.at, p.length));
      const short = faults.map((_, length) => {
        if (length < 20) return FAULT.IPV4_TRUNCATED;
        return length < (packet[0] & 15) * 4 ? FAULT.IPV4_HEADER_LENGTH : FAULT.IPV4_TOTAL_LENGTH;
      });
      expect(faults).toEqual(short);
    }
  });

  test("of another version is refused", () => {
    const packet = ipv4(ENDS, 17, payload(8));
    const versions = Array.from({ length: 16 }, (_, version) => judge(patched(packet, 0, (version << 4) | 5)));
    expect(versions).toEqual(versions.map((_, version) => (version === 4 ? "none" : "ipv4: version is not 4")));
  });

  test("lying about its length is refused", () => {
    const packet = ipv4(ENDS, 17, payload(8));
    // 5 words are right; 6 and 7 are within the packet, so that the checksum finds them out.
    const lengths = Array.from({ length: 16 }, (_, words) => judge(patched(packet, 0, 0x40 | words)));
    expect(lengths).toEqual([
      ...new Array(5).fill("ipv4: header length"),
      "none",
      ...new Array(2).fill("ipv4: header checksum"),
      ...new Array(8).fill("ipv4: header length"),
    ]);
  });

  test("lying about the total length is refused", () => {
    const packet = ipv4(ENDS, 17, payload(8));
    const totals = [0, 19, 29, 0xffff].map((total) => judge(patched(packet, 2, total >>> 8, total & 255)));
    expect(totals).toEqual(totals.map(() => "ipv4: total length"));
    expect(judge(patched(withOptions("94 04 00 00"), 2, 0, 23))).toBe("ipv4: total length");
  });

  test("with any single bit turned over is refused, wherever it is", () => {
    for (const packet of [ipv4(ENDS, 17, payload(8)), withOptions("94 04 00 00 01 01 01 00")]) {
      for (let bit = 0; bit < (packet[0] & 15) * 32; bit++) {
        const turned = patched(packet, bit >>> 3, packet[bit >>> 3] ^ (0x80 >>> (bit & 7)));
        expect([bit, judge(turned)]).not.toEqual([bit, "none"]);
      }
    }
  });

  test("with a checksum of all ones instead of zero is refused or not by its sum alone", () => {
    // Identification chosen so that the other words sum up to 0xffff.
    const bare = ipv4(ENDS, 17, payload(8));
    const identification = bare[10] * 256 + bare[11];
    const packet = ipv4({ ...ENDS, identification }, 17, payload(8));
    expect([...packet.subarray(10, 12)]).toEqual([0, 0]);
    expect(judge(packet)).toBe("none");
    expect(judge(patched(packet, 10, 0xff, 0xff))).toBe("none");
    expect(judge(patched(packet, 10, 0xff, 0xfe))).toBe("ipv4: header checksum");
  });

  test("may have options that are well formed", () => {
    const options = [
      "94 04 00 00", // router alert
      "01 01 01 00", // no operation, end
      "07 07 04 00 00 00 00 00", // record route, end
      "00 ff ff ff", // what is behind the end is padding
      "88 04 12 34", // stream identifier
    ];
    expect(options.map((hex) => judge(withOptions(hex)))).toEqual(options.map(() => "none"));
  });

  test("with ill-formed options is refused", () => {
    const options = [
      "94 00 00 00", // no length at all
      "94 01 00 00", // shorter than its own two bytes
      "94 05 00 00", // longer than the header
      "01 01 01 94", // no room for its length
      "94 04 00 00 07 ff 00 00",
    ];
    expect(options.map((hex) => judge(withOptions(hex)))).toEqual(options.map(() => "ipv4: options"));
  });

  test("with a source route is refused, wherever it stands", () => {
    const options = ["83 03 04 00", "89 03 04 00", "01 83 03 04", "94 04 00 00 89 07 04 c0 00 02 01 00"];
    expect(options.map((hex) => judge(withOptions(hex)))).toEqual(options.map(() => "ipv4: source route"));
  });

  test("of a fragment may reach to byte 65535 and no further", () => {
    const last = (bytes: number) => judge(ipv4({ ...ENDS, fragment: (65535 - 28) >>> 3 }, 17, payload(bytes)));
    // 8188 × 8 = 65504: header and 11 bytes end at 65535.
    expect((65535 - 28) >>> 3).toBe(8188);
    expect([last(8), last(11), last(12), last(1480)]).toEqual(["none", "none", "ipv4: fragment", "ipv4: fragment"]);
  });

  test("tells its length", () => {
    const lengths = [ipv4(ENDS, 17, payload(8)), withOptions("94 04 00 00"), withOptions("01".repeat(40))].map(
      (packet) => {
        const { view, at } = place(packet);
        return headerLength(view, at);
      },
    );
    expect(lengths).toEqual([20, 24, 60]);
  });

  test("is written byte for byte", () => {
    const { view, at } = place(new Uint8Array(20));
    writeIpv4(view, at, 0xc0, 84, 64, 1, ip("255.0.2.254") | 0, ip("10.137.0.10"));
    const content = payload(64);
    const expected = ipv4({ source: "255.0.2.254", destination: "10.137.0.10", tos: 0xc0 }, 1, content).subarray(0, 20);
    expect(toHex(new Uint8Array(view.buffer, at))).toBe(toHex(expected));
  });
});
