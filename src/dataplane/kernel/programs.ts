// The kernel path's two programs, for the kernel's BPF machine. What fast-path.ts does for a frame that this program has been
// handed, they do before it is: frames of open flows are neither copied here nor back, they only change hands in the kernel.
//
// The first is the filter of every packet socket. It makes all the checks of fast-path.ts. Whatever it does not like it lets
// through to the socket, as it came. What it likes it keeps from the socket, and leaves a note for the second program, which
// the kernel runs on the same frame next, on the same CPU: at ingress, before the frame would get to the kernel's own IP
// stack. That one rewrites the frame and hands it to the other interface. Where there is no socket any more, there is no
// note, and nothing is forwarded.
import { Assembler, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, type Register } from "../../linux/bpf-assembler.ts";
import type { SkbLayout } from "../../linux/skb-layout.ts";
import { ETHERNET, ETHERTYPE } from "../../wire/ethernet.ts";
import { FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS, PROTOCOL } from "../../wire/ipv4.ts";
import { ACK, FIN, RST, SYN, TCP } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { FLOW } from "../tables/flow-records.ts";
import { SCALE_BITS, SCALE_SHIFT } from "../tables/flow-state.ts";
import { ACKED, END, OVERREACH, SIDE_WORDS, WINDOWS } from "../tables/tcp.ts";

/** Descriptors of the maps that the programs use. */
export interface Maps {
  /** One element, CONTROL, which this program writes. */
  readonly control: number;
  /** For packets of one side of a flow, ENTRY_KEY: what is to be done with them, ENTRY. See kernel/entries.ts. */
  readonly entries: number;
  /** By hash of the key: the numbers of some entries. How many places it has, a power of two; and the seed of that hash. */
  readonly index: number;
  readonly places: number;
  readonly seed: number;
  /** The flow table's first records. */
  readonly flows: number;
  /** For each CPU one element, NOTE. */
  readonly note: number;
}

/** 32-bit numbers, as this machine has them. */
export const CONTROL = {
  /** Entries of other generations do not hold. */
  GENERATION: 0,
  /** Whole seconds of the dataplane's clock, up to one behind. */
  SECOND: 4,
  /** COUNTERS, for one CPU after the other: as many as there are CPUs do not get in each other's way. */
  COUNTERS: 64,
  LENGTH: 64 + 64 * 64,
} as const;

/** 64-bit numbers. */
export const COUNTERS = {
  FORWARDED: 0,
  /** Frames that were dropped, since the kernel had no memory to rewrite them, or they were not those that the note is about. */
  FAILED: 8,
  /** From those of one CPU to those of the next; and how many there are. */
  STRIDE: 64,
  COUNT: 64,
} as const;

/** Addresses and ports in network order, then protocol | interface it comes in on << 8. */
export const ENTRY_KEY = { SOURCE: 0, DESTINATION: 4, PORTS: 8, PLACE: 12, LENGTH: 16 } as const;

/** How a packet is rewritten and where it goes; MAC addresses, addresses and ports as they will stand in it. */
const REWRITE = {
  /** The kernel's number of the interface. */
  EGRESS: 0,
  MACS: 4,
  SOURCE: 16,
  DESTINATION: 20,
  PORTS: 24,
  // What changes in the sum of 16-bit words, read as this machine reads them: of the addresses; of the ports; of addresses and TTL.
  ADDRESS_DELTA: 28,
  PORT_DELTA: 32,
  HEADER_DELTA: 36,
  LENGTH: 40,
} as const;

/** 32-bit numbers as this machine has them, where nothing else is said. */
export const ENTRY = {
  /** As in ENTRY_KEY. */
  KEY: 0,
  GENERATION: 16,
  /** Number of the flow, and the side that its packets come from, times 8. */
  FLOW: 20,
  SIDE: 24,
  /** Seconds that the flow lives on after such a packet, or 0: it does not keep it alive. */
  TIMEOUT: 28,
  /** What STATE must be in these bits. */
  STATE_MASK: 32,
  STATE: 36,
  /** What the flow's record must say: another flow may have it by now. */
  FLOW_SOURCE: 40,
  FLOW_PORTS: 44,
  FLOW_BACK_PORTS: 48,
  /** Of the interface that it leaves by, in bytes. */
  MTU: 52,
  /** Our MAC address, in network order. */
  OUR_MAC: 56,
  /** The sender's, likewise, where no other is accepted; and whether that is so: 0 or 1. */
  PINNED_MAC: 64,
  PINNED: 72,
  /** As in REWRITE. */
  REWRITE: 76,
  /** Of all before it, by `seal`. */
  SEAL: 76 + REWRITE.LENGTH,
  LENGTH: 80 + REWRITE.LENGTH,
  /** Behind the entry, not sealed, of 64 bits: its frames that were lost. It is over, for its generation, when they are TOO_MANY. */
  LOST: 80 + REWRITE.LENGTH,
} as const;
export const TOO_MANY = 4;
export const ENTRY_REWRITE = Object.fromEntries(
  Object.entries(REWRITE).map(([name, at]) => [name, ENTRY.REWRITE + at]),
) as { readonly [name in keyof typeof REWRITE]: number };

