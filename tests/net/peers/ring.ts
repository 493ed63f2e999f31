// ring.ts CASE: two interfaces, a0 and b0, are the ends of one cable; what the ring does with it at its limits, as JSON.
import { gcAndSweep, heapStats } from "bun:jsc";
import { readFileSync } from "node:fs";
import { NO_ACCOUNT, NO_FRAME, NOT_SENT, PacketRing, RING_COUNTERS } from "../../../src/dataplane/io/packet-ring.ts";
import { PacketSockets } from "../../../src/dataplane/io/packet-sockets.ts";
import { Gate } from "../../../src/dataplane/kernel/gates.ts";
import { CONTROL, GATE } from "../../../src/dataplane/kernel/programs/layout.ts";
import { VNET_LENGTH } from "../../../src/dataplane/ring.ts";
import { openEvent, signalEvent } from "../../../src/linux/eventfd.ts";
import { getOption, SOL_SOCKET } from "../../../src/linux/net/socket.ts";
import { interfacesNamed } from "../../support/interfaces.ts";

// asm-generic/socket.h
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;

const A = 0;
const B = 1;
const MINIMUM = 60;

/** Of `steady`: 33 frames each; and how many objects of a type may be more after so many, which nobody made for a frame. */
const TURNS = 3000;
const FEW = 1000;

const wake = openEvent();
const control = new Int32Array(new SharedArrayBuffer(CONTROL.LENGTH));
const gates = [new Gate(control, A), new Gate(control, B)];
const ring = new PacketRing(wake, (gate) => gates[gate]);
const sockets = new PacketSockets();
configure("a0", "b0");

/** As control and the dataplane's thread do it between them. */
function configure(...names: string[]): void {
  const opened = sockets.open(interfacesNamed(...names));
  ring.configure(opened);
  sockets.keep(opened);
}

/** Queues a frame of nobody's protocol from a0 to b0, with a number in it. */
function send(number: number, length = MINIMUM): number {
  const at = ring.reserve();
  ring.bytes.fill(0xff, at, at + 6);
  ring.view.setUint16(at + 12, 0x88b5); // IEEE 802: local experiments
  ring.view.setUint16(at + 14, number);
  ring.send(A, at, length);
  return at;
}

/** Takes what has come to b0, or as much as can be had before a flush. @returns the frames' numbers */
function receive(): number[] {
  const numbers: number[] = [];
  for (let at = ring.next(B); at !== NO_FRAME; at = ring.next(B)) numbers.push(ring.view.getUint16(at + 14));
  return numbers;
}

function counters(): Record<string, number> {
  ring.countDrops();
  return Object.fromEntries(
    RING_COUNTERS.map((name, i) => [name, ring.counters[i]]).filter(([, count]) => count !== 0),
  );
}

async function ip(...args: string[]): Promise<void> {
  await Bun.$`ip ${args}`;
}

