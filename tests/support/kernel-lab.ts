// A firewall on a bench whose flows take the kernel path as soon as they may: the kernel's programs see each frame first, and
// only what they leave goes to the router, the careful way. Needs root, one CPU to itself (the programs leave each other notes
// by CPU), and the interfaces that the settings number.
import { toArrayBuffer } from "bun:ffi";
import { ENTRY_STRIDE } from "../../src/dataplane/kernel-entries.ts";
import { flowRecordsAt, KernelCounters, loadKernelPrograms, mapFlows } from "../../src/dataplane/kernel-loader.ts";
import { CONTROL } from "../../src/dataplane/kernel-programs.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { pointer } from "../../src/linux/libc.ts";
import { runProgram } from "./bpf.ts";
import { mac } from "./frames.ts";
import { Lab, OUR_MAC, type Outcome, shown } from "./lab.ts";
import { GSO, NEEDS_CSUM, NO_VNET } from "./offload.ts";

const TO_SOCKET = 0xffffffff;
const TC_ACT_REDIRECT = 7; // linux/pkt_cls.h

export class KernelLab extends Lab {
  /** Frames that the kernel forwarded. */
  byKernel = 0;

  /** The table of entries. */
  readonly entries: Uint8Array;

  private readonly control: DataView;
  private readonly counters: KernelCounters;

  constructor(
    private readonly settings: Settings,
    private readonly programs = loadKernelPrograms(settings.nat.maxFlows, 0x12345678),
  ) {
    const { maxFlows } = settings.nat;
    const flowRecords = flowRecordsAt(mapFlows(maxFlows, programs), maxFlows);
    super({ settings, careful: true, kernel: { programs, flowRecords } });
    this.control = new DataView(toArrayBuffer(pointer(programs.control), 0, CONTROL.LENGTH));
    this.entries = new Uint8Array(toArrayBuffer(pointer(programs.entries), 0, 2 * programs.flows * ENTRY_STRIDE));
    this.counters = new KernelCounters(programs);
    this.setClock();
  }

  override receive(iface: number, frame: Uint8Array, vnet: Uint8Array = NO_VNET): Outcome {
    const outcome = this.tryKernel(iface, frame, vnet) ?? super.receive(iface, frame, vnet);
    this.router.enterKernelPath();
    return outcome;
  }

  override leap(ms: number): string[] {
    const sent = super.leap(ms);
    this.setClock();
    return sent;
  }

  override counts(): Record<string, number> {
    const counts = super.counts();
    return { ...counts, forwarded: (counts.forwarded ?? 0) + this.counters.forwarded };
  }

  /** Its deadlines allow for a clock that is a second behind: so it is here, and they are those of the careful way. */
  private setClock(): void {
    this.control.setInt32(CONTROL.SECOND, Math.floor(this.now / 1000) - 1, true);
  }

  /** @returns undefined where the frame goes to the router */
  private tryKernel(iface: number, frame: Uint8Array, vnet: Uint8Array): Outcome | undefined {
    const gsoType = vnet[1];
    const gsoSize = vnet[4] + vnet[5] * 256;
    // What the kernel makes no frames of; and an unfinished checksum, which it can't be told of here.
    const isCut = (gsoType & 0x7f) === GSO.TCPV4;
    if (frame.length === 0 || (vnet[0] & NEEDS_CSUM) !== 0 || isCut !== gsoSize > 0) return undefined;
    if (gsoType !== 0 && !isCut) return undefined;
    const { filter, forwarder } = this.programs;
    const ifindex = this.settings.interfaces[iface].index;
    // A filter sees what is behind the first 14 bytes.
    const behind = new Uint8Array(14 + frame.length);
    behind.set(frame, 14);
    const { result } = runProgram(filter, behind, ifindex, gsoSize);
    if (result === TO_SOCKET) return undefined;
    if (result !== 0) throw new Error(`the filter returned ${result}`);
    const run = runProgram(forwarder, frame, ifindex, gsoSize);
    if (run.result !== TC_ACT_REDIRECT) throw new Error(`the forwarder returned ${run.result}`);
    this.byKernel++;
    const egress = OUR_MAC.findIndex((address) => Bun.deepEquals(mac(address), run.frame.slice(6, 12)));
    this.rule = -1;
    this.flow = this.flowOf(frame);
    this.last = [{ iface: egress, bytes: run.frame, vnet }];
    return { verdict: "forwarded", sent: [shown(egress, run.frame, vnet)] };
  }

  private flowOf(frame: Uint8Array): number {
    const view = new DataView(frame.buffer, frame.byteOffset);
    return this.router.flows.find(view.getInt32(26), view.getInt32(30), view.getInt32(34), view.getUint8(23)) >> 1;
  }
}
