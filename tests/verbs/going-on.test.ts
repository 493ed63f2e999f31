// Verbs that go on until somebody ends them: a signal, a reader that is gone, a disk that is full. Each ends at once, says how it went, and
// leaves no file that is cut. The firewall is one that only answers.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { PcapngWriter } from "../../src/captures/pcapng-writer.ts";
import type { CapturePiece } from "../../src/control/captures/live-capture.ts";
import { FakeFirewall } from "../support/fake-firewall.ts";

const ROOT = join(import.meta.dir, "../..");
const firewall = new FakeFirewall("goes-on");
const folder = mkdtempSync(join(tmpdir(), "firebreak-going-on-"));
const file = join(folder, "c.pcapng");
const FRAMES = 100;
const ended = (frames: number) => `firebreak: ${frames} frames captured, 0 lost\n`;
const FULL = "can't be written: ENOSPC: no space left on device";

/** @param frames of 100 bytes each @param hasHead whether it begins a file */
function piece(frames: number, hasHead: boolean): CapturePiece {
  const written: Buffer[] = [];
  const writer = new PcapngWriter(["eth0", "eth1"], "ns", (bytes) => void written.push(Buffer.from(bytes)));
  writer.flush();
  const head = Buffer.concat(written.splice(0));
  const note = { direction: 1, comment: "forwarded" };
  for (let i = 0; i < frames; i++) writer.add(0, 1000, i, Buffer.alloc(100), 0, 100, 100, note);
  writer.flush();
  const bytes = Buffer.concat(hasHead ? [head, ...written] : written);
  return { bytes, frames, lost: 0, ...(hasHead && { head }) };
}
const PIECES = [piece(FRAMES, true), piece(FRAMES, false)];
const LENGTH = PIECES.reduce((sum, { bytes }) => sum + bytes.length, 0);

beforeAll(() => {
  firewall.pieces = PIECES;
  firewall.goesOn = true;
});
afterAll(() => rmSync(folder, { recursive: true }));

/** @param shell what comes before the verb, if it is not run by itself */
function start(shell: readonly string[], ...args: readonly string[]) {
  const verb = [process.execPath, "src/main.ts", ...args, "--at", firewall.path];
  return Bun.spawn([...shell, ...verb], { cwd: ROOT, stderr: "pipe", timeout: 60_000 });
}

async function outcomeOf(child: ReturnType<typeof start>) {
  const [status, stdout, stderr] = await Promise.all([child.exited, child.stdout.bytes(), child.stderr.text()]);
  return { status, stdout, stderr };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(5);
}

const lengthOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** @throws where it is cut */
async function framesIn(bytes: Uint8Array): Promise<number> {
  return (await readCapture(bytes)).frames.length;
}

describe("a signal ends a capture, and the file is whole", () => {
  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "%s",
    async (signal) => {
      rmSync(file, { force: true });
      const child = start([], "capture", "-w", file);
      await until(() => lengthOf(file) === LENGTH);
      child.kill(signal);
      expect(await outcomeOf(child)).toMatchObject({ status: 0, stderr: ended(2 * FRAMES) });
      expect(await framesIn(readFileSync(file))).toBe(2 * FRAMES);
    },
    60_000,
  );

  test("but not SIGHUP under nohup", async () => {
    rmSync(file, { force: true });
    const child = start(["bash", "-c", 'trap "" HUP; exec "$@"', "-"], "capture", "-w", file);
    await until(() => lengthOf(file) === LENGTH);
    const [, mask = "0"] = /^SigIgn:\s*(\S+)/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8")) ?? [];
    expect(Number.parseInt(mask, 16) & 1).toBe(1); // signal 1
    child.kill("SIGTERM");
    expect(await outcomeOf(child)).toMatchObject({ status: 0, stderr: ended(2 * FRAMES) });
  }, 60_000);
});

describe("a disk that is full ends a capture, whose file has whole frames", () => {
  /** With a small file system at /mnt, in a mount namespace of its own; what is in its only file, if any, goes to standard output. */
  const onDisk = (pages: number, run: string) =>
    `mount -t tmpfs -o size=${4 * pages}k tmpfs /mnt && { ${run}; status=$?; cat /mnt/* 2>/dev/null; exit $status; }`;
  const shell = (pages: number, run: string) => ["unshare", "--mount", "bash", "-c", onDisk(pages, run), "-"];
  const whole = Math.floor(
    (5 * 4096 - (PIECES[0].head?.length ?? 0)) / ((LENGTH - (PIECES[0].head?.length ?? 0)) / (2 * FRAMES)),
  );

  test("as a file", async () => {
    const { status, stdout, stderr } = await outcomeOf(start(shell(5, '"$@"'), "capture", "-w", "/mnt/c.pcapng"));
    expect({ status, stderr }).toEqual({ status: 1, stderr: `firebreak: /mnt/c.pcapng: ${FULL}\n${ended(whole)}` });
    expect(await framesIn(stdout)).toBe(whole);
  }, 60_000);

  test("as standard output", async () => {
    const { status, stdout, stderr } = await outcomeOf(start(shell(5, '"$@" >/mnt/c.pcapng'), "capture"));
    expect({ status, stderr }).toEqual({ status: 1, stderr: `firebreak: standard output ${FULL}\n${ended(whole)}` });
    expect(await framesIn(stdout)).toBe(whole);
  }, 60_000);

  test("or there is none, where not even its head has room", async () => {
    const run = 'head -c 4096 /dev/zero >/mnt/full; "$@"; status=$?; rm /mnt/full; ls /mnt; (exit $status)';
    const { status, stdout, stderr } = await outcomeOf(start(shell(1, run), "capture", "-w", "/mnt/c.pcapng"));
    expect({ status, stderr }).toEqual({ status: 1, stderr: `firebreak: /mnt/c.pcapng: ${FULL}\n` });
    expect(stdout).toHaveLength(0);
  }, 60_000);
});

test.each([
  { args: ["log", "-f"], reader: "head -c 1" },
  { args: ["trace"], reader: "true" },
  { args: ["capture"], reader: "head -c 1" },
])(
  "$args ends once nobody reads, though nothing comes any more",
  async ({ args, reader }) => {
    const child = start(["bash", "-c", `set -o pipefail; "$@" | ${reader} >/dev/null`, "-"], ...args);
    expect(await child.exited).toBe(0);
  },
  60_000,
);

test("web ends where its address can't be printed: nobody would have the key", async () => {
  const { status, stderr } = await outcomeOf(start(["bash", "-c", '"$@" >/dev/full', "-"], "web"));
  expect({ status, stderr }).toEqual({ status: 1, stderr: `firebreak: standard output ${FULL}\n` });
}, 60_000);
