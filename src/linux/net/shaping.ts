// The queue in front of an interface's line: frames leave at the line's rate, so that they wait here, where it is known whose they are,
// and not in a modem. Whoever sends at the same time gets an equal part of the rate, or what others leave of theirs, and has a queue
// of his own, which is kept short. By traffic control: an HTB with a class for each share, chosen by the frame's
// mark; in each class TBF, which cuts long frames into segments, and fq_codel (tc-htb(8), tc-tbf(8), tc-fq_codel(8), linux/pkt_sched.h).
// A network's class has another HTB in it, with such a class for each of its hosts, likewise, or for some of them together.
import { SystemError } from "../libc.ts";
import { attribute, concat, NLM_F_CREATE, NLM_F_REPLACE } from "./netlink.ts";
import {
  ALL_PROTOCOLS,
  change,
  findQdisc,
  ignoreMissing,
  numbers,
  type Place,
  RTM_DELQDISC,
  RTM_DELTCLASS,
  RTM_NEWQDISC,
  RTM_NEWTCLASS,
  RTM_NEWTFILTER,
} from "./traffic-control.ts";

/** What an interface's queue is made for. */
export interface Shape {
  /** Of the line, in bytes a second, as Ethernet counts them on a wire. */
  readonly rate: number;
  /** Largest IP packet, in bytes. */
  readonly mtu: number;
  /** How many shares the line is divided into. */
  readonly shares: number;
  /** Bytes that frames may take which wait, of all shares together. */
  readonly memory: number;
  /** Shares that a network's hosts have together; a mark says which host, from the bit `shift` on: one of `hosts`, a power of two. */
  readonly networks?: { readonly shares: readonly number[]; readonly hosts: number; readonly shift: number };
}

const TC_H_ROOT = 0xffffffff;
const MAJOR = 0x10000;
/** Our HTB's handle, and its classes: one of the line, a leaf for frames without a mark, then a leaf for each share. */
const ROOT = 0xfb000000;
const LINE = ROOT + 1;
const UNMARKED = 2;
const FIRST_SHARE = 16; // the low four bits are what other qdiscs would read a priority of

/**
 * Majors of the HTBs in networks' classes, and of their hosts' own qdiscs: the first one's. Below those that the kernel gives to qdiscs
 * without one, from 8000 on; so there are only so many shares with hosts in them.
 */
const NETWORK_MAJOR = 0x2000;
const HOST_MAJOR = 0x4000;
const MOST_MAJORS = 0x4000;

/** @returns the mark of the first share's frames: that of the n-th is n more */
export const FIRST_MARK = ROOT + FIRST_SHARE;

/** What a frame takes of a wire beside its bytes: preamble, checksum and gap; and the shortest one (IEEE 802.3). */
const WIRE = { OVERHEAD: 24, LEAST: 84 } as const;
const FRAME_HEADER = 18; // with a VLAN tag
/** The longest that a sender leaves to be cut. */
const LONGEST_FRAME = 66_000;
/** Bytes a second from which on long frames stay whole: 1 Gbit/s, where one takes half a millisecond. */
const WHOLE_FROM = 125_000_000;

/** Seconds: how late the kernel's timer may be without loss of rate; how much of one share may wait. */
const BURST = 0.002;
const WAIT = 0.05;
/** Bytes of that; the less where frames are cut. */
const LEAST_WAITING = { cut: 16 * 1024, whole: 256 * 1024 } as const;
const MOST_WAITING = 1024 * 1024;
/** Of a frame of 1 500 bytes the kernel counts 2 304. */
const MEMORY_OF_FRAMES = 2;

// CoDel's (RFC 8289 section 4.4), in µs.
const TARGET = 5000;
const INTERVAL = 100_000;
/** Flows that are told from each other in one share: each costs 68 bytes. */
const FLOWS = 256;

