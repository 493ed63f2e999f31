// Frames that no honest sender makes: each is dropped and counted, none gets through, and the firewall goes on.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, peer, type State } from "../../lab/firewall-lab.ts";
import { checksum, ethernet, IPV4_TYPE, icmp, payload, tcp, udp } from "../../lab/frames.ts";
import { macOf, type Namespace, type Program } from "../../lab/namespaces.ts";
import { CLIENT, SERVER, UPLINK } from "../../lab/places.ts";
import { Random } from "../../lab/random.ts";

const RANDOM_FRAMES = 1000;
/** ms until all frames are accounted for. */
const PATIENCE = 20_000;

const lab = new FirewallLab("hostile");
/** Listens where frames would come out that got through. */
let outside: Program;
let inside: Program;
let clientMac = "";
let firewallMac = "";

beforeAll(async () => {
  lab.configure([], "accept");
  await lab.start();
  clientMac = await macOf(lab.client, "eth0");
  firewallMac = await macOf(lab.firewall, "eth0");
  // The client's and the router's addresses are known before, so that nobody asks by ARP while the test runs.
  await lab.client.run(["ping", "-c", "1", SERVER]);
  outside = await listen(lab.internet);
  inside = await listen(lab.client);
}, 120_000);

afterAll(() => lab.close());

/** Has a line for each frame that comes in. */
async function listen(namespace: Namespace): Promise<Program> {
  const options = ["-n", "-e", "--immediate-mode", "-l", "-Q", "in", "-i", "eth0"];
  const tcpdump = namespace.start(["tcpdump", ...options, "not", "arp"]);
  await tcpdump.says("listening on");
  return tcpdump;
}

/** What tcpdump heard since it was started. */
function heard(tcpdump: Program): string[] {
  return tcpdump.text.split("\n").filter((line) => / > .* ethertype /.test(line));
}

/**
 * Sends frames to the firewall.
 * @returns what became of them, and how many times
 */
async function inject(from: Namespace, frames: readonly Uint8Array[]): Promise<Map<string, number>> {
  const file = join(lab.folder, "frames");
  writeFileSync(file, frames.map((frame) => Buffer.from(frame).toString("hex")).join("\n"));
  const before = await lab.state();
  const output = await from.run(peer("inject", "eth0", file));
  expect(JSON.parse(output)).toEqual({ transmitted: frames.length });
  const deadline = performance.now() + PATIENCE;
  for (;;) {
    await Bun.sleep(50); // what comes twice is seen, too
    const fates = difference(before, await lab.state());
    if (total(fates) >= frames.length || performance.now() > deadline) return fates;
  }
}

/**
 * What became of the frames that came between two states, and how many times. What was transmitted is left out: tcpdump hears it, and
 * ARP of the firewall's own may go out at any time.
 */
function difference(before: State, after: State): Map<string, number> {
  const fates = new Map<string, number>();
  for (const counters of ["ring", "frames"] as const) {
    for (const [fate, count] of after[counters]) {
      const more = count - (before[counters].get(fate) ?? 0);
      if (more > 0 && fate !== "received" && fate !== "transmitted") fates.set(fate, more);
    }
  }
  return fates;
}

function total(fates: ReadonlyMap<string, number>): number {
  return [...fates.values()].reduce((sum, count) => sum + count, 0);
}

/** Every frame was dropped for a reason, none was forwarded or answered. */
function expectAllDropped(fates: ReadonlyMap<string, number>, frames: readonly Uint8Array[]): void {
  expect([...fates.keys()].filter((fate) => !fate.startsWith("dropped: "))).toEqual([]);
  expect(total(fates)).toBe(frames.length);
  expect(heard(outside)).toEqual([]);
  expect(heard(inside)).toEqual([]);
}

function fromClient(packet: Uint8Array): Uint8Array {
  return ethernet(clientMac, firewallMac, IPV4_TYPE, packet);
}

const ends = { source: CLIENT, destination: SERVER };

/** Good frames, one of each protocol, that the rules allow. */
function goodFrames(): Uint8Array[] {
  const ports = { sourcePort: 40000, destinationPort: 80 };
  return [
    fromClient(udp({ ...ends, ...ports }, payload(64))),
    fromClient(tcp({ ...ends, ...ports, flags: "S", tcpOptions: Uint8Array.of(2, 4, 5, 180) })),
    fromClient(icmp({ ...ends, type: 8, rest: 1 }, payload(64))),
  ];
}

