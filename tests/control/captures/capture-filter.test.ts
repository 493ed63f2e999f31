// Words of a capture's filter, read into what the dataplane's thread compares: of both families, and what is not understood.
import { expect, test } from "bun:test";
import { SETTINGS } from "../../../lab/router-lab.ts";
import {
  CAPTURE_FILTER_KEYS,
  readCaptureFilter,
  rereadCaptureFilter,
} from "../../../src/control/captures/capture-filter.ts";
import { DROP_FILTER_KEYS } from "../../../src/control/views/drop-filter.ts";
import { VERDICT_SLUGS } from "../../../src/dataplane/verdict.ts";

const meaning = {
  settings: SETTINGS,
  addressesOf: (name: string) => (name === "www.example" ? [0xc6336450] : undefined),
  addresses6Of: (name: string) =>
    name === "www.example" ? [Uint8Array.of(0x20, 1, ...Array(14).fill(255))] : undefined,
};
const read = (...words: string[]) => readCaptureFilter(words, meaning);

test("it has all the words that drops has, and means all where there are none", () => {
  expect([...CAPTURE_FILTER_KEYS].sort()).toEqual([...DROP_FILTER_KEYS].sort());
  expect(read()).toEqual({});
});

test("names become numbers, addresses words with masks, verdicts a list", () => {
  expect(read("client=lan", "interface=work", "proto=icmp", "icmptype=8")).toEqual({
    ...{ client: 1, iface: 1, protocols: [1, 58], icmpType: 8 },
  });
  expect(read("src=10.137.0.77/24", "dst=2001:db8:ffff::1/40", "proto=6", "rule=policy")).toEqual({
    source: [{ words: [0x0a890000], masks: [-256] }],
    destination: [{ words: [0x20010db8, -0x1000000, 0, 0], masks: [-1, -0x1000000, 0, 0] }],
    protocols: [6],
    rule: 0,
  });
  expect(read("dst4=198.51.100.80", "srcports=1-9", "dstports=443")).toEqual({
    destination: [{ words: [0xc6336450 | 0], masks: [-1] }],
    sourcePorts: { low: 1, high: 9 },
    destinationPorts: { low: 443, high: 443 },
  });
  expect(read("dsthost=www.example").destination).toEqual([
    { words: [0xc6336450 | 0], masks: [-1] },
    { words: [0x2001ffff, -1, -1, -1], masks: [-1, -1, -1, -1] },
  ]);
  const { verdicts = [] } = read("verdict=malformed");
  const meant = VERDICT_SLUGS.filter((_, i) => verdicts[i]);
  expect(meant.length).toBeGreaterThan(5);
  expect(meant.every((slug) => slug.startsWith("malformed-"))).toBeTrue();
});

test.each([
  ["tcp port 443", '"tcp port 443" is no filter (write KEY=VALUE, where KEY is one of client, '],
  ["client=nobody", 'client "nobody" is not there (there are work, lan)'],
  ["interface=eth9", 'interface "eth9" is not there (there are uplink, work, lan)'],
  ["verdict=gone", 'verdict "gone" is none'],
  ["dsthost=other.example", 'dsthost "other.example" is in no rule'],
  ["dst=1.2.3", "dst"],
])("%s is told", (word, text) => {
  expect(() => read(word)).toThrow(text);
});

test("by other settings, in which its client or interface is gone, it means nothing", () => {
  const others = { ...meaning, settings: { ...SETTINGS, clients: SETTINGS.clients.slice(0, 1) } };
  expect(rereadCaptureFilter(["client=work"], others)).toEqual({ client: 0 });
  expect(rereadCaptureFilter(["client=lan"], others)).toEqual({ client: -2 });
});