/**
 * An entry's place in the index, modulo its places. It mixes as MurmurHash3 does.
 * @param entry of which only the key is looked at
 */
export function hashKey(seed: number, entry: DataView): number {
  let h = seed ^ keyWord(entry, ENTRY_KEY.PLACE) ^ keyWord(entry, ENTRY_KEY.SOURCE);
  h = Math.imul(h, MIX[0]);
  h = Math.imul(h ^ (h >>> 15) ^ keyWord(entry, ENTRY_KEY.DESTINATION), MIX[1]);
  h = Math.imul(h ^ (h >>> 13) ^ keyWord(entry, ENTRY_KEY.PORTS), MIX[2]);
  h = Math.imul(h ^ (h >>> 16), MIX[3]);
  return (h ^ (h >>> 15)) >>> 0;
}

/**
 * What stands in the index: 32-bit numbers, of an entry's number + 1, and above that the hash's highest bits, so that hardly
 * ever a wrong entry is looked at; 0: none.
 */
export const INDEX_WAYS = 4;
export const INDEX_STRIDE = 4 * INDEX_WAYS;
export const TAG_SHIFT = 21;
export const NUMBER_MASK = (1 << TAG_SHIFT) - 1;

const keyWord = (entry: DataView, field: number): number => entry.getInt32(ENTRY.KEY + field, true);

const MIX = [0xcc9e2d51, 0x1b873593, 0x85ebca6b, 0xc2b2ae35] as const;

/**
 * Seals an entry. An entry's memory may become another's while a program reads it; so a program takes a copy, and the copy is
 * an entry only if its seal is right: four sums of every fourth number, mixed.
 */
export function seal(entry: DataView): void {
  sums.set(SEAL_BEGINNINGS);
  for (let i = 0; i < ENTRY.SEAL / 4; i++)
    sums[i & 3] = Math.imul(sums[i & 3], SEAL_FACTOR) + entry.getInt32(4 * i, true);
  let sealed = sums[0];
  for (let i = 1; i < sums.length; i++) sealed = (Math.imul(sealed, SEAL_FACTOR) + sums[i]) | 0;
  entry.setInt32(ENTRY.SEAL, sealed, true);
}

const SEAL_BEGINNINGS = [1, 2, 3, 4];
const sums = new Int32Array(SEAL_BEGINNINGS.length);
const SEAL_FACTOR = 0x01000193;

const NOTE = {
  /** Whether the frame at hand is to be forwarded; how many bytes of it. */
  IS_SET: 0,
  FRAME_LENGTH: 4,
  /** What is to be done with it. */
  ENTRY: 8,
  KEY: 8 + ENTRY.KEY,
  REWRITE: 8 + ENTRY.REWRITE,
  LENGTH: 8 + ENTRY.LENGTH,
} as const;
export const NOTE_LENGTH = NOTE.LENGTH;

// linux/bpf.h: helpers by number, fields of struct __sk_buff.
const HELPER = {
  MAP_LOOKUP: 1,
  GET_SMP_PROCESSOR_ID: 8,
  L4_CSUM_REPLACE: 11,
  REDIRECT: 23,
  SKB_LOAD_BYTES: 26,
  SKB_CHANGE_TAIL: 38,
  SKB_PULL_DATA: 39,
  PROBE_READ_KERNEL: 113,
} as const;
const BPF_F_PSEUDO_HDR = 0x10;
const BPF_F_MARK_MANGLED_0 = 0x20;
const SKB = { LENGTH: 0, VLAN_PRESENT: 20, IFINDEX: 40, DATA: 76, DATA_END: 80, GSO_SIZE: 176 } as const;

// linux/pkt_cls.h
const TC_ACT_UNSPEC = -1;
const TC_ACT_SHOT = 2;

const CHECKSUM_PARTIAL = 3; // linux/skbuff.h: the checksum is left to the interface

const NOT_FOUND = 0;
const WHOLE_FRAME = -1;
const NOTHING = 0;

const IP = ETHERNET.HEADER_LENGTH;
const TRANSPORT = IP + IPV4.HEADER_LENGTH;
const UDP_LENGTH = TRANSPORT + UDP.HEADER_LENGTH;
const TCP_LENGTH = TRANSPORT + TCP.HEADER_LENGTH;

