// The kernel path: it does what the slow path does, is told by nobody's offload header what it should not do, and forwards
// nothing any more once rules, or the end of the firewall, say so.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import { ARP_TYPE, arp, ethernet, IPV4_TYPE, mac, payload, type TcpFields, tcp, udp } from "../../lab/frames.ts";
import { completeChecksum, GSO, leaveChecksum, NEEDS_CSUM, vnet } from "../../lab/offload.ts";
import { CLIENT, configuration, ROUTER, SERVER, UPLINK } from "../../lab/places.ts";
import { BROADCAST, WORK } from "../../lab/router-lab.ts";
import { kernelBench } from "./kernel-bench.ts";
import { plain, type WireFrame } from "./raw-links.ts";
import { RawPeer } from "./raw-peer.ts";
import { untilTaken } from "./until-taken.ts";

const ENDS = {
  work: { mac: "02:00:00:00:01:00", firewall: "02:00:00:00:00:00" },
  uplink: { mac: "02:00:00:00:01:01", firewall: "02:00:00:00:00:01" },
} as const;
type End = keyof typeof ENDS;
const OTHER_MAC = "02:00:00:00:01:ff";

/** Frames of a flow, in groups, after which it has taken the kernel path for long. */
const MANY = 200;
const PORTS = { sourcePort: 40_000, destinationPort: 5000 };
const SEQUENCE = 1000;
const ACKNOWLEDGMENT = 70_000;

const lab = new FirewallLab("kernel");
const outside = lab.namespace("outside");
/** Runs one of tests/net/peers that has the kernel's programs to itself. */
const onBench = kernelBench(lab);
let ends: RawPeer;

beforeAll(async () => {
  lab.cable(lab.firewall, "p0", outside, "work");
  lab.cable(lab.firewall, "p1", outside, "uplink");
  configure("accept");
  await lab.start();
  ends = await RawPeer.start(outside, Object.keys(ENDS));
}, 120_000);

afterAll(() => lab.close());

/** A configuration in which all MAC addresses are given, unless the gateway is to be asked for its. */
function configure(policy: "accept" | "drop", gateway: "known" | "asked for" = "known"): void {
  const [uplink = "", work = ""] = configuration([], policy).split(/(?=\[\[client\]\])/);
  const text = withEnd(uplink, ENDS.uplink, "p1", "gateway_mac") + withEnd(work, ENDS.work, "p0", "mac");
  lab.writeConfig(gateway === "known" ? text : text.replace(/^gateway_mac = .*\n/m, ""));
}

function withEnd(section: string, end: (typeof ENDS)[End], name: string, theirs: string): string {
  return section.replace(
    /^interface = ".*"$/m,
    `interface = "${name}"\nown_mac = "${end.firewall}"\n${theirs} = "${end.mac}"`,
  );
}

type Fields = Partial<TcpFields>;
/** The two that fields of either make. */
type Packet = (fields: TcpFields, content: Uint8Array) => Uint8Array;
const datagram: Packet = udp;
const segment: Packet = tcp;

/** A frame of the client's to the server, as it is sent, and as it should arrive. */
function there(packet: Packet, content: Uint8Array, fields: Fields = {}): { sent: WireFrame; arrived: WireFrame } {
  const common = { ...PORTS, destination: SERVER, flags: ".", ...fields };
  const before = packet({ ...common, source: CLIENT }, content);
  const after = packet({ ...common, source: UPLINK, ttl: 63 }, content);
  return {
    sent: plain("work", ethernet(ENDS.work.mac, ENDS.work.firewall, IPV4_TYPE, before)),
    arrived: plain("uplink", ethernet(ENDS.uplink.firewall, ENDS.uplink.mac, IPV4_TYPE, after)),
  };
}

/** One of the server's to the client. */
function back(packet: Packet, content: Uint8Array, fields: Fields = {}): { sent: WireFrame; arrived: WireFrame } {
  const common = {
    sourcePort: PORTS.destinationPort,
    destinationPort: PORTS.sourcePort,
    source: SERVER,
    flags: ".",
    ...fields,
  };
  const before = packet({ ...common, destination: UPLINK }, content);
  const after = packet({ ...common, destination: CLIENT, ttl: 63 }, content);
  return {
    sent: plain("uplink", ethernet(ENDS.uplink.mac, ENDS.uplink.firewall, IPV4_TYPE, before)),
    arrived: plain("work", ethernet(ENDS.work.firewall, ENDS.work.mac, IPV4_TYPE, after)),
  };
}

