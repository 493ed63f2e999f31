// Qubes' rule language: what it gives, what it refuses and how it says so.
import { describe, expect, test } from "bun:test";
import { forFamily, formatRule, makeRule, parseRule, type Rule } from "../../src/rules/parse.ts";

/** @returns 16 bytes, of which these are the first */
function v6(...first: readonly number[]): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0);
}

const VALID: [string, Rule][] = [
  ["action=accept", { action: "accept" }],
  ["action=drop proto=tcp", { action: "drop", proto: "tcp" }],
  ["proto=udp action=accept", { action: "accept", proto: "udp" }],
  ["action=accept dst4=10.1.2.3", { action: "accept", dst4: { address: 0x0a010203, prefix: 32 } }],
  ["action=accept dst4=255.255.255.255/32", { action: "accept", dst4: { address: 0xffffffff, prefix: 32 } }],
  ["action=accept dst4=0.0.0.0/0", { action: "accept", dst4: { address: 0, prefix: 0 } }],
  ["action=accept dst4=192.0.2.77/28", { action: "accept", dst4: { address: 0xc0000240, prefix: 28 } }],
  ["action=accept dstports=443", { action: "accept", dstports: { low: 443, high: 443 } }],
  ["action=accept proto=tcp dstports=53-53", { action: "accept", proto: "tcp", dstports: { low: 53, high: 53 } }],
  ["action=drop proto=udp dstports=0-65535", { action: "drop", proto: "udp", dstports: { low: 0, high: 65535 } }],
  ["action=accept proto=icmp icmptype=8", { action: "accept", proto: "icmp", icmptype: 8 }],
  ["action=accept icmptype=255 proto=icmp", { action: "accept", proto: "icmp", icmptype: 255 }],
  ["action=accept specialtarget=dns", { action: "accept", specialtarget: "dns" }],
  [
    "action=accept specialtarget=dns dstports=80",
    { action: "accept", specialtarget: "dns", dstports: { low: 80, high: 80 } },
  ],
  ["action=accept dst6=::", { action: "accept", dst6: { address: v6(), prefix: 128 } }],
  ["action=accept dst6=::/0", { action: "accept", dst6: { address: v6(), prefix: 0 } }],
  [
    "action=accept dst6=2001:DB8:ffff::1/33",
    { action: "accept", dst6: { address: v6(0x20, 0x01, 0x0d, 0xb8, 0x80), prefix: 33 } },
  ],
  [
    "action=accept dst6=::ffff:192.0.2.1/128",
    { action: "accept", dst6: { address: v6(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1), prefix: 128 } },
  ],
  ["action=accept dsthost=example.org", { action: "accept", dsthost: "example.org" }],
  ["action=accept dsthost=_xmpp.Example.ORG.", { action: "accept", dsthost: "_xmpp.example.org" }],
  ["action=accept dsthost=localhost", { action: "accept", dsthost: "localhost" }],
  ["action=accept dsthost=1.xn--p1ai", { action: "accept", dsthost: "1.xn--p1ai" }],
  ["action=accept expire=0", { action: "accept", expire: 0 }],
  ["expire=253402300799 action=accept", { action: "accept", expire: 253402300799 }],
  ["action=accept comment=x", { action: "accept", comment: "x" }],
  [
    "proto=tcp action=drop comment=Web, only: [a/b_c-d.e;f] ",
    { action: "drop", proto: "tcp", comment: "Web, only: [a/b_c-d.e;f] " },
  ],
];

const ACTIONS = "(write accept or drop)";
const KNOWN = "action, dst4, dst6, dsthost, proto, specialtarget, dstports, icmptype, expire, comment";
const PREFIX = "is not an IPv4 prefix (write 10.1.2.3 or 10.1.2.0/24)";
const PREFIX6 = "is not an IPv6 prefix (write 2001:db8::1 or 2001:db8::/32)";
const NAME = "is not a host name (write www.example.org, and dst4 or dst6 for an address)";
const TIME = "is not a Unix time in seconds (write the output of date +%s --date tomorrow)";
const COMMENT = "is not a comment (write letters, digits, spaces and :;,./-_[] at the rule's end)";
const PORTS = "is not a port range (write 80 or 80-443)";
const TYPE = "is not an ICMP type (write a number from 0 to 255)";
const PAIR = "is not key=value (write action=accept proto=tcp dstports=443)";
const SPACES = "has a space too many (write one space between two key=value pairs, none around)";

