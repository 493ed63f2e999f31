// A firewall on a bench whose flows take the kernel path as soon as they may: the kernel's programs see each frame first, and
// only what they leave goes to the router, on the slow path. Needs root, one CPU to itself (the programs leave each other notes
// by CPU), and the interfaces that the settings number.
import { toArrayBuffer } from "bun:ffi";
import { payload, udp } from "../../lab/frames.ts";
import { udp6 } from "../../lab/frames6.ts";
import { GSO, NEEDS_CSUM, NO_VNET } from "../../lab/offload.ts";
import { frameFrom, Lab, type Outcome, REMOTE, SETTINGS, shown, WORK, WORK_HOST } from "../../lab/router-lab.ts";
import { frameFrom6, REMOTE_6, SETTINGS_6, WORK_HOST_6 } from "../../lab/router-lab6.ts";
import { addAddressMap, drawKernelKeys } from "../../src/dataplane/kernel/addresses6.ts";
import { Announcements } from "../../src/dataplane/kernel/announcements.ts";
import { ENTRY_STRIDE } from "../../src/dataplane/kernel/entries.ts";
import type { Gate } from "../../src/dataplane/kernel/gates.ts";
import {
  addressesOf,
  controlOf,
  entryCount,
  flowRecordsAt,
  gateOf,
  KernelCounters,
  loadKernelPrograms,
  mapFlows,
} from "../../src/dataplane/kernel/loader.ts";
import { KernelPath } from "../../src/dataplane/kernel/path.ts";
import { CONTROL, INDEX_STRIDE } from "../../src/dataplane/kernel/programs/layout.ts";
import { Pulse } from "../../src/dataplane/kernel/pulse.ts";
import { addRecordMap, putInPlace } from "../../src/dataplane/kernel/records.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { type Flow, flowOf, NO_FLOW, NO_FLOW_SIDE } from "../../src/dataplane/types.ts";
import { readSkbLayout } from "../../src/linux/bpf/skb-layout.ts";
import { pointer } from "../../src/linux/libc.ts";
import { interfaceIndex } from "../../src/linux/net/interfaces.ts";
import { FIRST_MARK } from "../../src/linux/net/shaping.ts";
import { readAddress } from "../../src/wire/ipv4.ts";
import type { Ports } from "../../src/wire/ports.ts";
import { runProgram } from "./bpf.ts";

const TO_SOCKET = 0xffffffff;
/** Of a frame without a mark. */
const NO_SHARE = -1;
/** In ns: no test takes longer. */
const A_DAY = 86_400e9;
// linux/pkt_cls.h
const TC_ACT_UNSPEC = 0xffffffff;
const TC_ACT_SHOT = 2;
const TC_ACT_REDIRECT = 7;
const FATES = new Map([
  [TC_ACT_UNSPEC, "left"],
  [TC_ACT_SHOT, "dropped"],
  [TC_ACT_REDIRECT, "forwarded"],
]);

export class KernelLab extends Lab {
  /** Frames that the kernel forwarded. */
  byKernel = 0;
  /** By the interface that they came in on. */
  readonly byIface = [0, 0, 0];

  /** The table of entries; and once there was a flow of IPv6, of their addresses. */
  readonly entries: Uint8Array;
  addresses: Uint8Array = new Uint8Array(0);

  /** Of all its interfaces: what is not on its way to the router any more is settled. */
  readonly gate: Gate;
  readonly pulse: Pulse;
  /** As control has them. */
  readonly announcements: Announcements;
  readonly kernelPath: KernelPath;
  private readonly control: DataView;
  private readonly counters: KernelCounters;
  /** Numbers of interfaces, by name. */
  private readonly indexes: ReadonlyMap<string, number>;

