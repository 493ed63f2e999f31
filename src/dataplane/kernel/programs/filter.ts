// The kernel path's first program: the filter of every packet socket. It makes all the checks of fast-path.ts. Whatever it does not
// like it lets through to the socket, as it came, and counts it: until that is settled (gates.ts), all of its flow goes there.
// What it likes it keeps from the socket, and leaves a note for the forwarder (forwarder.ts), which the kernel runs on the same
// frame next, on the same CPU. It is long, since it is one program, and in the order in which the kernel runs it.
//
// Most of it is the same for both families. What it needs of a packet of IPv6 it puts where that of one of IPv4 would be: ports and the
// rest of the transport header, protocol, whether fragments follow, and the length less EXTRA_HEADER6. The rest of IPv6 is in filter6.ts:
// IPv4 does not pass there.
import { Assembler, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, type Register } from "../../../linux/bpf/assembler.ts";
import type { SkbLayout } from "../../../linux/bpf/skb-layout.ts";
import { ETHERNET, ETHERTYPE } from "../../../wire/ethernet.ts";
import { FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS, PROTOCOL } from "../../../wire/ipv4.ts";
import { ACK, FIN, RST, SYN, TCP } from "../../../wire/tcp.ts";
import { UDP } from "../../../wire/udp.ts";
import { LEAST_SEGMENT, MOST_SEGMENTS } from "../../frame/vnet.ts";
import { KeyedHash } from "../../keyed-hash.ts";
import { FLOW } from "../../tables/flow-records.ts";
import { SCALE_BITS, SCALE_MASK, SCALE_SHIFT } from "../../tables/flow-state.ts";
import { ACKED, END, OVERREACH, SIDE_WORDS, WINDOWS } from "../../tables/tcp.ts";
import { fold, HELPER, IP, KEY_FIELDS, NOT_FOUND, SKB, TCP_LENGTH, TRANSPORT, UDP_LENGTH } from "./bpf-frame.ts";
import {
  addKeyed,
  at,
  copySummed,
  FOUND,
  INDEX,
  KEY,
  loadMore,
  MOST_SKB_BYTES,
  SEQUENCE_END,
  SKB_BYTES,
  START,
  TAG,
  TOTAL,
  wire16,
} from "./filter-parts.ts";
import { checkAddresses6, checkHeader6, loadKey6 } from "./filter6.ts";
import {
  CONTROL,
  DEPENDENCY,
  ENTRY,
  ENTRY_KEY,
  GATE,
  INDEX_WAYS,
  type Maps,
  NOTE,
  NUMBER_MASK,
  PULSE_SHIFT,
  RECORDS_AT_ONCE,
  RECORDS_SHIFT,
  SHUT,
  TAG_SHIFT,
} from "./layout.ts";

const CHECKSUM_PARTIAL = 3; // linux/skbuff.h: the checksum is left to the interface

const WHOLE_FRAME = -1;
const NOTHING = 0;

/** How often a mark is tried that others make at the same time. */
const TRIES = 4;

/**
 * @param layout of this kernel's struct sk_buff
 * @param gate number of the socket's gate
 * @returns the program of a packet socket: 0 for a frame that goes the kernel path
 */