const INVALID: [string, string][] = [
  ["", "is empty (write action=accept or action=drop, then what it is for)"],
  [" ", SPACES],
  [" action=accept", SPACES],
  ["action=accept ", SPACES],
  ["action=accept  proto=tcp", SPACES],
  ["action=accept\tproto=tcp", `action "accept\\tproto=tcp" is not an action ${ACTIONS}`],
  ["action=accept,proto=tcp", `action "accept,proto=tcp" is not an action ${ACTIONS}`],
  ["action=accept\n", `action "accept\\n" is not an action ${ACTIONS}`],
  ["accept", `"accept" ${PAIR}`],
  ["action=accept proto", `"proto" ${PAIR}`],
  ["action=accept proto = tcp", `"proto" ${PAIR}`],
  ["action=", `action has no value ${ACTIONS}`],
  ["action=Accept", `action "Accept" is not an action ${ACTIONS}`],
  ["action=reject", `action "reject" is not an action ${ACTIONS}`],
  ["proto=tcp dstports=443", "action is missing (write action=accept or action=drop)"],
  ["=accept", `unknown key "" (known: ${KNOWN})`],
  ["action=accept port=80", `unknown key "port" (known: ${KNOWN})`],
  ["action=accept __proto__=1", `unknown key "__proto__" (known: ${KNOWN})`],
  ["action=accept constructor=1", `unknown key "constructor" (known: ${KNOWN})`],
  ["Action=accept", `unknown key "Action" (known: ${KNOWN})`],
  ["action=accept dpi=http", "dpi is not supported: what packets hold is not looked at (leave it out)"],
  ["action=accept dst6=", "dst6 has no value (write 2001:db8::1 or 2001:db8::/32)"],
  ["action=accept dst6=10.1.2.3", `dst6 "10.1.2.3" ${PREFIX6}`],
  ["action=accept dst6=2001:db8", `dst6 "2001:db8" ${PREFIX6}`],
  ["action=accept dst6=2001::db8::1", `dst6 "2001::db8::1" ${PREFIX6}`],
  ["action=accept dst6=1:2:3:4:5:6:7:8:9", `dst6 "1:2:3:4:5:6:7:8:9" ${PREFIX6}`],
  ["action=accept dst6=::12345", `dst6 "::12345" ${PREFIX6}`],
  ["action=accept dst6=::1/129", `dst6 "::1/129" ${PREFIX6}`],
  ["action=accept dst6=::1/064", `dst6 "::1/064" ${PREFIX6}`],
  ["action=accept dst6=::1/", `dst6 "::1/" ${PREFIX6}`],
  ["action=accept dst6=::/0/0", `dst6 "::/0/0" ${PREFIX6}`],
  ["action=accept dst6=[::1]", `dst6 "[::1]" ${PREFIX6}`],
  ["action=accept dst6=fe80::1%eth0", `dst6 "fe80::1%eth0" ${PREFIX6}`],
  ["action=accept dst4=10.0.0.1 dsthost=a.example", "dst4 and dsthost exclude each other (write one of them)"],
  ["action=accept dst6=::1 dst4=10.0.0.1", "dst4 and dst6 exclude each other (write one of them)"],
  ["action=accept dsthost=", "dsthost has no value (write www.example.org, and dst4 or dst6 for an address)"],
  ["action=accept dsthost=.", `dsthost "." ${NAME}`],
  ["action=accept dsthost=.example.org", `dsthost ".example.org" ${NAME}`],
  ["action=accept dsthost=example..org", `dsthost "example..org" ${NAME}`],
  ["action=accept dsthost=example.org..", `dsthost "example.org.." ${NAME}`],
  ["action=accept dsthost=-a.example.org", `dsthost "-a.example.org" ${NAME}`],
  ["action=accept dsthost=a-.example.org", `dsthost "a-.example.org" ${NAME}`],
  ["action=accept dsthost=*.example.org", `dsthost "*.example.org" ${NAME}`],
  ["action=accept dsthost=exämple.org", `dsthost "ex\\u00e4mple.org" ${NAME}`],
  ["action=accept dsthost=192.0.2.1", `dsthost "192.0.2.1" ${NAME}`],
  ["action=accept dsthost=10.1", `dsthost "10.1" ${NAME}`],
  ["action=accept dsthost=192.0.2.0/24", `dsthost "192.0.2.0/24" ${NAME}`],
  ["action=accept dsthost=2001:db8::1", `dsthost "2001:db8::1" ${NAME.replace("is not", "is IPv6, and not")}`],
  ["action=accept expire=", "expire has no value (write the output of date +%s --date tomorrow)"],
  ["action=accept expire=-1", `expire "-1" ${TIME}`],
  ["action=accept expire=1.5", `expire "1.5" ${TIME}`],
  ["action=accept expire=01", `expire "01" ${TIME}`],
  ["action=accept expire=253402300800", `expire "253402300800" ${TIME}`],
  ["action=accept expire=2030-01-01", `expire "2030-01-01" ${TIME}`],
  ["action=accept comment=", "comment has no value (write letters, digits, spaces and :;,./-_[] at the rule's end)"],
  ["action=accept comment=only proto=tcp", `comment "only proto=tcp" ${COMMENT}`],
  ["action=accept comment=a comment=b", `comment "a comment=b" ${COMMENT}`],
  ["action=accept comment=caf\u00e9", `comment "caf\\u00e9" ${COMMENT}`],
  ["action=accept comment=a\nb", `comment "a\\nb" ${COMMENT}`],
  ["comment=first action=accept", `comment "first action=accept" ${COMMENT}`],
  ["comment=alone", "action is missing (write action=accept or action=drop)"],
  ["action=accept action=accept", "action is there twice (write it once)"],
  ["action=accept proto=tcp proto=udp", "proto is there twice (write it once)"],
  ["action=accept dst4=", "dst4 has no value (write 10.1.2.3 or 10.1.2.0/24)"],
  ["action=accept dst4=10.1.2", `dst4 "10.1.2" ${PREFIX}`],
  ["action=accept dst4=10.1.2.256", `dst4 "10.1.2.256" ${PREFIX}`],
  ["action=accept dst4=010.1.2.3", `dst4 "010.1.2.3" ${PREFIX}`],
  ["action=accept dst4=0x0a.1.2.3", `dst4 "0x0a.1.2.3" ${PREFIX}`],
  ["action=accept dst4=10.1.2.0/33", `dst4 "10.1.2.0/33" ${PREFIX}`],
  ["action=accept dst4=10.1.2.0/08", `dst4 "10.1.2.0/08" ${PREFIX}`],
  ["action=accept dst4=10.1.2.0/", `dst4 "10.1.2.0/" ${PREFIX}`],
  ["action=accept dst4=10.1.2.0/24/32", `dst4 "10.1.2.0/24/32" ${PREFIX}`],
  ["action=accept dst4=10.1.2.0/255.255.255.0", `dst4 "10.1.2.0/255.255.255.0" ${PREFIX}`],
  ["action=accept dst4=::1", `dst4 "::1" ${PREFIX.replace("is not", "is IPv6, and not")}`],
  ["action=accept dst4=*", `dst4 "*" ${PREFIX}`],
  ["action=accept proto=", "proto has no value (write tcp or udp or icmp)"],
  ["action=accept proto=6", 'proto "6" is not a protocol (write tcp or udp or icmp)'],
  ["action=accept proto=TCP", 'proto "TCP" is not a protocol (write tcp or udp or icmp)'],
  ["action=accept specialtarget=ntp", 'specialtarget "ntp" is not a special target (write dns)'],
  ["action=accept specialtarget=", "specialtarget has no value (write dns)"],
  ["action=accept dstports=", "dstports has no value (write 80 or 80-443)"],
  ["action=accept dstports=80-", `dstports "80-" ${PORTS}`],
  ["action=accept dstports=-80", `dstports "-80" ${PORTS}`],
  ["action=accept dstports=-", `dstports "-" ${PORTS}`],
  ["action=accept dstports=80-90-100", `dstports "80-90-100" ${PORTS}`],
  ["action=accept dstports=443-80", `dstports "443-80" ${PORTS}`],
  ["action=accept dstports=65536", `dstports "65536" ${PORTS}`],
  ["action=accept dstports=80,443", `dstports "80,443" ${PORTS}`],
  ["action=accept dstports=080", `dstports "080" ${PORTS}`],
  ["action=accept dstports=+80", `dstports "+80" ${PORTS}`],
  ["action=accept dstports=http", `dstports "http" ${PORTS}`],
  ["action=accept dstports=８0", `dstports "\\uff180" ${PORTS}`],
  [
    "action=accept proto=icmp dstports=80",
    "dstports goes with proto=tcp or proto=udp only (write icmptype for proto=icmp)",
  ],
  [
    "action=accept proto=icmp specialtarget=dns",
    "specialtarget=dns goes with proto=tcp or proto=udp only (leave proto out for both)",
  ],
  ["action=accept icmptype=", "icmptype has no value (write a number from 0 to 255)"],
  ["action=accept proto=icmp icmptype=256", `icmptype "256" ${TYPE}`],
  ["action=accept proto=icmp icmptype=-1", `icmptype "-1" ${TYPE}`],
  ["action=accept proto=icmp icmptype=echo", `icmptype "echo" ${TYPE}`],
  ["action=accept icmptype=8", "icmptype needs proto=icmp (write proto=icmp too)"],
  ["action=accept proto=tcp icmptype=8", "icmptype needs proto=icmp (write proto=icmp too)"],
];

