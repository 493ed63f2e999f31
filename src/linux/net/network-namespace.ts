// network_namespaces(7): a network of one's own, with nothing in it but a loopback interface. To make one and to go there takes
// CAP_SYS_ADMIN. A program that gives that up opens sockets in there before, and takes them along over execve(2).
import { closeSync, existsSync, openSync } from "node:fs";
import { errno, libc, must, SystemError } from "../libc.ts";
import {
  duplicate,
  MSG_DONTWAIT,
  NETLINK_ROUTE,
  openIoctlSocket,
  openNetlinkSocket,
  openRawPacketSocket,
  SO_DETACH_BPF,
  SOL_SOCKET,
  type SocketSet,
  withSockets,
} from "./socket.ts";

const CLONE_NEWNET = 0x40000000; // linux/sched.h

/** Of the thread that asks. */
const OURS = "/proc/thread-self/ns/net";

/** Environment variable: descriptors of a SocketSet in a new network, if there could be one. */
const TAKEN_ALONG = "FIREBREAK_NETWORK";

/**
 * Does something in a new network namespace: with the sockets there that were taken along, or in one that is gone afterwards, for
 * what it leaves open is still in there. In a kernel that has no namespaces it is done where everything is.
 * @param use must not wait: all that this thread does meanwhile is done in there
 * @throws Error where this process may not have one
 */
export function inNewNetwork<T>(use: () => T): T {
  if (!existsSync(OURS)) return use();
  const taken = takenAlong();
  return taken === undefined ? inside(use) : withTaken(taken, use);
}

/** @returns what is to be added to the environment for the program that begins anew to have a network of its own; {} if it can't */
export function networkToTakeAlong(): Record<string, string> {
  if (!existsSync(OURS)) return {};
  try {
    const opened = inside(() => [openIoctlSocket(), openNetlinkSocket(NETLINK_ROUTE), openRawPacketSocket()]);
    return { [TAKEN_ALONG]: opened.map(duplicate).join(",") };
  } catch {
    return {}; // whoever wants one will be told why there is none
  }
}

function inside<T>(use: () => T): T {
  const ours = openSync(OURS, "r");
  try {
    if (libc.unshare(CLONE_NEWNET) < 0) {
      const failure = new SystemError("unshare CLONE_NEWNET", errno());
      if (failure.code !== "EPERM") throw failure;
      throw new Error("it is tried in a network namespace of its own, for which this process lacked CAP_SYS_ADMIN");
    }
    try {
      return use();
    } finally {
      must(libc.setns(ours, CLONE_NEWNET), "setns CLONE_NEWNET");
    }
  } finally {
    closeSync(ours);
  }
}

function takenAlong(): SocketSet | undefined {
  const [, ioctl, route, packet] = /^(\d+),(\d+),(\d+)$/.exec(process.env[TAKEN_ALONG] ?? "") ?? [];
  if (packet === undefined) return undefined;
  return { ioctl: Number(ioctl), route: Number(route), packet: Number(packet) };
}

/** The sockets stay open, for another time; the packet socket is left without a filter and without frames. */
function withTaken<T>(sockets: SocketSet, use: () => T): T {
  try {
    return withSockets(sockets, use);
  } finally {
    const nothing = new Uint32Array(1);
    libc.setsockopt(sockets.packet, SOL_SOCKET, SO_DETACH_BPF, nothing, 4);
    libc.recv(sockets.packet, nothing, 4, MSG_DONTWAIT); // that its interface is down
    while (libc.recv(sockets.packet, nothing, 4, MSG_DONTWAIT) >= 0) {}
  }
}
