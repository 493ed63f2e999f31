// `core` and `flows`: the pure dataplane on frames in memory, without sockets: ns a packet for each kind of traffic, and for tables
// of all sizes. Each round handles the same frames, written anew from templates; what the writing costs is measured beside it
// and taken off.
import { gcAndSweep, heapSize } from "bun:jsc";
import type { Benchmark, Options } from "./benchmark.ts";
import { KINDS, type Kind, Traffic } from "./memory-traffic.ts";
import { Report } from "./report.ts";
import { median } from "./statistics.ts";
import { FIREBREAK } from "./subjects.ts";

const PACKETS = 1_000_000;
const PART = 8000;
const CORE_FLOWS = 1000;
/** Flows opened to measure what a new one costs. */
const NEW_FLOWS = 100_000;
const MOST = 1_000_000;
const SIZES = [1000, 10_000, 100_000, MOST];
/** Times that traffic is handled before it counts, so that all is compiled. */
const WARM_UP = 3;

const ESTABLISHED_NS = 150;
const MILLION_NS = 300;
const NEW_FLOW_NS = 1500;

export const core: Benchmark = {
  summary: "the pure dataplane on frames in memory: ns a packet of each kind, a new flow, allocation",
  async run(report, { rounds }: Options) {
    const what = `${CORE_FLOWS} flows`;
    for (const kind of KINDS) {
      const traffic = opened(CORE_FLOWS, kind);
      warmUp(traffic);
      for (let round = 0; round < rounds; round++) addRound(report, what, `${kind} packet`, traffic);
      report.add(what, `${kind} packet allocates`, "bytes", FIREBREAK, allocation(traffic));
    }
    addNewFlows(new Report()); // compiles
    for (let round = 0; round < rounds; round++) addNewFlows(report);
    for (const kind of ["UDP", "TCP"]) report.limit(what, `${kind} packet`, FIREBREAK, { atMost: ESTABLISHED_NS });
    report.limit("table empty", "new flow", FIREBREAK, { atMost: NEW_FLOW_NS });
    for (const kind of KINDS) report.limitExact(what, `${kind} packet allocates`, FIREBREAK, { atMost: 0 });
  },
};

export const flows: Benchmark = {
  summary: "the pure dataplane with 1 000 to 1 000 000 flows: ns a packet, bytes a flow",
  async run(report, { rounds }: Options) {
    for (const size of SIZES) {
      gcAndSweep();
      const before = process.memoryUsage().rss;
      const traffic = opened(size, "UDP");
      const resident = process.memoryUsage().rss - before - traffic.templateBytes;
      if (size === MOST) report.add(`${size} flows`, "memory a flow", "bytes", FIREBREAK, resident / size);
      warmUp(traffic);
      for (let round = 0; round < rounds; round++) addRound(report, `${size} flows`, "UDP packet", traffic);
    }
    report.limit("1000 flows", "UDP packet", FIREBREAK, { atMost: ESTABLISHED_NS });
    report.limit(`${MOST} flows`, "UDP packet", FIREBREAK, { atMost: MILLION_NS });
  },
};

function opened(size: number, kind: Kind): Traffic {
  const traffic = new Traffic(size, kind);
  traffic.open();
  return traffic;
}

function warmUp(traffic: Traffic): void {
  const order = traffic.shuffled(PACKETS);
  for (let i = 0; i < WARM_UP; i++) {
    traffic.copy(order);
    traffic.handle(order);
  }
}

/** Handles packets of open flows, and makes sure that they were forwarded. */
function addRound(report: Report, what: string, metric: string, traffic: Traffic): void {
  const order = traffic.shuffled(PACKETS);
  const copy = nsEach(order, (part) => traffic.copy(part));
  let forwarded = 0;
  const handled = nsEach(order, (part) => {
    forwarded += traffic.handle(part);
  });
  if (forwarded !== (traffic.kind === "misses" ? 0 : order.length)) {
    throw new Error(`${forwarded} of ${order.length} packets were forwarded; in all: ${traffic.verdicts}`);
  }
  report.add(what, metric, "ns", FIREBREAK, handled - copy);
}

function addNewFlows(report: Report): void {
  const traffic = new Traffic(NEW_FLOWS, "UDP");
  const order = traffic.inOrder();
  const copy = nsEach(order, (part) => traffic.copy(part));
  const handled = nsEach(order, (part) => traffic.handle(part));
  report.add("table empty", "new flow", "ns", FIREBREAK, handled - copy);
}

/** @returns bytes that the heap grows by for a packet, without what writing it into the ring takes */
function allocation(traffic: Traffic): number {
  const order = traffic.shuffled(PACKETS);
  const growth = [() => traffic.copy(order), () => traffic.handle(order)].map((work) => {
    gcAndSweep();
    const before = heapSize();
    work();
    return heapSize() - before;
  });
  return Math.max(0, Math.round(((growth[1] ?? 0) - (growth[0] ?? 0)) / order.length));
}

/** @returns ns a frame, the median of parts so short that other programs interrupt few of them */
function nsEach(order: Int32Array, work: (part: Int32Array) => void): number {
  const parts: number[] = [];
  for (let at = 0; at + PART <= order.length; at += PART) {
    const start = Bun.nanoseconds();
    work(order.subarray(at, at + PART));
    parts.push((Bun.nanoseconds() - start) / PART);
  }
  return median(parts);
}
