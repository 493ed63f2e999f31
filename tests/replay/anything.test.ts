// Whatever stands in a frame, or is cut off it: lines, JSON, the capture with notes and the page tell it, and tshark and a browser can read
// what they tell.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CONFIG } from "../../bench/replay.ts";
import { readCapture, writeCapture } from "../../lab/captures.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const CAPTURES = join(import.meta.dir, "../captures");
const FRAMES = 4000;

/** @returns frames of real programs, each with some bytes changed, cut somewhere, or both */
async function mutants(): Promise<Uint8Array> {
  const names = ["ping", "dns", "http", "traceroute", "ping-too-big", "refused"];
  const files = await Promise.all(names.map((name) => Bun.file(join(CAPTURES, `${name}-client.pcap`)).bytes()));
  const originals = (await Promise.all(files.map((file) => readCapture(file)))).flatMap(({ frames }) => frames);
  let state = 3;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const frames = Array.from({ length: FRAMES }, (_, i) => {
    const { bytes } = originals[random(originals.length)];
    const mutant = Uint8Array.from(bytes);
    for (let n = random(4); n > 0; n--) mutant[random(Math.min(mutant.length, 80))] = random(256);
    const captured = random(3) === 0 ? random(mutant.length + 1) : mutant.length;
    const moment = { seconds: 1000 + Math.floor(i / 100), nanoseconds: (i % 100) * 1e7 };
    return { ...moment, bytes: mutant.subarray(0, captured), originalLength: mutant.length };
  });
  return writeCapture(frames, "us");
}

test("frames of all kinds are told in every way", async () => {
  const folder = mkdtempSync(join(tmpdir(), "firebreak-anything-"));
  try {
    const path = (name: string) => join(folder, name);
    await Bun.write(path("mutants.pcap"), await mutants());
    await Bun.write(path("firebreak.toml"), CONFIG);
    const inputs = ["--config", path("firebreak.toml"), "--in", `eth0=${path("mutants.pcap")}`];
    const run = (...more: readonly string[]) => {
      const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, "replay", ...inputs, ...more]);
      expect([exitCode, stderr.toString()]).toEqual([0, ""]);
      return stdout.toString().trimEnd().split("\n");
    };
    const outputs = ["--out", path("out.pcapng"), "--html", path("out.html")];
    const json = run("--json", ...outputs).map((line) => JSON.parse(line));
    const { totals } = json.pop();
    expect([json.length, totals.frames]).toEqual([FRAMES, FRAMES]);
    const lines = run(...outputs);
    expect(lines.filter((line) => line.includes(" eth0 #")).length).toBe(FRAMES);
    for (const line of lines) expect(line).toMatch(/^[ -~]*$/);

    const tshark = Bun.spawnSync(["tshark", "-r", path("out.pcapng"), "-T", "fields", "-e", "frame.comment"]);
    const complaints = tshark.stderr.toString().split("\n");
    expect(complaints.filter((line) => line !== "" && !line.startsWith("Running as user"))).toEqual([]);
    const comments = tshark.stdout.toString().trimEnd().split("\n");
    const received = FRAMES - totals.sentByRouter;
    const sent: number = Object.values<number>(totals.sent).reduce((sum, count) => sum + count, 0);
    expect(comments.length).toBe(received + sent);
    const count = (verdict: string) => comments.filter((comment) => comment.split("; ")[0] === verdict).length;
    for (const [verdict, frames] of Object.entries<number>(totals.verdicts)) {
      expect([verdict, count(verdict)]).toEqual([verdict, frames]);
    }
    expect(Object.keys(totals.verdicts).length).toBeGreaterThan(15);

    let packets = 0;
    const count200 = { element: () => void packets++ };
    new HTMLRewriter().on("details.packet", count200).transform(await Bun.file(path("out.html")).text());
    expect(packets).toBe(200);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 120_000);
