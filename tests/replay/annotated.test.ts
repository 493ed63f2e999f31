// The capture file with notes that replay writes, as Wireshark's own tshark reads it: both sides of each packet, verdicts, comments.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readCapture, writeCapture } from "../../lab/captures.ts";
import { ARP_TYPE, arp, ethernet, fragmented, IPV4_TYPE, icmp, payload, tcp, toHex, udp } from "../../lab/frames.ts";
import { DIRECTION } from "../../src/captures/frame.ts";
import { PcapngWriter } from "../../src/captures/pcapng-writer.ts";
import { HOSTILE } from "../support/hostile-text.ts";
import { HOST, INSIDE, OUTSIDE, replayConfig, runReplay } from "../support/replay-run.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const CAPTURES = join(import.meta.dir, "../captures");
const PROFILE = join(import.meta.dir, "../../docs/wireshark/firebreak");
const GATEWAY = "02:00:00:00:02:00";
const SERVER = "198.51.100.80";
const ENDS = { source: "10.137.0.10", destination: SERVER };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "firebreak-annotated-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** @returns the file that was written */
async function replay(toml: string, inputs: readonly string[], ...options: readonly string[]): Promise<string> {
  const out = join(folder, "out.pcapng");
  await runReplay(folder, toml, inputs, "--out", out, ...options);
  return out;
}

/** Writes a capture of frames, a second from each to the next. */
async function capture(name: string, frames: readonly Uint8Array[], start = 1000): Promise<string> {
  const captured = frames.map((bytes, i) => ({
    seconds: start + i,
    nanoseconds: 0,
    bytes,
    originalLength: bytes.length,
  }));
  const file = join(folder, name);
  await Bun.write(file, writeCapture(captured, "us"));
  return file;
}

/** Runs tshark, and expects that it has nothing to complain of. @returns its lines */
function tshark(args: readonly string[], env: Readonly<Record<string, string>> = {}): string[] {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["tshark", ...args], {
    env: { ...process.env, LC_ALL: "C.UTF-8", ...env },
  });
  const errors = stderr.toString().split("\n");
  expect(errors.filter((line) => line !== "" && !line.startsWith('Running as user "root"'))).toEqual([]);
  expect(exitCode).toBe(0);
  return stdout.toString().split("\n").slice(0, -1);
}

/** @returns of each frame that a display filter leaves, some fields */
function fields(file: string, filter: string, ...names: readonly string[]): string[][] {
  const wanted = names.flatMap((name) => ["-e", name]);
  return tshark(["-r", file, "-Y", filter, "-T", "fields", ...wanted]).map((line) => line.split("\t"));
}

/** @returns where two frames differ */
function differences(one: Uint8Array, other: Uint8Array): number[] {
  expect(one.length).toBe(other.length);
  return Array.from(one.keys()).filter((i) => one[i] !== other[i]);
}

