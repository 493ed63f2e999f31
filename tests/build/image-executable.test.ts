// What the image's executable is made of: what forwards, and nothing that is for a person at a command line. Both are bundled here of the
// entry points and with the options of build/image.sh, without the runtime around them.
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Metafile {
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** @param options words for a shell that has sourced build/appliance.sh */
function bundle(name: string, options: string): { readonly sources: readonly string[]; readonly text: string } {
  const output = join(folder, name);
  const script = `source build/appliance.sh
    node_modules/.bin/bun build --target=bun --minify ${options} "\${ENTRY_POINTS[@]}" --outdir "$0" --metafile="$0/meta.json"`;
  const { exitCode, stderr } = Bun.spawnSync(["bash", "-euo", "pipefail", "-c", script, output], { cwd: ROOT });
  expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
  const { inputs } = JSON.parse(readFileSync(join(output, "meta.json"), "utf8")) as Metafile;
  return { sources: Object.keys(inputs), text: readFileSync(join(output, "main.js"), "utf8") };
}

/** What is for people, by its folders, and by words that only it says. */
const FOLDERS = /^src\/(?:watch|web|learning|replay)\//;
const WORDS = [
  "Usage: firebreak status",
  "Usage: firebreak top",
  "Usage: firebreak replay",
  "<!doctype html>",
  "This page needs its key",
  "u-hz",
];

const host = bundle("host", "");
const image = bundle("image", `"$\{IN_IMAGE[@]}"`);
const wordsOf = ({ text }: { readonly text: string }) => WORDS.filter((word) => text.includes(word));

test("a host's executable has all verbs", () => {
  expect(host.sources).toContain("src/verbs/for-users.ts");
  expect(host.sources.filter((file) => FOLDERS.test(file)).length).toBeGreaterThan(20);
  expect(wordsOf(host)).toEqual(WORDS);
});

test("the image's has those that forward, and neither the others nor a page", () => {
  const verbs = image.sources.filter((file) => file.startsWith("src/verbs/"));
  const known = ["appliance", "end", "manifest", "restore", "run", "verb"].map((name) => `src/verbs/${name}.ts`);
  expect(verbs.sort()).toEqual(known);
  expect(image.sources.filter((file) => FOLDERS.test(file))).toEqual([]);
  expect(wordsOf(image)).toEqual([]);
  expect(image.text).toContain("Usage: firebreak appliance");
});

test("so it is smaller by a hundred kilobytes and more, before it is compressed", () => {
  expect(host.text.length - image.text.length).toBeGreaterThan(100_000);
});
