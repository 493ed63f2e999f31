// A thread of `core` and `flows`, with one router, as the appliance's has: with several the compiler knows less of each. Handles
// frames in memory, written anew from templates; what the writing costs is measured beside it and taken off.
import { gcAndSweep, heapStats } from "bun:jsc";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { rehearse } from "../src/dataplane/io/rehearsal.ts";
import { type Kind, Traffic } from "./memory-traffic.ts";
import { median } from "./report/statistics.ts";

const PACKETS = 1_000_000;
const PART = 8000;
/** Times that traffic is handled before it counts, so that all is compiled. */
const WARM_UP = 3;

export interface Task {
  readonly kind: Kind;
  readonly flows: number;
  /** Packets of open flows, or the opening of flows. */
  readonly what: "packets" | "new flows";
  readonly rounds: number;
}

export interface Measured {
  /** ns a packet, of each round. */
  readonly ns: readonly number[];
  /** Objects that are made for a packet. */
  readonly allocated: number;
  /** Bytes of memory that a flow takes. */
  readonly flowMemory: number;
}

function measure(task: Task): Measured {
  rehearse(); // as the appliance's thread has: the compiler knows less of what has run over two routers
  return measureTask(task);
}

function measureTask({ kind, flows, what, rounds }: Task): Measured {
  return what === "packets" ? measurePackets(kind, flows, rounds) : measureNewFlows(kind, flows, rounds);
}

function measurePackets(kind: Kind, flows: number, rounds: number): Measured {
  gcAndSweep();
  const before = process.memoryUsage().rss;
  const traffic = new Traffic(flows, kind);
  traffic.open();
  const flowMemory = (process.memoryUsage().rss - before - traffic.templateBytes) / flows;
  const order = traffic.shuffled(PACKETS);
  for (let i = 0; i < WARM_UP; i++) {
    traffic.copy(order);
    traffic.handle(order);
  }
  const ns = Array.from({ length: rounds }, () => round(traffic, order));
  return { ns, allocated: allocation(traffic, order), flowMemory };
}

/** Handles packets of open flows, and makes sure that they were forwarded. @returns ns a packet */
function round(traffic: Traffic, order: Int32Array): number {
  const copy = nsEach(order, (part) => traffic.copy(part));
  let forwarded = 0;
  const handled = nsEach(order, (part) => {
    forwarded += traffic.handle(part);
  });
  const sent = order.length - (order.length % PART);
  if (forwarded !== (traffic.kind === "misses" ? 0 : sent)) {
    throw new Error(`${forwarded} of ${sent} packets were forwarded; in all: ${traffic.verdicts}`);
  }
  return handled - copy;
}

/** Flows can be new once: each round, and one before that compiles, has a router of its own. */
function measureNewFlows(kind: Kind, flows: number, rounds: number): Measured {
  const ns = Array.from({ length: rounds + 1 }, () => {
    const traffic = new Traffic(flows, kind);
    return round(traffic, traffic.inOrder());
  });
  return { ns: ns.slice(1), allocated: 0, flowMemory: 0 };
}

/** @returns objects that are made for a packet, without those that writing it into the ring takes */
function allocation(traffic: Traffic, order: Int32Array): number {
  const growth = [() => traffic.copy(order), () => traffic.handle(order)].map((work) => {
    gcAndSweep();
    const before = objects();
    work();
    return objects() - before;
  });
  return Math.max(0, Math.round(((growth[1] ?? 0) - (growth[0] ?? 0)) / order.length));
}

/** @returns how many there are, those included that nobody needs and that are not collected yet: the heap's size leaves them out */
function objects(): number {
  return Object.values(heapStats().objectTypeCounts).reduce((sum, count) => sum + count, 0);
}

/** @returns ns a frame, the median of whole parts so short that other programs interrupt few of them */
function nsEach(order: Int32Array, work: (part: Int32Array) => void): number {
  const parts: number[] = [];
  for (let at = 0; at + PART <= order.length; at += PART) {
    const start = Bun.nanoseconds();
    work(order.subarray(at, at + PART));
    parts.push((Bun.nanoseconds() - start) / PART);
  }
  return median(parts);
}

(parentPort as MessagePort).postMessage(measure(workerData as Task));