describe("of a ping through the firewall", () => {
  const inputs = [`eth0=${CAPTURES}/ping-client.pcap`, `eth1=${CAPTURES}/ping-uplink.pcap`];
  /** Offsets in a frame of what translation rewrites. */
  const MACS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
  const REWRITTEN = [...MACS, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 36, 37, 38, 39];

  test("every packet id is there twice, once on each side, and the two differ by what is translated alone", async () => {
    const file = await replay(replayConfig(), inputs);
    const { frames, resolution } = await readCapture(await Bun.file(file).bytes());
    expect(resolution).toBe("ns");
    const rows = fields(file, "frame", "frame.packet_id", "frame.interface_name", "frame.packet_flags_direction");
    expect(rows.length).toBe(frames.length);
    const packets = Map.groupBy(
      rows.map(([id, iface, direction], i) => ({ id, iface, direction: Number(direction), bytes: frames[i].bytes })),
      ({ id }) => id,
    );
    expect(packets.get("")?.every(({ bytes }) => toHex(bytes.subarray(12, 14)) === "08 06")).toBeTrue();
    packets.delete("");
    expect([...packets.keys()]).toEqual(["1", "2", "3", "4", "5", "6"]);
    for (const sides of packets.values()) {
      expect(sides.map(({ direction }) => direction)).toEqual([DIRECTION.INBOUND, DIRECTION.OUTBOUND]);
      expect(sides.map(({ iface }) => iface).sort()).toEqual(["eth0", "eth1"]);
      const differing = differences(sides[0].bytes, sides[1].bytes);
      expect(differing.filter((at) => !REWRITTEN.includes(at))).toEqual([]);
      expect(differing).toContain(22);
      expect(sides[0].bytes[22] - sides[1].bytes[22]).toBe(1);
    }
  });

  test("one that waited for ARP keeps its number, and says what it waited for", async () => {
    const file = await replay(replayConfig(), inputs);
    expect(fields(file, "frame.packet_id == 1", "frame.interface_name", "frame.verdict.ebpf_tc")).toEqual([
      ["eth0", "5"],
      ["eth1", "0"],
    ]);
    const [[came], [left]] = fields(file, "frame.packet_id == 1", "frame.comment");
    expect(came).toMatch(/^queued for ARP; policy of work; flow icmp 10\.137\.0\.10 id \d+ > 198\.51\.100\.80 as 192/);
    expect(left).toMatch(
      /^sent on, of eth0 #3 \(queued for ARP\); .*; source 10\.137\.0\.10 -> 192\.0\.2\.254; TTL 64 -> 63$/,
    );
  });

  test("replay takes the file as input again, and it shows the same", async () => {
    const file = await replay(replayConfig(), inputs);
    const again = join(folder, "again.pcapng");
    await cp(file, again);
    const args = [
      "--config",
      join(folder, "firebreak.toml"),
      "--out",
      join(folder, "twice.pcapng"),
      "--quiet",
      "--compare",
    ];
    const ins = ["--in", `eth0=${again}:eth0`, "--in", `eth1=${again}:eth1`];
    const { stdout } = Bun.spawnSync([process.execPath, MAIN, "replay", ...args, ...ins]);
    expect(stdout.toString()).toContain("compared: 6 packets the same, 0 only by the router, 0 only by us\n");
  });
});

describe("verdicts", () => {
  test("of drops are 2, and their comments say why; what is sent because of them is the firewall's own", async () => {
    const rules = 'rules = ["action=accept proto=udp", "action=drop dstports=80"]';
    const file = await replay(replayConfig({ client: rules }), [`eth0=${CAPTURES}/http-client.pcap`]);
    const drops = fields(file, "frame.verdict.ebpf_tc == 2", "frame.packet_id", "frame.comment");
    expect(drops.length).toBeGreaterThan(5);
    expect(drops[0]).toEqual(["1", "dropped: refused by rules; rule 2 of work"]);
    expect(drops.slice(1).every(([, comment]) => comment === "dropped: TCP without a connection")).toBeTrue();
    const own = fields(
      file,
      "icmp && !frame.packet_id",
      "frame.comment",
      "frame.verdict.ebpf_tc",
      "frame.packet_flags_direction",
    );
    expect(own).toEqual([["the firewall's own, because of eth0 #3 (dropped: refused by rules)", "", "0x00000002"]]);
    expect(fields(file, "frame.verdict.ebpf_tc == 4", "frame.comment")).toEqual([["answered"]]);
  });

  test("nothing of the captures that tests have looks wrong to tshark", async () => {
    for (const name of ["dns", "http", "refused", "traceroute", "ping-too-big"]) {
      const inputs = [`eth0=${CAPTURES}/${name}-client.pcap`, `eth1=${CAPTURES}/${name}-uplink.pcap`];
      const file = await replay(replayConfig(), inputs);
      const checks = ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"];
      const bad = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0";
      expect(tshark(["-r", file, ...checks, "-Y", bad])).toEqual([]);
      const ids = fields(file, "frame.packet_id && frame.verdict.ebpf_tc != 2", "frame.packet_id").flat();
      expect(ids.length).toBeGreaterThan(3);
    }
  });
});

