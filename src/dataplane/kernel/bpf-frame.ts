// What both of the kernel path's programs need of frames and of the kernel: numbers of helpers, fields of struct __sk_buff, and where
// in a frame headers are. A frame has an Ethernet and a plain IPv4 or IPv6 header, then TCP or UDP.
import { type Assembler, R1, R2 } from "../../linux/bpf/assembler.ts";
import { ETHERNET } from "../../wire/ethernet.ts";
import { IPV4 } from "../../wire/ipv4.ts";
import { IPV6 } from "../../wire/ipv6.ts";
import { TCP } from "../../wire/tcp.ts";
import { UDP } from "../../wire/udp.ts";
import { ENTRY_KEY } from "./layout.ts";

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
