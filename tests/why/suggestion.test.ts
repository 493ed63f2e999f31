// Rules for what was refused of either family: by prefixes of its own, and by a host name for both.
import { expect, test } from "bun:test";
import { formatIp, type IpAddress, parseIp } from "../../src/base/ip.ts";
import { formatRule } from "../../src/rules/parse.ts";
import { type Refused, suggest } from "../../src/why/suggestion.ts";

const [TCP, UDP, ICMP, ICMPV6] = [6, 17, 1, 58];
const NAMES = new Map([
  ["198.51.100.7", "www.example"],
  ["2001:db8::7", "www.example"],
]);
const KNOWN = {
  dns: ["192.0.2.1", "2001:db8::53"].map((text) => parseIp(text) ?? 0),
  nameOf: (address: IpAddress) => NAMES.get(formatIp(address)),
};

const packet = (protocol: number, destination: string, selector?: number): Refused => ({
  ...{ protocol, destination: parseIp(destination) ?? 0, selector },
});

test.each([
  ["an address", [packet(TCP, "2001:db8::9", 443)], ["action=accept dst6=2001:db8::9/128 proto=tcp dstports=443"]],
  [
    "addresses that make a prefix",
    ["8", "9", "a", "b"].map((last) => packet(UDP, `2001:db8::${last}`, 123)),
    ["action=accept dst6=2001:db8::8/126 proto=udp dstports=123"],
  ],
  [
    "a name of both families",
    [packet(TCP, "198.51.100.7", 443), packet(TCP, "2001:db8::7", 443)],
    ["action=accept dsthost=www.example proto=tcp dstports=443"],
  ],
  [
    "name servers of both families",
    [packet(UDP, "192.0.2.1", 53), packet(UDP, "2001:db8::53", 53)],
    ["action=accept proto=udp specialtarget=dns"],
  ],
  [
    "pings of both families",
    [packet(ICMP, "203.0.113.9", 8), packet(ICMPV6, "2001:db8::9", 128)],
    [
      "action=accept dst4=203.0.113.9/32 proto=icmp icmptype=8",
      "action=accept dst6=2001:db8::9/128 proto=icmp icmptype=128",
    ],
  ],
])("%s", async (_, refused, rules) => {
  const { proposals, leftOut } = await suggest(refused, KNOWN);
  expect(proposals.map(({ rule }) => formatRule(rule)).toSorted()).toEqual(rules);
  expect(leftOut).toEqual([]);
});

test("what rules have no word for is left out: ICMP of the other family, protocols without ports, unknown ports", async () => {
  const refused = [
    packet(ICMPV6, "203.0.113.9", 128),
    packet(ICMP, "2001:db8::9", 8),
    packet(47, "2001:db8::9", 0),
    packet(TCP, "2001:db8::9"),
  ];
  expect(await suggest(refused, KNOWN)).toEqual({ proposals: [], leftOut: refused });
});

test("a thousand kinds of packets are decided soon: by ports, addresses and names that overlap", async () => {
  const refused = Array.from({ length: 1024 }, (_, i) =>
    packet(
      i % 2 === 0 ? TCP : UDP,
      i % 3 === 0 ? `2001:db8::${(i >> 5).toString(16)}` : `203.0.113.${i >> 4}`,
      80 + ((i * 7) % 32),
    ),
  );
  const names = { ...KNOWN, nameOf: (address: IpAddress) => `h${formatIp(address).length}.example` };
  const { proposals, leftOut } = await suggest(refused, names);
  expect(leftOut).toEqual([]);
  expect(new Set(proposals.flatMap(({ passes }) => passes)).size).toBe(refused.length);
  expect(proposals.length).toBeLessThan(200);
});
