// Frames without an Ethernet header get one that says what their own did: who sent it, and to whom.
import { describe, expect, test } from "bun:test";
import { memorySource, writeCapture } from "../../lab/captures.ts";
import { concat, fromHex, ipv4, payload, toHex } from "../../lab/frames.ts";
import { DIRECTION } from "../../src/captures/frame.ts";
import { type Ends, toEthernet } from "../../src/captures/link-types.ts";
import { CaptureReader } from "../../src/captures/reader.ts";

const OURS = "02 00 00 00 00 01";
const PEER = "02 00 0a 89 00 0a";
const SENDER = "02 00 00 00 00 0a";
const ENDS: Ends = { ours: fromHex(OURS), peer: (address) => concat(Uint8Array.of(2, 0), uint32(address)) };
const PACKET = ipv4({ source: "10.137.0.10", destination: "203.0.113.7" }, 99, payload(9));

function uint32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

/** Reads a frame of a link type from a capture of its own. @returns it with an Ethernet header */
async function converted(linkType: number, bytes: Uint8Array) {
  const file = writeCapture([{ seconds: 1, nanoseconds: 0, bytes, originalLength: bytes.length + 5 }], "us");
  new DataView(file.buffer).setUint32(20, linkType, true);
  const reader = new CaptureReader(memorySource(file));
  expect(await reader.more()).toBe(true);
  const { frame, window } = reader;
  const hasMacs = toEthernet(window, frame, ENDS);
  const ethernet = window.bytes.subarray(frame.at, frame.at + frame.captured);
  expect(frame.original).toBe(frame.captured + 5);
  expect(toHex(ethernet.subarray(14))).toBe(toHex(bytes.subarray(bytes.length - ethernet.length + 14)));
  return { header: toHex(ethernet.subarray(0, 14)), hasMacs, direction: frame.direction };
}

describe("a cooked frame", () => {
  /** By packet type of linux/if_packet.h: destination, and direction. */
  const TYPES = [
    [0, OURS, DIRECTION.INBOUND],
    [1, "ff ff ff ff ff ff", DIRECTION.INBOUND],
    [2, "01 00 5e 00 00 00", DIRECTION.INBOUND],
    [3, "02 00 00 00 00 ff", DIRECTION.INBOUND],
    [4, OURS, DIRECTION.OUTBOUND],
  ] as const;

  for (const [type, destination, direction] of TYPES) {
    test(`of packet type ${type} keeps its sender, and goes to whom that says`, async () => {
      const one = concat(fromHex(`000${type} 0001 0006 ${SENDER} 0000 0800`), PACKET);
      const two = concat(fromHex(`0800 0000 00000002 0001 0${type} 06 ${SENDER} 0000`), PACKET);
      const expected = { header: `${destination} ${SENDER} 08 00`, hasMacs: true, direction };
      expect(await converted(113, one)).toEqual(expected);
      expect(await converted(276, two)).toEqual(expected);
    });
  }

  test("without a sender's address gets the peer's", async () => {
    const one = concat(fromHex("0000 fffe 0000 0000000000000000 0800"), PACKET);
    const two = concat(fromHex("0800 0000 00000002 fffe 00 00 0000000000000000"), PACKET);
    const expected = { header: `${OURS} ${PEER} 08 00`, hasMacs: false, direction: DIRECTION.INBOUND };
    expect(await converted(113, one)).toEqual(expected);
    expect(await converted(276, two)).toEqual(expected);
  });
});

test("a raw packet goes from the peer to us, by its version", async () => {
  for (const linkType of [12, 14, 101, 228]) {
    const expected = { header: `${OURS} ${PEER} 08 00`, hasMacs: false, direction: DIRECTION.UNKNOWN };
    expect(await converted(linkType, PACKET)).toEqual(expected);
  }
  const six = concat(fromHex("6000 0000 0000 3b40"), new Uint8Array(32));
  expect((await converted(229, six)).header).toEndWith(" 86 dd");
});
