// Frames of Neighbour Discovery and of listener discovery, as hosts make them, for tests.
import { concat, ethernet, fromHex, mac } from "./frames.ts";
import { IPV6_TYPE, icmpv6, ip6, options, text6 } from "./frames6.ts";

export const ROUTER = 0x80;
export const SOLICITED = 0x40;
export const OVERRIDE = 0x20;

/** Option types: the MAC address of who sends, and of whom the message is about. */
const SOURCE_MAC = 1;
const TARGET_MAC = 2;

/** @returns ff02::1:ffxx:xxxx of an address */
export function groupOf(address: string): string {
  const bytes = ip6("ff02::1:ff00:0");
  bytes.set(ip6(address).subarray(13), 13);
  return text6(bytes);
}

/** @returns the MAC address of a group */
export function groupMac(group: string): string {
  return `33:33:${Array.from(ip6(group).subarray(12), (byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
}

/** @returns the link-local address of an interface with a MAC address (RFC 4291 appendix A) */
export function linkLocalOf(address: string): string {
  const bytes = mac(address);
  bytes[0] ^= 2;
  return text6(
    concat(ip6("fe80::").subarray(0, 8), bytes.subarray(0, 3), Uint8Array.of(0xff, 0xfe), bytes.subarray(3)),
  );
}

const option = (type: number, address: string | undefined) =>
  address === undefined ? new Uint8Array(0) : concat(Uint8Array.of(type, 1), mac(address));

export interface Solicitation {
  /** The frame's source, and what the message says of it: nothing where that is null. */
  readonly mac: string;
  readonly says?: string | null;
  readonly source: string;
  readonly target: string;
  /** To whom: the group of the target, if nobody. */
  readonly destination?: string;
  readonly destinationMac?: string;
  readonly hopLimit?: number;
}

/** @returns a frame that asks for an address; from "::" it probes for it */
export function solicitation(fields: Solicitation): Uint8Array {
  const { source, target, says = source === "::" ? null : fields.mac, hopLimit = 255 } = fields;
  const destination = fields.destination ?? groupOf(target);
  const content = concat(ip6(target), option(SOURCE_MAC, says ?? undefined));
  const packet = icmpv6({ source, destination, hopLimit, type: 135 }, content);
  return ethernet(fields.mac, fields.destinationMac ?? groupMac(destination), IPV6_TYPE, packet);
}

export interface Advertisement extends Omit<Solicitation, "source"> {
  /** The target, if nobody. */
  readonly source?: string;
  readonly destination: string;
  readonly flags: number;
}

/** @returns a frame that says whose an address is */
export function advertisement(fields: Advertisement): Uint8Array {
  const { target, source = target, destination, flags, says = fields.mac, hopLimit = 255 } = fields;
  const content = concat(ip6(target), option(TARGET_MAC, says ?? undefined));
  const packet = icmpv6({ source, destination, hopLimit, type: 136, rest: flags * 0x1000000 }, content);
  return ethernet(fields.mac, fields.destinationMac ?? groupMac(destination), IPV6_TYPE, packet);
}

const ALERT = options(0, fromHex("05 02 00 00"));

/** @returns a querier's question for all groups, or for one. @param maxResponse ms */
export function listenerQuery(from: string, version: 1 | 2, group = "::", maxResponse = 10_000): Uint8Array {
  const destination = group === "::" ? "ff02::1" : group;
  const ends = { source: linkLocalOf(from), destination, hopLimit: 1, extensions: [ALERT] };
  const content = concat(ip6(group), version === 1 ? new Uint8Array(0) : Uint8Array.of(2, 125, 0, 0));
  const packet = icmpv6({ ...ends, type: 130, rest: maxResponse * 0x10000 }, content);
  return ethernet(from, groupMac(destination), IPV6_TYPE, packet);
}

/** @returns a report of groups by version 2. @param mode 2: what is so, 4: what has become so */
export function listenerReport(from: string, source: string, mode: number, groups: readonly string[]): Uint8Array {
  const records = groups.map((group) => concat(Uint8Array.of(mode, 0, 0, 0), ip6(group)));
  const ends = { source, destination: "ff02::16", hopLimit: 1, extensions: [ALERT] };
  const packet = icmpv6({ ...ends, type: 143, rest: groups.length }, concat(...records));
  return ethernet(from, groupMac("ff02::16"), IPV6_TYPE, packet);
}

/** @returns a report of one group by version 1 */
export function listenerReport1(from: string, source: string, group: string): Uint8Array {
  const ends = { source, destination: group, hopLimit: 1, extensions: [ALERT] };
  return ethernet(from, groupMac(group), IPV6_TYPE, icmpv6({ ...ends, type: 131 }, ip6(group)));
}
