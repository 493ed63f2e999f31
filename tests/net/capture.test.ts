// Live captures of a running firewall, as Wireshark's own tshark reads them: both sides of each packet with its verdict, also of flows that
// took the kernel path; filters, files, and what becomes of a reader who is slow.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { readCapture } from "../../lab/captures.ts";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { CLIENT, SERVER, UPLINK } from "../../lab/places.ts";
import { DIRECTION } from "../../src/captures/frame.ts";
import { encodeItem, ItemReader, type Value } from "../../src/channel/cbor.ts";

const lab = new FirewallLab("capture");
const runFolder = join(lab.folder, "run");
const inFolder = (command: readonly string[]) => ["env", `RUNTIME_DIRECTORY=${runFolder}`, ...command];
const verb = (...args: readonly string[]) => lab.firewall.attempt(inFolder(firebreak(...args)));

beforeAll(async () => {
  lab.configure(["accept proto=icmp", "drop proto=udp dstports=9", "accept"]);
  const program = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile)));
  await program.says("ready in");
}, 60_000);
afterAll(() => lab.close());

/** A capture to a file, which runs when this returns. */
async function capture(name: string, ...args: readonly string[]): Promise<{ file: string; program: Program }> {
  const file = join(lab.folder, name);
  const program = lab.firewall.start(inFolder(firebreak("capture", ...args, "-w", file)));
  await until(() => size(file) > 0, `${name} is begun`);
  return { file, program };
}

/** Ends it. @returns what it says at its end */
async function end(program: Program): Promise<string> {
  program.signal("SIGINT");
  expect(await program.end()).toBe(0);
  return program.text;
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const deadline = performance.now() + 30_000; !holds(); await Bun.sleep(5)) {
    if (performance.now() > deadline) throw new Error(`in vain: ${what}`);
  }
}

const size = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

/** Runs tshark, and expects that it has nothing to complain of. @returns of each frame that a display filter leaves, some fields */
function fields(file: string, filter: string, ...names: readonly string[]): string[][] {
  const wanted = names.flatMap((name) => ["-e", name]);
  const args = ["-r", file, "-Y", filter, "-T", "fields", ...wanted];
  const { exitCode, stdout, stderr } = Bun.spawnSync(["tshark", ...args], {
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  const errors = stderr.toString().split("\n");
  expect(errors.filter((line) => line !== "" && !line.startsWith('Running as user "root"'))).toEqual([]);
  expect(exitCode).toBe(0);
  return stdout
    .toString()
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split("\t"));
}

const ping = (count: number, ...options: readonly string[]) =>
  lab.client.attempt(["ping", "-c", String(count), "-i", "0.05", "-W", "5", ...options, SERVER]);

/** Waits until so many frames of a capture are in its file. */
const has = (file: string, frames: number) =>
  until(() => fields(file, "frame", "frame.number").length >= frames, `${frames} frames in ${file}`);

describe("of a ping", () => {
  /** Offsets in a frame of what translation rewrites: MACs, TTL, checksums, addresses, the identifier. */
  const REWRITTEN = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 36, 37, 38, 39];

  test("every packet id is there twice, once on each side, and the two differ by what is translated alone", async () => {
    const { file, program } = await capture("ping.pcapng");
    expect((await ping(5)).status).toBe(0);
    await has(file, 20);
    expect(await end(program)).toMatch(/^firebreak: \d+ frames captured, 0 lost$/m);
    const { frames } = await readCapture(await Bun.file(file).bytes());
    const rows = fields(file, "frame", "frame.packet_id", "frame.interface_name", "frame.packet_flags_direction");
    expect(rows.length).toBe(frames.length);
    const all = rows.map(([id, iface, direction], i) => ({
      ...{ id, iface, direction: Number(direction) },
      bytes: frames[i].bytes,
    }));
    const packets = Map.groupBy(all, ({ id }) => id);
    expect(packets.get("")?.every(({ bytes }) => bytes[12] === 8 && bytes[13] === 6)).toBeTrue();
    packets.delete("");
    expect([...packets.keys()]).toEqual(Array.from({ length: 10 }, (_, i) => String(i + 1)));
    for (const sides of packets.values()) {
      expect(sides.map(({ direction }) => direction)).toEqual([DIRECTION.INBOUND, DIRECTION.OUTBOUND]);
      expect(sides.map(({ iface }) => iface).sort()).toEqual(["eth0", "eth1"]);
      const [one, other] = sides.map(({ bytes }) => bytes);
      expect(one.length).toBe(other.length);
      const differing = Array.from(one.keys()).filter((i) => one[i] !== other[i]);
      expect(differing.filter((i) => !REWRITTEN.includes(i))).toEqual([]);
      expect(one[22] - other[22]).toBe(1);
    }
    const [[came], [left]] = fields(file, "frame.packet_id == 2", "frame.comment");
    expect(came).toMatch(
      new RegExp(`^forwarded; rule 1 of work; flow icmp ${CLIENT} id \\d+ > ${SERVER} as ${UPLINK} id \\d+$`),
    );
    expect(left).toMatch(/^sent on; rule 1 of work; flow icmp /);
  }, 60_000);
});

