// The sockets of the dataplane's interfaces, opened and closed by control: for both the kernel waits until none of its CPUs can
// still be using what changes, 8 to 24 ms as measured, in which the dataplane's thread would forward nothing. That thread
// only maps a socket's ring and unmaps it, which takes no time.

import { totalmem } from "node:os";
import { libc, SystemError } from "../../linux/libc.ts";
import { openPacketSocket, setBuffers } from "../../linux/net/packet-socket.ts";
import { hasLostInterface } from "../../linux/net/socket.ts";
import { attachAtIngress, detachFromIngress, type Ingress } from "../../linux/net/tc.ts";
import { gateOf, type KernelPrograms, loadFilter } from "../kernel/loader.ts";
import type { InterfaceSettings } from "../settings.ts";

/** Of each interface's receive ring. */
export const RING_SHAPE = { slotSize: 2048, slots: 512 };

/** In place of the descriptor of an interface that is not there: poll(2) passes over it, and nothing can be sent on it. */
export const NO_SOCKET = -1;

// Bytes that frames take which wait in the kernel, of one socket and each way: as much as a burst needs, but of all sockets together
// no more than a part of the machine's memory. An interface that takes nothing any more holds up so much and not for long: for ever.
const MOST_WAITING = 8 * 1024 * 1024;
const LEAST_WAITING = 128 * 1024;
const WAITING_PART = 16;

/** @param memory of the machine, in bytes @returns what frames may take that wait for one of so many sockets, each way */
export function waitingBytes(memory: number, sockets: number): number {
  const part = Math.floor(memory / WAITING_PART / Math.max(sockets, 1));
  return Math.min(Math.max(part, LEAST_WAITING), MOST_WAITING);
}

/**
 * @param memory of the machine, in bytes
 * @returns what frames may take that wait in our queue in front of an interface: of each group a part, so none keeps the others from it
 */
export function queueBytes(memory = totalmem()): number {
  return Math.floor(memory / WAITING_PART);
}

/** An open socket whose slots fill, mapped or not. Two threads of one process know it by its descriptor. */
export interface PacketSocket {
  /** Of its interface. */
  readonly name: string;
  /** The kernel's number of the interface: another one after it went and came again under its name; 0: it is not there. */
  readonly ifindex: number;
  readonly fd: number;
  /** Number of its gate (kernel/gates.ts); undefined: the kernel path is not for it. */
  readonly gate: number | undefined;
  /** The program at ingress of its interface, where there is one. */
  readonly ingress: Ingress | undefined;
}

export class PacketSockets {
  private sockets: PacketSocket[] = [];
  private queued: number | undefined;

  /**
   * @param programs of the kernel path, where there is one
   * @param opened is told of each socket that is opened: many take long
   * @param memory of the machine, in bytes
   */
  constructor(
    private readonly programs?: KernelPrograms,
    private readonly opened: () => void = () => {},
    private readonly memory = totalmem(),
  ) {}

  /**
   * @param interfaces that are ours, by name and number
   * @param queued the kernel's number of the one that has our queue in front of it
   * @returns their sockets, in that order; those that are open already stay what they are
   * @throws Error where one can't be opened, with none newly opened
   */
  open(interfaces: readonly Pick<InterfaceSettings, "name" | "index">[], queued?: number): PacketSocket[] {
    const before = this.sockets;
    this.queued = queued;
    try {
      const open = interfaces.map(({ name, index }) => this.find(name, index));
      this.shareWaiting();
      return open;
    } catch (error) {
      this.keep(before);
      throw error;
    }
  }

  /** Closes all that are not among these; they must not be mapped any more. */
  keep(kept: readonly PacketSocket[]): void {
    for (const socket of this.sockets) if (!kept.includes(socket)) this.close(socket);
    this.sockets = this.sockets.filter((socket) => kept.includes(socket));
    this.shareWaiting();
  }

  /** @returns the kernel's numbers of interfaces that went since their sockets were opened; others may have these numbers now */
  lost(): Set<number> {
    return new Set(this.sockets.filter(({ fd }) => hasLostInterface(fd)).map(({ ifindex }) => ifindex));
  }

  private shareWaiting(): void {
    const open = this.sockets.filter(({ fd }) => fd !== NO_SOCKET);
    const bytes = waitingBytes(this.memory, open.length);
    for (const { fd, ifindex } of open) {
      setBuffers(fd, bytes, ifindex === this.queued ? queueBytes(this.memory) : bytes);
    }
  }

  private find(name: string, ifindex: number): PacketSocket {
    if (ifindex === 0) return { name, ifindex, fd: NO_SOCKET, gate: undefined, ingress: undefined };
    const there = this.sockets.find((socket) => socket.name === name && socket.ifindex === ifindex);
    if (there !== undefined) return there;
    const socket = { name, ifindex, ...this.openSocket(ifindex) };
    this.sockets = [...this.sockets, socket];
    this.opened();
    return socket;
  }

  /** A socket has a filter where the program that it leaves its notes for is there too. */
  private openSocket(ifindex: number): Pick<PacketSocket, "fd" | "gate" | "ingress"> {
    const { programs } = this;
    const ingress = this.attachForwarder(ifindex);
    if (programs === undefined || ingress === undefined) {
      return { fd: openPacketSocket(ifindex, RING_SHAPE), gate: undefined, ingress: undefined };
    }
    try {
      const gate = this.freeGate();
      gateOf(programs, gate).reset();
      const filter = loadFilter(programs, gate);
      try {
        return { fd: openPacketSocket(ifindex, RING_SHAPE, filter), gate, ingress };
      } finally {
        libc.close(filter);
      }
    } catch (error) {
      detachFromIngress(ingress);
      throw error;
    }
  }

  /** There are more gates than sockets at any time. */
  private freeGate(): number {
    let gate = 0;
    while (this.sockets.some((socket) => socket.gate === gate)) gate++;
    return gate;
  }

  /** @returns undefined where it can't be had */
  private attachForwarder(ifindex: number): Ingress | undefined {
    if (this.programs === undefined) return undefined;
    try {
      return attachAtIngress(ifindex, this.programs.forwarder);
    } catch (error) {
      if (error instanceof SystemError) return undefined;
      throw error;
    }
  }

  private close({ fd, ingress }: PacketSocket): void {
    const isLost = hasLostInterface(fd); // what was at its ingress went with it: another's may be there
    libc.close(fd);
    if (ingress !== undefined && !isLost) detachFromIngress(ingress);
    this.opened();
  }
}
