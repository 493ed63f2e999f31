// Files for other programs: whole, or not there.
import { afterAll, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { replaceFile } from "../../src/watch/text-file.ts";

const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a file takes another's place, anyone may read it, and nothing else is left", () => {
  const path = join(folder, "a.prom");
  const umask = process.umask(0o077);
  replaceFile(path, "one");
  const before = statSync(path).ino;
  replaceFile(path, "two");
  process.umask(umask);
  expect(readFileSync(path, "utf8")).toBe("two");
  expect(statSync(path).ino).not.toBe(before); // who reads the old one reads it to its end
  expect(statSync(path).mode & 0o777).toBe(0o644);
  expect(readdirSync(folder)).toEqual(["a.prom"]);
});

test("nothing is written through a link that somebody has put there", () => {
  const victim = join(folder, "victim");
  writeFileSync(victim, "mine");
  symlinkSync(victim, join(folder, `.b.prom.${process.pid}`));
  replaceFile(join(folder, "b.prom"), "text");
  expect(readFileSync(victim, "utf8")).toBe("mine");
  expect(readFileSync(join(folder, "b.prom"), "utf8")).toBe("text");
});

test("where it can't be put, nothing is left of it", () => {
  mkdirSync(join(folder, "taken", "full"), { recursive: true });
  expect(() => replaceFile(join(folder, "taken"), "text")).toThrow();
  expect(() => replaceFile(join(folder, "nowhere", "a"), "text")).toThrow("ENOENT");
  expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);
});
