// A BPF program at the ingress of an interface, by traffic control (tc-bpf(8)): it sees each frame after packet sockets and before
// all else. Constants are those of linux/pkt_sched.h and linux/pkt_cls.h.
import { cString, SystemError } from "../libc.ts";
import { attribute, concat, NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import {
  ALL_PROTOCOLS,
  change,
  findQdisc,
  ignoreMissing,
  numbers,
  type Place,
  RTM_DELQDISC,
  RTM_DELTFILTER,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
} from "./traffic-control.ts";

const TC_H_CLSACT = 0xfffffff1;
const TC_H_CLSACT_HANDLE = 0xffff0000;
const TC_H_INGRESS = 0xfffffff2; // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_FLAG_ACT_DIRECT = 1; // what the program returns is what is done

/** Where our program is among those of an interface: after whatever its owner has there. */
const PRIORITY = 0xfb00;
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
    change(RTM_NEWTFILTER, NLM_F_CREATE, filter(index), "bpf", options);
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
  return findQdisc(index, TC_H_CLSACT) !== undefined;
}

/** @returns whether it was there */
function removeFilter(index: number): boolean {
  return ignoreMissing(() => change(RTM_DELTFILTER, 0, filter(index), "bpf"));
}

/** @returns whether it was not there before */
function addClsact(index: number): boolean {
  try {
    change(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, clsact(index), "clsact");
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === "EEXIST") return false;
    throw error;
  }
}

function removeClsact(index: number): void {
  ignoreMissing(() => change(RTM_DELQDISC, 0, clsact(index), "clsact"));
}

function clsact(index: number): Place {
  return { index, handle: TC_H_CLSACT_HANDLE, parent: TC_H_CLSACT };
}

function filter(index: number): Place {
  return { index, handle: HANDLE, parent: TC_H_INGRESS, info: PRIORITY * 0x10000 + ALL_PROTOCOLS };
}