/** Where in a frame stands what is in an entry's key. */
const KEY_FIELDS = [
  [IP + IPV4.SOURCE, ENTRY_KEY.SOURCE],
  [IP + IPV4.DESTINATION, ENTRY_KEY.DESTINATION],
  [TRANSPORT, ENTRY_KEY.PORTS],
] as const;

/** A 16-bit constant of network order, as this machine reads it. */
function wire16(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}

// The filter's stack: the frame's headers, so that the IPv4 header is aligned; then what else it keeps.
const FRAME = -62;
const KEY = -80;
const INDEX = -84;
const TOTAL = -88;
const SEQUENCE_END = -92;
const TAG = -96;
/** Of struct sk_buff, what has all that is asked of it. */
const SKB_BYTES = -352;
const MOST_SKB_BYTES = TAG - SKB_BYTES;

const at = (offset: number): number => FRAME + offset;

/**
 * @param layout of this kernel's struct sk_buff
 * @returns the program of packet sockets: 0 for a frame that goes the kernel path
 */
export function socketFilter(maps: Maps, layout: SkbLayout): Uint8Array<ArrayBuffer> {
  const a = new Assembler();
  a.do("move", R6, R1);
  // No note but for this frame.
  a.store(4, R10, INDEX, 0).do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.note).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, "to the socket").do("move", R7, R0).store(4, R7, NOTE.IS_SET, 0);
  checkHeader(a);
  checkTransport(a);
  findEntry(a, maps);
  checkMacs(a);
  checkMtu(a);
  checkOffload(a, layout);
  findFlow(a, maps);
  followTcp(a);
  refresh(a, maps);
  leaveNote(a);
  a.label("to the socket").do("move", R0, WHOLE_FRAME).exit();
  return a.assemble();
}

/** A plain IPv4 header, its checksum right. Leaves its total length in R8. */
function checkHeader(a: Assembler): void {
  const toSocket = "to the socket";
  a.load(4, R1, R6, SKB.VLAN_PRESENT).jumpIf32(R1, "!=", 0, toSocket);
  loadBytes(a, 0, UDP_LENGTH);
  a.load(2, R1, R10, at(ETHERNET.TYPE)).jumpIf32(R1, "!=", wire16(ETHERTYPE.IPV4), toSocket);
  a.load(1, R1, R10, at(IP)).jumpIf32(R1, "!=", 0x45, toSocket);
  a.load(1, R1, R10, at(ETHERNET.SOURCE)).jumpIf32(R1, "&", 1, toSocket);
  a.load(2, R1, R10, at(IP + IPV4.FRAGMENT)).jumpIf32(R1, "&", wire16(MORE_FRAGMENTS | FRAGMENT_OFFSET), toSocket);
  a.load(1, R1, R10, at(IP + IPV4.TTL)).jumpIf32(R1, "<=", 1, toSocket);

  a.load(2, R8, R10, at(IP + IPV4.TOTAL_LENGTH))
    .swap(R8, 16)
    .store(4, R10, TOTAL, R8);
  a.load(4, R1, R6, SKB.LENGTH).do("sub", R1, ETHERNET.HEADER_LENGTH).jumpIf(R8, ">", R1, toSocket);

  a.load(4, R1, R10, at(IP));
  for (let i = 4; i < IPV4.HEADER_LENGTH; i += 4) a.load(4, R2, R10, at(IP + i)).do("add", R1, R2);
  fold(a);
  a.jumpIf32(R1, "!=", 0xffff, toSocket);
}

/** Folds a sum in R1, below 2^48, into 16 bits; uses R2. */
function fold(a: Assembler): void {
  for (const shift of [32, 16, 16, 16]) {
    a.do("move", R2, R1).do("shiftRight", R2, shift);
    if (shift === 32) a.do32("move", R1, R1);
    else a.do("and", R1, 0xffff);
    a.do("add", R1, R2);
  }
}

