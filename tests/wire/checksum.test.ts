// The Internet checksum: whole, folded, and changed by a delta, against plain sums.
import { describe, expect, test } from "bun:test";
import { checksum, fromHex, ip, payload, udp } from "../../lab/frames.ts";
import { delta16, delta32, fold, pseudoHeaderSum, sum, updateChecksum } from "../../src/wire/checksum.ts";
import { TTL_DELTA } from "../../src/wire/ipv4.ts";
import { place } from "../support/place.ts";

/** Words where ones' complement has its corners, and two of no meaning. */
const CORNERS = [0, 1, 0x00ff, 0x0100, 0x1234, 0x7fff, 0x8000, 0xabcd, 0xfefe, 0xff00, 0xfffe, 0xffff];

/** The checksum of two words, from the definition alone. */
function full(one: number, other: number): number {
  const total = one + other;
  return 0xffff - (total > 0xffff ? total - 0xffff : total);
}

describe("the full sum", () => {
  test("of RFC 1071's example is ddf2", () => {
    const { view, at, length } = place(fromHex("0001 f203 f4f5 f6f7"));
    expect(sum(view, at, length).toString(16)).toBe("ddf2");
  });

  test("takes an odd last byte as a word's high byte", () => {
    const { view, at, length } = place(fromHex("0001 f2"));
    expect(sum(view, at, length).toString(16)).toBe("f201");
  });

  test("of nothing is the initial sum", () => {
    expect(sum(new DataView(new ArrayBuffer(0)), 0, 0, 0x1ffff)).toBe(1);
  });

  test("goes on from an initial sum", () => {
    const whole = place(payload(40));
    const head = sum(whole.view, whole.at, 12);
    expect(sum(whole.view, whole.at + 12, 28, head)).toBe(sum(whole.view, whole.at, 40));
  });

  test("loses no carry over the longest packet of ones", () => {
    const { view, at } = place(new Uint8Array(65535).fill(0xff));
    expect(sum(view, at, 65534, 0x3fffffff)).toBe(fold(0x3fffffff));
    expect(sum(view, at, 65535)).toBe(0xff00);
  });

  test("agrees with the definition for every length up to 300", () => {
    const bytes = payload(300);
    const { view, at } = place(bytes);
    for (let length = 0; length <= bytes.length; length++) {
      expect(~sum(view, at, length) & 0xffff).toBe(checksum(bytes.subarray(0, length)));
    }
  });

  test("of the pseudo-header completes a datagram's", () => {
    const packet = udp(
      { source: "255.255.255.254", destination: "203.0.113.7", sourcePort: 5, destinationPort: 6 },
      payload(9),
    );
    const { view, at, length } = place(packet.subarray(20));
    const [source, destination] = [ip("255.255.255.254"), ip("203.0.113.7")];
    for (const signed of [false, true]) {
      const pseudo = pseudoHeaderSum(signed ? source | 0 : source, signed ? destination | 0 : destination, 17, length);
      expect(sum(view, at, length, pseudo)).toBe(0xffff);
    }
  });
});

describe("fold", () => {
  test("brings any sum below 2^32 into 16 bits, and only zero to zero", () => {
    const sums = [0, 1, 0xffff, 0x10000, 0x1ffff, 0xfffeffff, 0xffff0000, 0xffffffff];
    expect(sums.map(fold)).toEqual([0, 1, 0xffff, 1, 1, 0xfffe, 0xffff, 0xffff]);
  });
});

describe("the incremental update (RFC 1624)", () => {
  // The two zeros of ones' complement are told apart as in the full sum, but for data that are zero throughout, which no
  // header and no pseudo-header is.
  function wrongUpdates(pairs: Iterable<readonly [before: number, after: number, other: number]>): string[] {
    const wrong: string[] = [];
    for (const [before, after, other] of pairs) {
      if (after === 0 && other === 0) continue;
      const updated = updateChecksum(full(before, other), delta16(before, after));
      if (updated !== full(after, other)) wrong.push(`${before} -> ${after} beside ${other}: ${updated}`);
    }
    return wrong;
  }

  test("is right for every word before, between the corners", () => {
    function* pairs() {
      for (let word = 0; word <= 0xffff; word++)
        for (const after of CORNERS) for (const other of [1, 0x8000, 0xffff]) yield [word, after, other] as const;
    }
    expect(wrongUpdates(pairs())).toEqual([]);
  });

  test("is right for every word after, between the corners", () => {
    function* pairs() {
      for (let word = 0; word <= 0xffff; word++)
        for (const before of CORNERS) for (const other of [1, 0x8000, 0xffff]) yield [before, word, other] as const;
    }
    expect(wrongUpdates(pairs())).toEqual([]);
  });

  test("is right for every checksum there is", () => {
    function* pairs() {
      for (let other = 0; other <= 0xffff; other++)
        for (const before of CORNERS) for (const after of CORNERS) yield [before, after, other] as const;
    }
    expect(wrongUpdates(pairs())).toEqual([]);
  });

  test("takes a checksum of all ones for zero, as UDP writes it", () => {
    for (let after = 0; after <= 0xffff; after++) {
      // Words that sum up to 0xffff: the checksum is 0.
      const [before, other] = [0x1234, 0xedcb];
      const delta = delta16(before, after);
      expect(updateChecksum(0xffff, delta)).toBe(updateChecksum(0x0000, delta));
      expect(updateChecksum(0xffff, delta)).toBe(full(after, other));
    }
  });

  test("changes nothing where nothing changes", () => {
    for (let checksum = 0; checksum < 0xffff; checksum++)
      expect(updateChecksum(checksum, delta16(7, 7))).toBe(checksum);
  });

  test("of an address is that of its two words, signed or not", () => {
    const addresses = ["0.0.0.0", "255.255.255.255", "10.137.0.10", "192.0.2.254", "128.0.0.1", "0.0.255.255"].map(ip);
    for (const before of addresses) {
      for (const after of addresses) {
        const words = delta16(before >>> 16, after >>> 16) + delta16(before & 0xffff, after & 0xffff);
        for (const delta of [delta32(before, after), delta32(before | 0, after | 0)]) {
          expect(updateChecksum(0x1234, delta)).toBe(updateChecksum(0x1234, words));
        }
      }
    }
  });

  test("of a TTL lowered by one is TTL_DELTA, for every TTL, protocol and checksum", () => {
    let wrong = 0;
    for (let ttl = 1; ttl <= 255; ttl++) {
      for (const protocol of [0, 1, 6, 17, 255]) {
        const before = (ttl << 8) | protocol;
        // A header's other words are never all zero.
        for (let other = 1; other <= 0xffff; other++) {
          if (updateChecksum(full(before, other), TTL_DELTA) !== full(before - 0x100, other)) wrong++;
        }
      }
    }
    expect(wrong).toBe(0);
  });
});
