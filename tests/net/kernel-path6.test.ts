// The kernel path of IPv6 flows: open ones take it, translated; what is not plain comes to the program; and nothing is forwarded any
// more once rules, or somebody who ends a flow, say so.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import { concat, ethernet, mac, payload } from "../../lab/frames.ts";
import { DESTINATION, IPV6_TYPE, icmpv6, ip6, options, type Tcp6Fields, tcp6, udp6 } from "../../lab/frames6.ts";
import { completeChecksum, GSO, leaveChecksum, NEEDS_CSUM, vnet } from "../../lab/offload.ts";
import { CLIENT, CLIENT_GATEWAY, ROUTER, UPLINK } from "../../lab/places.ts";
import { ICMPV6 } from "../../lab/protocols.ts";
import { buildWithFault } from "../support/kernel-mutants.ts";
import { plain, type WireFrame } from "./raw-links.ts";
import { RawPeer } from "./raw-peer.ts";
import { untilTaken } from "./until-taken.ts";

const ENDS = {
  work: { mac: "02:00:00:00:01:00", firewall: "02:00:00:00:00:00" },
  uplink: { mac: "02:00:00:00:01:01", firewall: "02:00:00:00:00:01" },
} as const;
const CLIENT6 = "fd09:24ef:4179::a";
const UPLINK6 = "2001:db8:1::254";
/** The uplink's gateway, and what the firewall is to it. */
const GATEWAY6 = "fe80::1";
const LINK_LOCAL6 = "fe80::ff:fe00:1";
const SERVER6 = "2001:db8:ffff::7";

/** Frames of a flow, after which it has taken the kernel path for long. */
const MANY = 200;
const PORTS = { sourcePort: 40_000, destinationPort: 5000 };
const SEQUENCE = 1000;
const ACKNOWLEDGMENT = 70_000;

const lab = new FirewallLab("kernel6");
const outside = lab.namespace("outside");
let ends: RawPeer;

beforeAll(async () => {
  lab.cable(lab.firewall, "p0", outside, "work");
  lab.cable(lab.firewall, "p1", outside, "uplink");
  configure();
  await start();
  ends = await RawPeer.start(outside, Object.keys(ENDS));
  await untilForwarded();
}, 120_000);

afterAll(() => lab.close());

/** A configuration in which all MAC addresses are given but the gateway's. */
function configure(policy: "accept" | "drop" = "accept"): void {
  lab.writeConfig(`[uplink]
interface = "p1"
own_mac = "${ENDS.uplink.firewall}"
address = "${UPLINK}/24"
gateway = "${ROUTER}"
address6 = "${UPLINK6}/64"
gateway6 = "${GATEWAY6}"
dns = []

[[client]]
name = "work"
interface = "p0"
own_mac = "${ENDS.work.firewall}"
mac = "${ENDS.work.mac}"
address = "${CLIENT}"
gateway = "${CLIENT_GATEWAY}"
address6 = "${CLIENT6}"
gateway6 = "fd09:24ef:4179::1"
nat6 = "masquerade"
policy = "${policy}"
`);
}

/** It looks on the uplink whether its address is another's, and for the gateway, before anything passes. */
async function untilForwarded(): Promise<void> {
  const { sent } = there(udp6, payload(1), { sourcePort: LOOKING });
  for (let got: WireFrame[] = []; !got.some(hasArrived); ) got = await exchangeAll(sent);
}

/** A port of the client's, of frames that only look whether any arrive. */
const LOOKING = 39_999;
const hasArrived = ({ on, frame }: WireFrame): boolean => on === "uplink" && frame[54] * 256 + frame[55] === LOOKING;

async function start(): Promise<void> {
  await lab.start(inFolder(firebreak()));
}

/** A command of the product's, where its socket is. */
function inFolder(command: readonly string[]): string[] {
  return ["env", `RUNTIME_DIRECTORY=${lab.folder}`, ...command];
}

type Fields = Partial<Tcp6Fields>;
type Packet = (fields: Tcp6Fields, content: Uint8Array) => Uint8Array;

