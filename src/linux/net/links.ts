// The network interfaces of the network namespace that the program runs in, as the kernel has them, and word of every change to
// one: rtnetlink(7). Structures and numbers are those of linux/rtnetlink.h and linux/if_link.h, in the machine's order.
import { libc } from "../libc.ts";
import { attributes, list, message, NLM_F_DUMP } from "./netlink.ts";
import { NETLINK_ROUTE, openNetlinkListener, openNetlinkSocket } from "./socket.ts";

const RTM_GETLINK = 18;
const RTMGRP_LINK = 0x1;
const RTMGRP_IPV4_IFADDR = 0x10;
const RTMGRP_IPV6_IFADDR = 0x100;

/** struct ifinfomsg: u8 family, u16 type at 2, i32 index at 4, u32 flags at 8, u32 changes. */
const HEADER = { LENGTH: 16, TYPE: 2, INDEX: 4, FLAGS: 8 } as const;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_STATS64 = 23;
/** struct rtnl_link_stats64 begins with these, each a u64. */
const STATS = { RECEIVED: 0, TRANSMITTED: 8, RECEIVED_BYTES: 16, TRANSMITTED_BYTES: 24 } as const;

const ARPHRD_ETHER = 1; // linux/if_arp.h
// linux/if.h
const IFF_UP = 0x1;
const IFF_LOWER_UP = 0x10000; // there is a carrier: a cable, somebody at the other end of a tap

/** Times that a list is asked for while it changes under the kernel's hands; the last one has to do. */
const ATTEMPTS = 5;

/** An Ethernet interface as the kernel has it. */
export interface Device {
  readonly name: string;
  /** The kernel's number for it: another one when it went away and came again. */
  readonly index: number;
  readonly mac: Uint8Array;
  /** Largest IP packet, in bytes. */
  readonly mtu: number;
  /** Whether frames get out there: it is up, and has a carrier. */
  readonly isUp: boolean;
}

/** What went through an interface since it was made, as the kernel counts it: bytes with Ethernet headers, a GSO frame as one. */
export interface Traffic {
  readonly frames: number;
  readonly bytes: number;
}

/** @returns the Ethernet interfaces there are, in the kernel's order. @throws SystemError */
export function listDevices(): Device[] {
  return listLinks(readDevice);
}

/** @returns what went through each interface, by the kernel's number for it. @throws SystemError */
export function listTraffic(): Map<number, { readonly received: Traffic; readonly transmitted: Traffic }> {
  return new Map(listLinks(readTraffic));
}

/** @param read is given each interface there is, and returns undefined for what is left out. @throws SystemError */
function listLinks<T>(read: (view: DataView, at: number, end: number) => T | undefined): T[] {
  const fd = openNetlinkSocket(NETLINK_ROUTE);
  try {
    for (let attempt = 1; ; attempt++) {
      const links: T[] = [];
      const question = message(RTM_GETLINK, NLM_F_DUMP, new Uint8Array(HEADER.LENGTH));
      const isWhole = list(fd, "list of interfaces", question, (view, at, end) => {
        const link = read(view, at, end);
        if (link !== undefined) links.push(link);
      });
      if (isWhole || attempt === ATTEMPTS) return links;
    }
  } finally {
    libc.close(fd);
  }
}

/** @returns undefined for one that is not Ethernet's */
function readDevice(view: DataView, at: number, end: number): Device | undefined {
  const values = attributes(view, at + HEADER.LENGTH, end);
  const [name, mac, mtu] = [IFLA_IFNAME, IFLA_ADDRESS, IFLA_MTU].map((type) => values.get(type));
  if (view.getUint16(at + HEADER.TYPE, true) !== ARPHRD_ETHER || !name || !mac || !mtu) return undefined;
  const flags = view.getUint32(at + HEADER.FLAGS, true);
  return {
    name: new TextDecoder().decode(bytesOf(name)).replace(/\0.*/s, ""),
    index: view.getInt32(at + HEADER.INDEX, true),
    mac: bytesOf(mac).slice(),
    mtu: mtu.getUint32(0, true),
    isUp: (flags & IFF_UP) !== 0 && (flags & IFF_LOWER_UP) !== 0,
  };
}

function readTraffic(view: DataView, at: number, end: number) {
  const stats = attributes(view, at + HEADER.LENGTH, end).get(IFLA_STATS64);
  if (stats === undefined) return undefined;
  const count = (offset: number) => Number(stats.getBigUint64(offset, true));
  const received = { frames: count(STATS.RECEIVED), bytes: count(STATS.RECEIVED_BYTES) };
  const transmitted = { frames: count(STATS.TRANSMITTED), bytes: count(STATS.TRANSMITTED_BYTES) };
  return [view.getInt32(at + HEADER.INDEX, true), { received, transmitted }] as const;
}

function bytesOf({ buffer, byteOffset, byteLength }: DataView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * Calls back whenever an interface has come, gone or changed, or an address of the kernel's on one, from the event loop; what it was,
 * `listDevices` tells, and `kernelAddresses`, `kernelAddresses6`.
 * @param changed must not throw; many changes may be one call
 * @param failed hears when the kernel tells of no more changes
 * @returns what ends it
 * @throws SystemError
 */
export function watchLinks(changed: () => void, failed: (error: Error) => void): () => void {
  const fd = openNetlinkListener(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
  const reader = Bun.file(fd).stream().getReader(); // of a duplicate of the descriptor
  let isEnded = false;
  async function read(): Promise<void> {
    while (!(await reader.read()).done) if (!isEnded) changed();
  }
  read().catch((error) => {
    if (!isEnded) failed(error instanceof Error ? error : new Error(String(error)));
  });
  return () => {
    isEnded = true;
    void reader.cancel();
    libc.close(fd);
  };
}
