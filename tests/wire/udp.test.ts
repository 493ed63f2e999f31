// UDP headers: which are sound, and how ours are written.
import { expect, test } from "bun:test";
import { payload, udp } from "../../lab/frames.ts";
import { FAULT } from "../../src/wire/fault.ts";
import { checkUdp, UDP, writeUdp } from "../../src/wire/udp.ts";
import { judgePrefixes, patched, place } from "../support/place.ts";

const FIELDS = { source: "10.137.0.10", destination: "192.0.2.1", sourcePort: 40000, destinationPort: 53 };
const DATAGRAM = udp(FIELDS, payload(8)).subarray(20);

test("a datagram cut short anywhere is refused, and nothing behind it is read", () => {
  const faults = judgePrefixes(DATAGRAM, (p) => checkUdp(p.view, p.at, p.length));
  expect(faults).toEqual([...new Array(8).fill(FAULT.UDP_TRUNCATED), ...new Array(8).fill(FAULT.UDP_LENGTH)]);
});

test("a length below the header's or above what there is, is refused; a shorter one leaves bytes over", () => {
  const faults = [0, 7, 8, 15, 16, 17, 0xffff].map((length) => {
    const placed = place(patched(DATAGRAM, 4, length >>> 8, length & 255));
    return checkUdp(placed.view, placed.at, placed.length);
  });
  const { NONE, UDP_LENGTH } = FAULT;
  expect(faults).toEqual([UDP_LENGTH, UDP_LENGTH, NONE, NONE, NONE, UDP_LENGTH, UDP_LENGTH]);
});

test("a header is written whole, whatever stood there, with checksum 0", () => {
  const expected = patched(DATAGRAM, UDP.CHECKSUM, 0, 0);
  const placed = place(new Uint8Array(DATAGRAM.length).fill(0xee));
  writeUdp(placed.view, placed.at, (FIELDS.sourcePort << 16) | FIELDS.destinationPort, DATAGRAM.length);
  const written = new Uint8Array(placed.view.buffer, placed.view.byteOffset + placed.at, UDP.HEADER_LENGTH);
  expect(written).toEqual(expected.subarray(0, UDP.HEADER_LENGTH));
});