export function socketFilter(maps: Maps, layout: SkbLayout, gate: number): Uint8Array<ArrayBuffer> {
  const a = new Assembler();
  const gateAt = CONTROL.GATES + gate * GATE.STRIDE;
  a.do("move", R6, R1);
  // No note but for this frame.
  a.store(4, R10, INDEX, 0).do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.note).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, "without a key").do("move", R7, R0).store(4, R7, NOTE.TRANSPORT, 0);
  loadKey(a);
  a.label("has its key");
  findEntry(a, maps, "found", "not found");
  a.label("found").store(8, R10, FOUND, R0);
  checkFrame(a);
  checkHeader(a);
  a.label("header checked");
  checkTransport(a);
  checkPulse(a, maps);
  copyEntry(a, maps);
  checkSettled(a, maps, gateAt);
  checkMacs(a);
  checkMtu(a);
  const isLeft = checkOffload(a, layout);
  a.load(4, R1, R10, START).jumpIf32(R1, "!=", TRANSPORT, "addresses of IPv6").label("addresses checked");
  findFlow(a, maps);
  followTcp(a);
  refresh(a, maps);
  leaveNote(a);

  a.label("to the socket");
  countPassed(a, maps, gateAt);
  a.load(8, R9, R10, FOUND).jump("mark");
  // Counted, it is looked for again: an entry that was put in meanwhile may hold for those behind it.
  a.label("not found");
  countPassed(a, maps, gateAt);
  findEntry(a, maps, "found after all", "counted");
  a.label("found after all").do("move", R9, R0);
  mark(a);
  a.label("without a key");
  countPassed(a, maps, gateAt);
  a.label("counted").do("move", R0, WHOLE_FRAME).exit();

  loadKey6(a, maps);
  checkHeader6(a);
  checkAddresses6(a, maps, isLeft);
  return a.assemble();
}

/** The key, of an IPv4 packet of TCP or UDP that has ports: whole or a first fragment, with options or without. */
function loadKey(a: Assembler): void {
  const none = "without a key";
  loadBytes(a, 0, UDP_LENGTH, none);
  a.load(2, R1, R10, at(ETHERNET.TYPE)).jumpIf32(R1, "!=", wire16(ETHERTYPE.IPV4), "not of IPv4");
  a.do("move", R1, TRANSPORT).store(4, R10, START, R1);
  a.load(2, R1, R10, at(IP + IPV4.FRAGMENT)).jumpIf32(R1, "&", wire16(FRAGMENT_OFFSET), none);
  for (const [from, to] of KEY_FIELDS) a.load(4, R1, R10, at(from)).store(4, R10, KEY + to, R1);
  a.load(4, R1, R6, SKB.IFINDEX)
    .do32("shiftLeft", R1, 8)
    .load(1, R2, R10, at(IP + IPV4.PROTOCOL))
    .do("or", R1, R2);
  a.store(4, R10, KEY + ENTRY_KEY.INGRESS, R1);
  a.load(1, R2, R10, at(IP)).jumpIf32(R2, "==", 0x45, "has its key");
  a.do("and", R2, 0x0f)
    .do("shiftLeft", R2, 2)
    .do("add", R2, ETHERNET.HEADER_LENGTH)
    .do("move", R1, R6)
    .do("move", R3, R10)
    .do("add", R3, KEY + ENTRY_KEY.PORTS)
    .do("move", R4, 4)
    .call(HELPER.SKB_LOAD_BYTES)
    .jumpIf(R0, "!=", 0, none);
}

/** Counts a frame that goes to the socket: it is the R8th. */
function countPassed(a: Assembler, maps: Maps, gateAt: number): void {
  a.loadMapValue(R1, maps.control, gateAt + GATE.PASSED)
    .do("move", R8, 1)
    .fetchAdd32(R1, 0, R8)
    .do32("add", R8, 1);
}

/**
 * Marks the entry at R9 with the number in R8 of a frame of its flow that goes to the socket. A fragment shuts it. Of one that is
 * shut the mark stays that of the fragment.
 */
function mark(a: Assembler): void {
  a.label("mark")
    .load(2, R3, R10, at(IP + IPV4.FRAGMENT))
    .do("and", R3, wire16(MORE_FRAGMENTS));
  a.jumpIf32(R3, "!=", 0, "later");
  a.load(4, R1, R9, ENTRY.GENERATION).do32("move", R2, SHUT).jumpIf32(R1, "==", R2, "counted");
  a.label("later");
  for (let i = 0; i < TRIES; i++) {
    a.load(4, R0, R9, ENTRY.LAST).do32("move", R1, R8).do32("sub", R1, R0).jumpIf32(R1, "signed <=", 0, "marked");
    a.do32("move", R2, R0).do32("move", R1, R8).compareExchange32(R9, ENTRY.LAST, R1).jumpIf32(R0, "==", R2, "marked");
  }
  a.jump("shut");
  a.label("marked").jumpIf32(R3, "==", 0, "counted");
  a.label("shut").store(4, R9, ENTRY.GENERATION, SHUT).jump("counted");
}

