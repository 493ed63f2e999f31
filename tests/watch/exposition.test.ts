// Prometheus' text format: the text as it stands, and names of strangers in it.
import { expect, test } from "bun:test";
import { type Family, formatExposition } from "../../src/watch/exposition.ts";

const family = (...samples: Family["samples"]): Family => ({
  name: "a_total",
  type: "counter",
  help: "Of a.",
  samples,
});

test("a family is its help, its type, and its samples, each with the labels of all", () => {
  const text = formatExposition([family({ value: 1.5 }, { labels: { kind: "x" }, value: 0 })], { firewall: "home" });
  expect(text).toBe(
    '# HELP a_total Of a.\n# TYPE a_total counter\na_total{firewall="home"} 1.5\na_total{firewall="home",kind="x"} 0\n',
  );
});

test("without labels there are no braces, and without samples no family", () => {
  expect(formatExposition([family({ value: 3 }), { ...family(), name: "b_total" }], {})).toEndWith("\na_total 3\n");
});

test.each([
  ["work", "work"],
  ["büro 2", "büro 2"],
  ['say "hi"', 'say \\"hi\\"'],
  ["two\nlines", "two\\\\u000alines"],
  ["\\u000a", "\\\\\\\\u000a"],
  ["\x1b[31m", "\\\\u001b[31m"],
  ["\u202eabc", "\\\\u202eabc"],
  ["\ud800", "\\\\ud800"],
  ["\u{e0001}", "\\\\udb40\\\\udc01"],
  ['"} 1\na_total{x="', '\\"} 1\\\\u000aa_total{x=\\"'],
])("a name of somebody else's stays in its quotes, and on its line: %j", (name, shown) => {
  const text = formatExposition([family({ labels: { name }, value: 1 })], {});
  expect(text.split("\n")[2]).toBe(`a_total{name="${shown}"} 1`);
});

test("a help text of two lines is one", () => {
  expect(formatExposition([{ ...family({ value: 1 }), help: "a\\b\nc" }], {})).toStartWith(
    "# HELP a_total a\\\\b\\nc\n",
  );
});
