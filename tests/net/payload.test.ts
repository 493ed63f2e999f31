// What passes the firewall arrives as it was sent: every size, every protocol, with and without the kernel's offloads.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import type { Namespace, Program } from "../../lab/namespaces.ts";
import { SERVER } from "../../lab/places.ts";

const ECHO = 7;
const SINK = 9;

// Bytes in an Ethernet frame besides the payload.
const UDP_OVERHEAD = 14 + 20 + 8;
const ICMP_OVERHEAD = UDP_OVERHEAD;
const TCP_OVERHEAD = 14 + 20 + 20;
const SMALLEST = 60;
const LARGEST = 1514;
const SIZES = LARGEST - SMALLEST + 1;

const BULK = 64 * 1024 * 1024;

const lab = new FirewallLab("payload");

beforeAll(async () => {
  // Without timestamps a segment's payload can be as large as its frame has room for.
  await lab.client.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv4/tcp_timestamps"]);
  lab.configure([], "accept");
  await lab.start();
  const echo = lab.internet.start(peer("echo", SERVER, ECHO));
  await echo.says("listening");
}, 120_000);

afterAll(() => lab.close());

/** Turns checksum and segmentation offload of an interface on or off. */
async function offload(namespace: Namespace, name: string, state: "on" | "off"): Promise<void> {
  await namespace.run(["ethtool", "-K", name, "tx", state, "tso", state, "gso", state, "gro", state]);
}

async function allSizes(): Promise<void> {
  const udp = await lab.client.run(
    peer("udp-sizes", SERVER, ECHO, SMALLEST - UDP_OVERHEAD, LARGEST - UDP_OVERHEAD),
    120_000,
  );
  expect(JSON.parse(udp)).toEqual({ intact: SIZES, changed: [], lost: [] });
  const tcp = await lab.client.run(
    peer("tcp-sizes", SERVER, ECHO, SMALLEST - TCP_OVERHEAD, LARGEST - TCP_OVERHEAD),
    120_000,
  );
  expect(JSON.parse(tcp)).toEqual({ intact: SIZES });
}

test("UDP and TCP arrive intact at every frame size from 60 to 1514 bytes", allSizes, 120_000);

test("so they do when the client computes its checksums itself", async () => {
  await offload(lab.client, "eth0", "off");
  await allSizes();
  await offload(lab.client, "eth0", "on");
}, 120_000);

test("so they do when the firewall's interfaces can't compute checksums", async () => {
  for (const name of ["eth0", "eth1"]) await offload(lab.firewall, name, "off");
  await allSizes();
  for (const name of ["eth0", "eth1"]) await offload(lab.firewall, name, "on");
}, 120_000);

test("ICMP echo arrives intact at every frame size from 60 to 1514 bytes", async () => {
  const sizes = `${SMALLEST - ICMP_OVERHEAD} ${LARGEST - ICMP_OVERHEAD}`;
  // ping compares what comes back with the pattern that it sent.
  const script = `for size in $(seq ${sizes}); do ping -q -n -c 1 -W 10 -s $size -p 00ff3ca5 ${SERVER} || exit 1; done`;
  const output = await lab.client.run(["sh", "-c", script], 120_000);
  expect(output.match(/1 packets transmitted, 1 received, 0% packet loss/g)).toHaveLength(SIZES);
  expect(output).not.toContain("wrong data byte");
}, 120_000);

/** Sends BULK bytes from one end to the other and compares the two ends' hashes. */
async function bulk(): Promise<void> {
  const sink = lab.internet.start(peer("sink", SINK));
  await sink.says("listening");
  const sent = JSON.parse(await lab.client.run(peer("source", SERVER, SINK, BULK)));
  await sink.says("hash");
  expect(JSON.parse(sink.text.split("\n")[1] ?? "")).toEqual(sent);
}

/** Listens at the server's end. @returns the program, which has a line for each packet in that direction */
async function watch(filter: string): Promise<Program> {
  const options = ["-n", "-vv", "--immediate-mode", "-l", "-c", "200", "-i", "eth0"];
  const tcpdump = lab.internet.start(["tcpdump", ...options, filter]);
  await tcpdump.says("listening on");
  return tcpdump;
}

const FROM_CLIENT = `dst host ${SERVER} and dst port ${SINK} and greater 1000`;

test("TCP segments that wait to be cut up pass in one piece", async () => {
  const tcpdump = await watch(FROM_CLIENT);
  await bulk();
  await tcpdump.end();
  const lengths = Array.from(tcpdump.text.matchAll(/, length (\d+)$/gm), (match) => Number(match[1]));
  expect(Math.max(...lengths)).toBeGreaterThan(60_000);
}, 120_000);

test("their checksums are right once the firewall's kernel has to cut them up and compute them", async () => {
  await offload(lab.firewall, "eth1", "off");
  const tcpdump = await watch(FROM_CLIENT);
  await bulk();
  await tcpdump.end();
  await offload(lab.firewall, "eth1", "on");
  expect(tcpdump.text).toContain("(correct)");
  expect(tcpdump.text).not.toContain("incorrect");
  const lengths = Array.from(tcpdump.text.matchAll(/, length (\d+)$/gm), (match) => Number(match[1]));
  expect(Math.max(...lengths)).toBeLessThanOrEqual(LARGEST - TCP_OVERHEAD);
}, 120_000);

test("the ring dropped nothing", async () => {
  const { ring } = await lab.state();
  expect([...ring.keys()].sort()).toEqual(["received", "transmitted"]);
});
