// Flows of IPv6 that take the kernel path, of UDP and of TCP, both ways, for what is tried with them: each frame goes to two routers,
// one with the kernel path and one that has all its frames take the slow path, and they must do the same.
import { payload } from "../../lab/frames.ts";
import { tcp6, udp6 } from "../../lab/frames6.ts";
import { TCP, UDP } from "../../lab/protocols.ts";
import { Lab } from "../../lab/router-lab.ts";
import {
  frameFrom6,
  interfaceOf6,
  LAN_HOST_6,
  OUTSIDE_6,
  REMOTE_6,
  ROUTED_HOST,
  WORK_HOST_6,
} from "../../lab/router-lab6.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { KernelLab, withInterfaces } from "./kernel-lab.ts";
import { type Frame, Twins } from "./twins.ts";
import { ROUTED_TWIN_6, TWIN_6 } from "./twins6.ts";

/** One way of a flow. */
export interface Way {
  readonly protocol: number;
  /** Whether its packets go to the uplink. */
  readonly isThere: boolean;
  /** @returns a frame of it with so many bytes of payload */
  frame(length: number): Frame;
}

/** Bytes of payload of a frame that is like all others. */
export const USUAL = 40;

const SEQUENCE = 1000;
const ANSWER = 70_000;
/** So many that nothing fails for want of room. */
const FLOWS = 16_384;

export class Ways6 {
  /** UDP of "work" there and back, TCP of "lan" there and back. */
  all: readonly Way[] = [];
  readonly settings: Settings;
  readonly twins: Twins;
  readonly lanHost: string;
  private readonly kernel: KernelLab;
  private port = 20_000;

  /** @param words of a program: names of interfaces, and "routed" where the network of "lan" is to be routed to us */
  constructor(words: readonly string[]) {
    const names = words.filter((word) => word !== "routed");
    const isRouted = names.length < words.length;
    const twin = isRouted ? ROUTED_TWIN_6 : TWIN_6;
    this.settings = withInterfaces({ ...twin, nat: { ...twin.nat, maxFlows: FLOWS } }, names);
    this.lanHost = isRouted ? ROUTED_HOST : LAN_HOST_6;
    this.kernel = new KernelLab(this.settings);
    this.twins = new Twins(this.kernel, new Lab({ settings: this.settings, slow: true }));
  }

  /** @returns whether a frame, which both forward or refuse alike, took the kernel path @throws where they differ */
  takes(frame: Frame): boolean {
    const before = this.kernel.byKernel;
    this.twins.receive(frame);
    return this.kernel.byKernel > before;
  }

  /** @returns what becomes of a frame, or nothing where it is not forwarded */
  sent(frame: Frame): Uint8Array | undefined {
    return this.twins.receive(frame) ? this.kernel.last.at(-1)?.bytes : undefined;
  }

  /** Has all ways take the kernel path: those of new flows, where some of the known ones do not any more. */
  open(): void {
    if (this.all.length > 0 && this.all.every((way) => this.enters(way))) return;
    this.all = [...this.openUdp(), ...this.openTcp()];
    if (!this.all.every((way) => this.enters(way))) throw new Error("a new flow does not take the kernel path");
  }

  /** @returns whether a way takes the kernel path once the router has had some of its frames */
  private enters(way: Way): boolean {
    return Array.from({ length: 3 }, () => this.takes(way.frame(USUAL))).at(-1) === true;
  }

  private openUdp(): Way[] {
    const there = { source: WORK_HOST_6, sourcePort: ++this.port, destination: REMOTE_6, destinationPort: 5000 };
    const outside = this.outsidePort(frameOf(WORK_HOST_6, udp6(there, payload(1))));
    const back = { source: REMOTE_6, sourcePort: 5000, destination: OUTSIDE_6, destinationPort: outside };
    return [
      { protocol: UDP, isThere: true, frame: (length) => frameOf(WORK_HOST_6, udp6(there, payload(length))) },
      { protocol: UDP, isThere: false, frame: (length) => frameOf(REMOTE_6, udp6(back, payload(length))) },
    ];
  }

  private openTcp(): Way[] {
    const { lanHost } = this;
    const there = { source: lanHost, sourcePort: ++this.port, destination: REMOTE_6, destinationPort: 443 };
    const syn = frameOf(lanHost, tcp6({ ...there, sequence: SEQUENCE, flags: "S" }));
    const destination = lanHost === ROUTED_HOST ? lanHost : OUTSIDE_6;
    const back = { source: REMOTE_6, sourcePort: 443, destination, destinationPort: this.outsidePort(syn) };
    const answer = { ...back, sequence: ANSWER, acknowledgment: SEQUENCE + 1, flags: "S." };
    this.twins.receive(frameOf(REMOTE_6, tcp6(answer)));
    const thereOn = { ...there, sequence: SEQUENCE + 1, acknowledgment: ANSWER + 1, flags: "." };
    const backOn = { ...answer, sequence: ANSWER + 1, flags: "." };
    return [
      { protocol: TCP, isThere: true, frame: (length) => frameOf(lanHost, tcp6(thereOn, payload(length))) },
      { protocol: TCP, isThere: false, frame: (length) => frameOf(REMOTE_6, tcp6(backOn, payload(length))) },
    ];
  }

  /** @returns the source port that a frame leaves with */
  private outsidePort(frame: Frame): number {
    const sent = this.sent(frame);
    if (sent === undefined) throw new Error("the first frame of a flow was not forwarded");
    return sent[54] * 256 + sent[55];
  }
}

function frameOf(source: string, packet: Uint8Array): Frame {
  return { iface: interfaceOf6(source), bytes: frameFrom6(source, packet) };
}