describe("one packet has one number", () => {
  const echo = icmp({ ...ENDS, type: 8, rest: 0x00010001, identification: 7, fragment: 0 }, payload(3000));
  const from = (packet: Uint8Array) => ethernet(HOST, INSIDE, IPV4_TYPE, packet);
  const numbers = (file: string) =>
    fields(file, "ip", "frame.packet_id", "frame.interface_name", "frame.verdict.ebpf_tc");

  test("when the firewall cuts it into fragments", async () => {
    const file = await replay(replayConfig(), [`eth0=${await capture("big.pcap", [from(echo)])}`]);
    const rows = numbers(file);
    expect(rows).toEqual([
      ["1", "eth0", "0"],
      ["1", "eth1", "0"],
      ["1", "eth1", "0"],
      ["1", "eth1", "0"],
    ]);
  });

  test("when fragments came in the wrong order and were held, each its own", async () => {
    const parts = fragmented(echo, 1480).map(from).reverse();
    const file = await replay(replayConfig(), [`eth0=${await capture("parts.pcap", parts)}`]);
    expect(numbers(file)).toEqual([
      ["1", "eth0", "5"],
      ["2", "eth0", "5"],
      ["3", "eth0", "0"],
      ["3", "eth1", "0"],
      ["1", "eth1", "0"],
      ["2", "eth1", "0"],
    ]);
  });

  test("when it waits while others do, who come out in their order, also those that are alike", async () => {
    const ask = arp({ operation: "request", senderMac: OUTSIDE, senderIp: "192.0.2.254", targetIp: "192.0.2.1" });
    const reply = { operation: "reply", senderMac: GATEWAY, senderIp: "192.0.2.1" } as const;
    const answer = arp({ ...reply, targetMac: OUTSIDE, targetIp: "192.0.2.254" });
    const datagram = from(udp({ ...ENDS, sourcePort: 5000, destinationPort: 4000 }, payload(8)));
    const segment = from(tcp({ ...ENDS, sourcePort: 5001, destinationPort: 80, sequence: 1, flags: "S" }));
    const inside = await capture("waiting.pcap", [datagram, segment, datagram]);
    const outside = await capture("late.pcap", [
      ethernet(OUTSIDE, "ff:ff:ff:ff:ff:ff", ARP_TYPE, ask),
      ethernet(OUTSIDE, "ff:ff:ff:ff:ff:ff", ARP_TYPE, ask),
      ethernet(GATEWAY, OUTSIDE, ARP_TYPE, answer),
    ]);
    const file = await replay(replayConfig(), [`eth0=${inside}`, `eth1=${outside}`]);
    const sent = fields(
      file,
      "ip && frame.packet_flags_direction == 2",
      "frame.packet_id",
      "udp.srcport",
      "tcp.srcport",
    );
    expect(sent).toEqual([
      ["1", "5000", ""],
      ["2", "", "5001"],
      ["3", "5000", ""],
    ]);
  });
});

describe("what strangers wrote", () => {
  test("is data in comments and names, whatever it is, and what is too long is cut at a character", async () => {
    const parts: Buffer[] = [];
    const texts = [...HOSTILE.filter((text) => !text.includes("\0")), "ü".repeat(5000)];
    const writer = new PcapngWriter([...texts, "last"], "us", (bytes) => parts.push(Buffer.from(bytes)));
    const frame = Buffer.from(
      ethernet(HOST, INSIDE, IPV4_TYPE, udp({ ...ENDS, sourcePort: 1, destinationPort: 2 }, payload(3))),
    );
    for (const [i, comment] of texts.entries()) {
      writer.add(i, 1, 2000, frame, 0, frame.length, frame.length, { direction: DIRECTION.INBOUND, comment });
    }
    writer.flush();
    const file = join(folder, "hostile.pcapng");
    await Bun.write(file, Buffer.concat(parts));
    const read = JSON.parse(
      tshark(["-r", file, "-T", "json", "-e", "frame.comment", "-e", "frame.interface_name"]).join("\n"),
    );
    const told = texts.map((text) => text.toWellFormed().slice(0, 2048));
    expect(
      read.map(({ _source }: { _source: { layers: Record<string, string[]> } }) => _source.layers["frame.comment"][0]),
    ).toEqual(told);
    expect(
      read.map(
        ({ _source }: { _source: { layers: Record<string, string[]> } }) => _source.layers["frame.interface_name"][0],
      ),
    ).toEqual(told);
  });

  test("in interface names of a capture stays text in warnings, and in what they advise to paste", async () => {
    const parts: Buffer[] = [];
    const writer = new PcapngWriter(["$(touch owned)\x1b[31m", "\u202eeth1"], "us", (bytes) =>
      parts.push(Buffer.from(bytes)),
    );
    const frame = Buffer.from(
      ethernet(HOST, INSIDE, IPV4_TYPE, udp({ ...ENDS, sourcePort: 1, destinationPort: 2 }, payload(3))),
    );
    for (const iface of [0, 1]) {
      writer.add(iface, 1, 0, frame, 0, frame.length, frame.length, { direction: DIRECTION.INBOUND, comment: "" });
    }
    writer.flush();
    const file = join(folder, "it's $HOME.pcapng");
    await Bun.write(file, Buffer.concat(parts));
    await Bun.write(join(folder, "firebreak.toml"), replayConfig());
    const args = ["replay", "--config", "firebreak.toml", "--in", `eth0=${file}`, "--out", "o.pcapng", "--quiet"];
    const { stderr } = Bun.spawnSync([process.execPath, MAIN, ...args], { cwd: folder });
    const names = String.raw`0 ("$(touch owned)\u001b[31m"), 1 ("\u202eeth1")`;
    expect(stderr.toString().replaceAll(folder, "DIR")).toBe(
      `firebreak: replay: warning: DIR/it's $HOME.pcapng: frames of several interfaces, ${names}, all taken as eth0's ` +
        String.raw`(choose with --in 'eth0=DIR/it'\''s $HOME.pcapng:0')` +
        "\n",
    );
  });

  test("and odd names of our own interfaces pass", async () => {
    const name = "<b>\"$(id)'`";
    const file = await replay(replayConfig({ name }), [`${name}=${CAPTURES}/ping-client.pcap`]);
    expect(new Set(fields(file, "frame", "frame.interface_name").flat())).toEqual(new Set([name, "eth1"]));
  });
});

