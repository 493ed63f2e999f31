// `firebreak replay`: what it prints and writes of captures, byte for byte, by their own clock.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Capture, type CapturedFrame, readCapture, writeCapture } from "../../lab/captures.ts";
import {
  ARP_TYPE,
  arp,
  checksum,
  describe as describeFrame,
  ethernet,
  fromHex,
  icmp,
  payload,
  tcp,
  toHex,
  udp,
} from "../../lab/frames.ts";
import { patched } from "../support/place.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const CAPTURES = join(import.meta.dir, "../captures");

/** The home router of the talk. */
const TALK = `
[uplink]
interface = "eth1"
own_mac = "02:00:00:00:01:01"
address = "90.187.37.21/24"
gateway = "90.187.37.1"
gateway_mac = "02:00:00:00:02:00"

[[client]]
name = "lan"
interface = "eth0"
own_mac = "a0:e4:cb:95:13:2a"
network = "192.168.1.0/24"
gateway = "192.168.1.1"
policy = "accept"
`;

/** The router between which tests/captures were made. */
const CAPTURED = `
[uplink]
interface = "eth1"
own_mac = "02:00:00:00:01:01"
address = "192.0.2.254/24"
gateway = "192.0.2.1"

[[client]]
name = "work"
interface = "eth0"
own_mac = "02:00:00:00:01:00"
address = "10.137.0.10"
gateway = "10.137.0.1"
`;
const CLIENT_MAC = "02:00:00:00:00:0a";
const GATEWAY_MAC = "02:00:00:00:02:00";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "firebreak-replay-"));
});
afterAll(() => rm(directory, { recursive: true }));

