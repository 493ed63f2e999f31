// What rules become: matches, as the time and the addresses of names have it.

import { describe, expect, test } from "bun:test";
import { ICMP, TCP, UDP } from "../../lab/protocols.ts";
import type { Match } from "../../src/dataplane/rules/match.ts";
import { compileRuleset } from "../../src/dataplane/rules/ruleset.ts";
import { type Circumstances, compileRules, matchesOf, nextExpiry } from "../../src/rules/compile.ts";
import { parseRule, type Rule } from "../../src/rules/parse.ts";

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
    const { version: another, ...wanted } = compileRuleset(kept, policy === "accept");
    expect(compiled).toEqual(wanted);
    expect(version).not.toBe(another); // each is told from all others by it
  }
});
