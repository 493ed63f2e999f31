// The verbs of build/appliance.sh that the README shows, run as a user runs them: the demo, the image in a terminal, the archive for
// Qubes OS. They find everything built already, so each takes seconds to a minute. Needs root.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

setDefaultTimeout(600_000);

const ROOT = join(import.meta.dir, "../..");
const APPLIANCE = join(ROOT, "build/appliance.sh");
/** What QEMU's multiplexed console takes as "end": Ctrl-A X. */
const UNPLUG = "\u0001x";

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
});

afterAll(() => rmSync(folder, { recursive: true }));

function start(...args: readonly string[]) {
  return Bun.spawn([APPLIANCE, ...args], { cwd: folder, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
}

test("demo shows the firewall at work, and leaves the same packets of both sides", async () => {
  const demo = start("demo");
  const [output, errors, status] = await Promise.all([demo.stdout.text(), demo.stderr.text(), demo.exited]);
  expect([status, status === 0 ? "" : output + errors]).toEqual([0, ""]);
  for (const side of ["client", "uplink"]) {
    const capture = join(ROOT, `dist/demo/${side}.pcap`);
    expect(existsSync(capture)).toBeTrue();
    expect(Bun.file(capture).size).toBeGreaterThan(1000);
  }
  // Replayed, they show what the appliance did.
  const [, same = ""] = /^compared: (\d+) packets the same/m.exec(output) ?? [];
  expect(Number(same)).toBeGreaterThan(1000);
});

test("run boots the image with a configuration, its console in the terminal, until it is unplugged", async () => {
  const config = join(folder, "firebreak.toml");
  writeFileSync(
    config,
    `[uplink]\ninterface = "eth1"\naddress = "192.0.2.254/24"\ngateway = "192.0.2.1"\n
[[client]]\nname = "work"\ninterface = "eth0"\naddress = "10.137.0.10"\ngateway = "10.137.0.1"\npolicy = "accept"\n`,
  );
  // Cables that lead nowhere, in place of taps.
  const cable = (id: number) => ["-nic", `hubport,hubid=${id},model=virtio-net-pci`];
  const run = start("run", config, ...cable(0), ...cable(1));
  let console = "";
  const decoder = new TextDecoder();
  for await (const chunk of run.stdout) {
    console += decoder.decode(chunk, { stream: true });
    if (!console.includes("ready in")) continue;
    run.stdin.write(UNPLUG);
    await run.stdin.flush();
    break;
  }
  const [errors, status] = await Promise.all([run.stderr.text(), run.exited]);
  expect([status, console.includes("ready in") ? "" : console + errors]).toEqual([0, ""]);
  expect(console).toMatch(/found eth0 52:54:00:12:34:5[0-9a-f] mtu 1500/);
});

test("qubes packs the archive, and says its checksum as dom0 will see it", async () => {
  const qubes = start("qubes");
  const [output, errors, status] = await Promise.all([qubes.stdout.text(), qubes.stderr.text(), qubes.exited]);
  expect([status, status === 0 ? "" : output + errors]).toEqual([0, ""]);
  const archive = join(ROOT, "dist/firebreak-qubes.tar");
  const sum = new Bun.CryptoHasher("sha256").update(await Bun.file(archive).bytes()).digest("hex");
  expect(output).toContain(`sha256 ${sum}`);
});