/** Frames that go on a connection which `connect` has opened; each says the same again. */
function segmentThere(content: Uint8Array, fields: Fields = {}) {
  return there(segment, content, { sequence: SEQUENCE + 1, acknowledgment: ACKNOWLEDGMENT + 1, ...fields });
}

function segmentBack(content: Uint8Array, fields: Fields = {}) {
  return back(segment, content, { sequence: ACKNOWLEDGMENT + 1, acknowledgment: SEQUENCE + 1, ...fields });
}

async function connect(): Promise<void> {
  const syn = there(segment, payload(0), { sequence: SEQUENCE, flags: "S" });
  expect(await ends.exchange(syn.sent)).toEqual([syn.arrived]);
  const answer = back(segment, payload(0), { sequence: ACKNOWLEDGMENT, acknowledgment: SEQUENCE + 1, flags: "S." });
  expect(await ends.exchange(answer.sent)).toEqual([answer.arrived]);
  await expectWhole(segmentThere(payload(0)));
}

async function expectWhole({ sent, arrived }: { sent: WireFrame; arrived: WireFrame }): Promise<void> {
  expect(await ends.exchange(sent)).toEqual([arrived]);
}

/** The same of a frame that takes the kernel path. */
function expectTaken(direction: { sent: WireFrame; arrived: WireFrame }): Promise<void> {
  return untilTaken(lab, 1, () => expectWhole(direction));
}

/** Frames that the kernel forwarded since the firewall is there. */
async function byKernel(): Promise<number> {
  return (await lab.state()).kernelPath.get("forwarded") ?? 0;
}

/** A UDP frame without a checksum. */
function withoutChecksum(wireFrame: WireFrame): WireFrame {
  const frame = wireFrame.frame.slice();
  frame.set([0, 0], 40);
  return { ...wireFrame, frame };
}

/** A datagram whose checksum is zero afterwards, which is written as all ones: zero says that there is none (RFC 768). */
function withZeroChecksum(): { sent: WireFrame; arrived: WireFrame } {
  for (let word = 0; word < 0x10000; word++) {
    const frames = there(datagram, Uint8Array.of(word >> 8, word & 0xff));
    const { frame } = frames.arrived;
    if (frame[40] === 0xff && frame[41] === 0xff) return frames;
  }
  throw new Error("no content has such a checksum");
}

/** Frames that have come in where the client is. */
async function received(): Promise<number> {
  return Number(await lab.firewall.run(["cat", "/sys/class/net/p0/statistics/rx_packets"]));
}

/** Frames of each flow go both ways until they take the kernel path. */
async function enterAll(...directions: readonly { sent: WireFrame; arrived: WireFrame }[]): Promise<void> {
  for (let i = 0; i < MANY / 32; i++) {
    for (const { sent, arrived } of directions) {
      expect(await ends.exchange(...Array<WireFrame>(32).fill(sent))).toEqual(Array<WireFrame>(32).fill(arrived));
    }
  }
}

test("it does with every frame what the slow path does", async () => {
  const { frames, forwarded, byKernel } = await onBench("kernel-twins");
  expect(byKernel).toBeGreaterThan(frames / 10);
  expect(forwarded - byKernel).toBeGreaterThan(frames / 50);
}, 120_000);

test.each(["masqueraded6", "routed6"])(
  "it does so with packets of IPv6: %s",
  async (kind) => {
    const { frames, forwarded, byKernel, byIface } = await onBench("kernel-twins", kind);
    expect(byKernel).toBeGreaterThan(frames / 10);
    expect(Math.min(...byIface)).toBeGreaterThan(frames / 50);
    expect(forwarded - byKernel).toBeGreaterThan(frames / 50);
  },
  120_000,
);

test.each(["scrubbed", "scrubbed6"])(
  "it does so where a client's packets are changed beside NAT, and takes none of them: %s",
  async (kind) => {
    const { frames, byKernel, byIface } = await onBench("kernel-twins", kind);
    expect(byIface[WORK]).toBe(0);
    expect(byKernel).toBeGreaterThan(frames / 20);
  },
  120_000,
);

test("an entry that changes while it is read does not hold, whichever byte it is", async () => {
  expect(await onBench("kernel-entries")).toEqual({ changes: 137, unnoticed: [] });
  expect(await onBench("kernel-entries", "ipv6")).toEqual({ changes: 137 + 64 + 32 + 2, unnoticed: [] });
});

