// Traffic control, as rtnetlink(7) speaks of it: qdiscs, their classes and filters. Messages are those of linux/rtnetlink.h, numbers
// in them in the machine's order. What is hung up there: tc.ts, shaping.ts.
import { cString, libc, SystemError } from "../libc.ts";
import {
  attribute,
  attributes,
  type Item,
  list,
  message,
  NLA_F_NESTED,
  NLM_F_ACK,
  NLM_F_DUMP,
  request,
} from "./netlink.ts";
import { NETLINK_ROUTE, openNetlinkSocket } from "./socket.ts";

export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
export const RTM_NEWTCLASS = 40;
export const RTM_DELTCLASS = 41;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;

/** struct tcmsg: u8 family, i32 index at 4, u32 handle at 8, parent at 12, info at 16. */
const HEADER = { LENGTH: 20, INDEX: 4, HANDLE: 8, PARENT: 12 } as const;

/** Of filters: for frames of all protocols. */
export const ALL_PROTOCOLS = 0x0300; // ETH_P_ALL in network order

/** What a message is about; handles are major << 16 | minor. */
export interface Place {
  /** The kernel's number of the interface. */
  readonly index: number;
  readonly handle: number;
  readonly parent: number;
  /** Of a filter: priority << 16 | protocol. */
  readonly info?: number;
}

/**
 * One change. By a socket of its own: that is for good in the network namespace that it was opened in.
 * @param type one of RTM_…
 * @param kind of the qdisc, class or filter
 * @param options what the kind has: attributes, or a structure
 * @throws SystemError
 */
export function change(type: number, flags: number, place: Place, kind: string, options?: Uint8Array): void {
  const said = options === undefined ? [] : [attribute(TCA_OPTIONS | NLA_F_NESTED, options)];
  const connection = openNetlinkSocket(NETLINK_ROUTE);
  try {
    const about = attribute(TCA_KIND, cString(kind));
    request(connection, "traffic control", message(type, NLM_F_ACK | flags, header(place), about, ...said));
  } finally {
    libc.close(connection);
  }
}

/** Undoes something. An interface that is gone took all of this with it. @returns whether there was something to undo */
export function ignoreMissing(undo: () => void): boolean {
  try {
    undo();
    return true;
  } catch (error) {
    if (!(error instanceof SystemError && ["ENODEV", "ENOENT", "EINVAL"].includes(error.code))) throw error;
    return false;
  }
}

/** A qdisc as the kernel has it. */
export interface Qdisc {
  readonly kind: string;
  /** 0 of one that the kernel has put there by itself. */
  readonly handle: number;
}

/** @param parent what it hangs on @returns the qdisc there, where there is one @throws SystemError */
export function findQdisc(index: number, parent: number): Qdisc | undefined {
  let found: Qdisc | undefined;
  const look: Item = (view, at, end) => {
    if (view.getInt32(at + HEADER.INDEX, true) !== index || view.getUint32(at + HEADER.PARENT, true) !== parent) return;
    const kind = attributes(view, at + HEADER.LENGTH, end).get(TCA_KIND);
    found = { kind: kind === undefined ? "" : textOf(kind), handle: view.getUint32(at + HEADER.HANDLE, true) };
  };
  const connection = openNetlinkSocket(NETLINK_ROUTE);
  try {
    const question = message(RTM_GETQDISC, NLM_F_DUMP, header({ index, handle: 0, parent: 0 }));
    list(connection, "list of qdiscs", question, look);
  } finally {
    libc.close(connection);
  }
  return found;
}

function header({ index, handle, parent, info = 0 }: Place): Uint8Array {
  return numbers(0, index, handle, parent, info);
}

function textOf({ buffer, byteOffset, byteLength }: DataView): string {
  return new TextDecoder().decode(new Uint8Array(buffer, byteOffset, byteLength)).replace(/\0.*/s, "");
}

/** @returns 32-bit numbers, as this machine has them */
export function numbers(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