/** A server of TCP that answers each line with itself, and takes all there is. */
const ECHO = `import socketserver
class Echo(socketserver.StreamRequestHandler):
  def handle(self):
    for line in self.rfile: self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = True
server = Server(("${SERVER}", 80), Echo); print("Serving", flush=True); server.serve_forever()`;

/** Sends lines, each when it is told to, and waits for the echo. */
const TALKER = `import socket, sys
s = socket.create_connection(("${SERVER}", 80)); s.settimeout(20); f = s.makefile("rb"); print("open", flush=True)
for line in sys.stdin:
  s.sendall(line.encode()); print("echo" if f.readline() == line.encode() else "closed", flush=True)`;

test("a flow that takes the kernel path is seen while it is captured, whole, and takes it again afterwards", async () => {
  const server = lab.internet.start(["/usr/bin/python3", "-u", "-c", ECHO]);
  await server.says("Serving");
  const talker = lab.client.start(["/usr/bin/python3", "-u", "-c", TALKER], "pipe");
  await talker.says("open");
  const talk = async (line: string) => {
    const said = talker.text.length;
    talker.type(`${line}\n`);
    await talker.says("echo", said);
  };
  const inKernel = async () => JSON.parse((await verb("status", "--json")).stdout).kernel_path?.forwarded ?? 0;
  const talkInKernel = async () => {
    const before = await inKernel();
    for (let i = 0; (await inKernel()) < before + 4; i++) {
      if (i === 100) throw new Error("nothing is forwarded in the kernel");
      await talk("more");
    }
  };
  await talkInKernel();
  const { file, program } = await capture("tcp.pcapng", "client=work", "proto=tcp", "dstports=80");
  await talk("captured-1");
  const during = await inKernel();
  for (let i = 2; i <= 20; i++) await talk(`captured-${i}`);
  expect(await inKernel()).toBe(during);
  const payloads = () => fields(file, "tcp.len > 0", "frame.packet_id", "tcp.payload");
  await until(() => payloads().length === 80, "80 segments with data are in the file");
  expect(await end(program)).toMatch(/ 0 lost$/m);
  for (let i = 1; i <= 20; i++) {
    const hex = Buffer.from(`captured-${i}\n`).toString("hex");
    const ids = payloads().flatMap(([id, data]) => (data === hex ? [id] : []));
    expect(ids.length).toBe(4); // there and back, on both sides
    expect(new Set(ids).size).toBe(2);
  }
  await talkInKernel();
  for (const { process } of [talker, server]) process.kill();
}, 120_000);