// HTB and TBF count time in 64 ns (PSCHED_SHIFT).
const TICKS = 1e9 / 64;
const MOST_TICKS = 0xffffffff;
const LINKLAYER_ETHERNET = 1;
const HTB_VERSION = 3;
const TCA_HTB = { PARAMETERS: 1, INIT: 2, RATE64: 6, CEIL64: 7 } as const;
const TCA_TBF = { PARAMETERS: 1, RATE64: 4, BURST: 6 } as const;
const TCA_FQ_CODEL = { TARGET: 1, INTERVAL: 3, FLOWS: 5, MEMORY_LIMIT: 9 } as const;
const TCA_BPF = { OPS_LENGTH: 4, OPS: 5, NAME: 7 } as const;
/** Bytes a second at which TBF never has a frame wait: it is there to cut them. */
const AT_ONCE = 1e12;

// A program of the old BPF machine (linux/filter.h), u16 code, u8, u8, u32 constant: the class of a frame is its mark.
const LOAD_MARK = [0x20, 0xfffff014] as const; // SKF_AD_OFF + SKF_AD_MARK
const RETURN_IT = [0x16, 0] as const;
const AND = 0x54;
const ADD = 0x04;
const SHIFT_RIGHT = 0x74;
/** Of a mark: the bits that are a class's number. */
const CLASS_BITS = 0xff00ffff;
type Instructions = readonly (readonly [code: number, constant: number])[];

/** What the kernel has of what is wanted. */
interface Kinds {
  readonly cuts: boolean;
  readonly fqCodel: boolean;
}

/**
 * Gives an interface such a queue, in place of the kernel's or of what this function has put there before: frames that wait stay as far as
 * they can.
 * @param name, index of the interface
 * @throws Error with the remedy, where somebody else's qdisc is there or the kernel has no HTB; SystemError
 */
export function shapeInterface(name: string, index: number, shape: Shape): void {
  const there = findQdisc(index, TC_H_ROOT);
  if (there !== undefined && there.handle !== 0 && there.handle !== ROOT) {
    const handle = `${there.kind} ${(there.handle >>> 16).toString(16)}:`;
    throw new Error(
      `${name}: traffic control has a qdisc of its own there, ${handle} ` +
        `(remove it: tc qdisc del dev ${name} root, or leave out [uplink] rate)`,
    );
  }
  const cuts = shape.rate < WHOLE_FROM;
  const leaf = there?.handle === ROOT ? findQdisc(index, ROOT + UNMARKED)?.kind : undefined;
  const isOurs = leaf !== undefined && (leaf === "tbf") === cuts; // else it is made anew: a qdisc can't become one of another kind
  if (!isOurs) unshapeInterface(index);
  try {
    if (!isOurs) addRoot(name, index);
    putClasses(index, shape, { cuts, fqCodel: !isOurs || leaf !== "bfifo" });
  } catch (error) {
    if (!isOurs) unshapeInterface(index);
    throw error;
  }
}

function putClasses(index: number, shape: Shape, wanted: Kinds): void {
  let kinds = wanted;
  putClass(index, LINE, ROOT, lineOptions(shape));
  for (const minor of leaves(shape)) {
    putClass(index, ROOT + minor, LINE, leafOptions(shape, kinds));
    if (hasHosts(shape, minor)) kinds = putHosts(index, minor, shape, kinds);
    else kinds = putQueue(index, { index, handle: minor * MAJOR, parent: ROOT + minor }, shape, kinds);
  }
  for (let share = shape.shares; removeClass(index, FIRST_SHARE + share); share++);
}

/** Leaves an interface to the kernel again, if our queue is there, in whichever thread. @throws SystemError */
export function unshapeInterface(index: number): void {
  try {
    ignoreMissing(() => change(RTM_DELQDISC, 0, { index, handle: ROOT, parent: TC_H_ROOT }, "htb"));
  } catch (error) {
    if (!(error instanceof SystemError && error.code === "EOPNOTSUPP")) throw error; // a kernel without traffic control
  }
}

function hasHosts({ networks }: Shape, minor: number): boolean {
  return networks?.shares.includes(minor - FIRST_SHARE) === true && (minor + 1) * networks.hosts <= MOST_MAJORS;
}

/**
 * Gives hosts of a network each a class in their client's. None holds up frames: each may borrow all, and takes turns with the others.
 * @returns which kinds the kernel has
 */
