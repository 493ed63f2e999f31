// ARP packets: which are sound, and how ours are written.
import { describe, expect, test } from "bun:test";
import { arp, ip, toHex } from "../../lab/frames.ts";
import { ARP_REPLY, ARP_REQUEST, checkArp, writeArp } from "../../src/wire/arp.ts";
import { FAULT } from "../../src/wire/fault.ts";
import { judgePrefixes, patched, place } from "../support/place.ts";

const FIELDS = {
  senderMac: "fe:ff:ff:ff:ff:ff",
  senderIp: "192.0.2.254",
  targetMac: "02:00:00:00:00:0b",
  targetIp: "10.137.0.10",
} as const;

describe("ARP", () => {
  test("is written byte for byte as RFC 826 has it", () => {
    for (const operation of ["request", "reply"] as const) {
      const { view, at } = place(new Uint8Array(28));
      const code = operation === "request" ? ARP_REQUEST : ARP_REPLY;
      writeArp(view, at, code, 0xfeffffff | 0, 0xffff, ip("192.0.2.254") | 0, 0x02000000, 0x000b, ip("10.137.0.10"));
      expect(toHex(new Uint8Array(view.buffer, at))).toBe(toHex(arp({ operation, ...FIELDS })));
    }
  });

  test("cut short anywhere is truncated, and nothing behind it is read", () => {
    const faults = judgePrefixes(arp({ operation: "reply", ...FIELDS }), (p) => checkArp(p.view, p.at, p.length));
    expect(faults).toEqual(new Array(28).fill(FAULT.ARP_TRUNCATED));
  });

  test("of other hardware, protocol or address lengths is not ours", () => {
    const reply = arp({ operation: "reply", ...FIELDS });
    const others = [
      patched(reply, 0, 0, 6),
      patched(reply, 2, 0x86, 0xdd),
      patched(reply, 4, 7),
      patched(reply, 4, 0),
      patched(reply, 5, 16),
    ].map(place);
    expect(others.map((p) => checkArp(p.view, p.at, p.length))).toEqual(others.map(() => FAULT.ARP_FORMAT));
  });

  test("knows requests and replies only", () => {
    const reply = arp({ operation: "reply", ...FIELDS });
    const faults = [0, 1, 2, 3, 8, 0x0101].map((operation) => {
      const { view, at, length } = place(patched(reply, 6, operation >>> 8, operation & 255));
      return checkArp(view, at, length);
    });
    const { NONE, ARP_OPERATION } = FAULT;
    expect(faults).toEqual([ARP_OPERATION, NONE, NONE, ARP_OPERATION, ARP_OPERATION, ARP_OPERATION]);
  });
});
