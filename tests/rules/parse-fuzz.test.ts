// A million texts, from random bytes to rules with one letter changed: the parser accepts exactly the rules among them.
import { expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { formatRule, makeRule, parseRule } from "../../src/rules/parse.ts";
import { isRule } from "./rule-grammar.ts";

const TEXTS = 1_000_000;

const RULES = [
  "action=accept",
  "action=drop proto=tcp",
  "proto=udp action=accept dstports=53-53",
  "action=accept dst4=10.1.2.3 proto=tcp dstports=80-443",
  "action=accept dst4=192.0.2.77/28",
  "action=accept proto=icmp icmptype=8",
  "action=accept specialtarget=dns",
  "action=drop dst6=2001:db8:0:1::/64",
  "action=drop dst6=::ffff:192.0.2.1/96 proto=icmp icmptype=135",
  "dst6=1:2:3:4:5:6:7:8 action=accept dstports=443",
  "action=accept dsthost=www.example.org proto=tcp dstports=443-443",
  "action=accept dsthost=_srv.xn--exmple-cua.example.",
  "action=drop expire=1700000000 comment=Until: [then], a/b-c_d",
  "action=accept comment=a",
];
const WORDS = [
  ...RULES.flatMap((rule) => rule.split(" ")),
  ..."icmptype=300 dstports=9-8 dstports=65536 dst4=1.2.3.4/33 dst6=::1::2 dst6=1:2:3:4:5:6:7:: dst6=::10.0.0.1".split(
    " ",
  ),
  ..."dsthost=10.1 dsthost=a..b dsthost=-a dsthost=a expire=253402300799 expire=253402300800 dpi=http".split(" "),
  ..."= action proto= comment= comment=x=y expire=00 dst4=::1 dst6=10.0.0.1 constructor=1 __proto__=tcp".split(" "),
  "",
];
const UNITS = "0123456789./-= :;,[]\t\n\0aéfxZ_*%\u{1f525}\ud800dst";

function mutate(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  const words = text.split(" ");
  switch (random.below(9)) {
    case 0:
      return text.slice(0, at) + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + random.pick(UNITS) + text.slice(at);
    case 2:
      return text.slice(0, at) + random.pick(UNITS) + text.slice(at + 1);
    case 3:
      return `${text} ${random.pick(WORDS)}`;
    case 4:
      return words.toSpliced(random.below(words.length), 1).join(" ");
    case 5:
      return words.with(random.below(words.length), random.pick(WORDS)).join(" ");
    case 6:
      return text.slice(at) + text.slice(0, at);
    case 7:
      return text.slice(0, at) + text.slice(Math.max(0, at - random.below(10)));
    default:
      return text.replace(/\d+/, () => String(random.below(random.pick([10, 300, 70000, 2 ** 32]))));
  }
}

function randomText(random: Random): string {
  if (random.chance(0.05)) {
    return Array.from({ length: random.below(40) }, () =>
      String.fromCharCode(random.below(random.pick([128, 65536]))),
    ).join("");
  }
  if (random.chance(0.1)) return Array.from({ length: random.below(8) }, () => random.pick(WORDS)).join(" ");
  let text = random.pick(RULES);
  for (let left = random.below(5); left > 0; left--) text = mutate(text, random);
  return text;
}

test("of a million texts those are accepted that the grammar gives, and survive being written", () => {
  const random = new Random(2);
  let accepted = 0;
  for (let i = 0; i < TEXTS; i++) {
    const text = randomText(random);
    const result = parseRule(text);
    if (result.ok !== isRule(text)) throw new Error(`${JSON.stringify(text)}: ${JSON.stringify(result)}`);
    if (!result.ok) continue;
    accepted++;
    const again = parseRule(formatRule(result.rule));
    if (!Bun.deepEquals(again, result, true)) throw new Error(`${JSON.stringify(text)}: ${JSON.stringify(again)}`);
  }
  expect(accepted).toBeGreaterThan(100_000);
}, 60_000);

test("long texts take no longer than their length allows", () => {
  const start = performance.now();
  for (const piece of ["a", "a.", "-", ":", "::", "1:", "0", "=", " ", " comment=", "action=accept ", "a=", "\ud800"]) {
    for (const before of [
      "",
      "action=accept dsthost=",
      "action=accept dst6=",
      "action=accept comment=",
      "action=drop dstports=",
    ]) {
      const text = before + piece.repeat(3000);
      for (const long of [text, text.slice(0, 3072), text.repeat(100)]) {
        const { ok } = parseRule(long);
        expect(ok).toBe(isRule(long));
        makeRule([["dsthost", long]]);
      }
    }
  }
  expect(performance.now() - start).toBeLessThan(5000);
});
