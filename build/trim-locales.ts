// Blanks what ICU's data in a Bun executable has about the world's languages (how they sort, break lines, write numbers, name
// units, currencies, regions and time zones): 11 of 12 MB, a sixth of the compressed image. What characters are stays, and
// English. Nothing that the program does needs the rest, and what asks all the same gets an error and no rubbish: ICU checks
// each item's header before it uses it, and a blank one is none (udata.cpp, checkDataItem).
// Usage: bun build/trim-locales.ts EXECUTABLE, which is changed in place.
import { readFileSync, writeFileSync } from "node:fs";

/** Of UDataInfo (unicode/udata.h): the format of a package of items, behind two bytes that all of ICU's data starts with. */
const PACKAGE_FORMAT = "CmnD";
const FORMAT_OFFSET = 12;
const MAGIC_OFFSET = 2;
const MAGIC = 0x27da;
/** Of struct UDataOffsetTOC (ucmndata.h): count, then offsets of a name and an item, from the count on; little-endian. */
const ENTRIES = 4;
const ENTRY_LENGTH = 8;

interface Item {
  /** For instance "icudt78l/coll/zh.res". */
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/**
 * @param bytes of an executable, which is changed
 * @returns how many bytes were blanked
 * @throws Error when there is not exactly one package of ICU's data
 */
export function trimLocales(bytes: Buffer): number {
  let blanked = 0;
  for (const { name, start, end } of listItems(bytes)) {
    if (!isAboutLanguages(name)) continue;
    bytes.fill(0, start, end);
    blanked += end - start;
  }
  return blanked;
}

/** A language's own item, for instance "de.res" or "zh_Hant_TW.res"; "root.res", "pool.res" and "res_index.res" are none. */
const LANGUAGE = /^(?!en\.)[a-z]{2,3}(_[A-Z0-9]\w*)?\.res$/;

/** Items about characters are in the package's own folder; below are those about collation, break iteration, currencies … */
function isAboutLanguages(name: string): boolean {
  const [, item = "", ...below] = name.split("/");
  return below.length > 0 || LANGUAGE.test(item);
}

/** The last item is left out: where it ends is not said. */
export function listItems(bytes: Buffer): Item[] {
  const header = findPackage(bytes);
  const toc = header + bytes.readUInt16LE(header);
  const count = bytes.readUInt32LE(toc);
  const offset = (entry: number, part: number) => toc + bytes.readUInt32LE(toc + ENTRIES + entry * ENTRY_LENGTH + part);
  return Array.from({ length: count - 1 }, (_, entry) => {
    const name = offset(entry, 0);
    return {
      name: bytes.toString("latin1", name, bytes.indexOf(0, name)),
      start: offset(entry, 4),
      end: offset(entry + 1, 4),
    };
  });
}

function findPackage(bytes: Buffer): number {
  const found: number[] = [];
  for (let at = bytes.indexOf(PACKAGE_FORMAT); at !== -1; at = bytes.indexOf(PACKAGE_FORMAT, at + 1)) {
    const header = at - FORMAT_OFFSET;
    if (header >= 0 && bytes.readUInt16LE(header + MAGIC_OFFSET) === MAGIC) found.push(header);
  }
  const [header] = found;
  if (header === undefined || found.length > 1) throw new Error(`${found.length} packages of ICU's data, not one`);
  return header;
}

if (import.meta.main) {
  const [path] = process.argv.slice(2);
  if (path === undefined) throw new Error("usage: bun build/trim-locales.ts EXECUTABLE");
  const bytes = readFileSync(path);
  trimLocales(bytes);
  writeFileSync(path, bytes);
}
