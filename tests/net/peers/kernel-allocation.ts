// kernel-allocation.ts INTERFACE… [ipv6]: prints of which types there are more objects after 100 000 flows were entered in the
// kernel path's table, in both directions, and left it again.
import { gcAndSweep, heapStats } from "bun:jsc";
import { payload, udp } from "../../../lab/frames.ts";
import { udp6 } from "../../../lab/frames6.ts";
import { OUTSIDE, REMOTE, WORK_HOST } from "../../../lab/router-lab.ts";
import {
  frameFrom6,
  interfaceOf6,
  LAN_SETTINGS_6,
  OUTSIDE_6,
  REMOTE_6,
  SETTINGS_6,
  WORK_HOST_6,
  WORK_SETTINGS_6,
} from "../../../lab/router-lab6.ts";
import { addAddressMap, drawKernelKeys } from "../../../src/dataplane/kernel/addresses6.ts";
import {
  addressesOf,
  entryCount,
  flowRecordsAt,
  gateOf,
  loadKernelPrograms,
  mapFlows,
} from "../../../src/dataplane/kernel/loader.ts";
import { KernelPath } from "../../../src/dataplane/kernel/path.ts";
import { VERDICT } from "../../../src/dataplane/verdict.ts";
import { readSkbLayout } from "../../../src/linux/bpf/skb-layout.ts";
import { withInterfaces } from "../../support/kernel-lab.ts";
import { type Kept, LAN, PINNED, Treadmill, WORK } from "../../support/treadmill.ts";

const TIMES = 100_000;
/** Objects of a type that nobody made for a flow. */
const FEW = 1000;

const words = process.argv.slice(2);
const names = words.filter((word) => word !== "ipv6");
const isIpv6 = names.length < words.length;
/** Offsets of ports in a frame. */
const SOURCE_PORT = isIpv6 ? 54 : 34;
const DESTINATION_PORT = SOURCE_PORT + 2;

const work = { ...(isIpv6 ? WORK_SETTINGS_6 : WORK), limits: { ...WORK.limits, flows: 50 } };
const limited = isIpv6 ? { ...SETTINGS_6, clients: [work, LAN_SETTINGS_6] } : { ...PINNED, clients: [work, LAN] };
const settings = withInterfaces(limited, names);
const { maxFlows } = settings.nat;
const programs = loadKernelPrograms(
  maxFlows,
  drawKernelKeys(() => 0x12345678),
  readSkbLayout(),
);
const gate = gateOf(programs, 0);
const mill = new Treadmill(settings, undefined, {
  flowRecords: flowRecordsAt(mapFlows(maxFlows, programs), maxFlows),
  makePath(state, changes) {
    const path = new KernelPath(state, changes, programs, () => gate);
    path.takeAddresses(addressesOf(programs, addAddressMap(programs.maps.addresses, entryCount(programs))));
    return path;
  },
});
const ends = { sourcePort: 0, destinationPort: 5000 };
const endsBack = { sourcePort: 5000, destinationPort: 0 };
const there = isIpv6
  ? keepFrom6(WORK_HOST_6, udp6({ source: WORK_HOST_6, destination: REMOTE_6, ...ends }, payload(20)))
  : mill.keepFrom(WORK_HOST, udp({ source: WORK_HOST, destination: REMOTE, ...ends }, payload(20)));
const back = isIpv6
  ? keepFrom6(REMOTE_6, udp6({ source: REMOTE_6, destination: OUTSIDE_6, ...endsBack }, payload(20)))
  : mill.keepFrom(REMOTE, udp({ source: REMOTE, destination: OUTSIDE, ...endsBack }, payload(20)));
let port = 0;
let forwarded = 0;

function keepFrom6(host: string, packet: Uint8Array): Kept {
  return mill.keep(interfaceOf6(host), frameFrom6(host, packet));
}

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
  mill.set16(back, DESTINATION_PORT, mill.sentPort(SOURCE_PORT));
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