test("what is refused says so, and why; its error is the firewall's own; a filter by verdict sees nothing else", async () => {
  const { file, program } = await capture("refused.pcapng", "verdict=refused");
  expect((await ping(1)).status).toBe(0);
  const script = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("${SERVER}", 9))`;
  await lab.client.run(["/usr/bin/python3", "-c", script]);
  await has(file, 2);
  await end(program);
  expect(fields(file, "frame", "frame.interface_name", "frame.verdict.ebpf_tc", "frame.comment")).toEqual([
    ["eth0", "2", "dropped: refused by rules; rule 2 of work; its checksum is left to the interface"],
    ["eth0", "", "the firewall's own, because of one that was dropped: refused by rules; rule 2 of work"],
  ]);
}, 60_000);

test("--count ends it, --snap cuts, and standard output has what a file would, for a program that reads it as it comes", async () => {
  const command = inFolder(firebreak("capture", "proto=icmp", "--count", "4", "--snap", "42"));
  const reads = "tshark -r - -l -T fields -e frame.cap_len -e frame.len";
  const program = lab.firewall.start(["sh", "-c", `"$@" | ${reads}`, "sh", ...command]);
  const pinging = lab.client.start(["ping", "-i", "0.05", SERVER]);
  await program.says("4 frames captured, 0 lost\n");
  expect(await program.end()).toBe(0);
  expect(program.text.split("\n").filter((line) => line.includes("\t"))).toEqual(Array(4).fill("42\t98"));
  pinging.process.kill();
}, 60_000);

test("a ring of files: each can be read by itself, and the last ones are kept", async () => {
  const name = "ring.pcapng";
  const file = join(lab.folder, name);
  const program = lab.firewall.start(
    inFolder(firebreak("capture", "proto=icmp", "-w", file, "--size", "1", "--files", "2")),
  );
  const files = () =>
    readdirSync(lab.folder)
      .filter((each) => /^ring-\d{5}\.pcapng$/.test(each))
      .sort();
  await until(() => files().length === 1, "it is begun");
  for (let i = 0; files().at(-1) !== "ring-00004.pcapng" && i < 20; i++) {
    await ping(200, "-f", "-i", "0.002", "-s", "1400");
  }
  await end(program);
  expect(files()).toEqual(["ring-00003.pcapng", "ring-00004.pcapng"]);
  for (const each of files()) {
    const path = join(lab.folder, each);
    expect(new Set(fields(path, "frame", "frame.interface_name").flat())).toEqual(new Set(["eth0", "eth1"]));
    expect(size(path)).toBeLessThan(1_300_000);
  }
}, 120_000);

test("who does not read loses frames, which are counted and told with the next one, and nobody else does", async () => {
  const socket = connect(join(runFolder, "firewall.sock"));
  const replies: Value[] = [];
  const reader = new ItemReader((value) => void replies.push(value));
  socket.on("data", (bytes: Buffer) => reader.push(bytes));
  socket.write(encodeItem({ id: 0, op: "hello", args: { version: 1 } }));
  socket.write(encodeItem({ id: 1, op: "capture", args: { match: ["proto=icmp"] }, credit: 1 }));
  await until(() => replies.length >= 3, "the first piece is there");
  const { file, program } = await capture("other.pcapng", "proto=icmp");
  const most = 60_000;
  let sent = 0;
  for (; sent < most && size(file) < 80_000_000; sent += 1000) {
    expect((await ping(1000, "-f", "-i", "0", "-s", "1400")).status).toBe(0);
  }
  expect(await end(program)).toMatch(/ 0 lost$/m);
  socket.write(encodeItem({ id: 1, op: "credit", credit: 60_000 }));
  type Piece = { readonly data?: { readonly frames: number; readonly lost: number } };
  const sums = () =>
    (replies as readonly Piece[]).reduce(
      (sum, { data }) => ({ frames: sum.frames + (data?.frames ?? 0), lost: sum.lost + (data?.lost ?? 0) }),
      { frames: 0, lost: 0 },
    );
  await until(() => sums().frames + sums().lost >= 4 * sent, "all frames are told of, those that were lost too");
  expect(sums().frames + sums().lost).toBe(4 * sent);
  expect(sums().lost).toBeGreaterThan(0);
  socket.destroy();
}, 300_000);

test("what was recorded is there for who comes later: heads of the last frames, while flows stay on the kernel path", async () => {
  const file = join(lab.folder, "last.pcapng");
  const before = await verb("capture", "--last", "60s", "-w", file);
  expect([before.status, before.stderr]).toEqual([
    1,
    "firebreak: nothing is recorded (firebreak capture --record begins)\n",
  ]);
  expect(await verb("capture", "--record", "client=work", "--snap", "60")).toEqual({
    status: 0,
    stdout: "",
    stderr: "",
  });
  expect((await ping(3, "-s", "1000")).status).toBe(0);
  const last = async () => {
    const { status, stderr } = await verb("capture", "--last", "60s", "-w", file);
    expect([status, stderr]).toEqual([0, expect.stringMatching(/^firebreak: \d+ frames captured, 0 lost\n$/)]);
    return fields(file, "icmp", "frame.packet_id", "frame.cap_len", "frame.len", "frame.interface_name");
  };
  const frames = await last();
  expect(frames.length).toBe(12);
  expect(new Set(frames.map(([, captured, length]) => `${captured} of ${length}`))).toEqual(new Set(["60 of 1042"]));
  expect(await last()).toEqual(frames);
  const wrong = await verb("capture", "proto=udp", "--last", "60s", "-w", file);
  expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining("--last has what --record was told")]);
  expect((await verb("capture", "--record-off")).status).toBe(0);
  expect((await verb("capture", "--last", "60s", "-w", file)).status).toBe(1);
}, 60_000);

test("four at a time, and no more until one ends; what is not understood is told", async () => {
  const all = await Promise.all([1, 2, 3, 4].map((i) => capture(`several-${i}.pcapng`, "proto=udp")));
  const fifth = await verb("capture", "-w", join(lab.folder, "fifth.pcapng"));
  expect([fifth.status, fifth.stderr]).toEqual([1, "firebreak: 4 captures run already (end one of them)\n"]);
  for (const { program } of all) await end(program);
  const { program } = await capture("again.pcapng");
  await end(program);
  const wrong = async (...args: readonly string[]) => {
    const { status, stderr } = await verb("capture", "-w", join(lab.folder, "wrong.pcapng"), ...args);
    expect(status).toBe(2);
    return stderr;
  };
  expect(await wrong("tcp port 443")).toContain(
    '"tcp port 443" is no filter (write KEY=VALUE, where KEY is one of client, ',
  );
  expect(await wrong("client=nobody")).toContain('client "nobody" is not there (there are work)');
  expect(await wrong("verdict=lost")).toContain('verdict "lost" is none');
  expect(await wrong("--snap", "3")).toContain("snap is below 14");
  expect(await wrong("--files", "3")).toContain("--files needs --size");
}, 60_000);
