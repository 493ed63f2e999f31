// Real programs reach real servers through `firebreak run`, and only where the rules let them.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { CLIENT, CLIENT_GATEWAY, ROUTER, SERVER, serveDns, serveHttp, UPLINK } from "../../lab/places.ts";

const FILE_LENGTH = 100 * 1024 * 1024;
const HTTP = 80;
const IPERF = 5201;

/** Gbit/s: what segmentation offload gives several times over and a forwarder of single segments misses. */
const LEAST_SPEED = 4;

const lab = new FirewallLab("programs");
let tcpdump: Program;
let hash = "";

beforeAll(async () => {
  const www = join(lab.folder, "www");
  mkdirSync(www);
  const content = Buffer.alloc(FILE_LENGTH);
  for (let at = 0; at < FILE_LENGTH; at += 65536) crypto.getRandomValues(content.subarray(at, at + 65536));
  writeFileSync(join(www, "file"), content);
  hash = createHash("sha256").update(content).digest("hex");

  serveHttp(lab.internet, www);
  lab.internet.start(["iperf3", "--server"]);
  await serveDns(lab.internet);
  tcpdump = lab.internet.start(["tcpdump", "-n", "--immediate-mode", "-l", "-i", "eth0", "host", CLIENT]);
  await tcpdump.says("listening on");

  lab.configure([
    "accept specialtarget=dns",
    "accept proto=icmp icmptype=8",
    `accept dst4=${SERVER} proto=tcp dstports=${HTTP}`,
    `accept dst4=${ROUTER} dstports=${IPERF}`,
  ]);
  await lab.start();
}, 120_000);

afterAll(() => lab.close());

test("ping reaches the server, and the gateway that is the firewall itself", async () => {
  expect(await lab.client.run(["ping", "-c", "5", "-i", "0.1", SERVER])).toContain("5 received, 0% packet loss");
  expect(await lab.client.run(["ping", "-c", "5", "-i", "0.1", CLIENT_GATEWAY])).toContain(
    "5 received, 0% packet loss",
  );
});

test("dig asks the resolver by UDP and TCP", async () => {
  for (const transport of ["+notcp", "+tcp"]) {
    expect(await lab.client.run(["dig", "+short", transport, `@${ROUTER}`, "www.example"])).toBe(`${SERVER}\n`);
  }
});

test("curl fetches 100 MiB unchanged", async () => {
  const file = join(lab.folder, "fetched");
  const speed = await lab.client.run(["curl", "-sS", "-o", file, "-w", "%{speed_download}", `http://${SERVER}/file`]);
  console.log(`curl: ${((Number(speed) * 8) / 1e9).toFixed(2)} Gbit/s`);
  expect(
    createHash("sha256")
      .update(await Bun.file(file).bytes())
      .digest("hex"),
  ).toBe(hash);
}, 120_000);

test("iperf3 goes at the speed of segmentation offload, both ways", async () => {
  for (const direction of [[], ["--reverse"]]) {
    const output = await lab.client.run(["iperf3", "--client", ROUTER, "--time", "3", "--json", ...direction]);
    const speed = JSON.parse(output).end.sum_received.bits_per_second / 1e9;
    console.log(`iperf3 ${direction}: ${speed.toFixed(2)} Gbit/s`);
    expect(speed).toBeGreaterThan(LEAST_SPEED);
  }
}, 120_000);

test("a port that no rule allows is not reached, and the refusal is counted", async () => {
  const before = (await lab.state()).frames.get("dropped: refused by rules") ?? 0;
  const { status } = await lab.client.attempt(["curl", "-sS", "--connect-timeout", "5", `http://${SERVER}:${IPERF}/`]);
  expect(status).not.toBe(0);
  expect((await lab.state()).frames.get("dropped: refused by rules")).toBeGreaterThan(before);
});

test("the flows are listed with what they look like outside", async () => {
  const { flows } = await lab.state();
  expect(flows.join("\n")).toMatch(
    new RegExp(`^tcp ${CLIENT}:(\\d+) to ${SERVER}:${HTTP} as ${UPLINK}:\\d+, [A-Z-]+, client work, rule 3$`, "m"),
  );
});

test("no packet outside ever had the client's address", () => {
  expect(tcpdump.text.split("\n").filter((line) => line.includes(CLIENT))).toEqual([]);
});