function putHosts(index: number, minor: number, shape: Shape, wanted: Kinds): Kinds {
  const { hosts = 1, shift = 0 } = shape.networks ?? {};
  const handle = (NETWORK_MAJOR + minor) * MAJOR;
  const all = handle + 1;
  if (findQdisc(index, ROOT + minor)?.kind !== "htb") {
    const place = { index, handle, parent: ROOT + minor };
    change(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, place, "htb", attribute(TCA_HTB.INIT, globals(FIRST_SHARE)));
    const host = [[SHIFT_RIGHT, shift], [AND, hosts - 1], [ADD, handle + FIRST_SHARE]] as const; // biome-ignore format: a table
    putFilter(index, handle, [LOAD_MARK, ...host, RETURN_IT]);
  }
  const one = { ...shape, shares: shape.shares * hosts };
  const quantum = wanted.cuts ? shape.mtu + FRAME_HEADER : LONGEST_FRAME;
  const burst = AT_ONCE * BURST;
  putClass(index, all, handle, classOptions(AT_ONCE, AT_ONCE, burst, burst, quantum));
  let kinds = wanted;
  for (let host = 0; host < hosts; host++) {
    const own = handle + FIRST_SHARE + host;
    putClass(index, own, all, classOptions(1, AT_ONCE, 1, burst, quantum));
    const place = { index, handle: (HOST_MAJOR + minor * hosts + host) * MAJOR, parent: own };
    kinds = putQueue(index, place, one, kinds);
  }
  return kinds;
}

function* leaves({ shares }: Shape): Generator<number> {
  yield UNMARKED;
  for (let share = 0; share < shares; share++) yield FIRST_SHARE + share;
}

/** The root, and what finds a frame's class. */
function addRoot(name: string, index: number): void {
  try {
    const place = { index, handle: ROOT, parent: TC_H_ROOT };
    change(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, place, "htb", attribute(TCA_HTB.INIT, globals(UNMARKED)));
  } catch (error) {
    if (!(error instanceof SystemError && error.code === "ENOENT")) throw error;
    throw new Error(
      `${name}: this kernel can't hold frames to a rate: it has no HTB (one with CONFIG_NET_SCH_HTB can, ` +
        "or leave out [uplink] rate)",
    );
  }
  putFilter(index, ROOT, [LOAD_MARK, [AND, CLASS_BITS], RETURN_IT]);
}

/** struct tc_htb_glob: of the rate, each class has its own quantum. @param otherwise the class of frames that have no other */
function globals(otherwise: number): Uint8Array {
  return numbers(HTB_VERSION, 10, otherwise, 0, 0);
}

/** Has a program say which class of a qdisc a frame is for. */
function putFilter(index: number, parent: number, instructions: Instructions): void {
  const program = new DataView(new ArrayBuffer(8 * instructions.length));
  for (const [i, [code, constant]] of instructions.entries()) {
    program.setUint16(8 * i, code, true);
    program.setUint32(8 * i + 4, constant, true);
  }
  const options = concat(
    attribute(TCA_BPF.OPS_LENGTH, Uint8Array.of(instructions.length, 0)),
    attribute(TCA_BPF.OPS, new Uint8Array(program.buffer)),
  );
  const filter = { index, handle: 1, parent, info: 0x10000 + ALL_PROTOCOLS };
  change(RTM_NEWTFILTER, NLM_F_CREATE, filter, "bpf", options);
}

function putClass(index: number, handle: number, parent: number, options: Uint8Array): void {
  const place = { index, handle, parent };
  change(RTM_NEWTCLASS, NLM_F_CREATE, place, "htb", options);
}

/** @returns whether there was one */
function removeClass(index: number, minor: number): boolean {
  try {
    change(RTM_DELTCLASS, 0, { index, handle: ROOT + minor, parent: 0 }, "htb");
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENOENT") return false;
    throw error;
  }
}

/** Puts a leaf's queue there, as well as the kernel can. @returns which kinds it has */
function putQueue(index: number, own: Place, shape: Shape, wanted: Kinds): Kinds {
  const cuts = wanted.cuts && put(own, "tbf", cutterOptions(shape));
  const place = cuts ? { index, handle: 0, parent: own.handle + 1 } : own;
  const fqCodel = wanted.fqCodel && put(place, "fq_codel", fqCodelOptions(shape, cuts));
  if (!fqCodel && !cuts) put(place, "bfifo", numbers(waiting(shape, cuts))); // TBF has one of its own
  return { cuts, fqCodel };
}