/** A frame of the client's to the server, as it is sent, and as it should arrive. */
function there(packet: Packet, content: Uint8Array, fields: Fields = {}): { sent: WireFrame; arrived: WireFrame } {
  const common = { ...PORTS, destination: SERVER6, flags: ".", ...fields };
  const before = packet({ ...common, source: CLIENT6 }, content);
  const after = packet({ ...common, source: UPLINK6, hopLimit: 63 }, content);
  return {
    sent: plain("work", ethernet(ENDS.work.mac, ENDS.work.firewall, IPV6_TYPE, before)),
    arrived: plain("uplink", ethernet(ENDS.uplink.firewall, ENDS.uplink.mac, IPV6_TYPE, after)),
  };
}

/** One of the server's to the client. */
function back(packet: Packet, content: Uint8Array, fields: Fields = {}): { sent: WireFrame; arrived: WireFrame } {
  const ports = { sourcePort: PORTS.destinationPort, destinationPort: PORTS.sourcePort };
  const common = { ...ports, source: SERVER6, flags: ".", ...fields };
  const before = packet({ ...common, destination: UPLINK6 }, content);
  const after = packet({ ...common, destination: CLIENT6, hopLimit: 63 }, content);
  return {
    sent: plain("uplink", ethernet(ENDS.uplink.mac, ENDS.uplink.firewall, IPV6_TYPE, before)),
    arrived: plain("work", ethernet(ENDS.work.firewall, ENDS.work.mac, IPV6_TYPE, after)),
  };
}

/** Frames that go on a connection which `connect` has opened; each says the same again. */
function segmentThere(content: Uint8Array, fields: Fields = {}) {
  return there(tcp6, content, { sequence: SEQUENCE + 1, acknowledgment: ACKNOWLEDGMENT + 1, ...fields });
}

function segmentBack(content: Uint8Array, fields: Fields = {}) {
  return back(tcp6, content, { sequence: ACKNOWLEDGMENT + 1, acknowledgment: SEQUENCE + 1, ...fields });
}

/** As `exchangeAll`; of frames that have waited for the gateway, some may come late. */
async function exchange(...frames: readonly WireFrame[]): Promise<WireFrame[]> {
  return (await exchangeAll(...frames)).filter((one) => !hasArrived(one));
}

/** What comes back of IPv6, less what the firewall says of itself to its links' groups. Who is asked for, answers. */
async function exchangeAll(...frames: readonly WireFrame[]): Promise<WireFrame[]> {
  const got = await ends.exchange(...frames);
  const solicits = ({ frame }: WireFrame) => frame[20] === ICMPV6 && frame[54] === SOLICITATION;
  if (got.some((one) => one.on === "uplink" && solicits(one))) await ends.exchange(advertisement());
  return got.filter((one) => isIpv6(one) && one.frame[0] !== 0x33 && !solicits(one));
}

/** The gateway says what its MAC address is (RFC 4861 section 4.4). */
function advertisement(): WireFrame {
  const fields = { source: GATEWAY6, destination: LINK_LOCAL6, hopLimit: 255, type: 136, rest: 0x60000000 };
  const content = concat(ip6(GATEWAY6), Uint8Array.of(2, 1), mac(ENDS.uplink.mac));
  return plain("uplink", ethernet(ENDS.uplink.mac, ENDS.uplink.firewall, IPV6_TYPE, icmpv6(fields, content)));
}

const SOLICITATION = 135;
const isIpv6 = ({ frame }: WireFrame): boolean => frame[12] === 0x86 && frame[13] === 0xdd;

async function expectWhole(...directions: readonly { sent: WireFrame; arrived: WireFrame }[]): Promise<void> {
  for (const { sent, arrived } of directions) expect(await exchange(sent)).toEqual([arrived]);
}

/** The same of a frame that takes the kernel path. */
function expectTaken(direction: { sent: WireFrame; arrived: WireFrame }): Promise<void> {
  return untilTaken(lab, 1, () => expectWhole(direction));
}

async function connect(): Promise<void> {
  await expectWhole(
    there(tcp6, payload(0), { sequence: SEQUENCE, flags: "S" }),
    back(tcp6, payload(0), { sequence: ACKNOWLEDGMENT, acknowledgment: SEQUENCE + 1, flags: "S." }),
    segmentThere(payload(0)),
  );
}

