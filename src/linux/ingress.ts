// Keeps what comes in on an interface from the kernel's own IP stack, by a chain of nftables that drops everything: packet
// sockets have seen a frame before it gets there. So nothing of the kernel's judges, answers or looks up routes for frames that
// are none of its business, which is also a third of the CPU time that a small packet takes.
// Messages are those of linux/netfilter/nf_tables.h over netlink(7), numbers in them big-endian unless said otherwise.
import { ptr } from "bun:ffi";
import { cString, EAGAIN, errno, libc, must, SystemError } from "./libc.ts";
import { MSG_DONTWAIT } from "./packet-socket.ts";

const AF_NETLINK = 16; // linux/socket.h
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0x80000;
const NETLINK_NETFILTER = 12; // linux/netlink.h

const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 0x01;
const NLM_F_ACK = 0x04;
const NLM_F_CREATE = 0x400;
const NLA_F_NESTED = 0x8000;
const MESSAGE_HEADER = 16; // struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port, little-endian
const FAMILY_HEADER = 4; // struct nfgenmsg: u8 family, u8 version, u16 resource
const ATTRIBUTE_HEADER = 4; // struct nlattr: u16 length, u16 type, little-endian

const NFNL_SUBSYS_NFTABLES = 10; // linux/netfilter/nfnetlink.h
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFPROTO_NETDEV = 5; // linux/netfilter.h
const NF_NETDEV_INGRESS = 0;
const NF_DROP = 0;

// linux/netfilter/nf_tables.h
const NFT_MSG_NEWTABLE = 0;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_DELCHAIN = 5;
const NFT_TABLE_F_OWNER = 2; // it goes with the socket that made it
const TABLE = { NAME: 1, FLAGS: 2 };
const CHAIN = { TABLE: 1, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7 };
const HOOK = { NUMBER: 1, PRIORITY: 2, DEVICE: 3 };

/** Belongs to this process alone, and to this program alone as long as it runs: of a host's rules nothing is touched. */
const TABLE_NAME = `firebreak-${process.pid}`;

let connection: number | undefined;

/**
 * From now on the kernel's own IP stack gets nothing that comes in on an interface.
 * @returns what undoes that; without it, it is undone when the process ends
 * @throws SystemError where the kernel can't do it: it has no nftables
 */
export function dropIngress(name: string): () => void {
  const hook = concat(
    attribute(HOOK.NUMBER, number(NF_NETDEV_INGRESS)),
    attribute(HOOK.PRIORITY, number(0)),
    attribute(HOOK.DEVICE, cString(name)),
  );
  change([
    [NFT_MSG_NEWTABLE, attribute(TABLE.NAME, cString(TABLE_NAME)), attribute(TABLE.FLAGS, number(NFT_TABLE_F_OWNER))],
    [
      NFT_MSG_NEWCHAIN,
      ...chain(name),
      attribute(CHAIN.HOOK | NLA_F_NESTED, hook),
      attribute(CHAIN.POLICY, number(NF_DROP)),
      attribute(CHAIN.TYPE, cString("filter")),
    ],
  ]);
  return () => removeChain(name);
}

/** With some kernels the chain went with its interface. */
function removeChain(name: string): void {
  try {
    change([[NFT_MSG_DELCHAIN, ...chain(name)]]);
  } catch (error) {
    if (!(error instanceof SystemError && error.code === "ENOENT")) throw error;
  }
}

/** What names the chain of an interface. */
function chain(name: string): Uint8Array[] {
  return [attribute(CHAIN.TABLE, cString(TABLE_NAME)), attribute(CHAIN.NAME, cString(name))];
}

type Change = readonly [type: number, ...attributes: Uint8Array[]];

/** Makes all of the changes, or none. @throws SystemError */
function change(changes: readonly Change[]): void {
  connection ??= must(libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), "socket AF_NETLINK");
  const batch = concat(
    message(NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES),
    ...changes.map(([type, ...attributes]) =>
      message((NFNL_SUBSYS_NFTABLES << 8) | type, NLM_F_ACK | NLM_F_CREATE, NFPROTO_NETDEV, 0, ...attributes),
    ),
    message(NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES),
  );
  must(libc.write(connection, ptr(batch), batch.length), "write netlink");
  const error = firstError(connection);
  if (error !== 0) throw new SystemError("nftables", error);
}

/** Reads all answers, which are there when a write returns. @returns the first error number in them, or 0 */
function firstError(fd: number): number {
  const bytes = new Uint8Array(8192);
  const view = new DataView(bytes.buffer);
  let first = 0;
  for (;;) {
    const length = libc.recv(fd, ptr(bytes), bytes.length, MSG_DONTWAIT);
    if (length < 0 && errno() === EAGAIN) return first;
    must(length, "recv netlink");
    for (let at = 0; at < length; at += view.getUint32(at, true)) {
      if (view.getUint16(at + 4, true) === NLMSG_ERROR) first ||= -view.getInt32(at + MESSAGE_HEADER, true);
    }
  }
}

function message(
  type: number,
  flags: number,
  family: number,
  resource: number,
  ...attributes: Uint8Array[]
): Uint8Array {
  const bytes = concat(new Uint8Array(MESSAGE_HEADER + FAMILY_HEADER), ...attributes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, NLM_F_REQUEST | flags, true);
  view.setUint8(MESSAGE_HEADER, family);
  view.setUint16(MESSAGE_HEADER + 2, resource);
  return bytes;
}

/** @returns the attribute, padded to a multiple of four bytes, which its length does not count */
function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((ATTRIBUTE_HEADER + value.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, ATTRIBUTE_HEADER + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, ATTRIBUTE_HEADER);
  return bytes;
}

function number(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
