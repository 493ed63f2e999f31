// `core` and `flows`: the pure dataplane on frames in memory, without sockets: ns a packet for each kind of traffic, and for tables
// of all sizes.
import { Worker } from "node:worker_threads";
import type { Benchmark, Options } from "./benchmark.ts";
import type { Measured, Task } from "./core-thread.ts";
import { KINDS } from "./memory-traffic.ts";
import type { Report } from "./report/report.ts";
import { FIREBREAK } from "./subjects/subjects.ts";

const CORE_FLOWS = 1000;
/** Flows opened to measure what a new one costs. */
const NEW_FLOWS = 100_000;
const MOST = 1_000_000;
const SIZES = [1000, 10_000, 100_000, MOST];

const ESTABLISHED_NS = 150;
const MILLION_NS = 300;
const NEW_FLOW_NS = 1500;
const FLOW_MEMORY_6 = 128;

export const core: Benchmark = {
  async run(report, { rounds }: Options) {
    const what = `${CORE_FLOWS} flows`;
    for (const kind of KINDS) {
      const { ns, allocated } = await measured({ kind, flows: CORE_FLOWS, what: "packets", rounds });
      addAll(report, what, `${kind} packet`, ns);
      report.add(what, `${kind} packet allocates`, "objects", FIREBREAK, allocated);
    }
    const { ns } = await measured({ kind: "UDP", flows: NEW_FLOWS, what: "new flows", rounds });
    addAll(report, "table empty", "new flow", ns);
    for (const kind of ["UDP", "TCP"]) report.limit(what, `${kind} packet`, FIREBREAK, { atMost: ESTABLISHED_NS });
    report.limit("table empty", "new flow", FIREBREAK, { atMost: NEW_FLOW_NS });
    for (const kind of KINDS) report.limitExact(what, `${kind} packet allocates`, FIREBREAK, { atMost: 0 });
  },
};

export const flows: Benchmark = {
  async run(report, { rounds }: Options) {
    for (const size of SIZES) {
      const { ns, flowMemory } = await measured({ kind: "UDP", flows: size, what: "packets", rounds });
      addAll(report, `${size} flows`, "UDP packet", ns);
      if (size === MOST) report.add(`${size} flows`, "memory a flow", "bytes", FIREBREAK, flowMemory);
    }
    for (const size of [CORE_FLOWS, MOST]) {
      const { ns, flowMemory } = await measured({ kind: "UDP over IPv6", flows: size, what: "packets", rounds });
      addAll(report, `${size} flows`, "UDP over IPv6 packet", ns);
      if (size === MOST) report.add(`${size} flows`, "memory a flow of IPv6", "bytes", FIREBREAK, flowMemory);
    }
    report.limit(`${MOST} flows`, "memory a flow of IPv6", FIREBREAK, { atMost: FLOW_MEMORY_6 });
    report.limit("1000 flows", "UDP packet", FIREBREAK, { atMost: ESTABLISHED_NS });
    report.limit(`${MOST} flows`, "UDP packet", FIREBREAK, { atMost: MILLION_NS });
  },
};

/** Has a thread of its own do it. @throws what it threw */
function measured(task: Task): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL("./core-thread.ts", import.meta.url), { workerData: task });
    thread.once("message", resolve);
    thread.once("error", reject);
  });
}

function addAll(report: Report, what: string, metric: string, ns: readonly number[]): void {
  for (const each of ns) report.add(what, metric, "ns", FIREBREAK, each);
}