/** A flow that has lost so many frames is the router's, until there are new settings. */
const GIVEN_BACK = { losses: 4, taken: [false, false, false], takenAnew: [false, true], lossesAnew: 4 };

test.each([
  ["IPv4", [], 26, 12],
  ["IPv6", ["ipv6"], 22, 36],
] as const)(
  "a frame of %s that the note is not about is dropped and counted, one without a note is left alone; and a flow that loses some is given back",
  async (_, words, begin, length) => {
    const dropped = [
      ...Array.from({ length }, (_, i) => `byte ${begin + i}: an address or a port`),
      "another protocol",
      "one that differs by a bit",
      "another interface",
      "a byte less",
    ];
    expect(await onBench("kernel-notes", ...words)).toEqual({
      fates: {
        ...Object.fromEntries(dropped.map((what) => [what, "dropped"])),
        "the frame itself": "forwarded",
        "the frame again, without a note": "left",
        "the frame, after another one has gone to the socket": "left",
      },
      failed: dropped.length,
      ...GIVEN_BACK,
    });
  },
);

test("no object is made for a flow that is entered, or leaves", async () => {
  expect(await onBench("kernel-allocation")).toEqual({ more: [], forwarded: 6 });
  expect(await onBench("kernel-allocation", "ipv6")).toEqual({ more: [], forwarded: 6 });
}, 120_000);

test("behind a frame that goes to the socket all of its flow do, until it is settled; behind a fragment, until a whole one was handled", async () => {
  expect(await onBench("kernel-order")).toEqual({
    "no longer than its TTL": [false, true, true],
    "with options": [false, true, true],
    "a first fragment": [false, false, true],
    "a later fragment": [true, true, true],
    "of another flow": [true, true, true],
  });
  expect(await onBench("kernel-order", "ipv6")).toEqual({
    "no longer than its hop limit": [false, true, true],
    "with an extension header": [false, true, true],
    "with eight": [false, true, true],
    "with others": [false, true, true],
    "an atomic fragment": [false, true, true],
    "a first fragment": [false, false, true],
    "a first fragment behind another header": [false, false, true],
    "a later fragment": [true, true, true],
    "of another flow": [true, true, true],
  });
});

test("nothing takes it without a sign of life, nor by old rules once new ones are announced", async () => {
  expect(await onBench("kernel-pulse")).toEqual({
    alive: true,
    "no sign of life for a second": false,
    "the router has handled it meanwhile": false,
    "alive again": true,
    "other rules are announced": false,
    "the router has handled it meanwhile, by the old rules": false,
    "they are in force": false,
    "the router has handled it since": true,
  });
});

test("a flow has one place in its index for each side, however often its interface is made anew", async () => {
  expect(await onBench("kernel-remade")).toEqual({ first: 40, last: 40 });
});

test("what changes ends it for those alone who depend on that", async () => {
  const all = ["work", "to work", "lan", "to lan"];
  expect(await onBench("kernel-dependencies")).toEqual({
    nothing: [all, all],
    "a host of lan has another MAC address": [["work", "to work", "lan"], all],
    "the gateway has another MAC address": [["to work", "to lan"], all],
    "new rules of work": [["lan", "to lan"], all],
    "new rules of lan are announced": [
      ["work", "to work"],
      ["work", "to work"],
    ],
    "they are in force": [["work", "to work"], all],
    "the same settings": [all, all],
    "other rules of lan among them": [["work", "to work"], all],
    "the rules from before": [["work", "to work"], all],
    "other timeouts": [[], all],
    // Also before this it was not asked for: those timeouts are not these.
    "another client's packets are changed": [[], ["to work", "lan", "to lan"]],
    "they are not": [["lan", "to lan"], all],
    "a client comes": [all, all],
    "it goes": [all, all],
    "lan has no link": [
      ["work", "to work"],
      ["work", "to work"],
    ],
    "it has it again": [["work", "to work"], all],
    "clients have other numbers": [[], all],
    "an address may be a client's": [[], all],
    "other settings": [[], all],
    "the settings from before": [[], all],
    "lan goes": [
      ["work", "to work"],
      ["work", "to work"],
    ],
  });
});