/** UDP, whole, or a TCP segment that may be plain. @see TcpTracker.isPlain */
function checkTransport(a: Assembler): void {
  const toSocket = "to the socket";
  const headerLength = UDP.HEADER_LENGTH;
  a.load(1, R1, R10, at(IP + IPV4.PROTOCOL)).jumpIf32(R1, "==", PROTOCOL.TCP, "tcp");
  a.jumpIf32(R1, "!=", PROTOCOL.UDP, toSocket);
  a.load(4, R1, R6, SKB.GSO_SIZE).jumpIf32(R1, "!=", 0, toSocket);
  a.load(2, R1, R10, at(TRANSPORT + UDP.LENGTH))
    .swap(R1, 16)
    .jumpIf32(R1, "<", headerLength, toSocket);
  a.do("add", R1, IPV4.HEADER_LENGTH).jumpIf32(R1, ">", R8, toSocket);
  // Older kernels do not see that what is kept of TCP is read of TCP alone.
  for (const place of [SEQUENCE_END, at(UDP_LENGTH), at(UDP_LENGTH + 4), at(UDP_LENGTH + 8)]) a.store(4, R10, place, 0);
  a.jump("transport checked");

  a.label("tcp");
  loadBytes(a, UDP_LENGTH, TCP_LENGTH - UDP_LENGTH);
  a.load(1, R1, R10, at(TRANSPORT + TCP.FLAGS))
    .do("and", R1, FIN | SYN | RST | ACK)
    .jumpIf32(R1, "!=", ACK, toSocket);
  loadTcpHeaderLength(a);
  a.jumpIf32(R1, "<", TCP.HEADER_LENGTH, toSocket).do("add", R1, IPV4.HEADER_LENGTH).jumpIf32(R1, ">", R8, toSocket);
  a.load(4, R2, R10, at(TRANSPORT + TCP.SEQUENCE))
    .swap(R2, 32)
    .do32("add", R2, R8)
    .do32("sub", R2, R1);
  a.store(4, R10, SEQUENCE_END, R2);
  a.label("transport checked");
}

function loadTcpHeaderLength(a: Assembler): void {
  a.load(1, R1, R10, at(TRANSPORT + TCP.DATA_OFFSET))
    .do("shiftRight", R1, 4)
    .do("shiftLeft", R1, 2);
}

/** More of the frame, to its place on the stack. */
function loadBytes(a: Assembler, offset: number, length: number): void {
  a.do("move", R1, R6).do("move", R2, offset).do("move", R3, R10).do("add", R3, at(offset)).do("move", R4, length);
  a.call(HELPER.SKB_LOAD_BYTES).jumpIf(R0, "!=", 0, "to the socket");
}

/** A copy of its entry, in R9, in the note. */
function findEntry(a: Assembler, maps: Maps): void {
  const toSocket = "to the socket";
  for (const [from, to] of KEY_FIELDS) a.load(4, R1, R10, at(from)).store(4, R10, KEY + to, R1);
  a.load(4, R1, R6, SKB.IFINDEX)
    .do32("shiftLeft", R1, 8)
    .load(1, R2, R10, at(IP + IPV4.PROTOCOL))
    .do("or", R1, R2);
  a.store(4, R10, KEY + ENTRY_KEY.PLACE, R1);
  hashStackKey(a, maps);
  a.do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.index).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, toSocket).do("move", R9, R0);
  for (let way = 0; way < INDEX_WAYS; way++) {
    a.load(4, R1, R9, 4 * way);
    loadEntry(a, maps, `not entry ${way}`);
    a.jump("entry found").label(`not entry ${way}`);
  }
  a.jump(toSocket);
  a.label("entry found").do("move", R9, R7).do("add", R9, NOTE.ENTRY);

  const sums = [R1, R2, R3, R4] as const;
  for (const [i, sum] of sums.entries()) a.do("move", sum, SEAL_BEGINNINGS[i]);
  for (let i = 0; i < ENTRY.SEAL / 4; i++) {
    const sum = sums[i & 3];
    a.load(4, R5, R0, 4 * i)
      .store(4, R9, 4 * i, R5)
      .do32("mul", sum, SEAL_FACTOR)
      .do32("add", sum, R5);
  }
  for (const sum of [R2, R3, R4]) a.do32("mul", R1, SEAL_FACTOR).do32("add", R1, sum);
  a.load(4, R5, R0, ENTRY.SEAL).jumpIf32(R1, "!=", R5, toSocket);
  jumpUnlessKey(a, R9, ENTRY.KEY, toSocket);

  a.loadMapValue(R1, maps.control, CONTROL.GENERATION).load(4, R1, R1, 0).load(4, R2, R9, ENTRY.GENERATION);
  a.jumpIf32(R1, "!=", R2, toSocket);
}

/** The entry that R1 from the index is about, in R0. Jumps where there is none, or it has another key. */
function loadEntry(a: Assembler, maps: Maps, otherwise: string): void {
  a.do("move", R2, R1).do("and", R1, NUMBER_MASK).jumpIf32(R1, "==", 0, otherwise);
  a.do("shiftRight", R2, TAG_SHIFT).load(4, R3, R10, TAG).jumpIf32(R2, "!=", R3, otherwise);
  a.do("sub", R1, 1).store(4, R10, INDEX, R1);
  a.do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.entries).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, "to the socket");
  jumpUnlessKey(a, R0, ENTRY.KEY, otherwise);
}

