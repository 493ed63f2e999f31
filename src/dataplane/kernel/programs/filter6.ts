// What the kernel path's first program (filter.ts) does with packets of IPv6 alone: it finds their ports, checks their header and their
// whole addresses, and puts what the checks of both families need where that of a packet of IPv4 would be.
import { type Assembler, R0, R1, R2, R6, R7, R8, R9, R10 } from "../../../linux/bpf/assembler.ts";
import { ETHERNET, ETHERTYPE } from "../../../wire/ethernet.ts";
import { MAX_EXTENSION_BYTES, MAX_EXTENSIONS } from "../../../wire/header-chain.ts";
import { IPV4, MORE_FRAGMENTS, PROTOCOL } from "../../../wire/ipv4.ts";
import { FRAGMENT6, FRAGMENT6_MORE, FRAGMENT6_OFFSET, IPV6, NEXT_HEADER } from "../../../wire/ipv6.ts";
import { UDP } from "../../../wire/udp.ts";
import type { AddressKeys } from "../../address-book.ts";
import { HELPER, IP, NOT_FOUND, SKB, TRANSPORT, TRANSPORT6 } from "./bpf-frame.ts";
import { addKeyed, at, copySummed, HEADER6, INDEX, KEY, loadMore, START, TOTAL, wire16 } from "./filter-parts.ts";
import {
  ADDRESSES,
  ENTRY,
  ENTRY_KEY,
  EXTRA_HEADER6,
  type Maps,
  NOTE,
  NUMBER_FACTOR,
  OF_IPV6,
  REWRITE6,
} from "./layout.ts";

/**
 * The key, of an IPv6 packet of TCP or UDP that has ports: whole or a first fragment, with extension headers or without, as many as
 * HeaderChain goes over. Of R1 it gets the EtherType.
 */
export function loadKey6(a: Assembler, maps: Maps): void {
  const none = "without a key";
  a.label("not of IPv4").jumpIf32(R1, "!=", wire16(ETHERTYPE.IPV6), none).do("move", R2, IP);
  loadMore(a, HEADER6, IPV6.HEADER_LENGTH, none);
  a.do("move", R1, TRANSPORT6)
    .store(4, R10, START, R1)
    .store(2, R10, at(IP + IPV4.FRAGMENT), 0);
  // R8: what comes next; R9: where in the frame.
  a.load(1, R8, R10, HEADER6 + IPV6.NEXT_HEADER).do("move", R9, TRANSPORT6);
  for (let passed = 0; passed <= MAX_EXTENSIONS; passed++) {
    a.do("move", R2, R9);
    loadMore(a, at(TRANSPORT), UDP.HEADER_LENGTH, none);
    a.jumpIf32(R8, "==", PROTOCOL.TCP, "has ports").jumpIf32(R8, "==", PROTOCOL.UDP, "has ports");
    if (passed < MAX_EXTENSIONS) passExtension(a, passed, none);
  }
  a.jump(none);

  a.label("has ports").store(1, R10, at(IP + IPV4.PROTOCOL), R8);
  a.load(4, R1, R10, at(TRANSPORT)).store(4, R10, KEY + ENTRY_KEY.PORTS, R1);
  a.load(4, R1, R6, SKB.IFINDEX).do32("shiftLeft", R1, 8).do("or", R1, R8).do("or", R1, OF_IPV6);
  a.store(4, R10, KEY + ENTRY_KEY.INGRESS, R1);
  const factors = addressFactors(maps.keys.addresses);
  for (const [from, to] of [
    [IPV6.SOURCE, ENTRY_KEY.SOURCE],
    [IPV6.DESTINATION, ENTRY_KEY.DESTINATION],
  ]) {
    a.do32("move", R1, 0);
    for (const [i, { word, upper }] of factors.entries()) addKeyed(a, HEADER6 + from + 4 * i, word, upper);
    a.store(4, R10, KEY + to, R1);
  }
  a.jump("has its key");
}

/** What each word of an address is multiplied by, and its upper half once more: odd numbers (keyed-hash.ts says why). */
function addressFactors(keys: AddressKeys): { readonly word: number; readonly upper: number }[] {
  return [0, 2, 4, 6].map((i) => ({ word: keys[i] | 1, upper: keys[i + 1] | 1 }));
}