const CASES = {
  /** Tags that the kernel takes off come back, in short frames and in those that do not fit a slot, and no others do. */
  async tagged() {
    await ip("link", "set", "a0", "mtu", "4000");
    await ip("link", "set", "b0", "mtu", "4000");
    const frames: string[] = [];
    for (const length of [MINIMUM, 2030]) {
      for (const tag of [0x81000007, 0x88a8e000]) {
        const at = send(0, length);
        ring.view.setUint32(at + 12, tag);
        ring.view.setUint32(at + 16, 0x88b51234);
        ring.view.setUint16(at + length - 2, 0x5678);
      }
      send(1, length);
    }
    ring.flush();
    for (let at = ring.next(B); at !== NO_FRAME; at = ring.next(B)) {
      const hex = (from: number, to: number) => Buffer.from(ring.bytes.subarray(at + from, at + to)).toString("hex");
      frames.push(`${ring.length} ${hex(0, 6)} ${hex(12, 20)} ${hex(ring.length - 2, ring.length)}`);
    }
    return { frames, counters: counters() };
  },

  /** Frames that the kernel refuses, between others that it takes. */
  refused() {
    ring.account = 1;
    send(1);
    ring.account = 2;
    send(2, 1600); // longer than the MTU
    ring.account = 3;
    send(3);
    ring.account = 4;
    const lying = send(4);
    ring.view.setUint8(lying - VNET_LENGTH, 1); // NEEDS_CSUM, for a checksum that is outside the frame
    ring.view.setUint16(lying - VNET_LENGTH + 6, 5000, true);
    ring.account = 5;
    send(5);
    ring.account = 6;
    send(6, 4); // shorter than an Ethernet header
    ring.account = NO_ACCOUNT;
    send(7);
    ring.flush();
    const lost = Array.from(ring.lost.entries()).filter(([, reason]) => reason === NOT_SENT.REFUSED);
    return { received: receive(), counters: counters(), lost: lost.map(([account]) => account) };
  },

  /** What one interface said of a checksum is not told to the next one. */
  flags() {
    ring.view.setUint8(send(1) - VNET_LENGTH, 2); // DATA_VALID
    ring.flush();
    const at = ring.next(B);
    return { flags: ring.view.getUint8(at - VNET_LENGTH), counters: counters() };
  },

  /** More frames than slots, and none given back before all are used up. */
  full() {
    for (let i = 0; i < 600; i++) send(i);
    ring.flush();
    const first = receive();
    const again = receive();
    ring.flush();
    send(600);
    ring.flush();
    return { first: [first.length, first[0], first.at(-1)], again, after: receive(), counters: counters() };
  },

  async down() {
    await ip("link", "set", "a0", "down");
    send(1);
    send(2);
    ring.flush();
    ring.wait(0);
    const started = performance.now();
    const woken = ring.wait(50);
    const slept = performance.now() - started >= 49;
    await ip("link", "set", "a0", "up");
    while (readFileSync("/sys/class/net/a0/operstate", "utf8") !== "up\n") await Bun.sleep(1);
    ring.wait(0);
    send(3);
    ring.flush();
    return { woken, slept, received: receive(), counters: counters() };
  },

  wake() {
    const before = ring.wait(0);
    signalEvent(wake);
    signalEvent(wake);
    return { before, woken: ring.wait(1000), after: ring.wait(0) };
  },

  /** Frames of both lengths, many times, as the dataplane's thread has them, through a gate. */
  async steady() {
    await ip("link", "set", "a0", "mtu", "4000");
    await ip("link", "set", "b0", "mtu", "4000");
    ring.configure([]);
    sockets.keep([]);
    ring.configure(sockets.open(interfacesNamed("a0", "b0")).map((socket, i) => ({ ...socket, gate: i })));
    let received = 0;
    const turn = () => {
      for (let i = 0; i < 32; i++) send(i);
      send(32, 2500);
      ring.flush();
      Atomics.add(control, (CONTROL.GATES + GATE.STRIDE + GATE.PASSED) >> 2, 33);
      ring.wait(0);
      while (takeHalf() > 0) {
        received++;
        ring.flush();
        ring.settle(B);
      }
      ring.countDrops();
    };
    /** A gate is settled late where not all is given back at once. */
    const takeHalf = () => {
      let frames = 0;
      while (frames < 16 && ring.next(B) !== NO_FRAME) frames++;
      return frames;
    };
    for (let i = 0; i < 2 * TURNS; i++) turn();
    const settledBefore = gates[B].settled;
    gcAndSweep();
    const before = heapStats().objectTypeCounts;
    for (let i = 0; i < TURNS; i++) turn();
    const after = Object.entries(heapStats().objectTypeCounts);
    const settled = gates[B].settled - settledBefore;
    const more = after.filter(([type, count]) => count - (before[type] ?? 0) > FEW).map(([type]) => type);
    return { parts: received / (3 * TURNS), settled: settled / TURNS, more };
  },

  /** What may wait in the kernel for each socket, of a machine of so much memory, as sockets come and go. */
  async shares() {
    const bytes = (fd: number) =>
      [SO_SNDBUF, SO_RCVBUF].map((option) => {
        const value = new Uint32Array(1);
        getOption(fd, SOL_SOCKET, option, value);
        return value[0];
      });
    const few = new PacketSockets(undefined, () => {}, 128 * 1024 * 1024);
    const looks: number[][][] = [];
    const look = (open: readonly { fd: number }[]) => looks.push(open.map(({ fd }) => bytes(fd)));
    const two = few.open(interfacesNamed("a0", "b0"));
    look(two);
    const three = few.open(interfacesNamed("a0", "b0", "lo"));
    look(three);
    few.keep(three.slice(0, 1));
    look(three.slice(0, 1));
    few.keep([]);
    return looks;
  },

  /** An interface that takes hardly anything: what waits for it is bounded, all else is dropped and counted. */
  async stalled() {
    await ip("link", "set", "a0", "mtu", "4000");
    await Bun.$`tc qdisc replace dev a0 root tbf rate 8kbit burst 5000 limit 1000000000`;
    ring.configure([]);
    sockets.keep([]);
    const small = new PacketSockets(undefined, () => {}, 32 * 1024 * 1024);
    ring.configure(small.open(interfacesNamed("a0", "b0")));
    for (let i = 0; i < 4000; i++) send(i, 2000);
    ring.flush();
    const memory = await Bun.$`ss --packet --memory --numeric`.text();
    const waiting = [...memory.matchAll(/\bt(\d+),tb(\d+)/g)].map(([, t, tb]) => [Number(t), Number(tb)]);
    const most = waiting.reduce((max, each) => (each[0] > max[0] ? each : max), [0, 0]);
    const { "transmit queue full": dropped } = counters();
    return { allowed: most[1], waits: most[0] > most[1] / 2 && most[0] < most[1] + 8192, dropped: dropped > 2000 };
  },

  /** An interface that can't be had changes nothing; one that stays keeps what it has received. */
  configure() {
    send(1);
    ring.flush();
    let error = "";
    try {
      configure("b0", "nowhere");
    } catch (caught) {
      error = String(caught);
    }
    for (let i = 0; i < 10; i++) {
      configure("lo", "b0");
      configure("a0", "b0");
    }
    send(2);
    ring.flush();
    const descriptors = Array.from(new Bun.Glob("*").scanSync({ cwd: "/proc/self/fd", onlyFiles: false }));
    const maps = readFileSync("/proc/self/maps", "utf8");
    return {
      error,
      received: receive(),
      fewDescriptors: descriptors.length < 50,
      rings: maps.match(/socket:/g)?.length,
    };
  },
};

const name = process.argv[2] as keyof typeof CASES;
console.log(JSON.stringify(await CASES[name]()));
ring.close();
