// The table of verdicts: each has a number, a name and a counter of its own. README.md is held against it by readme.test.ts.
import { describe, expect, test } from "bun:test";
import { malformed, nameOnFrame, VERDICT, VERDICT_NAMES, VERDICT_SLUGS } from "../../src/dataplane/verdict.ts";
import { FAULT, FAULT_NAMES } from "../../src/wire/fault.ts";

const KEYS = Object.keys(VERDICT);
const FAULTS = Object.entries(FAULT).filter(([key]) => key !== "NONE");

describe("verdicts", () => {
  test("have numbers of their own, those of faults included, and every number has a name", () => {
    const numbers = [...Object.values(VERDICT), ...FAULTS.map(([, fault]) => malformed(fault))];
    expect(numbers.map(Number)).toEqual(VERDICT_NAMES.map((_, number) => number));
  });

  test("have names of their own", () => {
    expect(new Set(VERDICT_NAMES).size).toBe(KEYS.length + FAULTS.length);
  });

  test("have slugs of their own, of lower-case words", () => {
    expect(new Set(VERDICT_SLUGS).size).toBe(VERDICT_NAMES.length);
    expect(VERDICT_SLUGS.filter((slug) => !/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(slug))).toEqual([]);
    expect(VERDICT_SLUGS[VERDICT.REFUSED]).toBe("refused");
  });

  test("begin with the one that lets a packet pass", () => {
    expect(KEYS[0]).toBe("FORWARDED");
    expect(VERDICT_NAMES[0]).toBe("forwarded");
  });

  test("say of IPv6 what finds neighbours there, in place of ARP, and of all other frames what counters say", () => {
    const on = (key: keyof typeof VERDICT, etherType: number) => nameOnFrame(VERDICT_NAMES[VERDICT[key]], etherType);
    expect([0x0800, 0x0806].map((type) => on("UNRESOLVED", type))).toEqual(
      new Array(2).fill("dropped: next hop does not answer ARP"),
    );
    expect((["UNRESOLVED", "QUEUED", "ARP_QUEUE_FULL", "REFUSED"] as const).map((key) => on(key, 0x86dd))).toEqual([
      "dropped: next hop does not answer Neighbour Discovery",
      "queued for Neighbour Discovery",
      "dropped: Neighbour Discovery queue full",
      "dropped: refused by rules",
    ]);
  });

  test("on malformed frames are named by the fault", () => {
    for (const [, fault] of FAULTS) {
      expect(VERDICT_NAMES[malformed(fault)]).toBe(`dropped: malformed ${FAULT_NAMES[fault]}`);
    }
  });
});
