// Small captures of what networks do that is odd and right (tests/captures/cases). What must be sent for each stands in its sent.txt;
// replay sends that, and so does the running firewall, with the kernel path and without.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { FirewallLab, firebreak, peer } from "../../lab/firewall-lab.ts";
import { describe as describeFrame, fromHex, toHex } from "../../lab/frames.ts";

const CASES = join(import.meta.dir, "../captures/cases");
const NAMES = [
  "both-ends-lost",
  "synack-new-isn",
  "forward-outbound",
  "ping-gateway-big",
  "vrrp-arp",
  "vlan0",
  "readme-dns-redirect",
];

/** Frames sent, in hex, by interface. */
interface Sent {
  readonly eth0: readonly string[];
  readonly eth1: readonly string[];
}

const out = mkdtempSync(join(tmpdir(), "firebreak-cases-"));
const lab = new FirewallLab("cases");
const wire = lab.namespace("wire");

beforeAll(() => {
  lab.cable(lab.firewall, "p0", wire, "in");
  lab.cable(lab.firewall, "p1", wire, "out");
});

afterAll(async () => {
  await lab.close();
  rmSync(out, { recursive: true });
});

const oneLine = (frame: Uint8Array): string => toHex(frame).replaceAll("\n", " ");
const isQuestion = (hex: string): boolean => hex.slice(36).startsWith("08 06 00 01 08 00 06 04 00 01");

/** @returns what replay sends but for ARP requests, and how many of these have been sent after each frame */
async function replayed(name: string): Promise<{ readonly sent: Sent; readonly counts: readonly number[][] }> {
  const folder = join(CASES, name);
  const inputs = ["--in", `eth0=${folder}/c.pcap`, "--in", `eth1=${folder}/u.pcap`];
  const files = join(out, name);
  const command = firebreak("replay", "--config", join(folder, "config.toml"), ...inputs, "--out", files, "--json");
  const { stdout, stderr } = Bun.spawnSync(command);
  expect(stderr.toString()).toBe("");
  const read = async (iface: string) => {
    const { frames } = await readCapture(await Bun.file(join(files, `${iface}.pcap`)).bytes());
    return frames.map(({ bytes }) => oneLine(bytes)).filter((hex) => !isQuestion(hex));
  };
  const counts: number[][] = [];
  let [inside, outside] = [0, 0];
  const [totals = "", ...lines] = stdout.toString().trim().split("\n").reverse();
  expect(Object.keys(JSON.parse(totals))).toEqual(["totals"]);
  for (const line of lines.reverse()) {
    const { sent }: { sent: { interface: string }[] } = JSON.parse(line);
    inside += sent.filter((frame) => frame.interface === "eth0").length;
    outside += sent.filter((frame) => frame.interface === "eth1").length;
    counts.push([inside, outside]);
  }
  return { sent: { eth0: await read("eth0"), eth1: await read("eth1") }, counts };
}

/** @returns what sent.txt says: for each frame a line that tells its interface and what it is, and one with its bytes */
async function expected(name: string): Promise<string> {
  return Bun.file(join(CASES, name, "sent.txt")).text();
}

function shown({ eth0, eth1 }: Sent): string {
  const lines = (iface: string, frames: readonly string[]) =>
    frames.map((hex) => `${iface} ${describeFrame(fromHex(hex))}\n    ${hex}\n`);
  return [...lines("eth0", eth0), ...lines("eth1", eth1)].join("");
}

async function live(name: string, kernelPath: boolean, counts: readonly number[][]): Promise<Sent> {
  const folder = join(CASES, name);
  const config = await Bun.file(join(folder, "config.toml")).text();
  lab.writeConfig(
    `${config.replace('"eth0"', '"p0"').replace('"eth1"', '"p1"')}\n[nat]\nkernel_path = ${kernelPath}\n`,
  );
  const program = await lab.start();
  const { in: eth0, out: eth1 } = JSON.parse(await wire.run(peer("cases", folder, JSON.stringify(counts))));
  program.signal("SIGTERM");
  await program.end();
  return { eth0, eth1 };
}

describe("what must be sent is sent", () => {
  for (const name of NAMES) {
    test(`by replay, and by the firewall with the kernel path and without: ${name}`, async () => {
      const { sent, counts } = await replayed(name);
      expect(shown(sent)).toBe(await expected(name));
      for (const kernelPath of [true, false]) expect(shown(await live(name, kernelPath, counts))).toBe(shown(sent));
    }, 60_000);
  }
});

test("a gateway outside the uplink's network, as hosters give it with a /32, is a good configuration", async () => {
  const { exitCode, stderr } = Bun.spawnSync(firebreak("check", join(CASES, "onlink32", "config.toml")));
  expect([stderr.toString(), exitCode]).toEqual(["", 0]);
});
