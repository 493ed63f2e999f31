// What the verbs that ask say where they can't: one line that says what to write, and exit status 2 where the command line is wrong.
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
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

test("a firewall that was killed and left its socket is no other that runs here; where it is the only one, that is said", async () => {
  const both = join(folder, "both");
  mkdirSync(both);
  symlinkSync(firewall.path, join(both, "alive.sock"));
  const bind = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])";
  Bun.spawnSync(["/usr/bin/python3", "-c", bind, join(both, "dead.sock")]);
  const { status, stdout } = await verb(["status"], { RUNTIME_DIRECTORY: both });
  expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringMatching(/^firebreak 1\.2\.3, home, /) });
  unlinkSync(join(both, "alive.sock"));
  expect(await verb(["status"], { RUNTIME_DIRECTORY: both })).toMatchObject({
    status: 1,
    stderr: `firebreak: ${both}/dead.sock: the firewall that listened there has ended\n`,
  });
});

const WRONG: readonly (readonly [string, string])[] = [
  ["flows --count --end", "--end and --count exclude each other (write one of them)"],
  ["flows --count --end proto=tcp", "--end and --count exclude each other (write one of them)"],
  ["capture --count 0 -w c.pcapng", '--count "0" is nothing to capture (write 1 or more)'],
  ["capture --record -w c.pcapng", "--record and --write exclude each other (write one of them)"],
  ["capture --record --last 60s", "--record and --last exclude each other (write one of them)"],
  ["capture --record-off --snap 99", "--record-off and --snap exclude each other (write one of them)"],
  ["capture --record --record-off", "--record-off and --record exclude each other (write one of them)"],
  ["capture --record-off proto=tcp", "--record-off takes no FILTER"],
];
test.each(WRONG)("firebreak %s", async (line, problem) => {
  const [name, ...args] = line.split(" ");
  const stderr = `firebreak: ${name}: ${problem} (see firebreak ${name} --help)\n`;
  expect(await verb([name, ...args, "--at", firewall.path])).toEqual({ status: 2, stdout: "", stderr });
});
