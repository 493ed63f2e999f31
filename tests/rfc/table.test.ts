// docs/NAT.md and these tests say the same: each requirement of a table has the tests that it names, and each test is named.
import { expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const COLUMNS = 5;
/** What nobody has built, and what can't be here, can't be tried. */
const NO_TEST = "none";

/** @returns by RFC, the names of tests that the tables ask for: "REQ-1: one external port …" */
async function namedByTables(): Promise<Map<string, string[]>> {
  const text = await Bun.file(join(ROOT, "docs/NAT.md")).text();
  const named = new Map<string, string[]>();
  for (const section of text.split(/^## /m)) {
    const rfc = /^RFC (\d+): .*$/m.exec(section)?.[1];
    const rows = section
      .split("\n")
      .filter((line) => line.startsWith("| ") && !line.startsWith("| | ") && !line.startsWith("| ---"));
    if (rfc === undefined || rows.length === 0) continue;
    named.set(
      rfc,
      rows.flatMap((row) => namedByRow(row)),
    );
  }
  return named;
}

function namedByRow(row: string): string[] {
  const cells = row.split("|").slice(1, -1);
  if (cells.length !== COLUMNS || cells.some((cell) => cell.trim() === "")) throw new Error(`not a full row: ${row}`);
  const [requirement, , , decision, tests] = cells.map((cell) => cell.trim());
  if (tests === NO_TEST && /^(?:not built|does not apply): /.test(decision)) return [];
  return tests.split("<br>").map((name) => `${requirement}: ${name}`);
}

/** @returns the names of the tests in the RFC's file */
async function testsOf(rfc: string): Promise<string[]> {
  const text = await Bun.file(join(ROOT, `tests/rfc/rfc${rfc}.test.ts`)).text();
  return Array.from(text.matchAll(/^ {2}test\("([^"\\]*)"/gm), ([, name]) => name);
}

const named = await namedByTables();

test("the tables are those of eight RFCs", () => {
  expect([...named.keys()]).toEqual(["4787", "5382", "5508", "7857", "6056", "4890", "6092", "7084"]);
});

for (const [rfc, names] of named) {
  test(`the table of RFC ${rfc} names every test of its file, and no other`, async () => {
    expect(names.toSorted()).toEqual((await testsOf(rfc)).toSorted());
  });
}

test("nothing in the files of tests is but tests with such names", async () => {
  for (const rfc of named.keys()) {
    const text = await Bun.file(join(ROOT, `tests/rfc/rfc${rfc}.test.ts`)).text();
    expect([rfc, text.match(/\btest\b *[.(]/g)?.length]).toEqual([rfc, (await testsOf(rfc)).length]);
    expect(text).toContain(`describe("RFC ${rfc}", () => {`);
  }
});

test("the table of RFC 7084 has each of its requirements once, but those of tunnels", async () => {
  const text = await Bun.file(join(ROOT, "docs/NAT.md")).text();
  const [, section = ""] = /^## RFC 7084: .*?$(.*?)^## /ms.exec(text) ?? [];
  const listed = Array.from(section.matchAll(/^\| ([A-Z][^|]*) \|/gm), ([, cell]) => cell.split(", ")).flat();
  // RFC 7084 sections 4.1 to 4.3 and 4.5: of each kind so many.
  const counts = { G: 5, W: 6, WLL: 3, WAA: 10, WPD: 8, ULA: 5, L: 14, S: 3 };
  const all = Object.entries(counts).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, i) => `${kind}-${i + 1}`),
  );
  expect(listed.toSorted()).toEqual(all.toSorted());
});
