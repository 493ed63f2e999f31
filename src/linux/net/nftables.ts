// Keeps what comes in on an interface from the kernel's own IP stack, by a chain of nftables that drops everything: packet
// sockets have seen a frame before it gets there. So nothing of the kernel's judges, answers or looks up routes for frames that
// are none of its business, which is also a third of the CPU time that a small packet takes.
// Messages are those of linux/netfilter/nf_tables.h over netlink, numbers in them big-endian.
import { cString, SystemError } from "../libc.ts";
import { attribute, concat, message, NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE, request } from "./netlink.ts";
import { NETLINK_NETFILTER, openNetlinkSocket } from "./socket.ts";

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
  connection ??= openNetlinkSocket(NETLINK_NETFILTER);
  const batch = concat(
    message(NFNL_MSG_BATCH_BEGIN, 0, header(0, NFNL_SUBSYS_NFTABLES)),
    ...changes.map(([type, ...attributes]) =>
      message((NFNL_SUBSYS_NFTABLES << 8) | type, NLM_F_ACK | NLM_F_CREATE, header(NFPROTO_NETDEV, 0), ...attributes),
    ),
    message(NFNL_MSG_BATCH_END, 0, header(0, NFNL_SUBSYS_NFTABLES)),
  );
  request(connection, "nftables", batch);
}

/** struct nfgenmsg: u8 family, u8 version, u16 resource. */
function header(family: number, resource: number): Uint8Array {
  return Uint8Array.of(family, 0, resource >>> 8, resource & 0xff);
}

function number(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
