// kernel-squatters.ts INTERFACE…: a client keeps more flows than the kernel path has places, and uses each now and then; then a host of
// the network opens some. Prints of how many flows of both frames take the kernel path, both ways, and how many of the client's then do.
import { payload, udp } from "../../../lab/frames.ts";
import {
  frameFrom,
  LAN,
  LAN_HOST,
  OUTSIDE,
  REMOTE,
  SETTINGS,
  UPLINK,
  WORK,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import { drawKernelKeys } from "../../../src/dataplane/kernel/addresses6.ts";
import { loadKernelPrograms } from "../../../src/dataplane/kernel/loader.ts";
import { readSkbLayout } from "../../../src/linux/bpf/skb-layout.ts";
import { KernelLab, withInterfaces } from "../../support/kernel-lab.ts";
import { sentPort } from "../../support/nat.ts";

/** Of a machine with so little memory that there are few places. */
const MEMORY = 128 * 280 * 100;
const SQUATTED = 5000;
const WANTED = 20;

const settings = withInterfaces({ ...SETTINGS, nat: { ...SETTINGS.nat, maxFlows: 8192 } }, process.argv.slice(2));
const keys = drawKernelKeys(() => 0x12345678);
const programs = loadKernelPrograms(settings.nat.maxFlows, keys, readSkbLayout(), MEMORY);
const lab = new KernelLab(settings, programs);

interface Way {
  readonly iface: number;
  readonly frame: Uint8Array;
}

/** Frames of a client's flow, there and back. */
function open(host: string, iface: number, sourcePort: number): Way[] {
  const there = frameFrom(
    host,
    udp({ source: host, sourcePort, destination: REMOTE, destinationPort: 9 }, payload(50)),
  );
  lab.receive(iface, there);
  const back = { source: REMOTE, sourcePort: 9, destination: OUTSIDE, destinationPort: sentPort(lab) };
  return [
    { iface, frame: there },
    { iface: UPLINK, frame: frameFrom(REMOTE, udp(back, payload(60))) },
  ];
}

const use = (ways: readonly Way[]) => {
  for (const { iface, frame } of ways) lab.receive(iface, frame);
};

/** Whether its frames take the kernel path both ways. */
function takes(ways: readonly Way[]): boolean {
  lab.gate.settle(lab.gate.passed);
  return ways.every(({ iface, frame }) => lab.filter(iface, frame));
}

// The first frame has the host asked for its MAC address.
open(WORK_HOST, WORK, 1);
open(LAN_HOST, LAN, 1);
const squatted: Way[][] = [];
for (let i = 0; i < SQUATTED; i++) {
  const flow = open(WORK_HOST, WORK, 1024 + i);
  use(flow);
  use(flow);
  squatted.push(flow);
}
const before = squatted.filter(takes).length;
const wanted = Array.from({ length: WANTED }, (_, i) => open(LAN_HOST, LAN, 1024 + i));
for (const flow of wanted) use(flow);
const got = wanted.filter(takes).length;
for (const flow of squatted) use(flow);
const kept = wanted.filter(takes).length;
console.log(JSON.stringify({ places: programs.places, before, got, kept, after: squatted.filter(takes).length }));
process.exit();