  constructor(
    /** Those in force. */
    public settings: Settings,
    private readonly programs = loadKernelPrograms(
      settings.nat.maxFlows,
      drawKernelKeys(() => 0x12345678),
      readSkbLayout(),
    ),
  ) {
    const { maxFlows } = settings.nat;
    const address = mapFlows(maxFlows, programs);
    const flowRecords = flowRecordsAt(address, maxFlows);
    const gate = gateOf(programs, 0);
    const made: KernelPath[] = [];
    let recordMaps = 1;
    const wants = {
      records() {
        putInPlace(address, recordMaps, addRecordMap(programs.maps.records, recordMaps));
        recordMaps++;
        made[0].grow();
      },
      addresses() {
        const words = addressesOf(programs, addAddressMap(programs.maps.addresses, entryCount(programs)));
        made[0].takeAddresses(words);
        onAddresses(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
      },
    };
    let onAddresses = (_: Uint8Array) => {};
    super({
      settings,
      slow: true,
      kernel: {
        makePath(state, changes) {
          made.push(new KernelPath(state, changes, programs, () => gate, wants));
          return made[0];
        },
        flowRecords,
      },
    });
    onAddresses = (addresses) => {
      this.addresses = addresses;
    };
    this.indexes = new Map(settings.interfaces.map(({ name, index }) => [name, index]));
    [this.kernelPath] = made;
    this.announcements = new Announcements(controlOf(programs));
    this.gate = gate;
    this.control = new DataView(toArrayBuffer(pointer(programs.control), 0, CONTROL.LENGTH));
    this.entries = new Uint8Array(toArrayBuffer(pointer(programs.entries), 0, 2 * programs.places * ENTRY_STRIDE));
    this.counters = new KernelCounters(programs);
    this.pulse = new Pulse(controlOf(programs));
    this.pulse.beat(A_DAY);
    this.setClock();
  }

  override receive(iface: number, frame: Uint8Array, vnet: Uint8Array = NO_VNET): Outcome {
    const byKernel = this.tryKernel(iface, frame, vnet);
    const outcome = byKernel ?? super.receive(iface, frame, vnet);
    if (byKernel === undefined) this.router.enterKernelPath(this.router.flowToEnter);
    this.gate.settle(this.gate.passed); // nothing waits here
    return outcome;
  }

  override leap(ms: number): string[] {
    const sent = super.leap(ms);
    this.setClock();
    return sent;
  }

  override apply(settings: Settings): string[] {
    this.settings = settings;
    return super.apply(settings);
  }

  override counts(): Record<string, number> {
    const counts = super.counts();
    return { ...counts, forwarded: (counts.forwarded ?? 0) + this.counters.forwarded };
  }

  /** How many places of the table's index are taken. */
  get indexed(): number {
    const { index, maps } = this.programs;
    const places = new Int32Array(toArrayBuffer(pointer(index), 0, maps.buckets * INDEX_STRIDE));
    return places.filter((place) => place !== 0).length;
  }

  /** Its deadlines allow for a clock that is a second behind: so it is here, and they are those of the slow path. */
  private setClock(): void {
    this.control.setInt32(CONTROL.SECOND, Math.floor(this.now / 1000) - 1, true);
  }

  /** @returns undefined where the frame goes to the router */
  private tryKernel(iface: number, frame: Uint8Array, vnet: Uint8Array): Outcome | undefined {
    const gsoType = vnet[1];
    const gsoSize = vnet[4] + vnet[5] * 256;
    // What the kernel makes no frames of; and an unfinished checksum, which it can't be told of here.
    const isCut = (gsoType & 0x7f) === (isOfIpv6(frame) ? GSO.TCPV6 : GSO.TCPV4);
    if (frame.length === 0 || (vnet[0] & NEEDS_CSUM) !== 0 || isCut !== gsoSize > 0) return undefined;
    if (gsoType !== 0 && !isCut) return undefined;
    if (!this.filter(iface, frame, gsoSize)) return undefined;
    const run = runProgram(this.programs.forwarder, frame, this.ifindex(iface), gsoSize);
    if (run.result !== TC_ACT_REDIRECT) throw new Error(`the forwarder returned ${run.result}`);
    this.byKernel++;
    this.byIface[iface]++;
    const egress = this.settings.interfaces.findIndex(({ mac }) => Bun.deepEquals(mac, run.frame.slice(6, 12)));
    this.rule = -1;
    this.flow = this.flowOf(frame);
    this.last = [{ iface: egress, bytes: run.frame, vnet, share: run.mark === 0 ? NO_SHARE : run.mark - FIRST_MARK }];
    return { verdict: "forwarded", sent: [shown(egress, run.frame, vnet)] };
  }

  /** @returns whether the frame is kept from the socket: then there is a note about it */
  filter(iface: number, frame: Uint8Array, gsoSize = 0): boolean {
    // A filter sees what is behind the first 14 bytes.
    const behind = new Uint8Array(14 + frame.length);
    behind.set(frame, 14);
    const { result } = runProgram(this.programs.filter, behind, this.ifindex(iface), gsoSize);
    if (result !== 0 && result !== TO_SOCKET) throw new Error(`the filter returned ${result}`);
    return result === 0;
  }

  /** What the second program makes of a frame, whatever the note is about: `left`, `dropped` or `forwarded`. */
  forward(iface: number, frame: Uint8Array): string {
    const { result } = runProgram(this.programs.forwarder, frame, this.ifindex(iface), 0);
    return FATES.get(result) ?? `${result}`;
  }

  /** Frames that the second program dropped, counted as what the kernel could not forward. */
  get failed(): number {
    return this.counters.failed;
  }

  /** What the kernel is told that a frame came in on: it takes no number but of an interface that there is, as there was at first. */
  private ifindex(iface: number): number {
    return this.indexes.get(this.settings.interfaces[iface].name) ?? 0;
  }

  private flowOf(frame: Uint8Array): Flow {
    const view = new DataView(frame.buffer, frame.byteOffset);
    const { flows, addresses } = this.router;
    if (isOfIpv6(frame)) {
      const number = (at: number) => {
        const [a, b, c, d] = [0, 4, 8, 12].map((i) => view.getInt32(at + i));
        return addresses.find(a, b, c, d);
      };
      const found6 = flows.find(number(22), number(38), view.getInt32(54) as Ports, view.getUint8(20));
      return found6 === NO_FLOW_SIDE ? NO_FLOW : flowOf(found6);
    }
    const ports = view.getInt32(34) as Ports;
    const protocol = view.getUint8(23);
    const found = flows.find(readAddress(view, 26), readAddress(view, 30), ports, protocol);
    return found === NO_FLOW_SIDE ? NO_FLOW : flowOf(found);
  }
}

function isOfIpv6(frame: Uint8Array): boolean {
  return frame[12] === 0x86 && frame[13] === 0xdd;
}

/** Settings with the interfaces of those names, as far as there are names. */
export function withInterfaces(settings: Settings, names: readonly string[]): Settings {
  const indexes = names.map(interfaceIndex);
  return { ...settings, interfaces: settings.interfaces.map((iface, i) => ({ ...iface, index: indexes[i] ?? 0 })) };
}

/** A laboratory with one flow, which takes the kernel path; and a frame of it, from WORK. */
export function labWithFlow(names: readonly string[]): { lab: KernelLab; frame: Uint8Array } {
  const lab = new KernelLab(withInterfaces(SETTINGS, names));
  const ends = { source: WORK_HOST, sourcePort: 40_000, destination: REMOTE, destinationPort: 9 };
  const frame = frameFrom(WORK_HOST, udp(ends, payload(50)));
  for (let i = 0; i < 2; i++) lab.receive(WORK, frame); // the first has the client asked for its MAC address
  lab.receive(WORK, frame);
  if (lab.byKernel === 0) throw new Error("the flow was not entered");
  return { lab, frame };
}

/** The same with a flow of IPv6. */
export function labWithFlow6(names: readonly string[]): { lab: KernelLab; frame: Uint8Array } {
  const lab = new KernelLab(withInterfaces(SETTINGS_6, names));
  const ends = { source: WORK_HOST_6, sourcePort: 40_000, destination: REMOTE_6, destinationPort: 9 };
  const frame = frameFrom6(WORK_HOST_6, udp6(ends, payload(50)));
  for (let i = 0; i < 2; i++) lab.receive(WORK, frame);
  if (lab.byKernel === 0) throw new Error("the flow was not entered");
  return { lab, frame };
}

/** What a program's words ask for: names of interfaces, and whether the flow is one of IPv6. */
export function flowGiven(words: readonly string[]): { lab: KernelLab; frame: Uint8Array; isIpv6: boolean } {
  const names = words.filter((word) => word !== "ipv6");
  const isIpv6 = names.length < words.length;
  return { ...(isIpv6 ? labWithFlow6(names) : labWithFlow(names)), isIpv6 };
}
