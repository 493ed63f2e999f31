// Addresses of either family: their text, which the runtime's own reader of URLs writes alike, and prefixes that hold one another.
import { expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import {
  bitsOf,
  familyOf,
  firstOf,
  formatHosts,
  formatIp,
  formatIpPrefix,
  hostPrefix,
  isInside,
  overlapIp,
  parseIp,
  parseIpPrefix,
  sameIp,
  splitEndpoint,
} from "../../src/base/ip.ts";

/** A prefix of either family, where it has to be one. */
function prefix(text: string) {
  const parsed = parseIpPrefix(text);
  if (parsed === undefined) throw new Error(`no prefix: ${text}`);
  return parsed;
}

test("an address of each family is read and written", () => {
  const shown = ["192.0.2.7", "::", "::1", "2001:db8::1", "fe80::fcff:ffff:feff:ffff", "2001:db8:0:1:1:1:1:1"];
  for (const text of shown) {
    const address = parseIp(text);
    if (address === undefined) throw new Error(`no address: ${text}`);
    expect(formatIp(address)).toBe(text);
    expect(familyOf(address)).toBe(text.includes(":") ? 6 : 4);
    expect(bitsOf(address)).toBe(text.includes(":") ? 128 : 32);
  }
  expect(parseIp("2001:DB8:0:0:0:0:0:1")).toEqual(parseIp("2001:db8::1"));
  expect(parseIp("64:ff9b::198.51.100.10")).toEqual(parseIp("64:ff9b::c633:640a"));
  for (const text of [
    "",
    "10.1",
    "2001:db8",
    ":::",
    "1::2::3",
    "fe80::1%eth0",
    "[::1]",
    "::1/128",
    "12345::",
    " ::1",
  ]) {
    expect({ text, address: parseIp(text) }).toEqual({ text, address: undefined });
  }
});

test("IPv6 is written as the URL standard writes it, which follows RFC 5952", () => {
  const random = new Random(5952);
  for (let i = 0; i < 5000; i++) {
    const words = Array.from({ length: 8 }, () => (random.below(3) === 0 ? random.below(0x10000) : random.below(2)));
    const [text, address] = [words.map((word) => word.toString(16)).join(":"), Uint8Array.from(words.flatMap(bytesOf))];
    expect(parseIp(text)).toEqual(address);
    expect(`[${formatIp(address)}]`).toBe(new URL(`http://[${text}]/`).hostname);
  }
});

function bytesOf(word: number): number[] {
  return [word >> 8, word & 0xff];
}

test("prefixes of each family are read and written; a host's is shown as its address", () => {
  for (const text of ["192.0.2.0/24", "2001:db8::/32", "::/0", "2001:db8::1/128"]) {
    expect(formatIpPrefix(prefix(text))).toBe(text);
  }
  expect(
    ["192.0.2.7/32", "192.0.2.7/31", "2001:db8::1/128", "2001:db8::1/127"].map((text) => formatHosts(prefix(text))),
  ).toEqual(["192.0.2.7", "192.0.2.7/31", "2001:db8::1", "2001:db8::1/127"]);
  for (const text of ["2001:db8::", "2001:db8::/129", "2001:db8::/", "2001:db8::/064", "2001:db8::/64/1"]) {
    expect({ text, prefix: parseIpPrefix(text) }).toEqual({ text, prefix: undefined });
  }
});

test("prefixes overlap where the bits that both have are the same, and only within a family", () => {
  const cases: [string, string, boolean, boolean][] = [
    ["2001:db8::/64", "2001:db8::1/128", true, false],
    ["2001:db8::1/128", "2001:db8::/64", true, true],
    ["2001:db8::ffff/64", "2001:db8::1/64", true, true],
    ["2001:db8::/64", "2001:db8:0:1::/64", false, false],
    ["2001:db8::8000:0:0:0/65", "2001:db8::/65", false, false],
    ["::/0", "2001:db8::/32", true, false],
    ["0.0.0.0/0", "::/0", false, false],
    ["10.0.0.0/8", "10.1.0.0/16", true, false],
    ["10.1.2.3/32", "10.0.0.0/8", true, true],
  ];
  for (const [one, other, overlaps, inside] of cases) {
    const found = { overlaps: overlapIp(prefix(one), prefix(other)), inside: isInside(prefix(one), prefix(other)) };
    expect({ one, other, ...found }).toEqual({ one, other, overlaps, inside });
    expect(overlapIp(prefix(other), prefix(one))).toBe(overlaps);
  }
});

test("an address alone is the prefix of all its bits, and the first of a prefix has none behind it", () => {
  expect(hostPrefix(7)).toEqual({ address: 7, prefix: 32 });
  expect(formatIpPrefix(hostPrefix(prefix("2001:db8::1/64").address))).toBe("2001:db8::1/128");
  expect(["192.0.2.7/24", "2001:db8::7/64", "2001:db8::ff/125"].map((text) => formatIp(firstOf(prefix(text))))).toEqual(
    ["192.0.2.0", "2001:db8::", "2001:db8::f8"],
  );
  expect(sameIp(1, 1) && !sameIp(1, 2) && !sameIp(0, new Uint8Array(16))).toBe(true);
});

test("an endpoint is taken apart at its port, which an IPv6 address has behind brackets only", () => {
  const cases: [string, string, string | undefined][] = [
    ["192.0.2.7", "192.0.2.7", undefined],
    ["192.0.2.7:443", "192.0.2.7", "443"],
    ["www.example:https", "www.example", "https"],
    ["2001:db8::7", "2001:db8::7", undefined],
    ["2001:db8::7:443", "2001:db8::7:443", undefined],
    ["[2001:db8::7]", "2001:db8::7", undefined],
    ["[2001:db8::7]:443", "2001:db8::7", "443"],
    ["[2001:db8::7]:", "2001:db8::7", ""],
    ["[", "[", undefined],
  ];
  for (const [text, host, port] of cases) expect([text, splitEndpoint(text)]).toEqual([text, { host, port }]);
});
