// A disk that is full when a verb writes to it: one line that says so, status 1, and nothing left that is not whole. /dev/full is
// such a disk (full(4)), a tmpfs of one page another, which takes root.
import { expect, test } from "bun:test";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const CONFIG = "tests/config/example.toml";
const REPLAY = ["replay", "--config", CONFIG, "--in", "eth0=tests/captures/http-client.pcap", "--out"];
const LOST = "firebreak: standard output can't be written: ENOSPC: no space left on device\n";

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function shell(script: string, ...args: readonly string[]): Outcome {
  const command = ["unshare", "--mount", "sh", "-c", script, process.execPath, "src/main.ts", ...args];
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd: ROOT });
  return { status: exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

const PRINTING: readonly (readonly string[])[] = [
  ["check", CONFIG],
  ["explain", "--config", CONFIG, "--client", "work", "--json", "tcp", "1.2.3.4:443"],
  ["--help"],
];
test.each(PRINTING.map((args) => ({ args })))("$args", ({ args }) => {
  expect(shell('exec "$0" "$@" >/dev/full', ...args)).toEqual({ status: 1, stdout: "", stderr: LOST });
});

/** Has a small file system at /mnt, in a mount namespace of its own. @param pages of 4 KiB @param output where standard output goes */
const onSmallDisk = (pages: number, output: string) =>
  `mount -t tmpfs -o size=${4 * pages}k tmpfs /mnt && "$0" "$@" >${output}; status=$?; ls /mnt/out; exit $status`;

test.each(["--json", "--compare"])("replay %s, of what became of the frames: no capture is left", (option) => {
  const { status, stdout, stderr } = shell(onSmallDisk(100, "/dev/full"), ...REPLAY, "/mnt/out", option);
  expect({ status, stdout, stderr }).toEqual({ status: 1, stdout: "", stderr: LOST.replace(":", ": replay:") });
});

test("replay, of a capture: nothing is left of any", () => {
  const { status, stdout, stderr } = shell(onSmallDisk(1, "/dev/null"), ...REPLAY, "/mnt/out");
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toBe("firebreak: replay: /mnt/out/eth0.pcap: can't be written: ENOSPC: no space left on device\n");
});