/** @returns whether the kernel has this kind of qdisc */
function put(place: Place, kind: string, options: Uint8Array): boolean {
  try {
    change(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, place, kind, options);
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === "ENOENT") return false;
    throw error;
  }
}

/** Bytes of frames that one share may have wait. */
function waiting({ rate, shares, memory }: Shape, cuts: boolean): number {
  const part = Math.min(rate * WAIT, MOST_WAITING, memory / MEMORY_OF_FRAMES / shares);
  return Math.floor(Math.max(part, cuts ? LEAST_WAITING.cut : LEAST_WAITING.whole));
}

/** As long as the line is busy, it has this rate. */
function lineOptions({ rate, mtu }: Shape): Uint8Array {
  const burst = Math.max(rate * BURST, mtu + FRAME_HEADER);
  return classOptions(rate, rate, burst, burst, mtu + FRAME_HEADER);
}

/** Who sends less than its part goes first; what others leave, those who want it share by turns, a quantum each. */
function leafOptions({ rate, mtu, shares }: Shape, { cuts }: Kinds): Uint8Array {
  const frame = mtu + FRAME_HEADER;
  const part = Math.max(Math.floor(rate / (shares + 1)), 1);
  const burst = Math.max(part * BURST, 2 * frame);
  return classOptions(part, rate, burst, Math.max(rate * BURST, frame), cuts ? frame : LONGEST_FRAME);
}

/** struct tc_htb_opt. @param burst, ceilBurst bytes */
function classOptions(rate: number, ceil: number, burst: number, ceilBurst: number, quantum: number): Uint8Array {
  const times = numbers(ticks(burst, rate), ticks(ceilBurst, ceil), quantum, 0, 0);
  return concat(
    attribute(TCA_HTB.PARAMETERS, concat(rateOptions(rate), rateOptions(ceil), times)),
    attribute(TCA_HTB.RATE64, number64(rate)),
    attribute(TCA_HTB.CEIL64, number64(ceil)),
  );
}

/** A TBF that takes all at once, and is there for what it does with frames longer than its burst: it has them cut into segments. */
function cutterOptions(shape: Shape): Uint8Array {
  // struct tc_tbf_qopt: rate, peak rate, limit, buffer, mtu
  const parameters = concat(rateOptions(AT_ONCE), new Uint8Array(12), numbers(waiting(shape, true), 0, 0));
  return concat(
    attribute(TCA_TBF.PARAMETERS, parameters),
    attribute(TCA_TBF.RATE64, number64(AT_ONCE)),
    attribute(TCA_TBF.BURST, numbers(shape.mtu + FRAME_HEADER)),
  );
}

function fqCodelOptions(shape: Shape, cuts: boolean): Uint8Array {
  const frame = ((shape.mtu + FRAME_HEADER + WIRE.OVERHEAD) / shape.rate) * 1e6;
  const target = Math.min(Math.max(TARGET, Math.ceil(1.5 * frame)), 1e6);
  return concat(
    attribute(TCA_FQ_CODEL.TARGET, numbers(target)),
    attribute(TCA_FQ_CODEL.INTERVAL, numbers(INTERVAL - TARGET + target)),
    attribute(TCA_FQ_CODEL.FLOWS, numbers(FLOWS)),
    attribute(TCA_FQ_CODEL.MEMORY_LIMIT, numbers(MEMORY_OF_FRAMES * waiting(shape, cuts))),
  );
}

/** struct tc_ratespec: u8 cell_log, u8 link layer, u16 overhead, i16 cell_align, u16 least length, u32 rate. */
function rateOptions(rate: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(12));
  view.setUint8(1, LINKLAYER_ETHERNET);
  view.setUint16(2, WIRE.OVERHEAD, true);
  view.setUint16(6, WIRE.LEAST, true);
  view.setUint32(8, Math.min(rate, 0xffffffff), true);
  return new Uint8Array(view.buffer);
}

function ticks(bytes: number, rate: number): number {
  return Math.min(Math.ceil((bytes / rate) * TICKS), MOST_TICKS);
}

function number64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}
