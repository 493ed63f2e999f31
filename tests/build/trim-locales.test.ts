// What is blanked of ICU's data, on a package of three items made here, and on the executable that was built.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { listItems, trimLocales } from "../../build/trim-locales.ts";

const HEADER_LENGTH = 32;
const ITEM_LENGTH = 16;

/** Bytes that stand in front of the package, as an executable's do. */
const BEFORE = 48;

/** A package as ICU's: header, table of contents, names, items full of their number + 1. */
function makePackage(names: readonly string[]): Buffer {
  const header = Buffer.alloc(HEADER_LENGTH);
  header.writeUInt16LE(HEADER_LENGTH, 0);
  header.writeUInt16LE(0x27da, 2);
  header.write("CmnD", 12);
  const text = Buffer.from(names.map((name) => `${name}\0`).join(""));
  const toc = Buffer.alloc(4 + 8 * names.length);
  toc.writeUInt32LE(names.length, 0);
  let nameAt = toc.length;
  for (const [i, name] of names.entries()) {
    toc.writeUInt32LE(nameAt, 4 + 8 * i);
    toc.writeUInt32LE(toc.length + text.length + i * ITEM_LENGTH, 8 + 8 * i);
    nameAt += name.length + 1;
  }
  const items = names.map((_, i) => Buffer.alloc(ITEM_LENGTH, i + 1));
  return Buffer.concat([Buffer.alloc(BEFORE, 0xee), header, toc, text, ...items]);
}

/** In the package's own folder, and not a language's. */
const KEPT = ["res_index.res", "root.res", "en.res", "uts46.nrm"];

test("languages' items are blanked, all else is as it was", () => {
  const blanked = ["coll/zh.res", "curr/root.res", "zh_Hant_TW.res", "de.res"];
  const bytes = makePackage([...blanked, ...KEPT].map((name) => `icudt78l/${name}`));
  const expected = Buffer.from(bytes);
  const end = expected.length - KEPT.length * ITEM_LENGTH;
  expected.fill(0, end - blanked.length * ITEM_LENGTH, end);
  expect(trimLocales(bytes)).toBe(blanked.length * ITEM_LENGTH);
  expect(bytes.toString("hex")).toBe(expected.toString("hex"));
});

test("an executable without such a package, or with two, is refused", () => {
  expect(() => trimLocales(Buffer.alloc(100))).toThrow("0 packages of ICU's data, not one");
  const one = makePackage(["icudt78l/root.res"]);
  expect(() => trimLocales(Buffer.concat([one, one]))).toThrow("2 packages of ICU's data, not one");
});

test("the executable has what characters are, and no languages but English", () => {
  const executable = readFileSync(join(import.meta.dir, "../../dist/firebreak"));
  const isBlank = (start: number, end: number) => executable.subarray(start, end).every((byte) => byte === 0);
  const blank = new Map(listItems(executable).map(({ name, start, end }) => [name, isBlank(start, end)]));
  for (const item of KEPT) expect(blank.get(`icudt78l/${item}`)).toBeFalse();
  for (const item of ["coll/root.res", "curr/en.res", "de.res"]) expect(blank.get(`icudt78l/${item}`)).toBeTrue();
  expect([...blank.values()].filter((isIt) => !isIt).length).toBeLessThan(100);
});

test("the program asks for no language", () => {
  const source = join(import.meta.dir, "../../src");
  const asking = [...new Glob("**/*.ts").scanSync(source)].filter(
    (file) =>
      !file.startsWith("web/page/") && // which runs in a browser
      /\bIntl\b|\.localeCompare\(|\.toLocale[A-Z]/.test(readFileSync(join(source, file), "utf8")),
  );
  expect(asking).toEqual([]);
});
