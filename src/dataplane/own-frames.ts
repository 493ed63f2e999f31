// The beginnings of frames that we originate: ARP requests, ICMP errors, RSTs, questions to name servers. Whoever begins one
// writes what goes behind, and sends it.
import { ETHERNET, ETHERTYPE, writeMac } from "../wire/ethernet.ts";
import { type Address, DEFAULT_TTL, IPV4, writeIpv4 } from "../wire/ipv4.ts";
import { IPV6, writeIpv6 } from "../wire/ipv6.ts";
import { isIpv6, type Number6 } from "./address-book.ts";
import type { Ring } from "./ring.ts";
import type { Topology } from "./topology.ts";
import type { Iface } from "./types.ts";

/** Where the payload of a packet of ours begins in its frame. */
export const PAYLOAD_AT = ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH;
export const PAYLOAD6_AT = ETHERNET.HEADER_LENGTH + IPV6.HEADER_LENGTH;

/** @returns the same for packets to an address */
export const payloadAtFor = (address: Address): number => (isIpv6(address) ? PAYLOAD6_AT : PAYLOAD_AT);

/**
 * @param head, tail the MAC address that it goes to
 * @param type its EtherType
 * @returns the offset of a reserved frame with its Ethernet header
 */
export function beginFrame(
  ring: Ring,
  topology: Topology,
  iface: Iface,
  head: number,
  tail: number,
  type: number,
): number {
  const at = ring.reserve();
  writeMac(ring.view, at + ETHERNET.DESTINATION, head, tail);
  writeMac(ring.view, at + ETHERNET.SOURCE, topology.macHead[iface], topology.macTail[iface]);
  ring.view.setUint16(at + ETHERNET.TYPE, type);
  return at;
}

/**
 * @param head, tail the MAC address that it goes to
 * @param tos the whole byte: DSCP and ECN
 * @param protocol of the family that both addresses are of
 * @param length bytes of the packet's payload
 * @returns the offset of a reserved frame with its Ethernet and IP headers; its payload is to be written at `payloadAtFor` the addresses
 */
export function beginPacket(
  ring: Ring,
  topology: Topology,
  iface: Iface,
  head: number,
  tail: number,
  tos: number,
  protocol: number,
  source: Address,
  destination: Address,
  length: number,
): number {
  if (isIpv6(destination)) {
    const out = beginFrame(ring, topology, iface, head, tail, ETHERTYPE.IPV6);
    const ip = out + ETHERNET.HEADER_LENGTH;
    writeIpv6(ring.view, ip, tos, length, protocol, DEFAULT_TTL);
    topology.ipv6.book.write(ring.view, ip + IPV6.SOURCE, source as Number6);
    topology.ipv6.book.write(ring.view, ip + IPV6.DESTINATION, destination);
    return out;
  }
  const at = beginFrame(ring, topology, iface, head, tail, ETHERTYPE.IPV4);
  const total = IPV4.HEADER_LENGTH + length;
  writeIpv4(ring.view, at + ETHERNET.HEADER_LENGTH, tos, total, DEFAULT_TTL, protocol, source, destination);
  return at;
}
