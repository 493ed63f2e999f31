// TCP headers: lengths and flags that no end would send.
import { expect, test } from "bun:test";
import { fromHex, payload, tcp } from "../../lab/frames.ts";
import { FAULT, FAULT_NAMES } from "../../src/wire/fault.ts";
import { checkTcp, tcpHeaderLength } from "../../src/wire/tcp.ts";
import { judgePrefixes, patched, place } from "../support/place.ts";

const FIELDS = { source: "10.137.0.10", destination: "192.0.2.1", sourcePort: 40000, destinationPort: 443 };
const MSS = fromHex("02 04 05 b4");
const SEGMENT = tcp({ ...FIELDS, flags: "P.", tcpOptions: MSS }, payload(4)).subarray(20);

function judge(segment: Uint8Array): string {
  const { view, at, length } = place(segment);
  return FAULT_NAMES[checkTcp(view, at, length)];
}

test("a header cut short anywhere is refused, and nothing behind it is read; payload is not its matter", () => {
  const faults = judgePrefixes(SEGMENT, (p) => checkTcp(p.view, p.at, p.length));
  const { NONE, TCP_TRUNCATED, TCP_DATA_OFFSET } = FAULT;
  expect(faults).toEqual([
    ...new Array(20).fill(TCP_TRUNCATED),
    ...new Array(4).fill(TCP_DATA_OFFSET),
    ...new Array(4).fill(NONE),
  ]);
});

test("a data offset within the header or past the segment is refused", () => {
  const faults = Array.from({ length: 16 }, (_, words) => judge(patched(SEGMENT, 12, words << 4)));
  expect(faults).toEqual([
    ...new Array(5).fill("tcp: data offset"),
    ...new Array(3).fill("none"),
    ...new Array(8).fill("tcp: data offset"),
  ]);
});

test("the header's length counts its options and not the reserved bits", () => {
  const { view, at } = place(patched(SEGMENT, 12, 0x6f));
  expect(tcpHeaderLength(view, at)).toBe(24);
});

test("of all combinations of flags only those of a TCP that means it are sound", () => {
  // Of FIN, SYN, RST and ACK; PSH, URG, ECE and CWR may go with any (RFC 9293 section 3.10, RFC 3168).
  const sound = ["S", "S.", "R", "R.", "F.", "."];
  for (let bits = 0; bits < 256; bits++) {
    const letters = [..."FSRP.UEW"].filter((_, i) => (bits >>> i) & 1).filter((letter) => "FSR.".includes(letter));
    const expected = sound.includes(letters.join("")) ? "none" : "tcp: flags";
    expect([bits, judge(patched(SEGMENT, 13, bits))]).toEqual([bits, expected]);
  }
});
