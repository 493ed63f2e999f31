// Configurations that are no good, or hardly meant: what `firebreak check` says of each stands beside it, line by line.
// UPDATE_GOLDEN=1 writes those files anew; read what changed.
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocumentBytes } from "../../src/config/config.ts";
import { checkDocument } from "../../src/verbs/check.ts";

const FOLDER = join(import.meta.dir, "bad");
const NAMES = readdirSync(FOLDER).flatMap((file) => (file.endsWith(".toml") ? [file.slice(0, -".toml".length)] : []));
const WARNED = NAMES.filter((name) => name.startsWith("warn-"));

function check(name: string, strict: boolean) {
  const file = `${name}.toml`;
  return checkDocument(parseDocumentBytes(readFileSync(join(FOLDER, file)), file), strict);
}

test("there are a hundred files with errors, and some with warnings", () => {
  expect(NAMES.length - WARNED.length).toBeGreaterThanOrEqual(100);
  expect(WARNED.length).toBeGreaterThan(20);
});

test.each(NAMES)("%s: check says what the golden file has, each line with its file, line and remedy", (name) => {
  const golden = join(FOLDER, `${name}.txt`);
  const { status, output, complaints } = check(name, false);
  const text = complaints.map((line) => `${line}\n`).join("");
  if (process.env.UPDATE_GOLDEN !== undefined) writeFileSync(golden, text);
  expect(text).toBe(existsSync(golden) ? readFileSync(golden, "utf8") : "");
  expect(complaints).not.toEqual([]);
  const isWarned = WARNED.includes(name);
  for (const line of complaints) {
    expect(line).toMatch(new RegExp(`^${name}\\.toml:\\d+: ${isWarned ? "warning: " : ""}`));
    expect(line).toMatch(/\((write|leave|give|put|known:) .*\)$/);
  }
  expect({ status, hasOutput: output !== "" }).toEqual({ status: isWarned ? 0 : 2, hasOutput: isWarned });
});

test.each(WARNED)("%s: with --strict the warnings are errors", (name) => {
  const { status, output, complaints } = check(name, true);
  expect({ status, output }).toEqual({ status: 2, output: "" });
  expect(complaints).toEqual(check(name, false).complaints);
});

test("a long list of rules is looked through at once", () => {
  const rules = Array.from(
    { length: 10_000 },
    (_, i) => `"action=accept dst4=198.18.${i >> 8}.${i & 255} proto=tcp dstports=443",`,
  );
  const base = readFileSync(join(FOLDER, "warn-itself.toml"), "utf8");
  const text = base.replace('  "action=accept dst4=10.137.0.10",', rules.join("\n"));
  const started = performance.now();
  const result = parseDocumentBytes(new TextEncoder().encode(text), "long.toml");
  expect("warnings" in result ? result.warnings : result).toEqual([]);
  expect(performance.now() - started).toBeLessThan(20_000);
});