/** Passes the extension header whose first eight bytes are at TRANSPORT. Notes whether fragments follow. @param number of those passed */
function passExtension(a: Assembler, number: number, otherwise: string): void {
  const labels = {
    options: `options ${number}`,
    ah: `ah ${number}`,
    fragment: `fragment ${number}`,
    end: `end ${number}`,
  };
  const { HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION, MOBILITY, HIP, SHIM6 } = NEXT_HEADER;
  const [next, length] = [at(TRANSPORT), at(TRANSPORT) + 1];
  a.jumpIf32(R8, "==", FRAGMENT, labels.fragment).jumpIf32(R8, "==", AH, labels.ah);
  for (const kind of [HOP_BY_HOP, ROUTING, DESTINATION, MOBILITY, HIP]) a.jumpIf32(R8, "==", kind, labels.options);
  a.jumpIf32(R8, "!=", SHIM6, otherwise);
  a.label(labels.options).load(1, R1, R10, length).do("add", R1, 1).do("shiftLeft", R1, 3);
  a.label(labels.end)
    .do("add", R9, R1)
    .jumpIf(R9, ">", TRANSPORT6 + MAX_EXTENSION_BYTES, otherwise);
  a.load(1, R8, R10, next).jump(`behind ${number}`);

  a.label(labels.ah).load(1, R1, R10, length).do("add", R1, 2).do("shiftLeft", R1, 2).jump(labels.end);
  a.label(labels.fragment).load(2, R1, R10, at(TRANSPORT) + FRAGMENT6.OFFSET);
  a.jumpIf32(R1, "&", wire16(FRAGMENT6_OFFSET), otherwise).do("and", R1, wire16(FRAGMENT6_MORE));
  a.jumpIf32(R1, "==", 0, `atomic ${number}`).store(2, R10, at(IP + IPV4.FRAGMENT), wire16(MORE_FRAGMENTS));
  a.label(`atomic ${number}`).do("move", R1, FRAGMENT6.LENGTH).jump(labels.end);
  a.label(`behind ${number}`);
}

/** As checkHeader, a plain header of IPv6: no extension headers. Of UDP there must be a checksum (RFC 8200 section 8.1). */
export function checkHeader6(a: Assembler): void {
  const toSocket = "to the socket";
  a.label("header of IPv6").load(1, R1, R10, HEADER6).do("shiftRight", R1, 4).jumpIf32(R1, "!=", 6, toSocket);
  a.load(1, R1, R10, HEADER6 + IPV6.NEXT_HEADER).load(1, R2, R10, at(IP + IPV4.PROTOCOL));
  a.jumpIf32(R1, "!=", R2, toSocket);
  a.load(1, R1, R10, HEADER6 + IPV6.HOP_LIMIT).jumpIf32(R1, "<=", 1, toSocket);
  a.load(2, R8, R10, HEADER6 + IPV6.PAYLOAD_LENGTH).swap(R8, 16);
  a.do("add", R8, IPV6.HEADER_LENGTH).store(4, R10, TOTAL, R8);
  a.load(4, R1, R6, SKB.LENGTH).do("sub", R1, ETHERNET.HEADER_LENGTH).jumpIf(R8, ">", R1, toSocket);
  a.do("sub", R8, EXTRA_HEADER6).jumpIf32(R2, "!=", PROTOCOL.UDP, "header checked");
  a.load(2, R1, R10, at(TRANSPORT + UDP.CHECKSUM))
    .jumpIf32(R1, "!=", 0, "header checked")
    .jump(toSocket);
}

/** The whole addresses, and those that they become, in the note; there too, whether the checksum is left to the interface. */
export function checkAddresses6(
  a: Assembler,
  maps: Maps,
  isLeft: { readonly place: number; readonly bits: number },
): void {
  const toSocket = "to the socket";
  a.label("addresses of IPv6").load(1, R1, R10, isLeft.place).do("and", R1, isLeft.bits).do("move", R2, 0);
  a.jumpIf32(R1, "!=", isLeft.bits, "is whole").do("move", R2, 1);
  a.label("is whole").store(4, R7, NOTE.IS_LEFT, R2);
  a.store(4, R10, INDEX, 0).do("move", R2, R10).do("add", R2, INDEX).loadMap(R1, maps.addresses);
  a.call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, toSocket).do("move", R1, R0);
  a.load(4, R2, R9, ENTRY.NUMBER).do("shiftRight", R2, Math.log2(NUMBER_FACTOR)).store(4, R10, INDEX, R2);
  a.do("move", R2, R10).do("add", R2, INDEX).call(HELPER.MAP_LOOKUP).jumpIf(R0, "==", NOT_FOUND, toSocket);
  copySummed(a, R7, NOTE.ADDRESSES, ADDRESSES.LENGTH);
  a.load(4, R2, R9, ENTRY.REWRITE + REWRITE6.ADDRESSES_CHECKSUM).jumpIf32(R1, "!=", R2, toSocket);
  for (let i = 0; i < ADDRESSES.TO_SOURCE; i += 8) {
    a.load(8, R1, R10, HEADER6 + IPV6.SOURCE + i).load(8, R2, R7, NOTE.ADDRESSES + i);
    a.jumpIf(R1, "!=", R2, toSocket);
  }
  a.jump("addresses checked");
}
