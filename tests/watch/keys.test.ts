// What terminals send for keys, whole and in pieces.
import { expect, test } from "bun:test";
import { KeyReader } from "../../src/watch/keys.ts";

test.each([
  ["qj/", ["q", "j", "/"]],
  ["\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]],
  ["\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~", ["page-up", "page-down", "home", "end", "home", "end"]],
  ["\x03\x1a\x0c\t\r\x7f\b\x15", ["ctrl-c", "ctrl-z", "ctrl-l", "tab", "enter", "backspace", "backspace", "ctrl-u"]],
  ["\x1b[15~\x1b[1;5Cx", ["x"]],
  ["\x1b\x1b[A", ["escape", "up"]],
  ["\x00\x80\xe9", []],
])("%j", (text, keys) => {
  const reader = new KeyReader();
  expect(reader.read(text)).toEqual(keys);
  expect(reader.isWaiting).toBe(false);
  const slow = new KeyReader();
  expect([...text].flatMap((character) => slow.read(character))).toEqual(keys);
});

test("Escape is Escape once nothing follows, and so is what has no end", () => {
  const reader = new KeyReader();
  expect(reader.read("\x1b")).toEqual([]);
  expect(reader.isWaiting).toBe(true);
  expect(reader.flush()).toEqual(["escape"]);
  expect(reader.read("\x1b[")).toEqual([]);
  expect(reader.flush()).toEqual(["escape", "["]);
  expect(reader.read(`\x1b[${"1;".repeat(20)}`)).toContain("escape");
});
