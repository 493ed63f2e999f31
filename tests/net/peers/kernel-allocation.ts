// kernel-allocation.ts INTERFACE…: prints of which types there are more objects after 100 000 flows were entered in the kernel path's
// table, in both directions, and left it again.
import { gcAndSweep, heapStats } from "bun:jsc";
import { payload, udp } from "../../../lab/frames.ts";
import { OUTSIDE, REMOTE, WORK_HOST } from "../../../lab/router-lab.ts";
import { drawKernelKeys } from "../../../src/dataplane/kernel/addresses6.ts";
import { flowRecordsAt, gateOf, loadKernelPrograms, mapFlows } from "../../../src/dataplane/kernel/loader.ts";
import { KernelPath } from "../../../src/dataplane/kernel/path.ts";
import { VERDICT } from "../../../src/dataplane/verdict.ts";
import { readSkbLayout } from "../../../src/linux/bpf/skb-layout.ts";
import { withInterfaces } from "../../support/kernel-lab.ts";
import { type Kept, LAN, PINNED, Treadmill, WORK } from "../../support/treadmill.ts";

const TIMES = 100_000;
/** Objects of a type that nobody made for a flow. */
const FEW = 1000;
/** Offsets of ports in a frame. */
const SOURCE_PORT = 34;
const DESTINATION_PORT = 36;

const limited = { ...PINNED, clients: [{ ...WORK, limits: { ...WORK.limits, flows: 50 } }, LAN] };
const settings = withInterfaces(limited, process.argv.slice(2));
const { maxFlows } = settings.nat;
const programs = loadKernelPrograms(
  maxFlows,
  drawKernelKeys(() => 0x12345678),
  readSkbLayout(),
);
const gate = gateOf(programs, 0);
const mill = new Treadmill(settings, undefined, {
  flowRecords: flowRecordsAt(mapFlows(maxFlows, programs), maxFlows),
  makePath: (state, changes) => new KernelPath(state, changes, programs, () => gate),
});
const ends = { sourcePort: 0, destinationPort: 5000 };
const there = mill.keepFrom(WORK_HOST, udp({ source: WORK_HOST, destination: REMOTE, ...ends }, payload(20)));
const back = mill.keepFrom(
  REMOTE,
  udp({ source: REMOTE, destination: OUTSIDE, sourcePort: 5000, destinationPort: 0 }, payload(20)),
);
let port = 0;
let forwarded = 0;

/** @param frame of the flow */
function forward(frame: Kept): void {
  if (mill.put(frame) === VERDICT.FORWARDED) forwarded++;
  mill.router.enterKernelPath(mill.router.flowToEnter);
}

function turn(): void {
  mill.wait(2000); // so that the oldest of the client's flows is idle, and gives way
  port = (port + 1) % 50_000;
  mill.set16(there, SOURCE_PORT, 10_000 + port);
  forward(there);
  mill.set16(back, DESTINATION_PORT, mill.sentPort());
  forward(back);
}

for (let i = 0; i < 2 * TIMES; i++) turn();
gcAndSweep();
const before = heapStats().objectTypeCounts;
for (let i = 0; i < TIMES; i++) turn();
const after = Object.entries(heapStats().objectTypeCounts);
const more = after.filter(([type, count]) => count - (before[type] ?? 0) > FEW).map(([type]) => type);
console.log(JSON.stringify({ more, forwarded: forwarded / TIMES }));
process.exit();
