// Addresses and prefixes of either family, for code that treats both alike: an IPv4 address is an unsigned 32-bit number in host
// order, one of IPv6 16 bytes in wire order. What is of one family has nothing in common with what is of the other.
import {
  formatAddress,
  formatAddress6,
  isIpv6Text,
  networkOf,
  networkOf6,
  overlap,
  parseAddress,
  parseAddress6,
  parsePrefix,
  parsePrefix6,
} from "./address.ts";

export type IpAddress = number | Uint8Array;

/** As it was written: bits behind the prefix may be set. */
export interface IpPrefix<Address extends IpAddress = IpAddress> {
  readonly address: Address;
  /** Length, at most that of an address. */
  readonly prefix: number;
}

export type Family = 4 | 6;

export function familyOf(address: IpAddress): Family {
  return typeof address === "number" ? 4 : 6;
}

/** @returns the length of its addresses, in bits */
export function bitsOf(address: IpAddress): 32 | 128 {
  return typeof address === "number" ? 32 : 128;
}

export function parseIp(text: string): IpAddress | undefined {
  return parseAddress(text) ?? parseAddress6(text);
}

export function parseIpPrefix(text: string): IpPrefix | undefined {
  return parsePrefix(text) ?? parsePrefix6(text);
}

export function formatIp(address: IpAddress): string {
  return typeof address === "number" ? formatAddress(address) : formatAddress6(address);
}

export function formatIpPrefix({ address, prefix }: IpPrefix): string {
  return `${formatIp(address)}/${prefix}`;
}

/** @returns `192.0.2.7:443`, and of IPv6 `[2001:db8::7]:443` (RFC 5952 section 6). @param port or ports, as text */
export function formatEndpoint(address: IpAddress, port: number | string): string {
  return typeof address === "number" ? `${formatIp(address)}:${port}` : `[${formatIp(address)}]:${port}`;
}

/**
 * What somebody writes in an address's place: `192.0.2.7:443`, `[2001:db8::7]:443`, each also without port, or a host name. An IPv6 address
 * without brackets has no port.
 * @returns the host without brackets, which may be none, and what stands in the port's place
 */
export function splitEndpoint(text: string): { readonly host: string; readonly port: string | undefined } {
  const [, bracketed, behind] = /^\[(.*)\](?::(.*))?$/.exec(text) ?? [];
  if (bracketed !== undefined) return { host: bracketed, port: behind };
  const colon = isIpv6Text(text) ? -1 : text.lastIndexOf(":");
  return colon < 0 ? { host: text, port: undefined } : { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

/** @returns an address's text, or of a prefix that is no single address the prefix's */
export function formatHosts(hosts: IpPrefix): string {
  return isHost(hosts) ? formatIp(hosts.address) : formatIpPrefix(hosts);
}

/** @returns the prefix of one address alone */
export function hostPrefix<Address extends IpAddress>(address: Address): IpPrefix<Address> {
  return { address, prefix: bitsOf(address) };
}

/** @returns whether a prefix is that of one address alone */
export function isHost({ address, prefix }: IpPrefix): boolean {
  return prefix === bitsOf(address);
}

/** @returns the first address of a prefix: all bits behind it are zero */
export function firstOf({ address, prefix }: IpPrefix): IpAddress {
  if (typeof address === "number") return networkOf({ address, prefix });
  return networkOf6({ address, prefix }).address;
}

export function sameIp(one: IpAddress, other: IpAddress): boolean {
  if (typeof one === "number" || typeof other === "number") return one === other;
  return one.every((byte, i) => byte === other[i]);
}

/** @returns whether two prefixes have an address in common */
export function overlapIp(one: IpPrefix, other: IpPrefix): boolean {
  const prefix = Math.min(one.prefix, other.prefix);
  if (typeof one.address === "number" && typeof other.address === "number") {
    return overlap({ address: one.address, prefix }, { address: other.address, prefix });
  }
  return sameIp(firstOf({ ...one, prefix }), firstOf({ ...other, prefix }));
}

/** @returns whether all addresses of the first prefix are in the second */
export function isInside(part: IpPrefix, whole: IpPrefix): boolean {
  return part.prefix >= whole.prefix && overlapIp(part, whole);
}

/** Orders addresses of one family: ascending; those of IPv4 are before those of IPv6. */
export function compareIp(one: IpAddress, other: IpAddress): number {
  if (typeof one === "number") return typeof other === "number" ? one - other : -1;
  return typeof other === "number" ? 1 : Buffer.compare(one, other);
}
