// Ethernet II frames (IEEE 802.3, RFC 894): offsets of the fields, MAC addresses in place, and VLAN tags (IEEE 802.1Q).
import { FAULT, type Fault } from "./fault.ts";

/** Bytes of a MAC address. */
export const MAC_LENGTH = 6;

/** Offsets from the frame's first byte. */
export const ETHERNET = { DESTINATION: 0, SOURCE: 6, TYPE: 12, HEADER_LENGTH: 14 } as const;

/** IANA "Ethernet Numbers". */
export const ETHERTYPE = { IPV4: 0x0800, ARP: 0x0806, IPV6: 0x86dd, VLAN: 0x8100, SERVICE_VLAN: 0x88a8 } as const;

/** A tag stands in front of the EtherType: one of its own, then priority and VLAN identifier (802.1Q section 9.3). */
export const VLAN_TAG_LENGTH = 4;
export const VLAN_ID = 0x0fff;

/** @param length bytes of the frame */
export function checkEthernet(length: number): Fault {
  return length < ETHERNET.HEADER_LENGTH ? FAULT.ETHERNET_TRUNCATED : FAULT.NONE;
}

/** @returns whether the MAC address at `at` is a group address: multicast or broadcast (IEEE 802, I/G bit) */
export const isGroupMac = (view: DataView, at: number): boolean => (view.getUint8(at) & 1) !== 0;

/** @returns the first four bytes of the MAC address at `at`, as an int32: cheap to compare */
export const macHead = (view: DataView, at: number): number => view.getInt32(at);

/** @returns the last two bytes of the MAC address at `at` */
export const macTail = (view: DataView, at: number): number => view.getUint16(at + 4);

/** Writes a MAC address given as `macHead` and `macTail` return it. */
export const writeMac = (view: DataView, at: number, head: number, tail: number): void => {
  view.setInt32(at, head);
  view.setUint16(at + 4, tail);
};
