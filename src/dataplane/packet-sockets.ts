// The sockets of the dataplane's interfaces, opened and closed by control: for both the kernel waits until none of its CPUs can
// still be using what changes, 8 to 24 ms as measured, in which the dataplane's thread would forward nothing. That thread
// only maps a socket's ring and unmaps it, which takes no time.
import { interfaceIndex } from "../linux/interfaces.ts";
import { libc } from "../linux/libc.ts";
import { openPacketSocket } from "../linux/packet-socket.ts";
import { RING_SHAPE } from "./packet-ring.ts";

/** An open socket whose slots fill, mapped or not. Two threads of one process know it by its descriptor. */
export interface PacketSocket {
  /** Of its interface. */
  readonly name: string;
  /** The kernel's number of the interface: another one after it went and came again under its name. */
  readonly ifindex: number;
  readonly fd: number;
}

export class PacketSockets {
  private sockets: PacketSocket[] = [];

  /**
   * @param names of interfaces that are up
   * @returns their sockets, in that order; those that are open already stay what they are
   * @throws Error where one can't be opened, with none newly opened
   */
  open(names: readonly string[]): PacketSocket[] {
    const before = this.sockets;
    try {
      return names.map((name) => this.find(name, interfaceIndex(name)));
    } catch (error) {
      this.keep(before);
      throw error;
    }
  }

  /** Closes all that are not among these; they must not be mapped any more. */
  keep(kept: readonly PacketSocket[]): void {
    for (const socket of this.sockets) if (!kept.includes(socket)) libc.close(socket.fd);
    this.sockets = this.sockets.filter((socket) => kept.includes(socket));
  }

  private find(name: string, ifindex: number): PacketSocket {
    const there = this.sockets.find((socket) => socket.name === name && socket.ifindex === ifindex);
    if (there !== undefined) return there;
    const socket = { name, ifindex, fd: openPacketSocket(ifindex, RING_SHAPE) };
    this.sockets = [...this.sockets, socket];
    return socket;
  }
}
