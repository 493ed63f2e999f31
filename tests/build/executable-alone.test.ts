// The executable alone, as for a host: built of the sources and npm's packages, by whoever is not root.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { version } from "../../package.json" with { type: "json" };

const ROOT = join(import.meta.dir, "../..");
/** All that it needs of the repository, and npm's packages: copies, for the repository may lie where nobody else can look. */
const SOURCES = "build src rootfs package.json package-lock.json tsconfig.json bunfig.toml node_modules";
const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

const folder = mkdtempSync(join(tmpdir(), "firebreak-"));

function shell(...command: readonly string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], { cwd: folder });
  return { exitCode, output: stdout.toString() + stderr.toString() };
}

beforeAll(() => {
  const copy = `cd ${ROOT} && cp -r ${SOURCES} ${folder} && chown -R 65534:65534 ${folder}`;
  expect(shell("bash", "-c", copy)).toEqual({ exitCode: 0, output: "" });
});
afterAll(() => rmSync(folder, { recursive: true }));

test("build/appliance.sh executable builds it, and nothing else", () => {
  const { exitCode, output } = shell(...NOBODY, "build/appliance.sh", "executable");
  expect({ exitCode, output }).toEqual({ exitCode: 0, output: "\n== build: dist/firebreak\n" });
  expect(shell("dist/firebreak", "--version")).toEqual({ exitCode: 0, output: `firebreak ${version}\n` });
  expect(shell("ls", "dist")).toEqual({ exitCode: 0, output: "firebreak\n" });
}, 120_000);