test("open flows take it, both ways, and every frame of them is counted", async () => {
  await connect();
  const directions = [
    there(datagram, payload(100)),
    back(datagram, payload(1000)),
    segmentThere(payload(100)),
    segmentBack(payload(1400)),
  ];
  await enterAll(...directions);
  await untilTaken(lab, 4 * Math.ceil(MANY / 32) * 32, () => enterAll(...directions));
}, 120_000);

test("what is odd about an open flow's frame is seen to, and padding is left behind", async () => {
  const before = await byKernel();
  expect(await ends.exchange(there(datagram, payload(0), { ttl: 1 }).sent)).toMatchObject([{ on: "work" }]);
  expect(await ends.exchange(segmentBack(payload(0), { sequence: ACKNOWLEDGMENT + 1_000_000 }).sent)).toEqual([]);
  const { frame } = there(datagram, payload(100)).sent;
  const tag = [0x81, 0x00, 0x00, 0x05];
  const tagged = Uint8Array.of(...frame.subarray(0, 12), ...tag, ...frame.subarray(12));
  expect(await ends.exchange(plain("work", tagged))).toEqual([]);
  expect(await byKernel()).toBe(before);
  const full = there(datagram, payload(100));
  await expectTaken({ sent: withoutChecksum(full.sent), arrived: withoutChecksum(full.arrived) });
  const { sent, arrived } = segmentBack(payload(0));
  await expectTaken({ sent: { ...sent, frame: Uint8Array.of(...sent.frame, 1, 2, 3, 4, 5, 6) }, arrived });
  await expectTaken(withZeroChecksum());
}, 60_000);

test("checksums that were left to the interface are right, in frames to be cut too", async () => {
  const cut = { gsoType: GSO.TCPV4, gsoSize: 1000, headerLength: 54 };
  const frames = [
    { ...there(datagram, payload(99)), fields: {} },
    { ...back(datagram, payload(0)), fields: {} },
    { ...segmentThere(payload(1460)), fields: {} },
    { ...segmentBack(payload(3500)), fields: cut },
  ];
  for (const { sent, arrived, fields } of frames) {
    const left = leaveChecksum(sent.frame, fields);
    await untilTaken(lab, 1, async () => {
      const got = await ends.exchange({ on: sent.on, frame: left.frame, header: left.vnet });
      expect(got).toHaveLength(1);
      const [{ on, frame, header } = sent] = got;
      const complete = { on, frame: completeChecksum({ frame, vnet: header }) };
      expect(complete).toEqual({ on: arrived.on, frame: arrived.frame });
      const isCut = fields === cut;
      expect([header[1], header[4] + header[5] * 256]).toEqual(isCut ? [GSO.TCPV4, 1000] : [0, 0]);
    });
  }

  // Of no smaller segments than a sender may ask for, on this path either.
  const tiny = segmentThere(payload(1400));
  const dropped = "dropped: to be cut into too many segments";
  const droppedBefore = (await lab.state()).frames.get(dropped) ?? 0;
  for (const gsoSize of [7, 1]) {
    const { frame, vnet } = leaveChecksum(tiny.sent.frame, { ...cut, gsoSize });
    expect(await ends.exchange({ on: tiny.sent.on, frame, header: vnet })).toEqual([]);
  }
  expect((await lab.state()).frames.get(dropped)).toBe(droppedBefore + 2);
  const bearable = leaveChecksum(tiny.sent.frame, { ...cut, gsoSize: 11 });
  await untilTaken(lab, 1, async () => {
    const [borne] = await ends.exchange({ on: tiny.sent.on, frame: bearable.frame, header: bearable.vnet });
    expect([borne?.on, borne?.header[1], borne?.header[4]]).toEqual([tiny.arrived.on, GSO.TCPV4, 11]);
  });

  const before = await byKernel();
  const { sent } = segmentThere(payload(3500));
  const tooLong = leaveChecksum(sent.frame, { ...cut, gsoSize: 1461 });
  expect(await ends.exchange({ on: sent.on, frame: tooLong.frame, header: tooLong.vnet })).toMatchObject([
    { on: "work" },
  ]);
  expect(await byKernel()).toBe(before);
}, 60_000);

