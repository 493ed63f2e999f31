// What the kernel path's second program (forwarder.ts) does with a frame of IPv6 alone.
import { type Assembler, R1, R2, R3, R6, R7, R8 } from "../../../linux/bpf/assembler.ts";
import { ETHERNET } from "../../../wire/ethernet.ts";
import { PROTOCOL } from "../../../wire/ipv4.ts";
import { IPV6 } from "../../../wire/ipv6.ts";
import { TCP } from "../../../wire/tcp.ts";
import { UDP } from "../../../wire/udp.ts";
import { fold, HELPER, IP, loadFrame, pullHeaders, SKB, TCP_LENGTH6, TRANSPORT6, UDP_LENGTH6 } from "./bpf-frame.ts";
import { ADDRESSES, ENTRY, ENTRY_KEY, MARKED, NOTE, OF_IPV6, REWRITE, REWRITE6 } from "./layout.ts";

/** What it takes in place of IPv4's part, up to its mark. Its header has no checksum, so no helper is needed to change one. */
export function forward6(a: Assembler): void {
  a.label("of IPv6");
  pullHeaders(a, TCP_LENGTH6);
  loadFrame(a, UDP_LENGTH6);
  checkNote6(a);
  a.load(1, R1, R8, IP + IPV6.NEXT_HEADER).jumpIf32(R1, "==", PROTOCOL.TCP, "tcp over IPv6");
  changeChecksum(a, TRANSPORT6 + UDP.CHECKSUM, "udp");
  // 0 would say that there is none.
  a.jumpIf32(R1, "!=", 0, "udp's checksum").do("move", R1, 0xffff);
  a.label("udp's checksum")
    .store(2, R8, TRANSPORT6 + UDP.CHECKSUM, R1)
    .jump("rewrite IPv6");
  a.label("tcp over IPv6");
  loadFrame(a, TCP_LENGTH6);
  changeChecksum(a, TRANSPORT6 + TCP.CHECKSUM, "tcp");
  a.store(2, R8, TRANSPORT6 + TCP.CHECKSUM, R1);

  a.label("rewrite IPv6");
  const copies = [
    [NOTE.REWRITE + REWRITE.MACS, ETHERNET.DESTINATION, ETHERNET.TYPE],
    [NOTE.ADDRESSES + ADDRESSES.TO_SOURCE, IP + IPV6.SOURCE, ADDRESSES.TO_SOURCE],
    [NOTE.REWRITE + REWRITE.PORTS, TRANSPORT6, 4],
  ] as const;
  for (const [from, to, length] of copies)
    for (let i = 0; i < length; i += 4) a.load(4, R1, R7, from + i).store(4, R8, to + i, R1);
  a.load(1, R1, R8, IP + IPV6.HOP_LIMIT)
    .do("sub", R1, 1)
    .store(1, R8, IP + IPV6.HOP_LIMIT, R1);
  // Of a frame whose bytes an interface has summed up, the hop limit alone changes the sum: no checksum in the frame makes up for it.
  a.do("move", R1, R6).do("move", R2, HOP_LIMIT_DELTA).call(HELPER.CSUM_UPDATE);

  a.load(2, R1, R7, NOTE.ENTRY + ENTRY.NEIGHBOUR)
    .do("and", R1, MARKED)
    .jumpIf32(R1, "==", 0, "marked");
  a.load(1, R1, R7, NOTE.REWRITE + REWRITE6.SOURCE_NUMBER + 3).jump("mark as");
}

/** One less in the hop limit, in a sum of 16-bit words as this machine reads them: the next header beside it stays. */
const HOP_LIMIT_DELTA = 0xfeff;

/** As checkNote. */
function checkNote6(a: Assembler): void {
  const words = [[TRANSPORT6, NOTE.KEY + ENTRY_KEY.PORTS]];
  for (let i = 0; i < ADDRESSES.TO_SOURCE; i += 4) words.push([IP + IPV6.SOURCE + i, NOTE.ADDRESSES + i]);
  for (const [from, to] of words) {
    a.load(4, R1, R8, from).load(4, R2, R7, to).jumpIf32(R1, "!=", R2, "drop");
  }
  a.load(4, R1, R6, SKB.IFINDEX)
    .do32("shiftLeft", R1, 8)
    .load(1, R2, R8, IP + IPV6.NEXT_HEADER)
    .do("or", R1, R2)
    .do("xor", R1, OF_IPV6); // a protocol that has this bit itself is another one
  a.load(4, R2, R7, NOTE.KEY + ENTRY_KEY.INGRESS).jumpIf32(R1, "!=", R2, "drop");
}

/**
 * What is to stand in a checksum's field, in R1. Where it is left to the interface, only the sum of the pseudo-header is there, not
 * inverted; the ports come later.
 */
function changeChecksum(a: Assembler, field: number, name: string): void {
  const [left, changed] = [`${name} over IPv6 left`, `${name} over IPv6 changed`];
  a.load(2, R1, R8, field)
    .load(4, R2, R7, NOTE.REWRITE + REWRITE.ADDRESS_DELTA)
    .load(4, R3, R7, NOTE.IS_LEFT);
  a.jumpIf32(R3, "!=", 0, left);
  a.do("xor", R1, 0xffff)
    .do("add", R1, R2)
    .load(4, R2, R7, NOTE.REWRITE + REWRITE.PORT_DELTA)
    .do("add", R1, R2);
  fold(a);
  a.do("xor", R1, 0xffff).jump(changed);
  a.label(left).do("add", R1, R2);
  fold(a);
  a.label(changed);
}
