// A capture of IPv6 frames through the router: next hops answer solicitations where the capture doesn't show them, what the router
// itself sent does not come in again, and lines and files say what became of each frame.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCapture, writeCapture } from "../../lab/captures.ts";
import { ethernet, mac, payload, toHex } from "../../lab/frames.ts";
import {
  ah,
  DESTINATION,
  fragmented6,
  HOP_BY_HOP,
  IPV6_TYPE,
  icmpv6,
  ip6,
  options,
  tcp6,
  udp6,
} from "../../lab/frames6.ts";
import { summarise } from "../../src/captures/summary.ts";
import { summaryText } from "../../src/captures/summary-text.ts";
import { HOST, INSIDE, OUTSIDE, replayConfig } from "../support/replay-run.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const [CLIENT, US, SERVER, GATEWAY] = ["fd00::10", "2001:db8::2", "2001:db8:7::80", "fe80::1"];
const GATEWAY_MAC = "02:00:00:00:02:00";
const TOML = replayConfig({
  client: 'address6 = "fd00::10"\ngateway6 = "fd00::1"\nrules = ["action=drop proto=tcp dstports=81", "action=accept"]',
}).replace('gateway = "192.0.2.1"', 'gateway = "192.0.2.1"\naddress6 = "2001:db8::2/64"\ngateway6 = "fe80::1"');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "firebreak-replay6-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Replays frames, each a second after the one before. @returns its lines, and what would have been sent */
async function replay(inputs: Readonly<Record<string, readonly Uint8Array[]>>, ...options: readonly string[]) {
  await Bun.write(join(folder, "fw.toml"), TOML);
  const ins: string[] = [];
  for (const [name, frames] of Object.entries(inputs)) {
    const captured = frames.map((bytes, i) => ({
      seconds: 1000 + i,
      nanoseconds: 0,
      bytes,
      originalLength: bytes.length,
    }));
    await Bun.write(join(folder, `${name}.pcap`), writeCapture(captured, "us"));
    ins.push("--in", `${name}=${folder}/${name}.pcap`);
  }
  const args = ["replay", "--config", join(folder, "fw.toml"), ...ins, "--out", join(folder, "out"), ...options];
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args]);
  expect([stderr.toString(), exitCode]).toEqual(["", 0]);
  const sentOn = async (name: string) => {
    const { frames } = await readCapture(await Bun.file(join(folder, "out", `${name}.pcap`)).bytes());
    return frames.map(({ bytes }) => bytes);
  };
  return { text: stdout.toString(), inside: await sentOn("eth0"), outside: await sentOn("eth1") };
}

const inward = (packet: Uint8Array) => ethernet(HOST, INSIDE, IPV6_TYPE, packet);
const SYN = { source: CLIENT, destination: SERVER, sourcePort: 40000, destinationPort: 80, flags: "S" };

/** Not what the router says of itself: probes and reports of its own addresses. */
function isData(bytes: Uint8Array): boolean {
  return bytes[20] !== 58 && bytes[20] !== 0;
}

function packets(frames: readonly Uint8Array[]): string[] {
  return frames.filter(isData).map((bytes) => toHex(bytes.subarray(14)));
}

test("frames of a client leave, translated, to the gateway, which answers by itself; what rules refuse is answered", async () => {
  const frames = [inward(tcp6(SYN)), inward(tcp6({ ...SYN, destinationPort: 81 }))];
  const { text, inside, outside } = await replay({ eth0: frames });
  const [out] = outside.filter((bytes) => bytes[20] === 6);
  expect(toHex(out.subarray(14))).toBe(toHex(tcp6({ ...SYN, source: US, hopLimit: 63 })));
  const lines = text.split("\n");
  expect(lines.find((line) => line.includes("40000 > "))).toContain(`tcp [${CLIENT}]:40000 > [${SERVER}]:80 SYN`);
  expect(lines.find((line) => line.includes("refused"))).toMatch(/rule 1/);
  const [refusal] = inside.filter((bytes) => bytes[20] === 58 && bytes[54] === 1);
  expect(summaryText(summarise(Buffer.from(refusal), 0, refusal.length))).toBe(
    `icmp6 fd00::1 > ${CLIENT} unreachable (prohibited) about tcp [${CLIENT}]:40000 > [${SERVER}]:81 SYN`,
  );
});

