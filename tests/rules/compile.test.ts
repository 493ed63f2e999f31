// What rules become: matches, as the time and the addresses of names have it.

import { describe, expect, test } from "bun:test";
import { ICMP, ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import { parseAddress6 } from "../../src/base/address.ts";
import type { Match, Match6 } from "../../src/dataplane/rules/match.ts";
import { compileRuleset, judge, judge6 } from "../../src/dataplane/rules/ruleset.ts";
import { type Circumstances, compileRules, matches6Of, matchesOf, nextExpiry } from "../../src/rules/compile.ts";
import { mismatch, remark } from "../../src/rules/mismatch.ts";
import { type ListedRule, parseRule, type Rule } from "../../src/rules/parse.ts";

const SERVERS = [0x0a8b0101, 0x0a8b0102];
const NAMES = new Map([
  ["www.example.org", [0xc0000250, 0xc0000251, 0xc0000250]],
  ["dns.example.org", [0xc0000250, 0x0a8b0102]],
]);
const NOW: Circumstances = { dns: SERVERS, now: 1700000000, addressesOf: (name) => NAMES.get(name) ?? [] };

const ANY: Match = {
  rule: 7,
  accept: true,
  address: 0,
  prefix: 0,
  protocol: 0,
  portLow: 0,
  portHigh: 65535,
  icmpType: -1,
};

function ruleOf(text: string): Rule {
  const result = parseRule(text);
  if (!result.ok) throw new Error(result.error);
  return result.rule;
}

function matches(text: string, circumstances: Partial<Circumstances> = {}): Match[] {
  return matchesOf(ruleOf(text), 7, { ...NOW, ...circumstances });
}

describe("a rule whose host name is unknown", () => {
  const unknown = { addressesOf: () => undefined };

  test("drops all that its other conditions fit", () => {
    expect(matches("action=drop dsthost=new.example", unknown)).toEqual([{ ...ANY, accept: false }]);
    expect(matches("action=drop dsthost=new.example proto=tcp dstports=443", unknown)).toEqual([
      { ...ANY, accept: false, protocol: TCP, portLow: 443, portHigh: 443 },
    ]);
    expect(matches("action=drop dsthost=new.example proto=udp specialtarget=dns", unknown)).toEqual(
      SERVERS.map((address) => ({
        ...ANY,
        ...{ accept: false, address, prefix: 32, protocol: UDP, portLow: 53, portHigh: 53 },
      })),
    );
    expect(matches("action=drop dsthost=new.example expire=1700000000", unknown)).toEqual([]);
  });

  test("accepts nothing", () => {
    expect(matches("action=accept dsthost=new.example", unknown)).toEqual([]);
  });
});

describe("a rule's matches", () => {
  test("of an action alone: everything", () => {
    expect(matches("action=accept")).toEqual([ANY]);
    expect(matches("action=drop")).toEqual([{ ...ANY, accept: false }]);
    expect(matches("action=drop comment=of no matter")).toEqual([{ ...ANY, accept: false }]);
  });

  test("of a destination, protocol, ports or ICMP type: one", () => {
    expect(matches("action=accept dst4=192.0.2.9/28")).toEqual([{ ...ANY, address: 0xc0000200, prefix: 28 }]);
    expect(matches("action=accept proto=tcp")).toEqual([{ ...ANY, protocol: TCP }]);
    expect(matches("action=accept proto=udp dstports=5-9")).toEqual([
      { ...ANY, protocol: UDP, portLow: 5, portHigh: 9 },
    ]);
    expect(matches("action=accept proto=icmp icmptype=8")).toEqual([{ ...ANY, protocol: ICMP, icmpType: 8 }]);
  });

  test("of ports without a protocol: TCP and UDP", () => {
    expect(matches("action=accept dstports=443")).toEqual([
      { ...ANY, protocol: TCP, portLow: 443, portHigh: 443 },
      { ...ANY, protocol: UDP, portLow: 443, portHigh: 443 },
    ]);
  });

  test("of specialtarget=dns: port 53 of each server, by the protocols and the destination asked for", () => {
    const both = SERVERS.flatMap((address) =>
      [TCP, UDP].map((protocol) => ({ ...ANY, address, prefix: 32, protocol, portLow: 53, portHigh: 53 })),
    );
    expect(matches("action=accept specialtarget=dns")).toEqual(both);
    expect(matches("action=accept specialtarget=dns dstports=53-53")).toEqual(both);
    expect(matches("action=accept specialtarget=dns proto=udp dst4=10.139.1.2")).toEqual(both.slice(3));
    expect(matches("action=accept specialtarget=dns proto=udp dsthost=dns.example.org")).toEqual(both.slice(3));
  });

  test("of specialtarget=dns with another port, another destination or no server: none", () => {
    for (const more of ["dstports=54", "dstports=53-54", "dst4=10.0.0.0/24", "dsthost=www.example.org"]) {
      expect(matches(`action=accept specialtarget=dns ${more}`)).toEqual([]);
    }
    expect(matches("action=accept specialtarget=dns", { dns: [] })).toEqual([]);
  });

  test("of a host name: one for each of its addresses and protocols, and none as long as it has no address", () => {
    const [one, other] = [0xc0000250, 0xc0000251].map((address) => ({ ...ANY, address, prefix: 32, portLow: 80 }));
    expect(matches("action=accept dsthost=WWW.example.org. dstports=80-65535")).toEqual([
      { ...one, protocol: TCP },
      { ...one, protocol: UDP },
      { ...other, protocol: TCP },
      { ...other, protocol: UDP },
    ]);
    expect(matches("action=accept dsthost=example.org")).toEqual([]);
    expect(matches("action=drop dsthost=example.org")).toEqual([]);
  });

  test("of an IPv6 destination: none", () => {
    expect(matches("action=accept dst6=::/0")).toEqual([]);
  });

  test("end when the rule expires", () => {
    expect(matches("action=accept expire=1700000000", { now: 1699999999.999 })).toEqual([ANY]);
    expect(matches("action=accept expire=1700000000", { now: 1700000000 })).toEqual([]);
    expect(matches("action=drop expire=0")).toEqual([]);
  });
});

const SERVER6 = address6("2001:db8::53");
const NAMES6 = new Map([
  ["www.example.org", [address6("2001:db8::80"), address6("2001:db8::81"), address6("2001:db8::80")]],
  ["dns.example.org", [SERVER6, address6("2001:db8::80")]],
]);
const BOTH: Circumstances = { ...NOW, ipv6: { dns: [SERVER6], addressesOf: (name) => NAMES6.get(name) ?? [] } };
const ANY6: Match6 = { ...ANY, address: new Uint8Array(16) };

function address6(text: string): Uint8Array {
  const address = parseAddress6(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return address;
}

function matches6(rule: string | ListedRule, circumstances: Partial<Circumstances> = {}): Match6[] {
  return matches6Of(typeof rule === "string" ? ruleOf(rule) : rule, 7, { ...BOTH, ...circumstances });
}

describe("a rule's matches of IPv6", () => {
  test("are those of IPv4 where it says nothing of a family, with ICMPv6 in place of ICMP", () => {
    expect(matches6("action=accept")).toEqual([ANY6]);
    expect(matches6("action=drop proto=udp dstports=5-9")).toEqual([
      { ...ANY6, accept: false, protocol: UDP, portLow: 5, portHigh: 9 },
    ]);
    expect(matches6("action=accept dstports=443").map(({ protocol }) => protocol)).toEqual([TCP, UDP]);
    expect(matches6("action=accept proto=icmp")).toEqual([{ ...ANY6, protocol: ICMPV6 }]);
    expect(matches6("action=accept proto=icmp icmptype=128")).toEqual([{ ...ANY6, protocol: ICMPV6, icmpType: 128 }]);
  });

  test("of dst6 are of IPv6 alone, those of dst4 of IPv4", () => {
    const written = "action=accept dst6=2001:db8::9/64 proto=tcp";
    expect(matches6(written)).toEqual([{ ...ANY6, address: address6("2001:db8::"), prefix: 64, protocol: TCP }]);
    expect(matchesOf(ruleOf(written), 7, BOTH)).toEqual([]);
    expect(matches6("action=drop dst4=0.0.0.0/0")).toEqual([]);
    expect(matches6("action=accept dst6=::/0")).toEqual([ANY6]);
  });

  test("of a rule that stands in one family's list are of that alone", () => {
    const rule = ruleOf("action=accept");
    expect(matches6({ ...rule, family: 4 })).toEqual([]);
    expect(matches6({ ...rule, family: 6 })).toEqual([ANY6]);
    expect(matchesOf({ ...rule, family: 4 }, 7, BOTH)).toEqual([ANY]);
    expect(matchesOf({ ...rule, family: 6 }, 7, BOTH)).toEqual([]);
  });

  test("of specialtarget=dns are the servers of IPv6, and none where there is none", () => {
    const dns = { ...ANY6, address: SERVER6, prefix: 128, portLow: 53, portHigh: 53 };
    expect(matches6("action=accept specialtarget=dns")).toEqual([
      { ...dns, protocol: TCP },
      { ...dns, protocol: UDP },
    ]);
    for (const target of ["dst6=2001:db8::/64", "dsthost=dns.example.org"]) {
      expect(matches6(`action=accept specialtarget=dns proto=udp ${target}`)).toEqual([{ ...dns, protocol: UDP }]);
    }
    for (const target of ["dst6=2001:db8:1::/64", "dst4=0.0.0.0/0", "dsthost=www.example.org", "dstports=54"]) {
      expect(matches6(`action=accept specialtarget=dns ${target}`)).toEqual([]);
    }
    const without = { ipv6: { dns: [], addressesOf: () => [] } };
    expect(matches6("action=accept specialtarget=dns", without)).toEqual([]);
  });

  test("of a host name are its IPv6 addresses, each once, and none while it has none", () => {
    const hosts = ["2001:db8::80", "2001:db8::81"].map((text) => ({ ...ANY6, address: address6(text), prefix: 128 }));
    expect(matches6("action=accept dsthost=www.example.org")).toEqual(hosts);
    expect(matches6("action=drop dsthost=example.org")).toEqual([]);
  });

  test("of a name whose IPv6 addresses are unknown: all for a rule that drops, none for one that accepts, whatever is known of IPv4", () => {
    const unknown = { ipv6: { dns: [], addressesOf: () => undefined } };
    const rule = "action=drop dsthost=www.example.org proto=tcp";
    expect(matches6(rule, unknown)).toEqual([{ ...ANY6, accept: false, protocol: TCP }]);
    expect(matches6("action=accept dsthost=www.example.org", unknown)).toEqual([]);
    expect(matchesOf(ruleOf(rule), 7, { ...NOW, ...unknown }).map(({ prefix }) => prefix)).toEqual([32, 32]);
  });

  test("end when the rule expires, and are none for a client without IPv6", () => {
    expect(matches6("action=accept expire=1700000000")).toEqual([]);
    expect(matches6("action=accept", { ipv6: undefined })).toEqual([]);
  });
});

test("a client without IPv6 is refused all of it, whatever its policy; with it, by its own rules' numbers", () => {
  const rules = ["action=drop dst4=192.0.2.9", "action=accept dst6=2001:db8::/32", "action=drop"].map(ruleOf);
  const [words6, port] = [[0x20010db8, 0, 0, 1] as const, 80];
  const set = compileRules(rules, "accept", BOTH);
  expect(judge6(set, TCP, ...words6, port)).toBe((2 << 1) | 1);
  expect(judge6(set, TCP, 0x20010db9, 0, 0, 1, port)).toBe(3 << 1);
  expect(judge(set, TCP, 0xc0000209, port)).toBe(1 << 1);
  expect(judge6(compileRules([], "accept", BOTH), TCP, ...words6, port)).toBe(1);
  expect(judge6(compileRules([ruleOf("action=accept")], "accept", NOW), TCP, ...words6, port)).toBe(0);
});

describe("why a rule does not match an IPv6 packet:", () => {
  const why = (rule: string | ListedRule, destination: string, selector = 443, circumstances = BOTH, protocol = TCP) =>
    mismatch(
      typeof rule === "string" ? ruleOf(rule) : rule,
      { protocol, destination: address6(destination), selector },
      circumstances,
    );

  test.each([
    ["action=accept dst4=192.0.2.0/24", "destination is not in 192.0.2.0/24"],
    ["action=accept dst6=2001:DB8:1:0:0:0:0:0/48", "destination is not in 2001:db8:1::/48"],
    ["action=accept dst6=2001:db8::2", "destination is not 2001:db8::2"],
    ["action=accept dsthost=example.org", "example.org has no IPv6 address, so that the rule matches nothing"],
    [
      "action=accept dsthost=www.example.org",
      "destination is no address of www.example.org, which has 2001:db8::80, 2001:db8::81, 2001:db8::80",
    ],
    ["action=accept specialtarget=dns", "destination is no name server: these are: 2001:db8::53"],
    ["action=accept dst6=2001:db8::1 dstports=80", "port is not 80"],
    ["action=accept proto=icmp", "protocol is not icmp"],
    ["action=accept expire=0", "it expired at 1970-01-01T00:00:00Z"],
  ])("%s", (rule, reason) => {
    expect(why(rule, "2001:db8::1")).toBe(reason);
  });

  test("ICMPv6's type; and it is no ICMP of IPv4's", () => {
    expect(why("action=accept proto=icmp icmptype=8", "2001:db8::1", 128, BOTH, ICMPV6)).toBe("ICMPv6 type is not 8");
    expect(why("action=accept proto=icmp icmptype=128", "2001:db8::1", 128, BOTH, ICMPV6)).toBeUndefined();
    expect(why("action=accept proto=icmp", "2001:db8::1", 0, BOTH, ICMP)).toBe("protocol is not icmp");
  });

  test("the list that it stands in, and a client without IPv6", () => {
    expect(why({ ...ruleOf("action=accept"), family: 4 }, "2001:db8::1")).toBe("it is for IPv4 alone");
    expect(why("action=accept", "2001:db8::1", 443, NOW)).toBe("the client has no IPv6");
  });

  test("nothing, with a remark where a name is unknown in IPv6 alone", () => {
    const unknown = { ...BOTH, ipv6: { dns: [], addressesOf: () => undefined } };
    const rule = ruleOf("action=drop dsthost=www.example.org");
    const blind = "nobody knows the addresses of www.example.org here, so that the rule drops packets to any";
    const packet = (destination: number | Uint8Array) => ({ protocol: TCP, destination, selector: 443 });
    expect(why("action=drop dsthost=www.example.org", "2001:db8::1", 443, unknown)).toBeUndefined();
    expect(remark(rule, packet(address6("2001:db8::1")), unknown)).toBe(blind);
    expect(remark(rule, packet(0xc0000250), unknown)).toBeUndefined();
  });
});

test("the next expiry is the earliest that is still to come", () => {
  const rules = [30, 10, 20, undefined].map((expire) => ruleOf(`action=drop${expire ? ` expire=${expire}` : ""}`));
  expect([0, 9.9, 10, 15, 29.5, 30, 31].map((now) => nextExpiry(rules, now))).toEqual([
    10,
    10,
    20,
    20,
    30,
    undefined,
    undefined,
  ]);
  expect(nextExpiry([], 0)).toBeUndefined();
});

test("the rules of a client become its ruleset", () => {
  const rules = ["action=accept dst4=192.0.2.9/28", "action=drop expire=1", "action=drop"].map(ruleOf);
  const kept: Match[] = [
    { ...ANY, rule: 1, address: 0xc0000200, prefix: 28 },
    { ...ANY, rule: 3, accept: false },
  ];
  for (const policy of ["accept", "drop"] as const) {
    const { version, ...compiled } = compileRules(rules, policy, NOW);
    const { version: another, ...wanted } = compileRuleset(kept, policy === "accept", [], false);
    expect(compiled).toEqual(wanted);
    expect(version).not.toBe(another); // each is told from all others by it
  }
});