describe("the file", () => {
  test("is not written over what is read, nor over another output, and only when it is whole", async () => {
    const file = await replay(replayConfig(), [`eth0=${CAPTURES}/ping-client.pcap`]);
    const args = ["replay", "--config", join(folder, "firebreak.toml"), "--in", `eth0=${file}:eth0`, "--out", file];
    const before = await Bun.file(file).bytes();
    const { exitCode, stderr, stdout } = Bun.spawnSync([process.execPath, MAIN, ...args]);
    expect([exitCode, stdout.toString(), stderr.toString()]).toEqual([
      2,
      "",
      `firebreak: replay: --out ${file} would overwrite ${file}, which is read (as ${file}) (name another file)\n`,
    ]);
    expect(await Bun.file(file).bytes()).toEqual(before);
  });

  test("has any time that a capture can tell", async () => {
    const parts: Buffer[] = [];
    const writer = new PcapngWriter(["eth0"], "ns", (bytes) => parts.push(Buffer.from(bytes)));
    const moments = [
      [0, 0],
      [1_700_000_000, 999_999_999],
      [2 ** 33, 1],
    ] as const;
    for (const [seconds, nanoseconds] of moments) {
      writer.add(0, seconds, nanoseconds, Buffer.alloc(14), 0, 14, 20, { direction: DIRECTION.OUTBOUND, comment: "x" });
    }
    writer.flush();
    const { frames } = await readCapture(Buffer.concat(parts));
    expect(frames.map(({ seconds, nanoseconds, originalLength }) => [seconds, nanoseconds, originalLength])).toEqual(
      moments.map(([seconds, nanoseconds]) => [seconds, nanoseconds, 20]),
    );
  });
});

test("Wireshark's profile has its columns, and a colour for each kind of frame", async () => {
  const home = join(folder, "home");
  await cp(PROFILE, join(home, ".config/wireshark/profiles/firebreak"), { recursive: true });
  const rules = 'rules = ["action=accept proto=icmp"]';
  const inputs = ["ping", "http"].map((name) => `eth0=${CAPTURES}/${name}-client.pcap`);
  const file = await replay(replayConfig({ client: rules }), inputs);
  const env = { HOME: home, XDG_CONFIG_HOME: join(home, ".config"), COLORTERM: "truecolor" };
  const profile = ["-C", "firebreak", "-r", file];
  const colours = tshark([...profile, "--color", "-T", "fields", "-e", "frame.coloring_rule.name"], env);
  const used = (await Bun.file(join(PROFILE, "colorfilters")).text()).matchAll(/^@(.*?)@/gm);
  expect(new Set(colours)).toEqual(
    new Set(Array.from(used, ([, name]) => name).filter((name) => !name.includes("waits"))),
  );
  const shown = tshark([...profile, "-Y", "icmp", "-c", "100"], env);
  expect(shown[0]).toMatch(
    /^ +\d+ \S+ eth0 Inbound 1 +10\.137\.0\.10 → 198\.51\.100\.80 ICMP forwarded; rule 1 of work; /,
  );
});
