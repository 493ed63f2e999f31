// The hand-over of flows to the kernel path and back: no frame overtakes another of its flow and direction, however slow the
// dataplane is, and whatever interrupts it. What comes in and what leaves is captured at the firewall; the ends are iperf3's.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, firebreak, readState, type State } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { SERVER } from "../../lab/places.ts";
import { countOvertaken, segmentsOf } from "../support/overtaken.ts";
import { buildSlow } from "../support/slow-dataplane.ts";

const PORT = 5201;
/** Of each transfer that are looked at, at least; and until so many frames went through, some of them by the kernel. */
const SECONDS = 3;
const FRAMES = 300;
const PATIENCE = 180_000;

const lab = new FirewallLab("handover");
const { client, firewall, internet } = lab;
let server: Program;
const INTERFACES = ["eth0", "eth1"] as const;

beforeAll(async () => {
  lab.configure([], "accept");
  // Frames that come in on several CPUs at a time have no order: here all come in on one.
  for (const end of [client, firewall, internet]) {
    await end.run(["sh", "-c", "for queue in /sys/class/net/eth*/queues/rx-*; do echo 1 >$queue/rps_cpus; done"]);
  }
  server = internet.start(["iperf3", "-s", "-B", SERVER, "-p", `${PORT}`, "--forceflush"]);
  await server.says("listening");
});

afterAll(() => lab.close());

/** Has what a sender leaves to its interface done by the sender, or not. */
async function setOffload(value: "on" | "off"): Promise<void> {
  const features = ["tso", "gso", "gro", "tx"].flatMap((feature) => [feature, value]);
  for (const end of [client, internet]) await end.run(["ethtool", "-K", "eth0", ...features]);
}

/** What is done to the firewall while there is traffic; it ends soon after `isOver`. */
type Disturbance = (program: Program, isOver: () => boolean) => Promise<void>;

async function reloads(program: Program, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    program.signal("SIGHUP");
    await Bun.sleep(5 + Math.random() * 45);
  }
}

/** Some so long after each other that a slow dataplane gets flows entered in between: while a reload is on its way it enters none. */
async function rarerReloads(program: Program, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    program.signal("SIGHUP");
    await Bun.sleep(5 + Math.random() ** 2 * 800);
  }
}

async function stops(program: Program, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    program.signal("SIGSTOP");
    await Bun.sleep(2 + Math.random() * 18);
    program.signal("SIGCONT");
    await Bun.sleep(5 + Math.random() * 45);
  }
}

async function both(program: Program, isOver: () => boolean): Promise<void> {
  await Promise.all([reloads(program, isOver), stops(program, isOver)]);
}

interface Course {
  readonly overtaken: number;
  /** Segments that were looked at. */
  readonly segments: number;
  readonly outsideWindow: number;
  readonly byKernel: number;
  readonly bySocket: number;
}

/** What both ends have of connections that may still send. */
async function connections(): Promise<string> {
  const list = ["ss", "-H", "-t", "-a", "-n", "state", "connected", "exclude", "time-wait"];
  const lists = await Promise.all([client.run(list), internet.run(list)]);
  return lists.join("");
}

async function stateOf(program: Program): Promise<State> {
  const said = program.text.length;
  program.signal("SIGUSR1");
  await program.says(/flows: (\d+)\n/, said);
  return readState(program.text.slice(said));
}

function forwarded({ frames, kernelPath }: State): { byKernel: number; bySocket: number } {
  const byKernel = kernelPath.get("forwarded") ?? 0;
  return { byKernel, bySocket: (frames.get("forwarded") ?? 0) - byKernel };
}

function hasEnough(state: State): boolean {
  const { byKernel, bySocket } = forwarded(state);
  return byKernel > 0 && bySocket > 0 && byKernel + bySocket >= FRAMES;
}

const DOWN = ["-R"];
const UP: readonly string[] = [];

/** Runs a firewall while eight connections go through it, the client's data one way. */
async function run(command: readonly string[], disturb: Disturbance, way: readonly string[]): Promise<Course> {
  const program = firewall.start([...command, "run", "--config", lab.configFile]);
  await program.says("ready in");
  const captures = await Promise.all(INTERFACES.flatMap((name) => [capture(name, "in"), capture(name, "out")]));
  const served = server.text.length;
  const transfer = client.start(["iperf3", "-c", SERVER, "-p", `${PORT}`, "-P", "8", "-t", "150", ...way]);
  let isOver = false;
  const disturbance = disturb(program, () => isOver);
  await Bun.sleep(1000 * SECONDS);
  while (!hasEnough(await stateOf(program))) await Bun.sleep(200);
  isOver = true;
  await disturbance;
  // Before the connections end: an end that has closed answers what still comes with resets, of numbers that are long over.
  const files = await Promise.all(captures.map((end) => end()));
  const state = await stateOf(program);
  transfer.signal("SIGINT");
  await transfer.end();
  await server.says("Server listening", served);
  while ((await connections()) !== "") await Bun.sleep(20); // the next firewall would have what they send again
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);

  const [clientIn = [], clientOut = [], uplinkIn = [], uplinkOut = []] = files.map((file) => segmentsOf(file, PORT));
  const counts = [countOvertaken(clientIn, uplinkOut), countOvertaken(uplinkIn, clientOut)];
  return {
    overtaken: counts.reduce((sum, { overtaken }) => sum + overtaken, 0),
    segments: counts.reduce((sum, { of }) => sum + of, 0),
    outsideWindow: state.frames.get("dropped: TCP outside the window") ?? 0,
    ...forwarded(state),
  };
}

