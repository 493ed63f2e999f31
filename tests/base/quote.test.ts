// What strangers wrote is shown so that it does nothing to a terminal, and nothing to a shell that it is pasted into.
import { describe, expect, test } from "bun:test";
import { plain, plainName, quote, shellWord, visible } from "../../src/base/quote.ts";
import { HOSTILE } from "../support/hostile-text.ts";

/** What a terminal obeys, or does not show: controls of both kinds, formats such as marks of direction, ends of lines. */
const OBEYED = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

describe("text of strangers", () => {
  for (const show of [quote, plain, plainName]) {
    test.each(HOSTILE)(`%j does nothing to a terminal, by ${show.name}`, (text) => {
      expect(show(text)).not.toMatch(OBEYED);
    });
  }

  test("is shown as it is where it is harmless, in any script", () => {
    for (const text of ["eth0", "Aufnahme für später.pcap", "キャプチャ", "a:b", "it's"]) {
      expect([plain(text), plainName(text)]).toEqual([text, text]);
    }
  });

  test("is escaped where it is not", () => {
    expect(plain("a\x1b[31mb")).toBe('"a\\u001b[31mb"');
    expect(plain("a\u202eb\u200f")).toBe('"a\\u202eb\\u200f"');
    expect(plain("")).toBe('""');
    expect(plain("x".repeat(100))).toBe("x".repeat(100));
    expect(plainName("x".repeat(100))).toBe(`"${"x".repeat(40)}…"`);
  });
});

describe("text for a page", () => {
  test.each(HOSTILE)("%j has nothing in it that is not seen, but for line ends", (text) => {
    expect(visible(text).replaceAll("\n", "")).not.toMatch(OBEYED);
  });

  test("stands as it is, in any script, where all of it is seen", () => {
    for (const text of ["work", "\u05d0\u05d1", "a\n\tb", "\ud83d\ude00", "65\u202f536"])
      expect(visible(text)).toBe(text);
    expect(visible("\u202egnp.exe\x1b[2J\ud800")).toBe("\\u{202e}gnp.exe\\u{1b}[2J\\u{d800}");
  });
});

describe("a word for a shell", () => {
  test.each([...HOSTILE, "eth0", "a b", "it's", "$HOME", "-rf", "", "~root", "ü"])(
    "%j means just itself, if it is shown",
    (text) => {
      const word = shellWord(text);
      if (word === undefined) {
        expect(plain(text)).not.toBe(text);
        return;
      }
      const { stdout, exitCode } = Bun.spawnSync(["bash", "-c", `printf '%s' ${word}`]);
      expect([stdout.toString(), exitCode]).toEqual([text, 0]);
    },
  );

  test("is simple where it can be", () => {
    expect(shellWord("eth0=a/b.pcapng:eth1")).toBe("eth0=a/b.pcapng:eth1");
    expect(shellWord("eth0=$(id).pcapng:0")).toBe("'eth0=$(id).pcapng:0'");
    expect(shellWord("eth0=\x1b.pcapng:0")).toBeUndefined();
  });
});