/** Frames of each flow go both ways until they take the kernel path. */
async function enterAll(...directions: readonly { sent: WireFrame; arrived: WireFrame }[]): Promise<void> {
  for (let i = 0; i < MANY / 32; i++) {
    for (const { sent, arrived } of directions) {
      expect(await exchange(...Array<WireFrame>(32).fill(sent))).toEqual(Array<WireFrame>(32).fill(arrived));
    }
  }
}

/** A datagram whose checksum is zero afterwards, which is written as all ones: zero would say that there is none. */
function withZeroChecksum(): { sent: WireFrame; arrived: WireFrame } {
  for (let word = 0; word < 0x10000; word++) {
    const frames = there(udp6, Uint8Array.of(word >> 8, word & 0xff));
    const { frame } = frames.arrived;
    if (frame[60] === 0xff && frame[61] === 0xff) return frames;
  }
  throw new Error("no content has such a checksum");
}

/** Frames that the kernel forwarded since the firewall is there. */
async function byKernel(): Promise<number> {
  return (await lab.state()).kernelPath.get("forwarded") ?? 0;
}

test("open flows take it, both ways, and every frame of them is counted", async () => {
  await connect();
  const directions = [
    there(udp6, payload(100)),
    back(udp6, payload(1000)),
    segmentThere(payload(100)),
    segmentBack(payload(1400)),
  ];
  await enterAll(...directions);
  await untilTaken(lab, 4 * Math.ceil(MANY / 32) * 32, () => enterAll(...directions));
}, 120_000);

test("what is odd about an open flow's frame is seen to, and padding is left behind", async () => {
  const before = await byKernel();
  expect(await exchange(there(udp6, payload(0), { hopLimit: 1 }).sent)).toMatchObject([{ on: "work" }]);
  expect(await exchange(segmentBack(payload(0), { sequence: ACKNOWLEDGMENT + 1_000_000 }).sent)).toEqual([]);
  const { frame } = there(udp6, payload(100)).sent;
  expect(
    await exchange(plain("work", Uint8Array.of(...frame.subarray(0, 12), 0x81, 0, 0, 5, ...frame.subarray(12)))),
  ).toEqual([]);
  expect(await exchange(plain("work", frame.with(60, 0).with(61, 0)))).toEqual([]); // without a checksum
  expect(await exchange(plain("work", frame.with(11, 0xff)))).toEqual([]); // somebody else's MAC address
  await expectWhole(there(udp6, payload(100), { extensions: [options(DESTINATION, payload(0))] }));
  expect(await byKernel()).toBe(before);
  const { sent, arrived } = segmentBack(payload(0));
  await expectTaken({ sent: { ...sent, frame: Uint8Array.of(...sent.frame, 1, 2, 3, 4, 5, 6) }, arrived });
  await expectTaken(there(udp6, payload(0)));
  await expectTaken(withZeroChecksum());
}, 60_000);

test("checksums that were left to the interface are right, in frames to be cut too", async () => {
  const cut = { gsoType: GSO.TCPV6, gsoSize: 1000, headerLength: 74 };
  const frames = [
    { ...there(udp6, payload(99)), fields: {} },
    { ...back(udp6, payload(0)), fields: {} },
    { ...segmentThere(payload(1440)), fields: {} },
    { ...segmentBack(payload(3500)), fields: cut },
  ];
  for (const { sent, arrived, fields } of frames) {
    const left = leaveChecksum(sent.frame, fields);
    await untilTaken(lab, 1, async () => {
      const got = await exchange({ on: sent.on, frame: left.frame, header: left.vnet });
      expect(got).toHaveLength(1);
      const [{ on, frame, header } = sent] = got;
      const complete = { on, frame: completeChecksum({ frame, vnet: header }) };
      expect(complete).toEqual({ on: arrived.on, frame: arrived.frame });
      const isCut = fields === cut;
      expect([header[1], header[4] + header[5] * 256]).toEqual(isCut ? [GSO.TCPV6, 1000] : [0, 0]);
    });
  }

  const before = await byKernel();
  const { sent } = segmentThere(payload(3500));
  const tooLong = leaveChecksum(sent.frame, { ...cut, gsoSize: 1441 });
  expect(await exchange({ on: sent.on, frame: tooLong.frame, header: tooLong.vnet })).toMatchObject([{ on: "work" }]);
  expect(await byKernel()).toBe(before);
}, 30_000);

