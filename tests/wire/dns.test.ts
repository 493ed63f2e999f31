// The structure of DNS messages: what is sound, and what a decoder never gets to see.
import { describe, expect, test } from "bun:test";
import { checkDns, nameAt, nameBytes } from "../../src/wire/dns.ts";
import { judgePrefixes } from "../support/place.ts";

const QUESTION = "03777777076578616d706c6500 0001 0001"; // www.example A IN, at 12; its second label is at 16
const A = "0001 0001 0000003c 0004 c0000207";

/** @param sections records of each, in hex */
function message(...sections: readonly string[][]): Uint8Array {
  const counts = [0, 1, 2].map((i) => (sections[i]?.length ?? 0).toString(16).padStart(4, "0"));
  return hex("12348180 0001", ...counts, QUESTION, ...sections.flat());
}

function hex(...parts: readonly string[]): Uint8Array {
  return Buffer.from(parts.join("").replaceAll(" ", ""), "hex");
}

describe("a sound message", () => {
  test("says where its question ends, and where its answers are", () => {
    expect(checkDns(message())).toEqual({ questionEnd: 29, answers: [] });
    expect(checkDns(message([`c00c ${A}`], [`c00c ${A}`], [`00 0029 04d0 00000000 0000`]))).toEqual({
      questionEnd: 29,
      answers: [{ type: 1, owner: 29, data: 41, ttl: 60 }],
    });
  });

  test("has AAAA records of 16 bytes", () => {
    const aaaa = (length: string, data: string) => `c00c 001c 0001 0000003c ${length} ${data}`;
    const address = "20010db8000000000000000000000009";
    expect(checkDns(message([aaaa("0010", address)]))).toEqual({
      questionEnd: 29,
      answers: [{ type: 28, owner: 29, data: 41, ttl: 60 }],
    });
    expect(checkDns(message([aaaa("000f", address.slice(2))]))).toBe("a record's data is malformed");
    expect(checkDns(message([aaaa("0004", "c0000207")]))).toBe("a record's data is malformed");
  });

  test("has other records than A, AAAA and CNAME of class IN, which are passed over", () => {
    const cname = "c00c 0005 0001 0000003c 0007 0463646e31 c010";
    const txt = "c00c 0010 0001 0000003c 0002 0141";
    const chaos = "c00c 0001 0003 0000003c 0005 0102030405";
    expect(checkDns(message([txt, cname, chaos]))).toEqual({
      questionEnd: 29,
      answers: [{ type: 5, owner: 43, data: 55, ttl: 60 }],
    });
  });

  test("may have bytes behind it, which belong to nobody", () => {
    const whole = message([`c00c ${A}`]);
    expect(checkDns(Uint8Array.from([...whole, 0, 1, 2]))).toEqual(checkDns(whole));
  });

  test("is refused whatever is cut off", () => {
    const whole = message([`c00c ${A}`], [], [`00 0029 04d0 00000000 0000`]);
    const verdicts = judgePrefixes(whole, ({ view, at, length }) => checkDns(new Uint8Array(view.buffer, at, length)));
    expect(verdicts.filter((verdict) => typeof verdict !== "string")).toEqual([]);
  });

  test("may have a name of 255 bytes, and no longer one", () => {
    const label = (length: number) => length.toString(16).padStart(2, "0") + "61".repeat(length);
    const name = (last: number) => [63, 63, 63, last].map(label).join("");
    const asking = (last: number) => hex("12348180 0001 0000 0000 0000", name(last), "00 0001 0001");
    expect(checkDns(asking(61))).toEqual({ questionEnd: 271, answers: [] });
    expect(checkDns(asking(62))).toBe("the question is malformed");
  });
});

describe("a name", () => {
  test.each([
    ["www.example", "03777777 076578616d706c65 00"],
    ["www.example", "03575757 076578414d706c65 00"],
    ["_dns.a-b9", "045f646e73 04612d6239 00"],
    ["a\\046b.c", "03612e62 0163 00"], // a dot in a label is none between two
    ["\\032\\000\\092\\196", "0420005cc4 00"],
    ["", "00"],
  ])("that is %j as text is so byte for byte", (text, bytes) => {
    const message = hex("00".repeat(12), bytes);
    expect(nameAt(message, 12)).toBe(text);
    expect(nameAt(Uint8Array.from([...new Uint8Array(12), ...nameBytes(text)]), 12)).toBe(text);
    expect(Buffer.from(nameBytes(text)).toString("hex")).toBe(
      Buffer.from(hex(bytes))
        .toString("latin1")
        .replace(/[A-Z]/g, (letter) => letter.toLowerCase())
        .split("")
        .map((letter) => letter.charCodeAt(0).toString(16).padStart(2, "0"))
        .join(""),
    );
  });

  test("is read through pointers", () => {
    expect(nameAt(message([`0161 c010 ${A}`]), 29)).toBe("a.example");
  });
});

describe("a name is refused", () => {
  const MALFORMED = "a record is malformed";

  test.each([
    ["that points to itself", "c01d"],
    ["that points forward", "c030"],
    ["that points behind the message", "ffff"],
    ["that points into itself behind a label", "0161 c01d"],
    ["that goes in circles by way of another", "c01f c01d"],
    ["with a label of a reserved kind", "40"],
    ["with a label of the other reserved kind", "80"],
    [
      "that grows too long by pointing",
      `${"3f".padEnd(128, "61")} ${"3f".padEnd(128, "61")} ${"3f".padEnd(128, "61")} ${"37".padEnd(112, "61")} c00c`,
    ],
  ])("%s", (_, name) => {
    expect(checkDns(message([`${name} ${A}`]))).toBe(MALFORMED);
  });

  test("in an alias that does not end where its data do", () => {
    const verdicts = ["0006 0161 c010 0000", "0005 0161 c010 00", "0003 0161 c0", "0000", "0002 c02b"].map((data) =>
      checkDns(message([`c00c 0005 0001 0000003c ${data}`])),
    );
    expect(new Set(verdicts)).toEqual(new Set(["a record's data is malformed"]));
  });
});

test("more records than there are bytes for are refused without looking for them", () => {
  expect(checkDns(hex("12348180 0001 ffff ffff ffff", QUESTION))).toBe("a record is malformed");
});