describe("a rule", () => {
  test.each(VALID)("%j is understood", (text, rule) => {
    expect(parseRule(text)).toEqual({ ok: true, rule });
  });

  test.each(INVALID)("%j is refused with its reason", (text, error) => {
    expect(parseRule(text)).toEqual({ ok: false, error });
  });

  test("is at most as long as a value of QubesDB, and shown in part when it is long", () => {
    const shown = `proto "${"x".repeat(40)}…" is not a protocol (write tcp or udp or icmp)`;
    const long = "is longer than 3072 bytes (split it up)";
    expect(parseRule(`action=accept proto=${"x".repeat(3072 - 20)}`)).toEqual({ ok: false, error: shown });
    expect(parseRule(`action=accept proto=${"x".repeat(3073 - 20)}`)).toEqual({ ok: false, error: long });
    expect(parseRule(`action=accept proto=${"é".repeat(1527)}`)).toEqual({ ok: false, error: long });
  });

  test("has a name of at most 253 characters in labels of at most 63", () => {
    const label = "a".repeat(63);
    const name = `${label}.${label}.${label}.${"a".repeat(61)}`;
    const long = (text: string) => ({ ok: false as const, error: `dsthost "${text.slice(0, 40)}…" ${NAME}` });
    expect(parseRule(`action=drop dsthost=${name}.`)).toEqual({ ok: true, rule: { action: "drop", dsthost: name } });
    expect(parseRule(`action=drop dsthost=${name}a`)).toEqual(long(name));
    expect(parseRule(`action=drop dsthost=${label}a.example.org`)).toEqual(long(label));
  });

  test("is written as Qubes OS writes it", () => {
    const dns = parseRule("specialtarget=dns dstports=53-53 dst4=10.139.1.1 proto=udp action=accept");
    expect(dns.ok && formatRule(dns.rule)).toBe(
      "action=accept dst4=10.139.1.1/32 proto=udp specialtarget=dns dstports=53",
    );
    const ping = parseRule("icmptype=0 proto=icmp dst4=10.9.8.7/8 action=drop");
    expect(ping.ok && formatRule(ping.rule)).toBe("action=drop dst4=10.0.0.0/8 proto=icmp icmptype=0");
    const six = parseRule("expire=9 dst6=2001:DB8:0:0:0::7:1/112 action=drop comment=a b");
    expect(six.ok && formatRule(six.rule)).toBe("action=drop dst6=2001:db8::7:0/112 expire=9 comment=a b");
    const name = parseRule("dsthost=WWW.Example.org. action=drop");
    expect(name.ok && formatRule(name.rule)).toBe("action=drop dsthost=www.example.org");
  });

  test("made of pairs goes through the same checks", () => {
    expect(makeRule([])).toEqual({ ok: false, error: "action is missing (write action=accept or action=drop)" });
    expect(makeRule([["action", "accept proto=tcp"]])).toEqual({
      ok: false,
      error: `action "accept proto=tcp" is not an action ${ACTIONS}`,
    });
    const pairs = [
      ["comment", "anywhere"],
      ["action", "drop"],
    ] as const;
    expect(makeRule(pairs)).toEqual({ ok: true, rule: { action: "drop", comment: "anywhere" } });
  });

  test("of the other address family is none for a client", () => {
    const four = parseRule("action=accept dst4=192.0.2.1");
    const six = parseRule("action=accept dst6=::1");
    const either = parseRule("action=accept dsthost=example.org");
    const bad = parseRule("action=acept");
    for (const family of [4, 6] as const) {
      expect(forFamily(either, family)).toBe(either);
      expect(forFamily(bad, family)).toBe(bad);
    }
    expect(forFamily(four, 4)).toBe(four);
    expect(forFamily(six, 6)).toBe(six);
    const leave = "or leave the rule out)";
    for (const [rule, family, error] of [
      [four, 6, `dst4 is not for a client with an IPv6 address (write dst6, ${leave}`],
      [six, 4, `dst6 is not for a client with an IPv4 address (write dst4, ${leave}`],
    ] as const) {
      expect(forFamily(rule, family)).toEqual({ ok: false, error });
    }
  });
});
