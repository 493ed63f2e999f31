// A BPF program at the ingress of an interface, by traffic control (tc-bpf(8)): it sees each frame after packet sockets and before
// all else. Messages are those of linux/rtnetlink.h and linux/pkt_sched.h, numbers in them in the machine's order.
import { cString, libc, SystemError } from "../libc.ts";
import {
  attribute,
  concat,
  list,
  message,
  NLA_F_NESTED,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  request,
} from "./netlink.ts";
import { NETLINK_ROUTE, openNetlinkSocket } from "./socket.ts";

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;

const TC_H_CLSACT = 0xfffffff1;
const TC_H_CLSACT_HANDLE = 0xffff0000;
const TC_H_INGRESS = 0xfffffff2; // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_FLAG_ACT_DIRECT = 1; // what the program returns is what is done

/** Where our program is among those of an interface: after whatever its owner has there. */
const PRIORITY = 0xfb00;
const ETH_P_ALL_IN_NETWORK_ORDER = 0x0300;
const HANDLE = 1;

/** A program at the ingress of an interface. */
export interface Ingress {
  /** The kernel's number of the interface. */
  readonly index: number;
  /** Whether what programs hang on there is ours too, and goes with the program. */
  readonly isOurs: boolean;
}

/**
 * Has a program look at all that comes in on an interface.
 * @param index the kernel's number of the interface
 * @param program its descriptor; its type is SCHED_CLS
 * @returns what `detachFromIngress` takes
 * @throws SystemError
 */
export function attachAtIngress(index: number, program: number): Ingress {
  const isOurs = addClsact(index);
  const options = concat(
    attribute(TCA_BPF_FD, numbers(program)),
    attribute(TCA_BPF_NAME, cString("firebreak")),
    attribute(TCA_BPF_FLAGS, numbers(TCA_BPF_FLAG_ACT_DIRECT)),
  );
  try {
    ask(
      RTM_NEWTFILTER,
      NLM_F_CREATE,
      filter(index),
      attribute(TCA_KIND, cString("bpf")),
      attribute(TCA_OPTIONS | NLA_F_NESTED, options),
    );
  } catch (error) {
    if (isOurs) removeClsact(index);
    throw error;
  }
  return { index, isOurs };
}

/** Undoes `attachAtIngress`, in whichever thread. @throws SystemError */
export function detachFromIngress({ index, isOurs }: Ingress): void {
  removeFilter(index);
  if (isOurs) removeClsact(index);
}

/** Likewise for one that ended without: where its program is. @throws SystemError */
export function detachLeftBehind(ingress: Ingress): void {
  if (removeFilter(ingress.index) && ingress.isOurs) removeClsact(ingress.index);
}

/** @returns whether programs can hang on an interface's ingress and egress, whoever it was that made this so @throws SystemError */
export function hasClsact(index: number): boolean {
  let found = false;
  const connection = openNetlinkSocket(NETLINK_ROUTE);
  try {
    list(connection, "list of queues", message(RTM_GETQDISC, NLM_F_DUMP, numbers(0, 0, 0, 0, 0)), (view, at) => {
      if (view.getInt32(at + 4, true) === index && view.getUint32(at + 12, true) === TC_H_CLSACT) found = true;
    });
    return found;
  } finally {
    libc.close(connection);
  }
}

/** @returns whether it was there */
function removeFilter(index: number): boolean {
  return ignoreMissing(() => ask(RTM_DELTFILTER, 0, filter(index), attribute(TCA_KIND, cString("bpf"))));
}

/** @returns whether it was not there before */
function addClsact(index: number): boolean {
  try {
    ask(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, clsact(index), attribute(TCA_KIND, cString("clsact")));
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === "EEXIST") return false;
    throw error;
  }
}

function removeClsact(index: number): void {
  ignoreMissing(() => ask(RTM_DELQDISC, 0, clsact(index), attribute(TCA_KIND, cString("clsact"))));
}

/** An interface that is gone took all of this with it. @returns whether there was something to undo */
function ignoreMissing(undo: () => void): boolean {
  try {
    undo();
    return true;
  } catch (error) {
    if (!(error instanceof SystemError && ["ENODEV", "ENOENT", "EINVAL"].includes(error.code))) throw error;
    return false;
  }
}

/** By a socket of its own: that is for good in the network namespace that it was opened in. */
function ask(type: number, flags: number, header: Uint8Array, ...attributes: Uint8Array[]): void {
  const connection = openNetlinkSocket(NETLINK_ROUTE);
  try {
    request(connection, "traffic control", message(type, NLM_F_ACK | flags, header, ...attributes));
  } finally {
    libc.close(connection);
  }
}

/** struct tcmsg: family, interface, handle, parent, what it is about. */
function clsact(index: number): Uint8Array {
  return numbers(0, index, TC_H_CLSACT_HANDLE, TC_H_CLSACT, 0);
}

function filter(index: number): Uint8Array {
  return numbers(0, index, HANDLE, TC_H_INGRESS, PRIORITY * 0x10000 + ETH_P_ALL_IN_NETWORK_ORDER);
}

function numbers(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}
