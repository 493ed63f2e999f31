// What is written on an interface of its state before: read back as it was, and nothing else is taken for it.
import { expect, test } from "bun:test";
import { type Mark, markText, parseMark } from "../../../src/linux/net/mark.ts";

const NAMESPACE = 4026531840;
const WRITING = { namespace: NAMESPACE, index: 3, pid: 4711 };
const MARK: Mark = {
  wasUp: false,
  hadClsact: true,
  values: new Map([
    ["disable_ipv6", "0"],
    ["arp_ignore", "-1"],
  ]),
};
const TEXT = "firebreak-before.ns=4026531840.if=3.pid=4711.up=0.clsact=1.disable_ipv6=0.arp_ignore=-1";

/** Room that the kernel has for such a name, without its end (ALTIFNAMSIZ in linux/if.h). */
const LONGEST = 127;

test("a mark is one name, and read back as it was", () => {
  expect(markText(MARK, WRITING)).toBe(TEXT);
  expect(parseMark(TEXT, NAMESPACE)).toEqual(MARK);
});

test("the longest has room", () => {
  const values = new Map(["disable_ipv6", "forwarding", "rp_filter", "arp_ignore"].map((name) => [name, "1"]));
  const text = markText({ ...MARK, values }, { namespace: 4294967295, index: 99_999, pid: 4194304 });
  expect(text.length).toBeLessThanOrEqual(LONGEST);
});

test.each([
  ["of another namespace", TEXT.replace(String(NAMESPACE), "4026531841")],
  ["of somebody else", "enp0s3"],
  ["cut", TEXT.slice(0, -2)],
  ["with more", `${TEXT}.`],
  ["with a path for a name", `${TEXT}.../../x=1`],
  ["with a word for a value", `${TEXT}.rp_filter=loose`],
])("a name %s is none", (_, text) => {
  expect(parseMark(text, NAMESPACE)).toBeUndefined();
});
