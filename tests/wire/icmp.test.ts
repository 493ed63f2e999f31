// ICMP messages: lengths and checksums.
import { expect, test } from "bun:test";
import { icmp, payload, toHex } from "../../lab/frames.ts";
import { FAULT } from "../../src/wire/fault.ts";
import { checkIcmp, checkIcmpSum, writeIcmpSum } from "../../src/wire/icmp.ts";
import { patched, place } from "../support/place.ts";

const ENDS = { source: "10.137.0.10", destination: "192.0.2.1" };

test("a message has at least eight bytes", () => {
  const faults = Array.from({ length: 10 }, (_, length) => checkIcmp(length));
  expect(faults).toEqual([...new Array(8).fill(FAULT.ICMP_TRUNCATED), FAULT.NONE, FAULT.NONE]);
});

test("the checksum is written as it should be, whatever stood there, also over an odd length", () => {
  for (const length of [0, 1, 55, 56]) {
    const message = icmp({ ...ENDS, type: 8, rest: 0xbeef0001 }, payload(length)).subarray(20);
    const { view, at } = place(patched(message, 2, 0xde, 0xad));
    expect(checkIcmpSum(view, at, message.length)).toBe(FAULT.ICMP_CHECKSUM);
    writeIcmpSum(view, at, message.length);
    expect(toHex(new Uint8Array(view.buffer, at))).toBe(toHex(message));
    expect(checkIcmpSum(view, at, message.length)).toBe(FAULT.NONE);
  }
});

test("a message with any single bit turned over fails its checksum", () => {
  const message = icmp({ ...ENDS, type: 8, rest: 0xbeef0001 }, payload(9)).subarray(20);
  for (let bit = 0; bit < message.length * 8; bit++) {
    const { view, at, length } = place(patched(message, bit >>> 3, message[bit >>> 3] ^ (0x80 >>> (bit & 7))));
    expect([bit, checkIcmpSum(view, at, length)]).toEqual([bit, FAULT.ICMP_CHECKSUM]);
  }
});