test("frames of random bytes", async () => {
  const random = new Random(1);
  const frames = Array.from({ length: RANDOM_FRAMES }, (_, i) => {
    const frame = Uint8Array.from({ length: 14 + random.below(1500) }, () => random.below(256));
    // Half of them are addressed to us, and say that they are IPv4 or ARP.
    if (i % 2 === 0) frame.set(ethernet(clientMac, firewallMac, random.pick([0x0800, 0x0806]), new Uint8Array(0)));
    return frame;
  });
  expectAllDropped(await inject(lab.client, frames), frames);
});

test("good frames cut off at every length", async () => {
  const frames = goodFrames().flatMap((frame) =>
    Array.from({ length: frame.length - 14 }, (_, i) => frame.subarray(0, 14 + i)),
  );
  expectAllDropped(await inject(lab.client, frames), frames);
});

/** The IPv4 packet of a good frame with some bytes changed, and its header checksum right again. */
function changed(frame: Uint8Array, change: (packet: Uint8Array, view: DataView) => void): Uint8Array {
  const packet = frame.slice(14);
  const view = new DataView(packet.buffer);
  change(packet, view);
  view.setUint16(10, 0);
  view.setUint16(10, checksum(packet.subarray(0, 20)));
  return fromClient(packet);
}

test("good frames whose length fields lie", async () => {
  const random = new Random(2);
  const [udpFrame, tcpFrame] = goodFrames() as [Uint8Array, Uint8Array];
  const frames = goodFrames().flatMap((frame) => [
    // More than the frame has, and less than the header.
    changed(frame, (_, view) => view.setUint16(2, frame.length - 13)),
    changed(frame, (_, view) => view.setUint16(2, 65535)),
    changed(frame, (_, view) => view.setUint16(2, 19)),
    changed(frame, (_, view) => view.setUint16(2, 0)),
    ...Array.from({ length: 5 }, (_, words) => changed(frame, (packet) => packet.fill(0x40 | words, 0, 1))),
    changed(frame, (packet) => packet.fill(0x65, 0, 1)),
  ]);
  for (const length of [0, 7, 73, 1000, 65535]) {
    frames.push(changed(udpFrame, (_, view) => view.setUint16(24, length)));
  }
  for (const offset of [0, 1, 4, 7, 15]) {
    frames.push(changed(tcpFrame, (packet) => packet.fill(offset << 4, 32, 33)));
  }
  for (let i = 0; i < 100; i++) {
    frames.push(changed(udpFrame, (_, view) => view.setUint16(2, udpFrame.length - 13 + random.below(60000))));
  }
  expectAllDropped(await inject(lab.client, frames), frames);
});

test("addresses that are not the sender's, from both sides", async () => {
  const ports = { sourcePort: 40000, destinationPort: 80 };
  const spoofed = ["10.137.0.11", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", SERVER, UPLINK];
  const inward = spoofed.map((source) => fromClient(udp({ ...ends, ...ports, source }, payload(20))));
  expectAllDropped(await inject(lab.client, inward), inward);

  const routerMac = await macOf(lab.internet, "eth0");
  const uplinkMac = await macOf(lab.firewall, "eth1");
  const outward = [CLIENT, UPLINK, "198.51.100.9"].flatMap((source) =>
    [CLIENT, UPLINK].map((destination) =>
      ethernet(routerMac, uplinkMac, IPV4_TYPE, udp({ ...ports, source, destination }, payload(20))),
    ),
  );
  expectAllDropped(await inject(lab.internet, outward), outward);
});

test("frames with a VLAN tag", async () => {
  const [good] = goodFrames() as [Uint8Array];
  const tagged = (...tag: number[]) => Uint8Array.of(...good.subarray(0, 12), ...tag, ...good.subarray(12));
  const vlans = [
    tagged(0x81, 0x00, 0x00, 0x05),
    tagged(0x88, 0xa8, 0xe0, 0x05),
    tagged(0x81, 0x00, 0x00, 0x00, 0x81, 0x00, 0x00, 0x05),
  ];
  expect([...(await inject(lab.client, vlans))]).toEqual([["dropped: of a VLAN", 3]]);
  expect(heard(outside)).toEqual([]);
  const priorities = [tagged(0x81, 0x00, 0x00, 0x00), tagged(0x81, 0x00, 0xe0, 0x00, 0x81, 0x00, 0x00, 0x00)];
  expect((await inject(lab.client, priorities)).get("forwarded")).toBe(4); // and the server's two refusals
});

test("honest traffic passes as before, and the frames that were made worse pass when they are not", async () => {
  expect(await lab.client.run(["ping", "-c", "3", "-i", "0.1", SERVER])).toContain("3 received, 0% packet loss");
  const before = heard(outside).length;
  await inject(lab.client, goodFrames());
  await outside.says(/> 198\.51\.100\.80\.80: Flags \[S\]/);
  expect(heard(outside).length - before).toBeGreaterThanOrEqual(goodFrames().length);
});
