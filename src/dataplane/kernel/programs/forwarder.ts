// The kernel path's second program, at ingress, before a frame would get to the kernel's own IP stack: it rewrites the frame that the
// filter (filter.ts) has left a note about, and hands it to the other interface. Where there is no socket any more there is no
// note, and nothing is forwarded.
import { Assembler, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 } from "../../../linux/bpf/assembler.ts";
import { FIRST_MARK } from "../../../linux/net/shaping.ts";
import { ETHERNET } from "../../../wire/ethernet.ts";
import { IPV4, PROTOCOL } from "../../../wire/ipv4.ts";
import { TCP } from "../../../wire/tcp.ts";
import { UDP } from "../../../wire/udp.ts";
import { HOST_SHIFT, LINE_HOSTS, SHARE } from "../../line-shares.ts";
import { BYTES_STRIDE, COUNT, PACKETS_STRIDE } from "../../tables/flow-counts.ts";
import {
  fold,
  HELPER,
  IP,
  KEY_FIELDS,
  loadFrame,
  NOT_FOUND,
  pullHeaders,
  SKB,
  TCP_LENGTH,
  TRANSPORT,
  UDP_LENGTH,
} from "./bpf-frame.ts";
import { forward6 } from "./forwarder6.ts";
import {
  CONTROL,
  COUNTERS,
  ENTRY,
  ENTRY_KEY,
  MARKED,
  type Maps,
  NOTE,
  NUMBER_FACTOR,
  RECORDS_AT_ONCE,
  RECORDS_SHIFT,
  REWRITE,
  TOO_MANY,
} from "./layout.ts";

const BPF_F_PSEUDO_HDR = 0x10;
const BPF_F_MARK_MANGLED_0 = 0x20;

// linux/pkt_cls.h
const TC_ACT_UNSPEC = -1;
const TC_ACT_SHOT = 2;

// The forwarder's stack.
const NOTE_INDEX = -4;

/** @returns the program at ingress: it forwards the frame that the note is about, and lets all others be */
export function forwarder(maps: Maps): Uint8Array<ArrayBuffer> {
  const a = new Assembler();
  a.do("move", R6, R1);
  a.store(4, R10, NOTE_INDEX, 0).do("move", R2, R10).do("add", R2, NOTE_INDEX).loadMap(R1, maps.note);
  a.call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, "not ours").do("move", R7, R0);
  a.load(4, R9, R7, NOTE.TRANSPORT).jumpIf32(R9, "==", 0, "not ours").store(4, R7, NOTE.TRANSPORT, 0);

  // Padding stays behind.
  a.load(4, R1, R6, SKB.LENGTH).load(4, R2, R7, NOTE.FRAME_LENGTH).jumpIf32(R1, "<", R2, "drop");
  a.jumpIf32(R1, "==", R2, "trimmed");
  a.do("move", R1, R6).do("move", R3, 0).call(HELPER.SKB_CHANGE_TAIL).jumpIf(R0, "!=", 0, "drop").label("trimmed");

  a.jumpIf32(R9, "!=", TRANSPORT, "of IPv6");
  pullHeaders(a, TCP_LENGTH);
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

  a.load(2, R1, R7, NOTE.ENTRY + ENTRY.NEIGHBOUR)
    .jumpIf32(R1, "&", MARKED, "mark")
    .label("marked");
  count(a, maps, COUNTERS.FORWARDED);
  countFlow(a, maps);
  a.load(4, R1, R7, NOTE.REWRITE + REWRITE.EGRESS)
    .do("move", R2, 0)
    .call(HELPER.REDIRECT)
    .exit();
  mark(a);
  forward6(a);
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
  a.load(4, R2, R7, NOTE.KEY + ENTRY_KEY.INGRESS).jumpIf32(R1, "!=", R2, "drop");
}

/** Says whose part of the line it is on, to the queue there (linux/net/shaping.ts). */
function mark(a: Assembler): void {
  a.label("mark")
    .load(1, R1, R7, NOTE.KEY + ENTRY_KEY.SOURCE + 3)
    .label("mark as")
    .do32("and", R1, LINE_HOSTS - 1)
    .do32("shiftLeft", R1, HOST_SHIFT);
  a.load(2, R2, R7, NOTE.ENTRY + ENTRY.CLIENT)
    .do32("add", R1, R2)
    .do32("add", R1, FIRST_MARK + SHARE.CLIENTS)
    .store(4, R6, SKB.MARK, R1);
  a.jump("marked");
}

/** Counts the frame as lost, for all and for its entry: after TOO_MANY the entry does not hold, and the socket gets its frames. */
function drop(a: Assembler, maps: Maps): void {
  a.label("drop");
  count(a, maps, COUNTERS.FAILED);
  a.load(4, R1, R7, NOTE.ENTRY + ENTRY.NUMBER).do("shiftRight", R1, Math.log2(NUMBER_FACTOR));
  a.store(4, R10, NOTE_INDEX, R1).do("move", R2, R10).do("add", R2, NOTE_INDEX).loadMap(R1, maps.entries);
  a.call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, "dropped");
  a.do("move", R1, 1).fetchAdd32(R0, ENTRY.LOST, R1);
  a.jumpIf32(R1, "<", TOO_MANY - 1, "dropped").store(4, R0, ENTRY.GENERATION, 0);
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

/** Counts it for its flow, where somebody asks for that: then there is a map (kernel/counts.ts). */
function countFlow(a: Assembler, maps: Maps): void {
  const side = Math.log2(NUMBER_FACTOR);
  a.load(4, R1, R7, NOTE.ENTRY + ENTRY.FLOW)
    .do("shiftRight", R1, RECORDS_SHIFT)
    .store(4, R10, NOTE_INDEX, R1);
  a.do("move", R2, R10).do("add", R2, NOTE_INDEX).loadMap(R1, maps.counts).call(HELPER.MAP_LOOKUP);
  a.jumpIf(R0, "==", NOT_FOUND, "counted").do("move", R1, R0);
  a.load(4, R2, R7, NOTE.ENTRY + ENTRY.FLOW)
    .do("and", R2, RECORDS_AT_ONCE - 1)
    .store(4, R10, NOTE_INDEX, R2);
  a.do("move", R2, R10).do("add", R2, NOTE_INDEX).call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, "counted");
  a.load(4, R3, R7, NOTE.ENTRY + ENTRY.NUMBER)
    .do("shiftRight", R3, side)
    .do("and", R3, 1);
  a.load(4, R2, R7, NOTE.FRAME_LENGTH).do("sub", R2, ETHERNET.HEADER_LENGTH);
  addOfSide(a, 8, COUNT.BYTES, BYTES_STRIDE);
  a.do("move", R2, 1);
  addOfSide(a, 4, COUNT.PACKETS, PACKETS_STRIDE);
  a.label("counted");
}

/** Adds R2 to a count of the flow's whose counts are at R0, of the side in R3. R1 is lost. @param stride a power of two, in words */
function addOfSide(a: Assembler, size: 4 | 8, field: number, stride: number): void {
  a.do("move", R1, R3)
    .do("shiftLeft", R1, Math.log2(4 * stride))
    .do("add", R1, R0);
  if (size === 8) a.addInMemory(R1, 4 * field, R2);
  else a.fetchAdd32(R1, 4 * field, R2);
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
