// Bytes and packets of flows, held against what the interfaces of the same firewall have counted meanwhile: with the kernel path,
// which takes most frames, and without it; with segmentation offload and without.
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { configuration, SERVER } from "../../lab/places.ts";

const lab = new FirewallLab("counts");
const inFolder = (command: readonly string[]) => ["env", `RUNTIME_DIRECTORY=${join(lab.folder, "run")}`, ...command];
const verb = (...args: readonly string[]) => lab.firewall.run(inFolder(firebreak(...args)));
const MEGABYTES = 40;

/** Takes what comes, then sends as much back. */
const SERVE = `import socket, threading
def serve(s):
  left = ${MEGABYTES}_000_000
  while left > 0: left -= len(s.recv(min(left, 1 << 20)))
  s.sendall(bytes(${MEGABYTES}_000_000 // 2)); s.recv(1)
l = socket.create_server(("${SERVER}", 80)); print("Serving", flush=True)
while True: threading.Thread(target=serve, args=[l.accept()[0]], daemon=True).start()`;
const TALK = `import socket, sys
s = socket.create_connection(("${SERVER}", 80)); print("open", flush=True); sys.stdin.readline()
s.sendall(bytes(${MEGABYTES}_000_000)); left = ${MEGABYTES}_000_000 // 2
while left > 0: left -= len(s.recv(1 << 20))
print("all", flush=True); sys.stdin.readline()`;

beforeAll(async () => {
  const server = lab.internet.start(["/usr/bin/python3", "-u", "-c", SERVE]);
  await server.says("Serving");
}, 60_000);
let running: Program | undefined;
afterEach(async () => {
  running?.signal("SIGTERM");
  expect(await running?.end()).toBe(0);
});
afterAll(() => lab.close());

interface Sums {
  readonly bytes: number;
  readonly packets: number;
}

/** What an interface of the firewall's has sent, of IP. What it has received may have found no room in the firewall's ring. */
async function sentBy(name: string): Promise<Sums> {
  const files = ["tx_bytes", "tx_packets"].map((each) => `/sys/class/net/${name}/statistics/${each}`);
  const [bytes, packets] = (await lab.firewall.run(["cat", ...files])).split("\n").map(Number);
  return { bytes: bytes - 14 * packets, packets };
}

const bothSent = () => Promise.all([sentBy("eth1"), sentBy("eth0")]);

/** @param more keys of the client */
async function start(kernelPath: boolean, more = ""): Promise<void> {
  lab.writeConfig(`${configuration([], "accept")}${more}\n[nat]\nkernel_path = ${kernelPath}\n`);
  const program = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile)));
  running = program;
  await program.says("ready in");
}

/** Opens a flow of UDP by each of so many ports. */
const MANY = `import socket, sys
for port in range(10000, 10000 + int(sys.argv[1])):
  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", port)); s.sendto(b"x", ("${SERVER}", 7)); s.close()`;

test("flows that the programs come to know while they are counted are counted too: the 4097th and on", async () => {
  await start(true, "flows_per_second = 100000\n");
  const talkers: Program[] = [];
  const open = async () => {
    const talker = lab.client.start(["/usr/bin/python3", "-u", "-c", TALK], "pipe");
    talkers.push(talker);
    await talker.says("open");
    return talker;
  };
  await open();
  await verb("flows", "--bytes", "0");
  for (let i = 0; i < 4; i++) await lab.client.run(["/usr/bin/python3", "-c", MANY, "4200"]);
  const talker = await open();
  const [, before] = await bothSent();
  talker.type("on\n");
  await talker.says("all");
  const [, after] = await bothSent();
  const flow = JSON.parse(await verb("flows", "proto=tcp", "--sort=-bytes", "--bytes", "0", "--limit", "1", "--json"));
  const status = JSON.parse(await verb("status", "--json"));
  expect(status.flows.used).toBeGreaterThan(4200);
  expect(status.kernel_path.forwarded).toBeGreaterThan(1000);
  expect(Math.abs(flow.received.bytes / (after.bytes - before.bytes) - 1)).toBeLessThan(0.01);
  for (const { process } of talkers) process.kill();
}, 120_000);

const WAYS = [true, false].flatMap((kernelPath) => [true, false].map((offload) => ({ kernelPath, offload })));

describe.each(WAYS)("with the kernel path $kernelPath and segmentation offload $offload", ({ kernelPath, offload }) => {
  test("a transfer's bytes and packets are within 1 % of what the interfaces have counted, both ways", async () => {
    for (const [namespace, name] of [
      [lab.client, "eth0"],
      [lab.internet, "eth0"],
      [lab.firewall, "eth0"],
      [lab.firewall, "eth1"],
    ] as const) {
      const features = ["tso", "gso", "gro"].flatMap((feature) => [feature, offload ? "on" : "off"]);
      await namespace.run(["ethtool", "-K", name, ...features]);
    }
    await start(kernelPath);
    const talker = lab.client.start(["/usr/bin/python3", "-u", "-c", TALK], "pipe");
    await talker.says("open");
    await verb("flows", "--bytes", "0");
    const before = await bothSent();
    talker.type("on\n");
    await talker.says("all");
    const after = await bothSent();
    const status = JSON.parse(await verb("status", "--json"));
    const [flow] = (await verb("flows", "proto=tcp", "--sort=-bytes", "--bytes", "0", "--json"))
      .split("\n")
      .map((line) => JSON.parse(line || "{}"));
    const share = (status.kernel_path?.forwarded ?? 0) / status.frames.forwarded;
    if (kernelPath) expect(share).toBeGreaterThan(0.5);
    else expect(share).toBe(0);
    const near = (counted: Sums, by: Sums, than: Sums) => {
      for (const key of ["bytes", "packets"] as const) {
        const expected = by[key] - than[key];
        expect(Math.abs(counted[key] - expected) / expected).toBeLessThan(0.01);
      }
    };
    near(flow.sent, after[0], before[0]);
    near(flow.received, after[1], before[1]);
    expect(flow.sent.bytes).toBeGreaterThan(MEGABYTES * 1e6);
    const lines = await verb("flows", "proto=tcp", "--sort=-bytes", "--limit", "1");
    expect(lines).toMatch(/, sent \d+ bytes in \d+ packets, received \d+ bytes in \d+ packets\n$/);
    expect(await verb("flows", "proto=tcp")).not.toContain("bytes");
    talker.process.kill();
  }, 120_000);
});
