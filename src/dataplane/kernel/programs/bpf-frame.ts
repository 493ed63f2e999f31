// What the kernel path's programs need of frames and of the kernel: numbers of helpers, fields of struct __sk_buff, and where
// in a frame headers are. A frame has an Ethernet and a plain IPv4 or IPv6 header, then TCP or UDP.
import { type Assembler, R0, R1, R2, R6, R7, R8 } from "../../../linux/bpf/assembler.ts";
import { ETHERNET } from "../../../wire/ethernet.ts";
import { IPV4 } from "../../../wire/ipv4.ts";
import { IPV6 } from "../../../wire/ipv6.ts";
import { TCP } from "../../../wire/tcp.ts";
import { UDP } from "../../../wire/udp.ts";
import { ENTRY_KEY, NOTE } from "./layout.ts";

// linux/bpf.h: helpers by number, fields of struct __sk_buff.
export const HELPER = {
  MAP_LOOKUP: 1,
  GET_SMP_PROCESSOR_ID: 8,
  L4_CSUM_REPLACE: 11,
  REDIRECT: 23,
  SKB_LOAD_BYTES: 26,
  SKB_CHANGE_TAIL: 38,
  SKB_PULL_DATA: 39,
  CSUM_UPDATE: 40,
  PROBE_READ_KERNEL: 113,
  KTIME_GET_COARSE_NS: 160,
} as const;
export const SKB = {
  LENGTH: 0,
  MARK: 8,
  VLAN_PRESENT: 20,
  IFINDEX: 40,
  DATA: 76,
  DATA_END: 80,
  GSO_SIZE: 176,
} as const;

export const NOT_FOUND = 0;

export const IP = ETHERNET.HEADER_LENGTH;
export const TRANSPORT = IP + IPV4.HEADER_LENGTH;
export const UDP_LENGTH = TRANSPORT + UDP.HEADER_LENGTH;
export const TCP_LENGTH = TRANSPORT + TCP.HEADER_LENGTH;

/** The same where the packet is one of IPv6. */
export const TRANSPORT6 = IP + IPV6.HEADER_LENGTH;
export const UDP_LENGTH6 = TRANSPORT6 + UDP.HEADER_LENGTH;
export const TCP_LENGTH6 = TRANSPORT6 + TCP.HEADER_LENGTH;

/** Where in a frame of IPv4 stands what is in an entry's key. */
export const KEY_FIELDS = [
  [IP + IPV4.SOURCE, ENTRY_KEY.SOURCE],
  [IP + IPV4.DESTINATION, ENTRY_KEY.DESTINATION],
  [TRANSPORT, ENTRY_KEY.PORTS],
] as const;

/** Folds a sum in R1, below 2^48, into 16 bits; uses R2. */
export function fold(a: Assembler): void {
  for (const shift of [32, 16, 16, 16]) {
    a.do("move", R2, R1).do("shiftRight", R2, shift);
    if (shift === 32) a.do32("move", R1, R1);
    else a.do("and", R1, 0xffff);
    a.do("add", R1, R2);
  }
}

// Of the forwarder, for both families:

/** The headers are to be where they can be written to; mostly they are. @param length bytes of them, with the longer transport header */
export function pullHeaders(a: Assembler, length: number): void {
  const [pull, pulled] = [`pull ${length}`, `pulled ${length}`];
  a.load(4, R8, R6, SKB.DATA).load(4, R1, R6, SKB.DATA_END).do("move", R2, R8).do("add", R2, length);
  a.jumpIf(R2, "<=", R1, pulled);
  a.load(4, R2, R7, NOTE.FRAME_LENGTH).jumpIf32(R2, "<=", length, pull).do("move", R2, length).label(pull);
  a.do("move", R1, R6).call(HELPER.SKB_PULL_DATA).jumpIf(R0, "!=", 0, "drop").label(pulled);
}

/** The frame's first bytes in R8: after each helper anew. */
export function loadFrame(a: Assembler, length: number): void {
  a.load(4, R8, R6, SKB.DATA).load(4, R1, R6, SKB.DATA_END).do("move", R2, R8).do("add", R2, length);
  a.jumpIf(R2, ">", R1, "drop");
}