/** Captures what comes into the firewall, or leaves it. @returns what ends that, and gets the capture */
async function capture(name: string, way: "in" | "out"): Promise<() => Promise<Uint8Array>> {
  const file = join(lab.folder, `${name}-${way}.pcap`);
  const options = ["-Q", way, "-s", "96", "-B", "65536", "--immediate-mode", "-w", file];
  const tcpdump = firewall.start(["tcpdump", "-n", "-i", name, ...options, "tcp", "port", `${PORT}`]);
  await tcpdump.says("listening on");
  return async () => {
    tcpdump.signal("SIGTERM");
    await tcpdump.end();
    return Bun.file(file).bytes();
  };
}

const IN_ORDER = { overtaken: 0, outsideWindow: 0 };

async function expectOrder(command: readonly string[], disturb: Disturbance): Promise<void> {
  for (const way of [UP, DOWN]) {
    const course = await run(command, disturb, way);
    expect(course).toMatchObject(IN_ORDER);
    expect(course.segments).toBeGreaterThan(200);
    expect(course.byKernel).toBeGreaterThan(0);
    expect(course.bySocket).toBeGreaterThan(0);
  }
}

describe.each(["on", "off"] as const)("with offload %s", (offload) => {
  const executable = join(lab.folder, "firebreak");

  beforeAll(() => setOffload(offload));

  test("reloads and stops", () => expectOrder(firebreak(), both), PATIENCE);

  test.each([5, 10])(
    "delays of %d ms between the steps of the hand-over, and reloads",
    async (ms) => {
      await buildSlow("between steps", ms, executable);
      await expectOrder([executable], rarerReloads);
    },
    PATIENCE,
  );

  test(
    "2 ms more for each frame, and reloads",
    async () => {
      await buildSlow("with each frame", 2, executable);
      await expectOrder([executable], rarerReloads);
    },
    PATIENCE,
  );
});

/** What the firewall and the client's TCP count, of transfers that are over, and since the last `nstat -n`. Ends the firewall. */
async function expectNoLoss(): Promise<void> {
  const { frames, ring, kernelPath } = await lab.state();
  // The first SYN may wait for the next hop's answer: sent on, and not lost.
  const lost = [...frames, ...ring].filter(
    ([name]) => !/^(forwarded|answered|queued for ARP|ARP taken|received|transmitted)$/.test(name),
  );
  expect(lost).toEqual([]);
  expect(await client.run(["nstat", "-sz", "TcpExtTCPOFOQueue"])).toMatch(/^TcpExtTCPOFOQueue +0 /m);
  expect(kernelPath.get("forwarded")).toBeGreaterThan(20_000);
  lab.program.signal("SIGTERM");
  expect(await lab.program.end()).toBe(0);
}

test(
  "twenty downloads of 100 MB: nothing comes out of its order, and nothing is dropped",
  async () => {
    await setOffload("on");
    await internet.run(["sh", "-c", `head -c 100000000 /dev/zero >${join(lab.folder, "file")}`]);
    const server = internet.start(["python3", "-u", "-m", "http.server", "-b", SERVER, "-d", lab.folder, "80"]);
    await server.says("Serving HTTP");
    await lab.start();
    const download = ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", `http://${SERVER}/file`];
    await client.run(["nstat", "-n"]);
    for (let i = 0; i < 20; i++) expect(await client.run(download, PATIENCE)).toBe("100000000");
    await expectNoLoss();
  },
  PATIENCE,
);

test(
  "eight connections at a time for a minute: nothing comes out of its order, and nothing is dropped",
  async () => {
    await setOffload("on");
    await lab.start();
    await client.run(["nstat", "-n"]);
    await client.run(["iperf3", "-c", SERVER, "-p", `${PORT}`, "-P", "8", "-t", "60", ...DOWN], PATIENCE);
    await expectNoLoss();
  },
  PATIENCE,
);
