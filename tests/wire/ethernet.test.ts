// MAC addresses in frames.
import { expect, test } from "bun:test";
import { mac, toHex } from "../../lab/frames.ts";
import { isGroupMac, macHead, macTail, writeMac } from "../../src/wire/ethernet.ts";
import { place } from "../support/place.ts";

test("broadcast and multicast addresses are group addresses, others are not", () => {
  const groups = ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb", "33:33:00:00:00:01"];
  const others = ["fe:ff:ff:ff:ff:ff", "02:00:00:00:00:01", "00:00:00:00:00:00", "b8:e8:56:11:17:c6"];
  const isGroup = (text: string) => {
    const { view, at } = place(mac(text));
    return isGroupMac(view, at);
  };
  expect([...groups, ...others].filter(isGroup)).toEqual(groups);
});

test("an address read as head and tail is written back byte for byte", () => {
  for (const text of ["fe:ff:ff:ff:ff:fe", "00:00:00:00:00:00", "7f:80:01:02:83:04"]) {
    const from = place(mac(text));
    const to = place(new Uint8Array(6));
    writeMac(to.view, to.at, macHead(from.view, from.at), macTail(from.view, from.at));
    expect(toHex(new Uint8Array(to.view.buffer))).toBe(toHex(new Uint8Array(from.view.buffer)));
  }
});