/** Jumps where the key on the stack is not the one at a register. */
function jumpUnlessKey(a: Assembler, register: Register, field: number, label: string): void {
  for (let i = 0; i < ENTRY_KEY.LENGTH; i += 4) {
    a.load(4, R1, R10, KEY + i)
      .load(4, R2, register, field + i)
      .jumpIf32(R1, "!=", R2, label);
  }
}

/** As hashKey does: the place of the key on the stack, in INDEX, and what the index has of the hash, in TAG. */
function hashStackKey(a: Assembler, { places, seed }: Maps): void {
  const mixIn = (field: number) => a.load(4, R2, R10, KEY + field).do32("xor", R1, R2);
  const shifted = (bits: number) => a.do32("move", R2, R1).do32("shiftRight", R2, bits).do32("xor", R1, R2);
  a.do32("move", R1, seed);
  mixIn(ENTRY_KEY.PLACE);
  mixIn(ENTRY_KEY.SOURCE).do32("mul", R1, MIX[0]);
  shifted(15);
  mixIn(ENTRY_KEY.DESTINATION).do32("mul", R1, MIX[1]);
  shifted(13);
  mixIn(ENTRY_KEY.PORTS).do32("mul", R1, MIX[2]);
  shifted(16).do32("mul", R1, MIX[3]);
  shifted(15).do32("move", R2, R1).do32("shiftRight", R2, TAG_SHIFT).store(4, R10, TAG, R2);
  a.do32("and", R1, places - 1).store(4, R10, INDEX, R1);
}

function checkMacs(a: Assembler): void {
  jumpUnlessMac(a, ETHERNET.DESTINATION, ENTRY.OUR_MAC);
  a.load(4, R1, R9, ENTRY.PINNED).jumpIf32(R1, "==", 0, "sender checked");
  jumpUnlessMac(a, ETHERNET.SOURCE, ENTRY.PINNED_MAC);
  a.label("sender checked");
}

/** In pieces of two bytes: so the frame's are aligned. */
function jumpUnlessMac(a: Assembler, inFrame: number, inEntry: number): void {
  for (let i = 0; i < 6; i += 2) {
    a.load(2, R1, R10, at(inFrame + i))
      .load(2, R2, R9, inEntry + i)
      .jumpIf32(R1, "!=", R2, "to the socket");
  }
}

/** It is no larger than the MTU, or will pass as segments of TCP. */
function checkMtu(a: Assembler): void {
  const toSocket = "to the socket";
  a.load(4, R3, R9, ENTRY.MTU).jumpIf32(R8, "<=", R3, "fits");
  a.load(4, R2, R6, SKB.GSO_SIZE).jumpIf32(R2, "==", 0, toSocket);
  loadTcpHeaderLength(a);
  a.do("add", R1, R2).do("add", R1, IPV4.HEADER_LENGTH).jumpIf32(R1, ">", R3, toSocket);
  a.label("fits");
}

/**
 * What is left to the interface. A checksum may be, if the place that its sender names is the transport's own: the kernel would
 * write it anywhere else too, over ports or addresses that have been judged. And a frame to be cut into segments has no padding:
 * with that, the kernel forgets that it is to be cut.
 *
 * None of this a program is told but of the segments, so it reads the kernel's own notes on the frame.
 */
function checkOffload(a: Assembler, layout: SkbLayout): void {
  const toSocket = "to the socket";
  a.load(4, R1, R6, SKB.GSO_SIZE).jumpIf32(R1, "==", 0, "is not padded and cut");
  a.load(4, R1, R6, SKB.LENGTH).do("sub", R1, ETHERNET.HEADER_LENGTH).jumpIf(R8, "!=", R1, toSocket);
  a.label("is not padded and cut");

  const summed = { at: layout.ip_summed >> 3, shift: layout.ip_summed & 7 };
  const first = Math.min(summed.at, layout.csum_start, layout.csum_offset, layout.head, layout.data) & ~7;
  const end = Math.max(summed.at + 1, layout.csum_start + 2, layout.csum_offset + 2, layout.head + 8, layout.data + 8);
  if (end - first > MOST_SKB_BYTES) throw new Error(`what is asked of struct sk_buff is ${end - first} bytes apart`);
  const inStack = (member: number): number => SKB_BYTES + member - first;
  a.do("move", R1, R10)
    .do("add", R1, SKB_BYTES)
    .do("move", R2, end - first)
    .do("move", R3, R6)
    .do("add", R3, first);
  a.call(HELPER.PROBE_READ_KERNEL).jumpIf(R0, "!=", 0, toSocket);
  a.load(1, R1, R10, inStack(summed.at))
    .do("and", R1, CHECKSUM_PARTIAL << summed.shift)
    .jumpIf32(R1, "!=", CHECKSUM_PARTIAL << summed.shift, "offload checked");

  a.load(2, R1, R10, inStack(layout.csum_start))
    .load(8, R2, R10, inStack(layout.data))
    .load(8, R3, R10, inStack(layout.head));
  a.do("sub", R2, R3).do("sub", R1, R2).jumpIf(R1, "!=", TRANSPORT, toSocket);
  a.load(2, R1, R10, inStack(layout.csum_offset));
  a.load(1, R2, R10, at(IP + IPV4.PROTOCOL)).jumpIf32(R2, "==", PROTOCOL.TCP, "tcp's checksum is left");
  a.jumpIf32(R1, "!=", UDP.CHECKSUM, toSocket);
  // No sender's own stack leaves 0 there; and it would be taken for none.
  a.load(2, R1, R10, at(TRANSPORT + UDP.CHECKSUM))
    .jumpIf32(R1, "==", 0, toSocket)
    .jump("offload checked");
  a.label("tcp's checksum is left").jumpIf32(R1, "!=", TCP.CHECKSUM, toSocket);
  a.label("offload checked");
}

