// A long capture: its memory is bounded, its totals are right, and a terminal sees how far it is. bench/replay.ts has longer ones.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { CONFIG, generate } from "../../bench/replay.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const FRAMES = 1_000_000;
/** Measured: 77 to 87 MB, and the same for ten million. */
const MOST_MEMORY = 200e6;

const folder = mkdtempSync(join(tmpdir(), "firebreak-long-"));
const [capture, config, out] = ["long.pcap", "firebreak.toml", "out"].map((name) => join(folder, name));
const command = [process.execPath, MAIN, "replay", "--config", config, "--in", `eth0=${capture}`, "--out", out];

beforeAll(() => {
  generate(capture, FRAMES);
  writeFileSync(config, CONFIG);
});
afterAll(() => rmSync(folder, { recursive: true }));

/**
 * Looks again and again until the process has ended. Its resource usage doesn't do: that begins with the memory of the process that
 * started it.
 * @returns bytes that it needed at most
 */
async function mostMemory(child: Subprocess): Promise<number> {
  let most = 0;
  while (child.exitCode === null) {
    const status = await Bun.file(`/proc/${child.pid}/status`)
      .text()
      .catch(() => "");
    most = Math.max(most, Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024);
    await Bun.sleep(10);
  }
  return most;
}

test("a million frames need no more memory than 200 MB, and every one is sent on", async () => {
  const child = Bun.spawn([...command, "--quiet"], { stdout: "pipe" });
  const [output, memory] = await Promise.all([child.stdout.text(), mostMemory(child)]);
  expect(await child.exited).toBe(0);
  // The gateway and the client were asked for by ARP.
  expect(output.split("\n").map((line) => line.trim())).toEqual([
    `${FRAMES} frames`,
    `${FRAMES} forwarded`,
    `${FRAMES + 1} sent on eth1`,
    "1 sent on eth0",
    "",
  ]);
  console.log(`${(memory / 1e6).toFixed(0)} MB`);
  expect(memory).toBeGreaterThan(10e6);
  expect(memory).toBeLessThan(MOST_MEMORY);
  expect(statSync(join(out, "eth1.pcap")).size).toBe(statSync(capture).size + 16 + 42);
}, 60_000);

test("a terminal is shown how far it is, and the totals at the end", async () => {
  const script = ["script", "-q", "-e", "-c", `${command.join(" ")} >/dev/null`, "/dev/null"];
  const child = Bun.spawn(script, { stdin: "ignore", stdout: "pipe" });
  const shown = await child.stdout.text();
  expect(await child.exited).toBe(0);
  expect(shown).toMatch(/\r\d+ %, \d+ frames/);
  expect(shown).toMatch(
    /\r +\r +1000000 frames\r\n +1000000 forwarded\r\n +1000001 sent on eth1\r\n +1 sent on eth0\r\n$/,
  );
}, 60_000);
