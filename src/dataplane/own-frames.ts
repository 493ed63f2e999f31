// The beginnings of frames that we originate: ARP requests, ICMP errors, RSTs, questions to name servers. Whoever begins one
// writes what goes behind, and sends it.
import { ETHERNET, ETHERTYPE, writeMac } from "../wire/ethernet.ts";
import { type Address, DEFAULT_TTL, IPV4, writeIpv4 } from "../wire/ipv4.ts";
import type { Ring } from "./ring.ts";
import type { Topology } from "./topology.ts";
import type { Iface } from "./types.ts";

/** Where the payload of an IPv4 packet of ours begins in its frame. */
export const PAYLOAD_AT = ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH;

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
 * @param length bytes of the packet's payload
 * @returns the offset of a reserved frame with its Ethernet and IPv4 headers; its payload is to be written at PAYLOAD_AT
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
  const at = beginFrame(ring, topology, iface, head, tail, ETHERTYPE.IPV4);
  const total = IPV4.HEADER_LENGTH + length;
  writeIpv4(ring.view, at + ETHERNET.HEADER_LENGTH, tos, total, DEFAULT_TTL, protocol, source, destination);
  return at;
}
