// Text of addresses, at the edges only: inside the program an IPv4 address is an unsigned 32-bit number in host order, one of IPv6
// 16 bytes and a MAC address six bytes in wire order. Of IPv4 and MAC addresses one way of writing is accepted, so that nobody has to
// guess what 010.1.1.1 or 10.1 means; IPv6 is written as RFC 5952 has it. Where both families are treated alike: ip.ts.

import { isIPv6 } from "node:net";
import ipaddr from "ipaddr.js";
import { maskOf } from "../wire/ipv4.ts";

export interface Prefix {
  /** As it was written: bits behind the prefix may be set. */
  readonly address: number;
  /** Length, 0–32. */
  readonly prefix: number;
}

/** Of IPv6. */
export interface Prefix6 {
  /** 16 bytes in wire order. */
  readonly address: Uint8Array;
  /** Length, 0–128. */
  readonly prefix: number;
}

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
const PREFIX_LENGTH = /^([0-9]|[12][0-9]|3[0-2])$/;
const PREFIX6_LENGTH = /^([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])$/;

/** @returns the address of four decimal parts without leading zeros, or undefined. */
export function parseAddress(text: string): number | undefined {
  if (!ipaddr.IPv4.isValidFourPartDecimal(text)) return undefined;
  return ipaddr.IPv4.parse(text).octets.reduce((address, octet) => address * 256 + octet, 0);
}

export function formatAddress(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** @returns how an error goes on about a text that is not `what`: that it is IPv6, where it is */
export function notIpv4(text: unknown, what: string): string {
  return isIpv6Text(text) ? `is IPv6, and not ${what}` : `is not ${what}`;
}

/** @returns whether a text is an IPv6 address or prefix, in brackets or not */
export function isIpv6Text(text: unknown): boolean {
  const [address = ""] = typeof text === "string" ? text.replace(/^\[(.*)\]$/, "$1").split("/") : [];
  return isIPv6(address);
}

/** @returns what an address, a slash and a length of 0–32 say, or undefined. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf("/");
  const address = parseAddress(text.slice(0, slash));
  const length = text.slice(slash + 1);
  if (slash < 0 || address === undefined || !PREFIX_LENGTH.test(length)) return undefined;
  return { address, prefix: Number(length) };
}

export function formatPrefix({ address, prefix }: Prefix): string {
  return `${formatAddress(address)}/${prefix}`;
}

/** @returns the address of any text that RFC 4291 section 2.2 allows, without a zone, or undefined. */
export function parseAddress6(text: string): Uint8Array | undefined {
  if (!isIPv6(text) || text.includes("%")) return undefined;
  return Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray());
}

/** @param address 16 bytes @returns its text as RFC 5952 has it */
export function formatAddress6(address: Uint8Array): string {
  return new ipaddr.IPv6([...address]).toRFC5952String();
}

/** @returns what an IPv6 address without a zone, a slash and a length of 0–128 say, or undefined. */
export function parsePrefix6(text: string): Prefix6 | undefined {
  const [host = "", length = "", ...more] = text.split("/");
  const address = parseAddress6(host);
  if (more.length > 0 || address === undefined || !PREFIX6_LENGTH.test(length)) return undefined;
  return { address, prefix: Number(length) };
}

export function formatPrefix6({ address, prefix }: Prefix6): string {
  return `${formatAddress6(address)}/${prefix}`;
}

/** @returns the prefix with all bits behind it zero. */
export function networkOf6({ address, prefix }: Prefix6): Prefix6 {
  const network = address.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - i * 8))));
  return { address: network, prefix };
}

/** @returns the first address of a prefix: all bits behind it are zero. */
export function networkOf({ address, prefix }: Prefix): number {
  return (address & maskOf(prefix)) >>> 0;
}

/** @returns the last address of a prefix: all bits behind it are one. */
export function broadcastOf({ address, prefix }: Prefix): number {
  return (address | ~maskOf(prefix)) >>> 0;
}

/** @returns whether two prefixes have an address in common. An address alone is a prefix of 32. */
export function overlap(one: Prefix, other: Prefix): boolean {
  return ((one.address ^ other.address) & maskOf(Math.min(one.prefix, other.prefix))) === 0;
}

/** @returns the six bytes of aa:bb:cc:dd:ee:ff, in either case, or undefined. */
export function parseMac(text: string): Uint8Array | undefined {
  return MAC.test(text) ? Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16)) : undefined;
}

export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