/** The flow's record, in R0: still this flow's, and open. From here on no helper is called. */
function findFlow(a: Assembler, maps: Maps): void {
  const toSocket = "to the socket";
  a.load(4, R1, R9, ENTRY.FLOW).store(4, R10, INDEX, R1);
  a.do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.flows).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, toSocket);
  const same = [
    [FLOW.SOURCE, ENTRY.FLOW_SOURCE],
    [FLOW.PORTS, ENTRY.FLOW_PORTS],
    [FLOW.BACK_PORTS, ENTRY.FLOW_BACK_PORTS],
  ] as const;
  for (const [word, expected] of same) {
    a.load(4, R1, R0, 4 * word)
      .load(4, R2, R9, expected)
      .jumpIf32(R1, "!=", R2, toSocket);
  }
  a.load(4, R1, R0, 4 * FLOW.STATE)
    .load(4, R2, R9, ENTRY.STATE_MASK)
    .do("and", R1, R2);
  a.load(4, R2, R9, ENTRY.STATE).jumpIf32(R1, "!=", R2, toSocket);
}

/** As TcpTracker.follow does. */
function followTcp(a: Assembler): void {
  const toSocket = "to the socket";
  const end = 4 * (FLOW.TCP + END);
  const acked = 4 * (FLOW.TCP + ACKED);
  const windows = 4 * WINDOWS;
  const side = 4 * SIDE_WORDS;
  a.load(1, R1, R10, at(IP + IPV4.PROTOCOL)).jumpIf32(R1, "!=", PROTOCOL.TCP, "followed");
  // R1, R4: from the record's beginning to that of its side, and of the other's, less what they have in common; R2, R3 there.
  a.load(4, R1, R9, ENTRY.SIDE).do("and", R1, side).do("move", R4, R1).do("xor", R4, side).do("and", R4, side);
  a.do("move", R2, R0).do("add", R2, R1).do("move", R3, R0).do("add", R3, R4);

  // It begins and ends within a window of what the other side has acknowledged.
  loadWindow(a);
  a.do32("add", R5, 1).load(4, R4, R3, acked);
  a.load(4, R8, R10, at(TRANSPORT + TCP.SEQUENCE))
    .swap(R8, 32)
    .do32("sub", R8, R4);
  a.jumpIf32(R8, "signed >", R5, toSocket);
  a.load(4, R8, R10, SEQUENCE_END).do32("sub", R8, R4).do32("move", R4, 0).do32("sub", R4, R5);
  a.jumpIf32(R8, "signed <", R4, toSocket);

  // What it acknowledges, the other side can have sent of late.
  a.do("move", R4, R1);
  loadWindow(a);
  a.do32("add", R5, OVERREACH);
  a.load(4, R8, R10, at(TRANSPORT + TCP.ACKNOWLEDGMENT))
    .swap(R8, 32)
    .load(4, R3, R3, end)
    .do32("sub", R3, R8);
  a.jumpIf32(R3, "signed <", 0, toSocket).jumpIf32(R3, "signed >", R5, toSocket);

  storeLater(a, acked, "acknowledged noted");
  a.load(4, R8, R10, SEQUENCE_END);
  storeLater(a, end, "end noted");
  a.do("shiftRight", R1, 2).do("add", R1, R0);
  a.load(2, R8, R10, at(TRANSPORT + TCP.WINDOW))
    .swap(R8, 16)
    .load(2, R3, R1, windows)
    .jumpIf32(R8, "<=", R3, "followed");
  a.store(2, R1, windows, R8);
  a.label("followed");

  /** The window that the side has offered of which R4 is the place, in R5; R4 and R8 are lost. */
  function loadWindow(a: Assembler): void {
    a.do("move", R5, R4).do("shiftRight", R5, 2).do("add", R5, R0).load(2, R5, R5, windows);
    a.load(4, R8, R0, 4 * FLOW.STATE)
      .do("shiftRight", R4, Math.log2(side / SCALE_BITS))
      .do("add", R4, SCALE_SHIFT);
    a.do32("shiftRight", R8, R4).do("and", R8, 15).do32("shiftLeft", R5, R8);
  }
}