test("an offload header that would have the kernel write over what was judged is found out", async () => {
  const { sent } = there(udp6, payload(200));
  // Over ports, over the length, one byte into the checksum; over addresses; and where that of IPv4 would be.
  const places = [[54, 0], [54, 2], [54, 4], [54, 5], [22, 0], [38, 14], [34, 6], [34, 26]] as const; // biome-ignore format: a table
  const lies = places.map(([checksumStart, checksumOffset]) => ({
    ...sent,
    header: vnet({ flags: NEEDS_CSUM, checksumStart, checksumOffset }),
  }));
  const before = await lab.state();
  expect(await exchange(...lies)).toEqual([]);
  const after = await lab.state();
  const name = "dropped: offload header that lies";
  expect((after.frames.get(name) ?? 0) - (before.frames.get(name) ?? 0)).toBeGreaterThanOrEqual(4);
  expect(after.kernelPath).toEqual(before.kernelPath);
  await expectWhole(there(udp6, payload(200)));
}, 30_000);

test("a flow that is ended is over at once", async () => {
  const direction = back(udp6, payload(100));
  await enterAll(direction);
  const before = await byKernel();
  const said = await lab.firewall.run(inFolder(firebreak("flows", "--end", "proto=udp", `dst=${SERVER6}`)));
  expect(said).toContain(SERVER6);
  expect(await exchange(direction.sent, direction.sent)).toEqual([]);
  expect(await byKernel()).toBe(before);
}, 30_000);

test("new rules hold for it at once", async () => {
  await enterAll(there(udp6, payload(100)), segmentThere(payload(100)));
  configure("drop");
  await lab.reload();
  const before = await byKernel();
  for (const { sent } of [there(udp6, payload(100)), segmentThere(payload(100))]) {
    const answers = await exchange(sent, sent, sent);
    expect(answers.filter(({ on }) => on === "uplink")).toEqual([]);
  }
  expect(await byKernel()).toBe(before);
  configure();
  await lab.reload();
  await enterAll(there(udp6, payload(100)));
  expect(await byKernel()).toBeGreaterThan(before);
}, 60_000);

test("a firewall that is killed forwards nothing, and another takes its place", async () => {
  const direction = there(udp6, payload(100));
  lab.program.signal("SIGKILL");
  await lab.program.process.exited;
  expect(await exchange(direction.sent, direction.sent)).toEqual([]);
  await start();
  await untilForwarded();
  await enterAll(direction);
  expect(await byKernel()).toBeGreaterThan(0);
  lab.program.signal("SIGTERM");
  await lab.program.says("stopped");
}, 60_000);

test("one that was started without IPv6 does not have it on the kernel path later, and says so", async () => {
  configure();
  lab.writeConfig((await Bun.file(lab.configFile).text()).replace(/^.*6 = .*\n/gm, ""));
  await start();
  configure();
  await lab.reload();
  await untilForwarded();
  await enterAll(there(udp6, payload(100)));
  expect(await byKernel()).toBe(0);
  const said = "kernel path: off for IPv6, because the program was started without IPv6 (restart it)\n";
  expect(lab.program.text.split(said)).toHaveLength(2);
}, 60_000);

test("one that gets no memory for IPv6's addresses goes on without, and says so", async () => {
  lab.program.signal("SIGTERM");
  await lab.program.says("stopped");
  const executable = join(lab.folder, "firebreak");
  await buildWithFault("no memory for IPv6's addresses", executable);
  await lab.start(inFolder([executable]));
  await untilForwarded();
  await expectWhole(there(udp6, payload(100)));
  await lab.program.says("kernel path: off for IPv6, because bpf map addresses: ");
  await enterAll(there(udp6, payload(100)));
  expect(await byKernel()).toBe(0);
}, 60_000);