test("an offload header that would have the kernel write over what was judged is found out", async () => {
  const { sent } = there(datagram, payload(200));
  // Over ports, over the length, one byte into the checksum; and over addresses, which not every kernel lets us send.
  const places = [[34, 0], [34, 2], [34, 4], [34, 5], [30, 8], [14, 12], [14, 16], [26, 0], [0, 26]] as const; // biome-ignore format: a table
  const lies = places.flatMap(([checksumStart, checksumOffset]) =>
    [sent, withoutChecksum(sent)].map((wireFrame) => ({
      ...wireFrame,
      header: vnet({ flags: NEEDS_CSUM, checksumStart, checksumOffset }),
    })),
  );
  const before = await lab.state();
  const receivedBefore = await received();
  expect(await ends.exchange(...lies)).toEqual([]);
  const told = (await received()) - receivedBefore;
  expect(told).toBeGreaterThanOrEqual(8);
  const after = await lab.state();
  const name = "dropped: offload header that lies";
  expect((after.frames.get(name) ?? 0) - (before.frames.get(name) ?? 0)).toBe(told);
  expect(after.kernelPath).toEqual(before.kernelPath);
  await expectWhole(there(datagram, payload(200)));
});

test("new rules hold for it at once", async () => {
  configure("drop");
  await lab.reload();
  const before = await byKernel();
  const { sent } = there(datagram, payload(100));
  const answers = await ends.exchange(sent, sent, sent);
  expect(answers.filter(({ on }) => on === "uplink")).toEqual([]);
  expect(await byKernel()).toBe(before);
  configure("accept");
  await lab.reload();
  await enterAll(there(datagram, payload(100)));
  expect(await byKernel()).toBeGreaterThan(before);
});

test("a reload that changes nothing takes it from nobody", async () => {
  const direction = there(datagram, payload(100));
  await untilTaken(lab, 64, async () => {
    for (const reload of [async () => {}, () => lab.reload()]) {
      await reload();
      expect(await ends.exchange(...Array<WireFrame>(32).fill(direction.sent))).toHaveLength(32);
    }
  });
}, 60_000);

test("a gateway that has another MAC address by now gets its frames there", async () => {
  configure("accept", "asked for");
  await lab.reload();
  const direction = there(datagram, payload(100));
  await ends.exchange(gatewayAsks(ENDS.uplink.mac));
  await enterAll(direction);
  const before = await byKernel();
  await ends.exchange(gatewayAsks(OTHER_MAC));
  const frame = Uint8Array.of(...mac(OTHER_MAC), ...direction.arrived.frame.subarray(6));
  const elsewhere = { sent: direction.sent, arrived: { ...direction.arrived, frame } };
  await enterAll(elsewhere);
  expect(await byKernel()).toBeGreaterThan(before);
  configure("accept");
  await lab.reload();
  await expectWhole(direction);
});

/** An ARP request for the firewall's uplink address. */
function gatewayAsks(senderMac: string): WireFrame {
  const request = arp({ operation: "request", senderMac, senderIp: ROUTER, targetIp: UPLINK });
  return plain("uplink", ethernet(senderMac, BROADCAST, ARP_TYPE, request));
}

test("with kernel_path = false no frame takes it", async () => {
  configure("accept");
  lab.writeConfig(`${await Bun.file(lab.configFile).text()}\n[nat]\nkernel_path = false\n`);
  await lab.reload();
  const before = await byKernel();
  await enterAll(there(datagram, payload(100)));
  expect(await byKernel()).toBe(before);
  configure("accept");
  await lab.reload();
});

test("a firewall that is killed forwards nothing, and another takes its place", async () => {
  lab.program.signal("SIGKILL");
  await lab.program.process.exited;
  const direction = there(datagram, payload(100));
  expect(await ends.exchange(direction.sent, direction.sent)).toEqual([]);
  await lab.start();
  await enterAll(direction);
  expect(await byKernel()).toBeGreaterThan(0);
});

test("one that is stopped leaves no trace", async () => {
  const traces = () => lab.firewall.run(["tc", "filter", "show", "dev", "p0", "ingress"]);
  expect(await traces()).toContain("firebreak");
  lab.program.signal("SIGTERM");
  await lab.program.says("stopped");
  expect(await traces()).toBe("");
});

test("without the right to load programs it is done without, and said", async () => {
  const lesser = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--inh-caps=-all"];
  const program = lab.firewall.start([...lesser, ...firebreak("run", "--config", lab.configFile)]);
  await program.says("ready in");
  expect(program.text).toContain("kernel path: off, because this process lacks CAP_PERFMON, CAP_BPF\n");
  await ends.exchange(); // what it says of itself as it starts
  await enterAll(there(datagram, payload(100)));
  program.signal("SIGTERM");
  await program.says("stopped");
});