/** Notes a sequence number in R8 of the side at R2, if it is later than what is there. */
function storeLater(a: Assembler, field: number, done: string): void {
  a.load(4, R3, R2, field).do32("move", R5, R8).do32("sub", R5, R3).jumpIf32(R5, "signed <=", 0, done);
  a.store(4, R2, field, R8).label(done);
}

/** The flow's deadline, as State.refresh moves it; the second may be one behind. */
function refresh(a: Assembler, maps: Maps): void {
  a.load(4, R1, R9, ENTRY.TIMEOUT).jumpIf32(R1, "==", 0, "refreshed");
  a.loadMapValue(R2, maps.control, CONTROL.SECOND).load(4, R2, R2, 0).do("add", R1, R2).do("add", R1, 2);
  a.store(4, R0, 4 * FLOW.DEADLINE, R1).label("refreshed");
}

function leaveNote(a: Assembler): void {
  a.load(4, R1, R10, TOTAL).do("add", R1, ETHERNET.HEADER_LENGTH).store(4, R7, NOTE.FRAME_LENGTH, R1);
  a.store(4, R7, NOTE.IS_SET, 1).do("move", R0, NOTHING).exit();
}

// The forwarder's stack.
const NOTE_INDEX = -4;

/** @returns the program at ingress: it forwards the frame that the note is about, and lets all others be */
export function forwarder(maps: Maps): Uint8Array<ArrayBuffer> {
  const a = new Assembler();
  a.do("move", R6, R1);
  a.store(4, R10, NOTE_INDEX, 0).do("move", R2, R10).do("add", R2, NOTE_INDEX).loadMap(R1, maps.note);
  a.call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, "not ours").do("move", R7, R0);
  a.load(4, R1, R7, NOTE.IS_SET).jumpIf32(R1, "==", 0, "not ours").store(4, R7, NOTE.IS_SET, 0);

  // Padding stays behind.
  a.load(4, R1, R6, SKB.LENGTH).load(4, R2, R7, NOTE.FRAME_LENGTH).jumpIf32(R1, "<", R2, "drop");
  a.jumpIf32(R1, "==", R2, "trimmed");
  a.do("move", R1, R6).do("move", R3, 0).call(HELPER.SKB_CHANGE_TAIL).jumpIf(R0, "!=", 0, "drop").label("trimmed");

  // The headers are to be where they can be written to; mostly they are.
  a.load(4, R8, R6, SKB.DATA).load(4, R1, R6, SKB.DATA_END).do("move", R2, R8).do("add", R2, TCP_LENGTH);
  a.jumpIf(R2, "<=", R1, "pulled");
  a.load(4, R2, R7, NOTE.FRAME_LENGTH).jumpIf32(R2, "<=", TCP_LENGTH, "pull").do("move", R2, TCP_LENGTH).label("pull");
  a.do("move", R1, R6).call(HELPER.SKB_PULL_DATA).jumpIf(R0, "!=", 0, "drop").label("pulled");
  loadFrame(a, UDP_LENGTH);
  checkNote(a);
  a.load(1, R1, R8, IP + IPV4.PROTOCOL).jumpIf32(R1, "==", PROTOCOL.TCP, "tcp");
  rewriteChecksum(a, TRANSPORT + UDP.CHECKSUM, BPF_F_MARK_MANGLED_0);
  a.label("tcp");
  rewriteChecksum(a, TRANSPORT + TCP.CHECKSUM, 0);

  a.label("rewrite");
  loadFrame(a, UDP_LENGTH);
  for (let i = 0; i < 12; i += 4) a.load(4, R1, R7, NOTE.REWRITE + REWRITE.MACS + i).store(4, R8, i, R1);
  const copies = [
    [REWRITE.SOURCE, IP + IPV4.SOURCE],
    [REWRITE.DESTINATION, IP + IPV4.DESTINATION],
    [REWRITE.PORTS, TRANSPORT],
  ] as const;
  for (const [from, to] of copies) a.load(4, R1, R7, NOTE.REWRITE + from).store(4, R8, to, R1);
  a.load(1, R1, R8, IP + IPV4.TTL)
    .do("sub", R1, 1)
    .store(1, R8, IP + IPV4.TTL, R1);
  a.load(2, R1, R8, IP + IPV4.CHECKSUM).do("xor", R1, 0xffff);
  a.load(4, R2, R7, NOTE.REWRITE + REWRITE.HEADER_DELTA).do("add", R1, R2);
  fold(a);
  a.do("xor", R1, 0xffff).store(2, R8, IP + IPV4.CHECKSUM, R1);

  count(a, maps, COUNTERS.FORWARDED);
  a.load(4, R1, R7, NOTE.REWRITE + REWRITE.EGRESS)
    .do("move", R2, 0)
    .call(HELPER.REDIRECT)
    .exit();
  drop(a, maps);
  a.label("not ours").do("move", R0, TC_ACT_UNSPEC).exit();
  return a.assemble();
}