/** An Ethernet header without more ado. */
function checkFrame(a: Assembler): void {
  const toSocket = "to the socket";
  a.load(4, R1, R6, SKB.VLAN_PRESENT).jumpIf32(R1, "!=", 0, toSocket);
  a.load(1, R1, R10, at(ETHERNET.SOURCE)).jumpIf32(R1, "&", 1, toSocket);
  a.load(4, R1, R10, START).jumpIf32(R1, "!=", TRANSPORT, "header of IPv6");
}

/** A plain IPv4 header, its checksum right. Leaves its total length in R8, and in TOTAL. */
function checkHeader(a: Assembler): void {
  const toSocket = "to the socket";
  a.load(1, R1, R10, at(IP)).jumpIf32(R1, "!=", 0x45, toSocket);
  a.load(2, R1, R10, at(IP + IPV4.FRAGMENT)).jumpIf32(R1, "&", wire16(MORE_FRAGMENTS), toSocket);
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
  for (const offset of [SEQUENCE_END, at(UDP_LENGTH), at(UDP_LENGTH + 4), at(UDP_LENGTH + 8)])
    a.store(4, R10, offset, 0);
  a.jump("transport checked");

  a.label("tcp").load(4, R2, R10, START).do("add", R2, UDP.HEADER_LENGTH);
  loadMore(a, at(UDP_LENGTH), TCP_LENGTH - UDP_LENGTH, toSocket);
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

/** More of the frame, to where it belongs on the stack. */
function loadBytes(a: Assembler, offset: number, length: number, otherwise: string): void {
  a.do("move", R2, offset);
  loadMore(a, at(offset), length, otherwise);
}

/** The entry of the key on the stack, in R0. R9 is lost. */
function findEntry(a: Assembler, maps: Maps, found: string, otherwise: string): void {
  hashStackKey(a, maps);
  a.do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.index).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, otherwise).do("move", R9, R0);
  for (let way = 0; way < INDEX_WAYS; way++) {
    const next = `${found}, but not at ${way}`;
    a.load(4, R1, R9, 4 * way);
    loadEntry(a, maps, next);
    a.jump(found).label(next);
  }
  a.jump(otherwise);
}

/** The dataplane's thread is alive. The coarse clock is up to 10 ms behind, and costs a tenth of the other. */
function checkPulse(a: Assembler, maps: Maps): void {
  a.call(HELPER.KTIME_GET_COARSE_NS).do("shiftRight", R0, PULSE_SHIFT);
  a.loadMapValue(R1, maps.control, CONTROL.ALIVE_UNTIL).load(4, R1, R1, 0).do32("sub", R1, R0);
  a.jumpIf32(R1, "signed <", 0, "to the socket");
}

/** A copy of the entry, in R9, in the note; the entry itself in R0. */
function copyEntry(a: Assembler, maps: Maps): void {
  const toSocket = "to the socket";
  a.load(8, R0, R10, FOUND).do("move", R9, R7).do("add", R9, NOTE.ENTRY);

  copySummed(a, R9, 0, ENTRY.CHECKSUM);
  a.load(4, R5, R0, ENTRY.CHECKSUM).jumpIf32(R1, "!=", R5, toSocket);
  jumpUnlessKey(a, R9, ENTRY.KEY, toSocket);

  a.loadMapValue(R1, maps.control, CONTROL.GENERATION).load(4, R1, R1, 0).load(4, R2, R9, ENTRY.GENERATION);
  a.jumpIf32(R1, "!=", R2, toSocket);

  // Nor has its client other rules by now, or the next hop another MAC address.
  a.load(2, R2, R9, ENTRY.NEIGHBOUR)
    .do("and", R2, DEPENDENCY.NEIGHBOURS - 1)
    .do("shiftLeft", R2, 2);
  a.loadMapValue(R1, maps.control, CONTROL.NEIGHBOURS).do("add", R1, R2).load(4, R3, R1, 0);
  a.load(2, R2, R9, ENTRY.CLIENT)
    .do("and", R2, DEPENDENCY.CLIENTS - 1)
    .do("shiftLeft", R2, 2);
  a.loadMapValue(R1, maps.control, CONTROL.CLIENTS).do("add", R1, R2).load(4, R4, R1, 0);
  a.do32("add", R3, R4).load(4, R1, R9, ENTRY.CHANGES).jumpIf32(R1, "!=", R3, toSocket);
}

