// Multicast Listener Discovery: which queries are sound, and how our reports are written.
import { describe, expect, test } from "bun:test";
import { concat, fromHex, toHex } from "../../lab/frames.ts";
import { type Icmpv6Fields, icmpv6, ip6, options } from "../../lab/frames6.ts";
import { FAULT, FAULT_NAMES } from "../../src/wire/fault.ts";
import { CHANGE_TO_EXCLUDE, ListenerQuery, MODE_IS_EXCLUDE, writeReport1, writeReport2 } from "../../src/wire/mld.ts";
import { patched, place } from "../support/place.ts";

const OWN = "fe80::5054:ff:fe12:3456";
const ALERT = options(0, fromHex("05 02 00 00"));
const ENDS = { source: "fe80::1", destination: "ff02::1", hopLimit: 1, extensions: [ALERT] };
const QUERY = 130;

/** @param code the maximum response delay, or its code */
const query1 = (code: number, group = "::", fields: Partial<Icmpv6Fields> = {}) =>
  icmpv6({ ...ENDS, type: QUERY, rest: code * 0x10000, ...fields }, ip6(group));
const query2 = (code: number, group = "::", sources: Uint8Array = new Uint8Array(0)) =>
  icmpv6(
    { ...ENDS, type: QUERY, rest: code * 0x10000 },
    concat(ip6(group), Uint8Array.of(2, 125, 0, sources.length / 16), sources),
  );

function read(packet: Uint8Array, hasOptions = true) {
  const { view, at, length } = place(packet);
  const query = new ListenerQuery();
  const fault = query.read(view, at, at + 48, length - 48, hasOptions);
  if (fault !== FAULT.NONE) return FAULT_NAMES[fault];
  return [query.version, query.maxResponse, query.group - at - 48];
}

describe("a query", () => {
  test("is of version 1 by its length, or of version 2", () => {
    expect(read(query1(10_000))).toEqual([1, 10_000, 8]);
    expect(read(query1(0xffff))).toEqual([1, 0xffff, 8]);
    expect(read(query2(10_000))).toEqual([2, 10_000, 8]);
    expect(read(query2(1000, "ff02::1:ff12:3456", ip6("2001:db8::1")))).toEqual([2, 1000, 8]);
  });

  test("of version 2 may give the time with an exponent (RFC 3810 section 5.1.3)", () => {
    const times = [0x7fff, 0x8000, 0x8001, 0x9000, 0xffff].map((code) => read(query2(code)));
    expect(times).toEqual([32767, 32768, 32776, 65536, 8387584].map((time) => [2, time, 8]));
  });

  test("from no link-local address, from farther, without a router alert, or of another length is refused", () => {
    const fault = "mld: hop limit, source, options, or length";
    expect(read(query1(1, "::", { source: "2001:db8::1" }))).toBe(fault);
    expect(read(query1(1, "::", { source: "::" }))).toBe(fault);
    expect(read(query1(1, "::", { hopLimit: 2 }))).toBe(fault);
    expect(read(query1(1), false)).toBe(fault);
    for (const bytes of [8, 23, 25, 26, 27]) {
      const { view, at } = place(query2(1).subarray(0, 48 + bytes));
      expect(new ListenerQuery().read(view, at, at + 48, bytes, true)).toBe(FAULT.MLD_FORMAT);
    }
    expect(read(patched(query1(1), 50, 0, 0))).toBe("icmpv6: checksum");
  });
});

/** @returns a report whose source stands where it belongs, completed by `finish` */
function written(finish: (view: DataView, at: number) => number): string {
  const { view, at } = place(new Uint8Array(200).fill(0xee));
  new Uint8Array(view.buffer).set(ip6(OWN), at + 8);
  const length = finish(view, at);
  return toHex(new Uint8Array(view.buffer, at, length));
}

const GROUPS = ["ff02::1:ff12:3456", "ff02::1:ff00:1"];
const WORDS = Int32Array.of(0x3f123456, 0x0a000001);

describe("our report", () => {
  test("of version 2 has a record for each group, that excludes nobody (RFC 3810 section 5.2)", () => {
    for (const mode of [MODE_IS_EXCLUDE, CHANGE_TO_EXCLUDE]) {
      const records = GROUPS.map((group) => concat(Uint8Array.of(mode, 0, 0, 0), ip6(group)));
      const expected = icmpv6(
        { ...ENDS, source: OWN, destination: "ff02::16", type: 143, rest: 2 },
        concat(...records),
      );
      expect(written((view, at) => writeReport2(view, at, mode, WORDS))).toBe(toHex(expected));
    }
  });

  test("of version 1 goes to its group (RFC 2710 section 5)", () => {
    for (const [i, group] of GROUPS.entries()) {
      const expected = icmpv6({ ...ENDS, source: OWN, destination: group, type: 131 }, ip6(group));
      expect(written((view, at) => writeReport1(view, at, WORDS[i]))).toBe(toHex(expected));
    }
  });
});