/** The note is about this frame: nothing else that sees frames between the two programs has let another one take its place. */
function checkNote(a: Assembler): void {
  for (const [from, to] of KEY_FIELDS) {
    a.load(4, R1, R8, from)
      .load(4, R2, R7, NOTE.KEY + to)
      .jumpIf32(R1, "!=", R2, "drop");
  }
  a.load(4, R1, R6, SKB.IFINDEX)
    .do32("shiftLeft", R1, 8)
    .load(1, R2, R8, IP + IPV4.PROTOCOL)
    .do("or", R1, R2);
  a.load(4, R2, R7, NOTE.KEY + ENTRY_KEY.PLACE).jumpIf32(R1, "!=", R2, "drop");
}

/** Counts the frame as lost, for all and for its entry: after TOO_MANY the entry does not hold, and the socket gets its frames. */
function drop(a: Assembler, maps: Maps): void {
  a.label("drop");
  count(a, maps, COUNTERS.FAILED);
  a.load(4, R1, R7, NOTE.ENTRY + ENTRY.FLOW)
    .do("shiftLeft", R1, 1)
    .load(4, R2, R7, NOTE.ENTRY + ENTRY.SIDE)
    .jumpIf32(R2, "==", 0, "of its entry")
    .do("add", R1, 1)
    .label("of its entry");
  a.store(4, R10, NOTE_INDEX, R1).do("move", R2, R10).do("add", R2, NOTE_INDEX).loadMap(R1, maps.entries);
  a.call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, "dropped");
  a.do("move", R1, 1).addInMemory(R0, ENTRY.LOST, R1);
  a.load(8, R1, R0, ENTRY.LOST).jumpIf(R1, "<", TOO_MANY, "dropped").store(4, R0, ENTRY.GENERATION, 0);
  a.label("dropped").do("move", R0, TC_ACT_SHOT).exit();
}

function count(a: Assembler, maps: Maps, counter: number): void {
  a.call(HELPER.GET_SMP_PROCESSOR_ID)
    .do("and", R0, COUNTERS.COUNT - 1)
    .do("mul", R0, COUNTERS.STRIDE);
  a.loadMapValue(R1, maps.control, CONTROL.COUNTERS + counter)
    .do("add", R1, R0)
    .do("move", R2, 1);
  a.addInMemory(R1, 0, R2);
}

/** The frame's first bytes in R8: after each helper anew. */
function loadFrame(a: Assembler, length: number): void {
  a.load(4, R8, R6, SKB.DATA).load(4, R1, R6, SKB.DATA_END).do("move", R2, R8).do("add", R2, length);
  a.jumpIf(R2, ">", R1, "drop");
}

/**
 * The transport's checksum. Its sender may have left it to the interface: then only the sum of the pseudo-header is there, and
 * the helper changes that by what is in the pseudo-header, and leaves all else be.
 * @param flags of UDP, where 0 says that there is none (RFC 768): that stays, and none comes out as 0
 */
function rewriteChecksum(a: Assembler, field: number, flags: number): void {
  a.load(4, R4, R7, NOTE.REWRITE + REWRITE.ADDRESS_DELTA);
  replace(a, field, BPF_F_PSEUDO_HDR | flags);
  a.load(4, R4, R7, NOTE.REWRITE + REWRITE.PORT_DELTA);
  replace(a, field, flags);
  a.jump("rewrite");
}

/** Changes a checksum by a delta in R4. */
function replace(a: Assembler, field: number, flags: number): void {
  a.do("move", R1, R6).do("move", R2, field).do("move", R3, 0).do("move", R5, flags).call(HELPER.L4_CSUM_REPLACE);
  a.jumpIf(R0, "!=", 0, "drop");
}
