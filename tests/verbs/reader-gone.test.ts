// Whoever reads what a verb prints about a running firewall stops, or its disk is full: the verb ends, whatever is still to come.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { FakeFirewall, manyFlows } from "../support/fake-firewall.ts";

const ROOT = join(import.meta.dir, "../..");
const firewall = new FakeFirewall("gone");
beforeAll(() => {
  firewall.flows = manyFlows(20_000); // two megabytes, of which a pipe has room for 64 KiB
});
afterAll(() => {
  firewall.flows = [];
});

/** @param script of a shell, in which "$@" is the verb */
async function shell(script: string, ...args: readonly string[]) {
  const verb = [process.execPath, "src/main.ts", ...args, "--at", firewall.path];
  const child = Bun.spawn(["timeout", "20", "bash", "-c", script, "-", ...verb], { cwd: ROOT, stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { status: await child.exited, lines: stdout.split("\n").length - 1, stderr };
}

const LINES = 'set -o pipefail; "$@" | head -n 2';

const PRINTING: readonly (readonly string[])[] = [
  ["flows"],
  ["flows", "--json"],
  ["flows", "proto=tcp", "--sort=-bytes", "--bytes", "0"],
];
test.each(PRINTING.map((args) => ({ args })))(
  "a reader that stops ends $args",
  async ({ args }) => {
    for (let i = 0; i < 5; i++) expect(await shell(LINES, ...args)).toEqual({ status: 0, lines: 2, stderr: "" });
  },
  120_000,
);

test("a full disk ends it, and is told", async () => {
  const { status, stderr } = await shell('"$@" >/dev/full', "flows");
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: "firebreak: standard output can't be written: ENOSPC: no space left on device\n",
  });
}, 60_000);

test("a reader that is slow gets all of a capture, and nothing is said of it", async () => {
  const bytes = new Uint8Array(130_000); // more than a pipe has room for
  firewall.pieces = Array.from({ length: 40 }, () => ({ bytes, frames: 1, lost: 0 }));
  const slowly = '"$@" | { for i in $(seq 40); do head -c 130000; done; } | wc -c | grep -x 5200000';
  const child = await shell(slowly, "capture");
  expect(child).toEqual({ status: 0, lines: 1, stderr: "firebreak: 40 frames captured, 0 lost\n" });
}, 60_000);