/** The entry that R1 from the index is about, in R0. Jumps where there is none, or it has another key. */
function loadEntry(a: Assembler, maps: Maps, otherwise: string): void {
  a.do("move", R2, R1).do("and", R1, NUMBER_MASK).jumpIf32(R1, "==", 0, otherwise);
  a.do("shiftRight", R2, TAG_SHIFT).load(4, R3, R10, TAG).jumpIf32(R2, "!=", R3, otherwise);
  a.do("sub", R1, 1).store(4, R10, INDEX, R1);
  a.do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.entries).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, otherwise);
  jumpUnlessKey(a, R0, ENTRY.KEY, otherwise);
}

/** All frames are settled of the entry in R0 that went to the socket. */
function checkSettled(a: Assembler, maps: Maps, gateAt: number): void {
  a.loadMapValue(R1, maps.control, gateAt + GATE.SETTLED)
    .load(4, R1, R1, 0)
    .load(4, R2, R0, ENTRY.LAST);
  a.do32("sub", R1, R2).jumpIf32(R1, "signed <", 0, "to the socket");
}

/** Jumps where the key on the stack is not the one at a register. */
function jumpUnlessKey(a: Assembler, register: Register, field: number, label: string): void {
  for (let i = 0; i < ENTRY_KEY.LENGTH; i += 4) {
    a.load(4, R1, R10, KEY + i)
      .load(4, R2, register, field + i)
      .jumpIf32(R1, "!=", R2, label);
  }
}

/** As hashKey does: the bucket of the key on the stack, in INDEX, and what the index has of the hash, in TAG. */
function hashStackKey(a: Assembler, { buckets, keys }: Maps): void {
  const keyed = new KeyedHash(keys.hash);
  const words = [
    [ENTRY_KEY.SOURCE, keyed.a, keyed.aUpper],
    [ENTRY_KEY.DESTINATION, keyed.b, keyed.bUpper],
    [ENTRY_KEY.PORTS, keyed.c, keyed.cUpper],
  ] as const;
  const shifted = (bits: number) => a.do32("move", R2, R1).do32("shiftRight", R2, bits).do32("xor", R1, R2);
  a.load(4, R1, R10, KEY + ENTRY_KEY.INGRESS)
    .do32("mul", R1, keyed.d)
    .do32("add", R1, keyed.start);
  for (const [field, factor, upper] of words) addKeyed(a, KEY + field, factor, upper);
  shifted(16).do32("mul", R1, KeyedHash.LAST_FACTOR);
  shifted(15).do32("move", R2, R1).do32("shiftRight", R2, TAG_SHIFT).store(4, R10, TAG, R2);
  a.do32("and", R1, buckets - 1).store(4, R10, INDEX, R1);
}

