// What the verbs that ask say where they can't: each by one line that says what to write, and exit status 2 where the command line is wrong.
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeFirewall } from "../support/fake-firewall.ts";

const ROOT = join(import.meta.dir, "../..");
const firewall = new FakeFirewall("asked");
const folder = mkdtempSync(join(tmpdir(), "firebreak-asking-"));
const run = join(folder, "run");
mkdirSync(run);
const file = join(folder, "empty");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

/** @param environment beside RUNTIME_DIRECTORY, which is an empty folder */
async function verb(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const env = { ...process.env, RUNTIME_DIRECTORY: run, ...environment };
  const child = Bun.spawn([process.execPath, "src/main.ts", ...args], { cwd: ROOT, env, stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { status: await child.exited, stdout, stderr };
}

test.each([
  ["a file", file],
  ["a folder", folder],
])("what is %s and no socket is told as such", async (_, path) => {
  const remedy = "write a firewall's name, or its socket's path";
  const stderr = `firebreak: ${path}: is no socket (${remedy})\n`;
  expect(await verb(["flows", "--at", path])).toEqual({ status: 1, stdout: "", stderr });
});

test("FIREBREAK_AT that is empty says nothing", async () => {
  const stderr = `firebreak: status: no firewall runs here: nothing is in ${run} (write --at WHERE) (see firebreak status --help)\n`;
  expect(await verb(["status"], { FIREBREAK_AT: "" })).toEqual({ status: 2, stdout: "", stderr });
});

const WRONG: readonly (readonly [string, string])[] = [
  ["flows --count --end", "--end and --count exclude each other (write one of them)"],
  ["flows --count --end proto=tcp", "--end and --count exclude each other (write one of them)"],
];
test.each(WRONG)("firebreak %s", async (line, problem) => {
  const [name, ...args] = line.split(" ");
  const stderr = `firebreak: ${name}: ${problem} (see firebreak ${name} --help)\n`;
  expect(await verb([name, ...args, "--at", firewall.path])).toEqual({ status: 2, stdout: "", stderr });
});