test("both sides of a conversation: what the router sent then does not come in again, and a neighbour has the MAC address that it said", async () => {
  const advertisement = icmpv6(
    { source: GATEWAY, destination: US, hopLimit: 255, type: 136, rest: 0x60000000 },
    Uint8Array.of(...ip6(GATEWAY), 2, 1, ...mac(GATEWAY_MAC)),
  );
  const ports = { sourcePort: 5000, destinationPort: 6000 };
  const question = udp6({ source: CLIENT, destination: SERVER, ...ports }, payload(5));
  const asked = udp6({ source: US, destination: SERVER, ...ports, hopLimit: 63 }, payload(5));
  const answer = udp6({ source: SERVER, destination: US, sourcePort: 6000, destinationPort: 5000 }, payload(7));
  const answered = udp6(
    { source: SERVER, destination: CLIENT, sourcePort: 6000, destinationPort: 5000, hopLimit: 63 },
    payload(7),
  );
  const { inside, outside } = await replay({
    eth0: [inward(question), ethernet(INSIDE, HOST, IPV6_TYPE, answered)],
    eth1: [
      ethernet(GATEWAY_MAC, OUTSIDE, IPV6_TYPE, advertisement),
      ethernet(OUTSIDE, GATEWAY_MAC, IPV6_TYPE, asked),
      ethernet(GATEWAY_MAC, OUTSIDE, IPV6_TYPE, answer),
    ],
  });
  expect(outside.filter(isData).map(toHex)).toEqual([toHex(ethernet(OUTSIDE, GATEWAY_MAC, IPV6_TYPE, asked))]);
  expect(packets(inside)).toEqual([toHex(answered)]);
});

test("IPv6 packets in a few words: behind extension headers, in fragments, errors", () => {
  const text = (packet: Uint8Array) => {
    const frame = Buffer.from(ethernet(HOST, INSIDE, IPV6_TYPE, packet));
    return summaryText(summarise(frame, 0, frame.length));
  };
  expect(text(icmpv6({ source: CLIENT, destination: SERVER, type: 128, rest: 0x00010002 }, payload(4)))).toBe(
    `icmp6 ${CLIENT} > ${SERVER} echo request id 1 seq 2`,
  );
  expect(text(icmpv6({ source: CLIENT, destination: SERVER, type: 135 }, ip6(US)))).toBe(
    `icmp6 ${CLIENT} > ${SERVER} neighbour solicitation of ${US}`,
  );
  expect(text(icmpv6({ source: CLIENT, destination: SERVER, type: 135 }, payload(15)))).toBe(
    `icmp6 ${CLIENT} > ${SERVER} neighbour solicitation`,
  );
  const quoted = udp6({ source: CLIENT, destination: SERVER, sourcePort: 1, destinationPort: 2 }, payload(4));
  expect(text(icmpv6({ source: SERVER, destination: CLIENT, type: 2, rest: 1280 }, quoted))).toBe(
    `icmp6 ${SERVER} > ${CLIENT} packet too big (MTU 1280) about udp [${CLIENT}]:1 > [${SERVER}]:2`,
  );
  const ends = { source: CLIENT, destination: SERVER, sourcePort: 1, destinationPort: 2 };
  for (const extensions of [[options(HOP_BY_HOP, payload(4))], [ah()], [options(DESTINATION, payload(12)), ah()]]) {
    expect(text(udp6({ ...ends, extensions }, payload(4)))).toBe(`udp [${CLIENT}]:1 > [${SERVER}]:2`);
  }
  expect(fragmented6(udp6(ends, payload(24)), 16).map(text)).toEqual([
    `udp [${CLIENT}]:1 > [${SERVER}]:2 first fragment`,
    `udp ${CLIENT} > ${SERVER} fragment at 16`,
  ]);
  const frame = Buffer.from(inward(quoted));
  for (let length = 0; length < frame.length; length++) summarise(frame, 0, length); // none of it is there, and nothing is thrown
  expect(summaryText(summarise(frame, 0, 30))).toContain("type 0x86dd (IPv6)");
});

describe("what Linux made of real programs' packets, and what we make of them, is the same", () => {
  const CAPTURES = join(import.meta.dir, "../captures");
  const toml = TOML.replace("fe80::1", "2001:db8::1").replace(/^rules = .*$/m, 'policy = "accept"');

  test.each(["ping6", "dns6", "http6", "traceroute6", "refused6", "fragments6", "options6", "ping-too-big6"])(
    "%s",
    async (name) => {
      const ins = [`eth0=${CAPTURES}/${name}-client.pcap`, `eth1=${CAPTURES}/${name}-uplink.pcap`];
      await Bun.write(join(folder, "linux.toml"), toml);
      const args = [
        "replay",
        "--config",
        join(folder, "linux.toml"),
        "--quiet",
        "--compare",
        "--out",
        join(folder, "o"),
      ];
      const { stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args, "--in", ins[0], "--in", ins[1]]);
      expect(stderr.toString()).toBe("");
      const line = stdout
        .toString()
        .split("\n")
        .find((one) => one.startsWith("compared"));
      expect(line).toMatch(/^compared: [1-9]\d* packets the same, 0 only by the router, 0 only by us$/);
    },
  );
});