function checkMacs(a: Assembler): void {
  jumpUnlessMac(a, ETHERNET.DESTINATION, ENTRY.OUR_MAC);
  a.load(2, R1, R9, ENTRY.PINNED).jumpIf32(R1, "==", 0, "sender checked");
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
  a.load(2, R3, R9, ENTRY.MTU).jumpIf32(R8, "<=", R3, "fits");
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
 *
 * Nor is it told which kind of segments they are to be. So a frame of IPv4 passes that is to be cut as TCP of IPv6, or as UDP, which
 * hasSoundOffload refuses; likewise one of IPv6. That harms nobody: it may be no larger and make no more segments than others. Where
 * Linux cuts, its handlers look at the kind (tcp4_gso_segment, tcp6_gso_segment), and the frame is dropped, as
 * tests/net/kernel-offload.test.ts has it. An interface that cuts by itself but verifies headers (NETIF_F_GSO_ROBUST: virtio-net,
 * Xen's netfront) gives it to its host as the sender gave it to us; who looks there is the host. The kind is in struct
 * skb_shared_info, which the image's file of offsets does not have.
 * @returns where on the stack ip_summed is, and which bits say there that the checksum is left
 */
function checkOffload(a: Assembler, layout: SkbLayout): { readonly place: number; readonly bits: number } {
  const toSocket = "to the socket";
  a.load(4, R2, R6, SKB.GSO_SIZE).jumpIf32(R2, "==", 0, "is not padded and cut");
  a.load(4, R1, R6, SKB.LENGTH).do("sub", R1, ETHERNET.HEADER_LENGTH).load(4, R3, R10, TOTAL);
  a.jumpIf(R3, "!=", R1, toSocket);
  // As isCutIntoFew has it.
  a.jumpIf32(R2, "<", LEAST_SEGMENT, toSocket).do("mul", R2, MOST_SEGMENTS).jumpIf(R3, ">", R2, toSocket);
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
  const isLeft = { place: inStack(summed.at), bits: CHECKSUM_PARTIAL << summed.shift };
  a.load(1, R1, R10, isLeft.place).do("and", R1, isLeft.bits).jumpIf32(R1, "!=", isLeft.bits, "offload checked");

  a.load(2, R1, R10, inStack(layout.csum_start))
    .load(8, R2, R10, inStack(layout.data))
    .load(8, R3, R10, inStack(layout.head));
  a.do("sub", R2, R3).do("sub", R1, R2).load(4, R3, R10, START).jumpIf(R1, "!=", R3, toSocket);
  a.load(2, R1, R10, inStack(layout.csum_offset));
  a.load(1, R2, R10, at(IP + IPV4.PROTOCOL)).jumpIf32(R2, "==", PROTOCOL.TCP, "tcp's checksum is left");
  a.jumpIf32(R1, "!=", UDP.CHECKSUM, toSocket);
  // No sender's own stack leaves 0 there; and it would be taken for none.
  a.load(2, R1, R10, at(TRANSPORT + UDP.CHECKSUM))
    .jumpIf32(R1, "==", 0, toSocket)
    .jump("offload checked");
  a.label("tcp's checksum is left").jumpIf32(R1, "!=", TCP.CHECKSUM, toSocket);
  a.label("offload checked");
  return isLeft;
}

/** The flow's record, in R0: still this flow's, and open. From here on no helper is called. */
function findFlow(a: Assembler, maps: Maps): void {
  const toSocket = "to the socket";
  a.load(4, R1, R9, ENTRY.FLOW).do("shiftRight", R1, RECORDS_SHIFT).store(4, R10, INDEX, R1);
  a.do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.records).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, toSocket).do("move", R1, R0);
  a.load(4, R2, R9, ENTRY.FLOW)
    .do("and", R2, RECORDS_AT_ONCE - 1)
    .store(4, R10, INDEX, R2);
  a.do("move", R2, R10).do("add", R2, INDEX).call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, toSocket);
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
  a.load(4, R1, R9, ENTRY.NUMBER).do("and", R1, side).do("move", R4, R1).do("xor", R4, side).do("and", R4, side);
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

  /** The window that a side has offered, in R5. R4: how far behind the record's beginning that side's words are. R4 and R8 are lost. */
  function loadWindow(a: Assembler): void {
    a.do("move", R5, R4).do("shiftRight", R5, 2).do("add", R5, R0).load(2, R5, R5, windows);
    a.load(4, R8, R0, 4 * FLOW.STATE)
      .do("shiftRight", R4, Math.log2(side / SCALE_BITS))
      .do("add", R4, SCALE_SHIFT);
    a.do32("shiftRight", R8, R4).do("and", R8, SCALE_MASK).do32("shiftLeft", R5, R8);
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
  a.load(4, R1, R10, START).store(4, R7, NOTE.TRANSPORT, R1).do("move", R0, NOTHING).exit();
}