interface Outcome {
  readonly status: number;
  /** Of frames. */
  readonly lines: readonly string[];
  /** The last lines: how many frames had which verdict. */
  readonly totals: readonly string[];
  readonly errors: string;
  /** What was written, by file name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

async function firebreak(args: readonly string[], out: string): Promise<Outcome> {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, MAIN, "replay", ...args], { cwd: directory });
  const files = new Map<string, Uint8Array>();
  for (const name of await readdir(out).catch(() => [])) files.set(name, await Bun.file(join(out, name)).bytes());
  const lines = stdout.toString().split("\n");
  expect(lines.pop()).toBe("");
  const isTotal = (line: string) => line.startsWith(" ") || line.startsWith('{"totals"');
  const totals = lines.filter(isTotal);
  expect(lines.slice(lines.length - totals.length)).toEqual(totals);
  return {
    status: exitCode,
    lines: lines.slice(0, lines.length - totals.length),
    totals: totals.map((line) => line.trim()),
    errors: stderr.toString(),
    files,
  };
}

/** @param inputs what stands behind each --in */
async function replay(config: string, inputs: readonly string[], ...options: readonly string[]): Promise<Outcome> {
  const [file, out] = [join(directory, "firewall.toml"), join(directory, "out", "new")];
  await rm(out, { recursive: true, force: true });
  await Bun.write(file, config);
  const ins = inputs.flatMap((input) => ["--in", input]);
  return firebreak(["--config", file, ...ins, "--out", out, ...options], out);
}

/** Replays and expects that to work. */
async function replayed(config: string, inputs: readonly string[], ...options: readonly string[]): Promise<Outcome> {
  const outcome = await replay(config, inputs, ...options);
  expect([outcome.errors, outcome.status]).toEqual(["", 0]);
  return outcome;
}

function sent({ files }: Outcome, iface: string): Promise<Capture> {
  return readCapture(files.get(`${iface}.pcap`) ?? new Uint8Array(0));
}

function hexOf(frames: readonly CapturedFrame[]): string[] {
  return frames.map(({ bytes }) => toHex(bytes));
}

/** Writes a capture of frames at seconds of the clock. */
async function capture(
  name: string,
  frames: readonly (readonly [seconds: number, frame: Uint8Array])[],
): Promise<string> {
  const captured = frames.map(([time, bytes]) => {
    const seconds = Math.floor(time);
    return { seconds, nanoseconds: Math.round((time - seconds) * 1e9), bytes, originalLength: bytes.length };
  });
  const file = join(directory, name);
  await Bun.write(file, writeCapture(captured, "us"));
  return file;
}

describe("the talk's frames", () => {
  const synOut = ethernet(
    "02:00:00:00:01:01",
    GATEWAY_MAC,
    0x0800,
    tcp({
      source: "90.187.37.21",
      destination: "178.63.212.185",
      sourcePort: 60213,
      destinationPort: 443,
      sequence: 2267259944,
      flags: "S",
      ttl: 63,
      tcpOptions: fromHex("020405b4 01 030306 01 01 080a 227a02d6 00000000 0402 0000"),
    }),
  );
  const echoReply = ethernet(
    "a0:e4:cb:95:13:2a",
    "b8:e8:56:11:17:c6",
    0x0800,
    icmp(
      {
        source: "90.187.37.21",
        destination: "192.168.1.9",
        type: 0,
        rest: 0xef450000,
        identification: 0xe360,
        fragment: 0,
      },
      fromHex(
        `5d9b2f5f 0007daa9 ${Array.from({ length: 48 }, (_, i) => (i + 8).toString(16).padStart(2, "0")).join("")}`,
      ),
    ),
  );

  test("the SYN leaves with the public address, and every byte right", async () => {
    const outcome = await replayed(TALK, [`eth0=${CAPTURES}/talk-tcp-syn.pcap`]);
    expect(outcome.lines).toEqual([
      "0.000000 2019-10-13T20:53:20.000000Z eth0 #1 forwarded; tcp 192.168.1.9:60213 > 178.63.212.185:443 SYN; policy of lan; flow tcp 192.168.1.9:60213 > 178.63.212.185:443 as 90.187.37.21:60213; sent 42 bytes on eth0; sent 78 bytes on eth1",
    ]);
    expect(hexOf((await sent(outcome, "eth1")).frames)).toEqual([toHex(synOut)]);
    expect((await sent(outcome, "eth0")).frames.map(({ bytes }) => describeFrame(bytes))).toEqual([
      "a0:e4:cb:95:13:2a > ff:ff:ff:ff:ff:ff ARP who has 192.168.1.9, tell 192.168.1.1",
    ]);
    expect([...outcome.files.keys()].sort()).toEqual(["eth0.pcap", "eth1.pcap"]);
  });

  test("the ping to the public address is answered by the firewall itself", async () => {
    const outcome = await replayed(TALK, [`eth0=${CAPTURES}/talk-ping-request.pcap`]);
    expect(outcome.lines).toEqual([
      "0.000000 2019-10-13T20:53:20.000000Z eth0 #1 answered; icmp 192.168.1.9 > 90.187.37.21 echo request id 61253 seq 0; sent 98 bytes on eth0",
    ]);
    expect(hexOf((await sent(outcome, "eth0")).frames)).toEqual([toHex(echoReply)]);
    expect(outcome.files.get("eth1.pcap")).toEqual(writeCapture([], "us"));
  });

  test("keep the time and the resolution of their captures", async () => {
    const outcome = await replayed(TALK, [`eth0=${CAPTURES}/talk-tcp-syn.pcap`]);
    const { frames, resolution } = await sent(outcome, "eth1");
    expect([resolution, frames[0]?.seconds, frames[0]?.nanoseconds]).toEqual(["us", 1571000000, 0]);
  });

  test("any unicast MAC address is ours where none is configured", async () => {
    const outcome = await replayed(TALK.replaceAll(/^own_mac.*$/gm, ""), [`eth0=${CAPTURES}/talk-tcp-syn.pcap`]);
    expect(hexOf((await sent(outcome, "eth1")).frames)).toEqual([toHex(patched(synOut, 6, 2, 0, 0, 0, 0, 0))]);
  });

  test("another MAC address than the configured one is not ours", async () => {
    const config = TALK.replace("a0:e4:cb:95:13:2a", "a0:e4:cb:95:13:2b");
    const outcome = await replayed(config, [`eth0=${CAPTURES}/talk-tcp-syn.pcap`]);
    expect(outcome.lines).toEqual([
      "0.000000 2019-10-13T20:53:20.000000Z eth0 #1 dropped: not to our MAC address; tcp 192.168.1.9:60213 > 178.63.212.185:443 SYN; from b8:e8:56:11:17:c6 to a0:e4:cb:95:13:2a",
    ]);
  });
});

describe("real programs' frames", () => {
  /**
   * Linux numbers the packets that it originates itself and lets them be fragmented; ours are atomic (RFC 6864). It marks
   * its errors as network control; ours have the class of the packets that they are about (RFC 5508 section 7.7).
   */
  function asOurs(frame: Uint8Array): Uint8Array {
    if (frame[13] !== 0 || toHex(frame.subarray(26, 30)) !== "0a 89 00 01") return frame;
    const isError = frame[23] === 1 && frame[34] !== 0;
    const tos = isError ? frame[43] & 0xfc : frame[15];
    const atomic = patched(patched(frame, 15, tos), 18, 0, 0, 0x40, 0, frame[22], frame[23], 0, 0);
    const sum = checksum(atomic.subarray(14, 34));
    return patched(atomic, 24, sum >>> 8, sum & 255);
  }

  for (const name of ["ping", "dns", "http", "iperf3", "traceroute", "refused", "ping-too-big"]) {
    test(`of ${name} leave as from Linux, frame for frame, on both sides`, async () => {
      const config = `${CAPTURED}policy = "accept"\n`;
      const files = { eth0: join(CAPTURES, `${name}-client.pcap`), eth1: join(CAPTURES, `${name}-uplink.pcap`) };
      const outcome = await replayed(config, [`eth0=${files.eth0}`, `eth1=${files.eth1}`]);
      for (const [iface, mac] of [
        ["eth0", "02 00 00 00 01 00"],
        ["eth1", "02 00 00 00 01 01"],
      ] as const) {
        const { frames } = await readCapture(await Bun.file(files[iface]).bytes());
        const byLinux = frames.map(({ bytes }) => bytes).filter((bytes) => toHex(bytes.subarray(6, 12)) === mac);
        expect(byLinux.length).toBeGreaterThan(1);
        const comparable = byLinux.map(asOurs);
        const { frames: ours, resolution } = await sent(outcome, iface);
        expect(ours.map(({ bytes }) => describeFrame(bytes))).toEqual(comparable.map(describeFrame));
        expect(hexOf(ours)).toEqual(comparable.map(toHex));
        expect(resolution).toBe("ns");
      }
    });
  }

  test("are the same from pcapng, and twice the same byte for byte", async () => {
    const names = ["iperf3-client", "iperf3-uplink"];
    for (const name of names) {
      const editcap = Bun.spawnSync([
        "editcap",
        "-F",
        "pcapng",
        join(CAPTURES, `${name}.pcap`),
        join(directory, `${name}.pcapng`),
      ]);
      expect(editcap.exitCode).toBe(0);
    }
    const config = `${CAPTURED}policy = "accept"\n`;
    const pcap = names.map((name, i) => `eth${i}=${CAPTURES}/${name}.pcap`);
    const pcapng = names.map((name, i) => `eth${i}=${directory}/${name}.pcapng`);
    const [one, two, other] = [
      await replayed(config, pcap),
      await replayed(config, pcap),
      await replayed(config, pcapng),
    ];
    expect(one.lines.length).toBeGreaterThan(100);
    expect(two).toEqual(one);
    expect(other).toEqual(one);
  });

  test("that a rule refuses get an ICMP error and never reach the uplink", async () => {
    const rules = 'rules = ["action=accept proto=udp", "action=drop dstports=80"]\n[nat]\nreset = false\n';
    const outcome = await replayed(CAPTURED + rules, [`eth0=${CAPTURES}/http-client.pcap`]);
    expect((await sent(outcome, "eth1")).frames.map(({ bytes }) => describeFrame(bytes))).toEqual([
      "02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff ARP who has 192.0.2.1, tell 192.0.2.254",
    ]);
    expect((await sent(outcome, "eth0")).frames.map(({ bytes }) => describeFrame(bytes))).toEqual([
      `02:00:00:00:01:00 > ${CLIENT_MAC} ARP 10.137.0.1 is at 02:00:00:00:01:00`,
      `02:00:00:00:01:00 > ${CLIENT_MAC} 10.137.0.1 > 10.137.0.10 ICMP type 3 code 13 rest 0, ttl 64, 88 bytes`,
    ]);
    const verdicts = outcome.lines.map((line) => line.replace(/^\S+ \S+ /, "").replace(/10:\d+/, "10:PORT"));
    expect(verdicts.slice(0, 3)).toEqual([
      "eth0 #1 answered; arp who has 10.137.0.1, tell 10.137.0.10; sent 42 bytes on eth0",
      "eth0 #2 sent by the router, not replayed; arp 10.137.0.1 is at 02:00:00:00:01:00",
      "eth0 #3 dropped: refused by rules; tcp 10.137.0.10:PORT > 198.51.100.80:80 SYN; rule 2 of work; sent 102 bytes on eth0",
    ]);
    const others = ["sent by the router, not replayed", "dropped: TCP without a connection"];
    const further = verdicts.slice(3).map((verdict) => verdict.replace(/^eth0 #\d+ /, "").replace(/;.*/, ""));
    expect(new Set(further)).toEqual(new Set(others));
    const count = (verdict: string) => further.filter((one) => one === verdict).length;
    expect(outcome.totals).toEqual([
      `${verdicts.length} frames`,
      "1 answered",
      "1 dropped: refused by rules",
      `${count(others[1])} ${others[1]}`,
      `${count(others[0]) + 1} ${others[0]}`,
      "1 sent on eth1",
      "2 sent on eth0",
    ]);
  });

  test("that a snapshot length cut are judged as what they were, and what is sent is cut as well", async () => {
    const cut = join(CAPTURES, "http-client-cut.pcap");
    const outcome = await replayed(`${CAPTURED}policy = "accept"\n`, [
      `eth0=${cut}`,
      `eth1=${CAPTURES}/http-uplink.pcap`,
    ]);
    const whole = await replayed(`${CAPTURED}policy = "accept"\n`, [
      `eth0=${CAPTURES}/http-client.pcap`,
      `eth1=${CAPTURES}/http-uplink.pcap`,
    ]);
    const told = /; only 96 of \d+ bytes captured \(use tcpdump -s 0\)/;
    expect(outcome.lines.filter((line) => told.test(line)).length).toBe(7);
    expect(outcome.lines.map((line) => line.replace(told, ""))).toEqual([...whole.lines]);
    const [ours, expected] = [await sent(outcome, "eth1"), await sent(whole, "eth1")];
    const lengths = ({ frames }: Capture) => frames.map(({ originalLength }) => originalLength);
    expect(lengths(ours)).toEqual(lengths(expected));
    const [request] = ours.frames.filter(({ originalLength }) => originalLength === 154);
    const [wholeRequest] = expected.frames.filter(({ originalLength }) => originalLength === 154);
    expect(toHex(request.bytes)).toBe(toHex(wholeRequest.bytes.subarray(0, 96)));
  });
});

/** What a router asks who looks for its gateway. */
const QUESTION = {
  operation: "request",
  senderMac: "02:00:00:00:01:01",
  senderIp: "192.0.2.254",
  targetIp: "192.0.2.1",
} as const;

describe("the clock", () => {
  const toServer = (source: string, sourcePort: number) =>
    ethernet(
      CLIENT_MAC,
      "02:00:00:00:01:00",
      0x0800,
      udp({ source, destination: "198.51.100.80", sourcePort, destinationPort: 4000 }, payload(18)),
    );
  const fromServer = (destinationPort: number) =>
    ethernet(
      GATEWAY_MAC,
      "02:00:00:00:01:01",
      0x0800,
      udp({ source: "198.51.100.80", destination: "192.0.2.254", sourcePort: 4000, destinationPort }, payload(18)),
    );
  const pinned = `${CAPTURED.replace("[[client]]", `gateway_mac = "${GATEWAY_MAC}"\n$&`)}mac = "${CLIENT_MAC}"\npolicy = "accept"\n`;
  const lan = pinned.replace(/^address = "10.*$/m, 'network = "10.137.0.0/24"').replace(/^mac = .*$/m, "");

  /** @returns lines without flow and what follows */
  function verdicts({ lines }: Outcome): string[] {
    return lines.map((line) => line.split("; ")[0].replace(/ \S+Z /, " "));
  }

  test("is the captures': a flow ends after its silence, and not before", async () => {
    const client = await capture("client.pcap", [
      [1000, toServer("10.137.0.10", 5000)],
      [2000, toServer("10.137.0.10", 5001)],
    ]);
    const uplink = await capture("uplink.pcap", [
      [1029.5, fromServer(5000)],
      [2031.5, fromServer(5001)],
    ]);
    const outcome = await replayed(pinned, [`eth0=${client}`, `eth1=${uplink}`]);
    expect(verdicts(outcome)).toEqual([
      "0.000000 eth0 #1 forwarded",
      "29.500000 eth1 #1 forwarded",
      "1000.000000 eth0 #2 forwarded",
      "1031.500000 eth1 #2 dropped: unsolicited",
    ]);
  });

  test("runs timers in silence: a gateway that the real router asked in vain is asked once a second, three times", async () => {
    const config = pinned.replace(/^gateway_mac.*$/m, "");
    const asked = ethernet("02:00:00:00:01:01", "ff:ff:ff:ff:ff:ff", ARP_TYPE, arp(QUESTION));
    const uplink = await capture("uplink.pcap", [
      [1001, asked],
      [1002, asked],
      [1003, asked],
      [1010.6, asked],
    ]);
    const client = await capture("client.pcap", [
      [1000.25, toServer("10.137.0.10", 5000)],
      [1000.75, toServer("10.137.0.10", 5000)],
      [1003.5, toServer("10.137.0.10", 5000)],
      [1010.5, toServer("10.137.0.10", 5000)],
    ]);
    const outcome = await replayed(config, [`eth0=${client}`, `eth1=${uplink}`]);
    expect(verdicts(outcome)).toEqual([
      "0.000000 eth0 #1 queued for ARP",
      "0.500000 eth0 #2 queued for ARP",
      "0.750000 eth1 #1 sent by the router, not replayed",
      "1.750000 eth1 #2 sent by the router, not replayed",
      "2.750000 eth1 #3 sent by the router, not replayed",
      "3.250000 eth0 #3 dropped: next hop does not answer ARP",
      "10.250000 eth0 #4 queued for ARP",
      "10.350000 eth1 #4 sent by the router, not replayed",
    ]);
    const { frames } = await sent(outcome, "eth1");
    expect(frames.map(({ seconds, nanoseconds }) => seconds + nanoseconds / 1e9)).toEqual([
      1000.25, 1001.25, 1002.25, 1010.5,
    ]);
    const question = "02:00:00:00:01:01 > ff:ff:ff:ff:ff:ff ARP who has 192.0.2.1, tell 192.0.2.254";
    expect(frames.map(({ bytes }) => describeFrame(bytes))).toEqual(new Array(4).fill(question));
    expect((await sent(outcome, "eth0")).frames.map(({ bytes }) => describeFrame(bytes))).toEqual([
      `02:00:00:00:01:00 > ${CLIENT_MAC} 10.137.0.1 > 10.137.0.10 ICMP type 3 code 1 rest 0, ttl 64, 74 bytes`,
    ]);
  });

  test("has next hops answer at once that no capture shows, by the MAC address that one shows later", async () => {
    const config = pinned.replace(/^gateway_mac.*$/m, "");
    const client = await capture("client.pcap", [[1000, toServer("10.137.0.10", 5000)]]);
    const to = async (...inputs: readonly string[]) => {
      const outcome = await replayed(config, [`eth0=${client}`, ...inputs]);
      expect(verdicts(outcome)[0]).toBe("0.000000 eth0 #1 forwarded");
      return (await sent(outcome, "eth1")).frames.map(({ bytes }) => toHex(bytes.subarray(0, 6)));
    };
    expect(await to()).toEqual(["ff ff ff ff ff ff", "02 00 c0 00 02 01"]);
    const reply = { operation: "reply", senderMac: GATEWAY_MAC, senderIp: "192.0.2.1" } as const;
    const answer = arp({ ...reply, targetMac: "02:00:00:00:01:01", targetIp: "192.0.2.254" });
    const late = await capture("uplink.pcap", [[1060, ethernet(GATEWAY_MAC, "02:00:00:00:01:01", ARP_TYPE, answer)]]);
    const [question, first] = await to(`eth1=${late}`);
    expect([question, first]).toEqual(["ff ff ff ff ff ff", "02 00 00 00 02 00"]);
  });

  test("is held where a capture steps back", async () => {
    const client = await capture("client.pcap", [
      [1000, toServer("10.137.0.10", 5000)],
      [10, toServer("10.137.0.10", 5000)],
    ]);
    const outcome = await replayed(pinned, [`eth0=${client}`]);
    expect(verdicts(outcome)).toEqual(["0.000000 eth0 #1 forwarded", "0.000000 eth0 #2 forwarded"]);
    expect((await sent(outcome, "eth1")).frames.map(({ seconds }) => seconds)).toEqual([1000, 1000]);
  });

  test("takes no time to pass a century", async () => {
    const client = await capture("client.pcap", [
      [0, toServer("10.137.0.10", 5000)],
      [0xffffffff, toServer("10.137.0.10", 5000)],
    ]);
    const uplink = await capture("uplink.pcap", [
      [0xfffffffe, fromServer(5000)],
      [0xffffffff, fromServer(5000)],
    ]);
    const began = performance.now();
    const outcome = await replayed(pinned, [`eth0=${client}`, `eth1=${uplink}`]);
    expect(performance.now() - began).toBeLessThan(30_000);
    expect(verdicts(outcome)).toEqual([
      "0.000000 eth0 #1 forwarded",
      "4294967294.000000 eth1 #1 dropped: unsolicited",
      "4294967295.000000 eth0 #2 forwarded",
      "4294967295.000000 eth1 #2 forwarded",
    ]);
  });

  test("at the same time lets the captures go first in the order of their --in", async () => {
    const one = await capture("one.pcap", [
      [1000, toServer("10.137.0.11", 5000)],
      [1001, toServer("10.137.0.11", 5000)],
    ]);
    const two = await capture("two.pcap", [
      [1000, toServer("10.137.0.12", 6000)],
      [1001, toServer("10.137.0.12", 6000)],
    ]);
    const order = async (...files: readonly string[]) =>
      (
        await replayed(
          lan,
          files.map((file) => `eth0=${file}`),
        )
      ).lines.map((line) => /10\.137\.0\.1\d/.exec(line)?.[0]);
    expect(await order(one, two)).toEqual(["10.137.0.11", "10.137.0.12", "10.137.0.11", "10.137.0.12"]);
    expect(await order(two, one)).toEqual(["10.137.0.12", "10.137.0.11", "10.137.0.12", "10.137.0.11"]);
  });

  test("has nothing to do with chance: a port is random by the seed alone", async () => {
    const hosts = Array.from({ length: 8 }, (_, i) => `10.137.0.${i + 10}`);
    const client = await capture(
      "client.pcap",
      hosts.map((host, i) => [1000 + i, toServer(host, 5000)]),
    );
    const mapped = async (...options: readonly string[]) =>
      (await replayed(lan, [`eth0=${client}`], ...options)).lines.map((line) => / as (\S+?);/.exec(line)?.[1]);
    const byDefault = await mapped();
    expect(byDefault[0]).toBe("192.0.2.254:5000");
    expect(new Set(byDefault).size).toBe(hosts.length);
    expect(await mapped("--seed", "1")).toEqual(byDefault);
    const others = await mapped("--seed", "4294967295");
    expect(others.slice(1).filter((port) => byDefault.includes(port))).toEqual([]);
  });

  test("and all else is told in JSON too", async () => {
    const client = await capture("client.pcap", [
      [1000, toServer("10.137.0.10", 5000)],
      [1000.000001, toServer("10.137.0.99", 5000)],
    ]);
    const outcome = await replayed(pinned, [`eth0=${client}`], "--json");
    const ethernet = { source: CLIENT_MAC, destination: "02:00:00:00:01:00", type: "0x0800" };
    const ports = { sourcePort: 5000, destinationPort: 4000 };
    const packet = { protocol: "udp", destination: "198.51.100.80", ...ports, ttl: 64, length: 46, dontFragment: true };
    expect(outcome.lines.map((line) => JSON.parse(line))).toEqual([
      {
        time: 0,
        timestamp: "1970-01-01T00:16:40.000000Z",
        interface: "eth0",
        frame: 1,
        length: 60,
        captured: 60,
        ethernet,
        packet: { ...packet, source: "10.137.0.10" },
        verdict: "forwarded",
        slug: "forwarded",
        client: "work",
        rule: 0,
        flow: {
          protocol: "udp",
          source: "10.137.0.10:5000",
          destination: "198.51.100.80:4000",
          mapped: "192.0.2.254:5000",
        },
        sent: [{ interface: "eth1", length: 60 }],
      },
      {
        time: 0.000001,
        timestamp: "1970-01-01T00:16:40.000001Z",
        interface: "eth0",
        frame: 2,
        length: 60,
        captured: 60,
        ethernet,
        packet: { ...packet, source: "10.137.0.99" },
        verdict: "dropped: source address spoofed",
        slug: "spoofed",
        sent: [],
      },
    ]);
    const totals = {
      frames: 2,
      verdicts: { forwarded: 1, "dropped: source address spoofed": 1 },
      sentByRouter: 0,
      sent: { eth1: 1, eth0: 0 },
    };
    expect(outcome.totals.map((line) => JSON.parse(line))).toEqual([{ totals }]);
    const alone = await replayed(pinned, [`eth0=${client}`], "--json", "--quiet");
    expect(alone.lines.map((line) => JSON.parse(line))).toEqual([totals]);
  });
});

describe("what can't be done", () => {
  const SYN = join(CAPTURES, "talk-tcp-syn.pcap");

  async function refused(config: string, inputs: readonly string[], ...options: readonly string[]) {
    const { status, lines, errors, files } = await replay(config, inputs, ...options);
    expect([lines, files.size]).toEqual([[], 0]);
    return [status, errors.replaceAll(directory, "DIR")];
  }

  test("is refused with status 2 where the command line is wrong", async () => {
    const see = "(see firebreak replay --help)\n";
    expect(await refused(TALK, [`eth9=${SYN}`])).toEqual([
      2,
      `firebreak: replay: --in "eth9" is no interface of the configuration (write one of these: eth1, eth0) ${see}`,
    ]);
    expect(await refused(TALK, ["eth0"])).toEqual([2, `firebreak: replay: --in "eth0" is not IFACE=CAPTURE ${see}`]);
    expect(await refused(TALK, [])).toEqual([2, `firebreak: replay: needs --in IFACE=CAPTURE ${see}`]);
    for (const seed of ["x", "4294967296", "1.5", ""]) {
      const message = `firebreak: replay: --seed "${seed}" is not a whole number from 0 to 4294967295 ${see}`;
      expect(await refused(TALK, [`eth0=${SYN}`], "--seed", seed)).toEqual([2, message]);
    }
    const [status, message] = await refused(TALK, [`eth0=${SYN}`], "--sed", "1");
    expect(status).toBe(2);
    expect(message).toStartWith("firebreak: replay: Unknown option '--sed'");
    const without = (...args: readonly string[]) => firebreak(args, join(directory, "nowhere"));
    expect((await without("--in", `eth0=${SYN}`, "--out", "out")).errors).toBe(
      `firebreak: replay: needs --config FILE ${see}`,
    );
    expect((await without("--config", "x", "--in", `eth0=${SYN}`)).errors).toBe(
      `firebreak: replay: needs --out DIR or --html FILE ${see}`,
    );
  });

  test("is refused with status 2 where the configuration is, with all of its errors", async () => {
    const broken = TALK.replace('"90.187.37.1"', '"90.187.37"').replace('policy = "accept"', 'policy = "allow"');
    const [status, errors] = await refused(broken, [`eth0=${SYN}`]);
    expect(status).toBe(2);
    expect(
      String(errors)
        .split("\n")
        .map((line) => line.slice(0, 20)),
    ).toEqual(["DIR/firewall.toml:6:", "DIR/firewall.toml:15", ""]);
  });

  test("fails with status 1 where a capture is cut short, after its whole records", async () => {
    const ping = await Bun.file(join(CAPTURES, "ping-client.pcap")).bytes();
    await Bun.write(join(directory, "short.pcap"), ping.subarray(0, -1));
    const config = `${CAPTURED}policy = "accept"\n`;
    const outcome = await replay(config, [`eth0=${directory}/short.pcap`]);
    const whole = await replayed(config, [`eth0=${CAPTURES}/ping-client.pcap`]);
    expect([outcome.status, outcome.errors.replaceAll(directory, "DIR")]).toEqual([
      1,
      "firebreak: replay: DIR/short.pcap: byte 718: a record announces 98 bytes, there are 97 " +
        "(the file is cut short: copy or capture it anew, or keep the whole records with `editcap FILE NEW`)\n",
    ]);
    expect(whole.lines.length).toBe(8);
    expect(outcome.lines).toEqual(whole.lines.slice(0, -1));
    expect(outcome.files.get("eth1.pcap")).toEqual(whole.files.get("eth1.pcap"));
  });

  test("fails with status 1 where a capture has no whole record, or can't be read at all", async () => {
    const short = join(directory, "short.pcap");
    await Bun.write(short, (await Bun.file(SYN).bytes()).subarray(0, 80));
    expect(await refused(TALK, [`eth0=${SYN}`, `eth0=${short}`])).toEqual([
      1,
      "firebreak: replay: DIR/short.pcap: byte 32: a record announces 78 bytes, there are 40 " +
        "(the file is cut short: copy or capture it anew, or keep the whole records with `editcap FILE NEW`)\n",
    ]);
    expect(await refused(TALK, ["eth0=nowhere.pcap"])).toEqual([
      1,
      "firebreak: replay: nowhere.pcap: can't be read: ENOENT: no such file or directory\n",
    ]);
    expect(await refused(TALK, [`eth0=${directory}`])).toEqual([
      1,
      "firebreak: replay: DIR: can't be read: EISDIR: illegal operation on a directory\n",
    ]);
  });

  test("fails with status 1 where the captures can't be written", async () => {
    const [config, out] = [join(directory, "firewall.toml"), join(directory, "taken")];
    await Bun.write(config, TALK);
    await Bun.write(out, "");
    const made = await firebreak(["--config", config, "--in", `eth0=${SYN}`, "--out", out], out);
    expect([made.status, made.lines, made.errors]).toEqual([
      1,
      [],
      `firebreak: replay: ${out}: can't be made: EEXIST: file already exists\n`,
    ]);
    await rm(out);
    await mkdir(join(out, "eth1.pcap"), { recursive: true });
    const written = Bun.spawnSync([
      process.execPath,
      MAIN,
      "replay",
      "--config",
      config,
      "--in",
      `eth0=${SYN}`,
      "--out",
      out,
    ]);
    expect([written.exitCode, written.stdout.toString(), written.stderr.toString()]).toEqual([
      1,
      "",
      `firebreak: replay: ${out}/eth1.pcap: can't be written: EISDIR: illegal operation on a directory\n`,
    ]);
  });

  test("is told by --help beforehand", () => {
    const { exitCode, stdout } = Bun.spawnSync([process.execPath, MAIN, "replay", "--help"]);
    expect(exitCode).toBe(0);
    expect(stdout.toString()).toStartWith("Usage: firebreak replay --config FILE --in IFACE=CAPTURE");
  });
});
