// Qubes' rule language: what it gives, what it refuses and how it says so, and that nothing else is ever accepted.
import { describe, expect, test } from "bun:test";
import { formatRule, makeRule, parseRule, type Rule } from "../../src/qubes/rules.ts";
import { Random } from "../support/random.ts";

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
];

const ACTIONS = "(write accept or drop)";
const KNOWN = "action, dst4, proto, specialtarget, dstports, icmptype";
const PREFIX = "is not an IPv4 prefix (write 10.1.2.3 or 10.1.2.0/24)";
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
  ["action=accept dst6=::1", `dst6 is not supported yet (supported: ${KNOWN})`],
  ["action=accept dsthost=example.org", `dsthost is not supported yet (supported: ${KNOWN})`],
  ["action=accept expire=1700000000", `expire is not supported yet (supported: ${KNOWN})`],
  ["action=accept comment=x", `comment is not supported yet (supported: ${KNOWN})`],
  ["action=accept dpi=http", `dpi is not supported yet (supported: ${KNOWN})`],
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
  ["action=accept dst4=::1", `dst4 "::1" ${PREFIX}`],
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

  test("is written as Qubes OS writes it", () => {
    const dns = parseRule("specialtarget=dns dstports=53-53 dst4=10.139.1.1 proto=udp action=accept");
    expect(dns.ok && formatRule(dns.rule)).toBe(
      "action=accept dst4=10.139.1.1/32 proto=udp specialtarget=dns dstports=53",
    );
    const ping = parseRule("icmptype=0 proto=icmp dst4=10.9.8.7/8 action=drop");
    expect(ping.ok && formatRule(ping.rule)).toBe("action=drop dst4=10.0.0.0/8 proto=icmp icmptype=0");
  });

  test("made of pairs goes through the same checks", () => {
    expect(makeRule([])).toEqual({ ok: false, error: "action is missing (write action=accept or action=drop)" });
    expect(makeRule([["action", "accept proto=tcp"]])).toEqual({
      ok: false,
      error: `action "accept proto=tcp" is not an action ${ACTIONS}`,
    });
  });
});

// The grammar once more, as one regular expression for a pair, and conditions on the whole.
const PORT = "(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0)";
const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const GRAMMAR_PAIR = `(?:action=(?:accept|drop)|proto=(?:tcp|udp|icmp)|specialtarget=dns|dstports=${PORT}(?:-${PORT})?|icmptype=${BYTE}|dst4=${BYTE}(?:\\.${BYTE}){3}(?:/(?:3[0-2]|[12]?[0-9]))?)`;
const GRAMMAR = new RegExp(`^${GRAMMAR_PAIR}(?: ${GRAMMAR_PAIR})*$`);

function grammarAccepts(text: string): boolean {
  if (!GRAMMAR.test(text)) return false;
  const count = (key: string) => ` ${text}`.split(` ${key}=`).length - 1;
  if (["action", "dst4", "proto", "specialtarget", "dstports", "icmptype"].some((key) => count(key) > 1)) return false;
  const icmp = text.includes("proto=icmp");
  const range = /dstports=(\d+)-(\d+)/.exec(text);
  if (range !== null && Number(range[1]) > Number(range[2])) return false;
  return count("action") === 1 && !(icmp && count("dstports") > 0) && (icmp || count("icmptype") === 0);
}

const WORDS = [
  ..."action=accept action=drop proto=tcp proto=udp proto=icmp specialtarget=dns icmptype=8 icmptype=300".split(" "),
  ..."dstports=80 dstports=1-65535 dstports=9-8 dstports=65536 dst4=10.0.0.0/8 dst4=1.2.3.4 dst6=::1 dsthost=a".split(
    " ",
  ),
  "",
  "=",
  "action",
];
const UNITS = "0123456789./-= :\t\n\0aé\u{1f525}_,*xdst";

function mutate(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  const words = text.split(" ");
  switch (random.below(7)) {
    case 0:
      return text.slice(0, at) + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + random.pick(UNITS) + text.slice(at);
    case 2:
      return text.slice(0, at) + random.pick(UNITS) + text.slice(at + 1);
    case 3:
      return [...words, random.pick(WORDS)].join(" ");
    case 4:
      return words.toSpliced(random.below(words.length), 1).join(" ");
    case 5:
      return words.with(random.below(words.length), random.pick(WORDS)).join(" ");
    default:
      return text.replace(/\d+/, () => String(random.below(random.pick([10, 300, 70000]))));
  }
}

test("rules mutated at random are accepted exactly when the grammar gives them, and survive being written", () => {
  const random = new Random(2);
  let accepted = 0;
  for (let i = 0; i < 60_000; i++) {
    let [text] = random.pick(VALID);
    for (let left = random.below(5); left > 0; left--) text = mutate(text, random);
    const result = parseRule(text);
    if (result.ok !== grammarAccepts(text)) throw new Error(`${JSON.stringify(text)}: ${JSON.stringify(result)}`);
    if (!result.ok) continue;
    accepted++;
    expect(parseRule(formatRule(result.rule))).toEqual(result);
  }
  expect(accepted).toBeGreaterThan(10_000);
});
