// Text of addresses: one way of writing each.
import { expect, test } from "bun:test";
import {
  broadcastOf,
  formatAddress,
  formatMac,
  formatPrefix,
  networkOf,
  overlap,
  parseAddress,
  parseMac,
  parsePrefix,
} from "../../src/base/address.ts";

test("an IPv4 address is four decimal numbers", () => {
  expect(parseAddress("0.0.0.0")).toBe(0);
  expect(parseAddress("192.0.2.254")).toBe(0xc00002fe);
  expect(parseAddress("255.255.255.255")).toBe(0xffffffff);
  expect([0, 0xc00002fe, 0xffffffff].map(formatAddress)).toEqual(["0.0.0.0", "192.0.2.254", "255.255.255.255"]);
  for (const text of [
    "",
    "1",
    "10.1",
    "1.2.3.256",
    "01.2.3.4",
    "0x1.2.3.4",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.4\n",
    "::1",
  ]) {
    expect({ text, address: parseAddress(text) }).toEqual({ text, address: undefined });
  }
});

test("a prefix is an address and a length", () => {
  expect(parsePrefix("192.0.2.254/24")).toEqual({ address: 0xc00002fe, prefix: 24 });
  expect(parsePrefix("0.0.0.0/0")).toEqual({ address: 0, prefix: 0 });
  expect(formatPrefix({ address: 0xc00002fe, prefix: 32 })).toBe("192.0.2.254/32");
  for (const text of ["1.2.3.4", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/08", "1.2.3.4/-1", "1.2.3.4/8\n", "/8", "1.2/8"]) {
    expect({ text, prefix: parsePrefix(text) }).toEqual({ text, prefix: undefined });
  }
});

test("a prefix has a first and a last address", () => {
  expect(networkOf({ address: 0xc00002fe, prefix: 24 })).toBe(0xc0000200);
  expect(broadcastOf({ address: 0xc00002fe, prefix: 24 })).toBe(0xc00002ff);
  expect(networkOf({ address: 0xc00002fe, prefix: 0 })).toBe(0);
  expect(broadcastOf({ address: 0xc00002fe, prefix: 0 })).toBe(0xffffffff);
  expect(networkOf({ address: 0xc00002fe, prefix: 32 })).toBe(0xc00002fe);
  expect(broadcastOf({ address: 0xc00002fe, prefix: 32 })).toBe(0xc00002fe);
});

test("prefixes overlap when one holds the other", () => {
  const network = { address: 0xc0000200, prefix: 24 };
  expect(overlap(network, { address: 0xc00002fe, prefix: 32 })).toBe(true);
  expect(overlap({ address: 0xc0000000, prefix: 8 }, network)).toBe(true);
  expect(overlap(network, { address: 0, prefix: 0 })).toBe(true);
  expect(overlap(network, { address: 0xc0000300, prefix: 24 })).toBe(false);
  expect(overlap(network, { address: 0x40000200, prefix: 24 })).toBe(false);
});

test("a MAC address is six hexadecimal bytes", () => {
  expect(parseMac("02:00:5E:aa:Bb:0f")).toEqual(Uint8Array.of(2, 0, 0x5e, 0xaa, 0xbb, 15));
  expect(formatMac(Uint8Array.of(2, 0, 0x5e, 0xaa, 0xbb, 15))).toBe("02:00:5e:aa:bb:0f");
  for (const text of [
    "",
    "02-00-5e-aa-bb-0f",
    "2:0:5e:aa:bb:f",
    "02:00:5e:aa:bb",
    "02:00:5e:aa:bb:0f:00",
    "02:00:5e:aa:bb:0g",
  ]) {
    expect({ text, mac: parseMac(text) }).toEqual({ text, mac: undefined });
  }
});
