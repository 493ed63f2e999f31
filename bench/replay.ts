// Replay of long captures, on its own: `bun bench/replay.ts [FRAMES]`. Makes a capture of FRAMES frames (a million, if it isn't said)
// of 1 000 UDP flows, has editcap copy it and replay judge it by turns, and prints seconds, their ratio, and the most memory that
// replay needed. Its files are in the system's folder for temporary ones, and gone afterwards.
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ethernet, IPV4_TYPE, udp } from "../lab/frames.ts";
import { CaptureWriter } from "../src/captures/writer.ts";
import { median } from "./report/statistics.ts";

const FLOWS = 1000;
const PAYLOAD = 18;
const ROUNDS = 3;
/** The firewall whose client sends those frames. */
export const CONFIG = `[uplink]
interface = "eth1"
own_mac = "02:00:00:00:01:01"
address = "192.0.2.254/24"
gateway = "192.0.2.1"

[[client]]
name = "work"
interface = "eth0"
own_mac = "02:00:00:00:01:00"
address = "10.137.0.10"
gateway = "10.137.0.1"
policy = "accept"
`;

/** Writes a capture of a client's frames, ten microseconds from each to the next. */
export function generate(file: string, frames: number): void {
  const templates = Array.from({ length: FLOWS }, (_, i) => {
    const ends = { source: "10.137.0.10", destination: "198.51.100.80", sourcePort: 10_000 + i, destinationPort: 4000 };
    const packet = udp(ends, new Uint8Array(PAYLOAD));
    return Buffer.from(ethernet("02:00:00:00:00:0a", "02:00:00:00:01:00", IPV4_TYPE, packet));
  });
  const fd = openSync(file, "w");
  const writer = new CaptureWriter("us", (bytes) => writeSync(fd, bytes));
  for (let i = 0; i < frames; i++) {
    const frame = templates[i % FLOWS];
    writer.add(1_700_000_000 + Math.floor(i / 100_000), (i % 100_000) * 10_000, frame, 0, frame.length, frame.length);
  }
  writer.flush();
  closeSync(fd);
}

interface Run {
  readonly seconds: number;
  /** Of memory, at most. */
  readonly megabytes: number;
}

async function run(command: readonly string[]): Promise<Run> {
  const began = performance.now();
  const child = Bun.spawn([...command], { stdout: "ignore", stderr: "inherit" });
  if ((await child.exited) !== 0) throw new Error(`${command[0]} failed`);
  const rss = child.resourceUsage()?.maxRSS ?? Number.NaN;
  return { seconds: (performance.now() - began) / 1000, megabytes: rss / 1e6 };
}

async function main(frames: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "firebreak-bench-replay-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  const [capture, config] = [join(folder, "long.pcap"), join(folder, "firebreak.toml")];
  generate(capture, frames);
  writeFileSync(config, CONFIG);
  const program = process.env.FIREBREAK ?? join(import.meta.dir, "../dist/firebreak");
  const replay = [
    program,
    "replay",
    "--quiet",
    "--config",
    config,
    "--in",
    `eth0=${capture}`,
    "--out",
    join(folder, "out"),
  ];
  const ratios: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const peer = await run(["editcap", capture, join(folder, "copy.pcapng")]);
    const ours = await run(replay);
    ratios.push(peer.seconds / ours.seconds);
    const memory = `${ours.megabytes.toFixed(0)} MB at most`;
    console.log(`editcap ${peer.seconds.toFixed(2)} s, replay ${ours.seconds.toFixed(2)} s, ${memory}`);
  }
  console.log(`replay has ${median(ratios).toFixed(2)} × editcap's speed, ${frames} frames (bar: 0.5 ×, 200 MB)`);
}

if (import.meta.main) await main(Number(process.argv[2] ?? 1_000_000));
