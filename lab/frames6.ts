// Builds IPv6 packets for tests. Like frames.ts it shares no code with src/wire, so that a mistake there can't hide itself.
import ipaddr from "ipaddr.js";
import { checksum, concat, type TcpFields, tcp } from "./frames.ts";
import { ICMPV6, TCP, UDP } from "./protocols.ts";

export const IPV6_TYPE = 0x86dd;

export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const AH = 51;
export const NO_NEXT = 59;
export const DESTINATION = 60;

const NOTHING = new Uint8Array(0);
const u16 = (value: number): number[] => [(value >>> 8) & 255, value & 255];
const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value)];

/** @returns 16 bytes of an address */
export function ip6(text: string): Uint8Array {
  return Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray());
}

/** @returns the address in RFC 5952's form */
export function text6(address: Uint8Array): string {
  return new ipaddr.IPv6([...address]).toRFC5952String();
}

/** An extension header: its kind, and its bytes but for the first, which says what follows. */
export type Extension = readonly [kind: number, rest: Uint8Array];

/** @returns an extension header of options (hop-by-hop, destination), padded by Pad1 and PadN where it must be */
export function options(kind: number, content: Uint8Array): Extension {
  const missing = -(content.length + 2) & 7;
  const padding = missing === 1 ? [0] : missing === 0 ? [] : [1, missing - 2, ...new Array(missing - 2).fill(0)];
  const length = (content.length + 2 + missing) / 8 - 1;
  return [kind, concat(Uint8Array.of(length), content, Uint8Array.from(padding))];
}

/** @param content behind the fixed four bytes: 4 more than a multiple of 8 */
export function routing(type: number, segmentsLeft: number, content: Uint8Array = new Uint8Array(4)): Extension {
  return [ROUTING, concat(Uint8Array.of((content.length + 4) / 8 - 1, type, segmentsLeft), content)];
}

/** @param offset in bytes, a multiple of 8 */
export function fragment(offset: number, more: boolean, identification = 0x01020304): Extension {
  return [FRAGMENT, Uint8Array.from([0, ...u16(offset | (more ? 1 : 0)), ...u32(identification)])];
}

/** @param icv bytes of its integrity check value: a multiple of 4 */
export function ah(icv: Uint8Array = new Uint8Array(12)): Extension {
  return [
    AH,
    concat(Uint8Array.of((12 + icv.length) / 4 - 2), Uint8Array.from([...u16(0), ...u32(0x77), ...u32(1)]), icv),
  ];
}

export interface Ipv6Fields {
  readonly source: string;
  readonly destination: string;
  readonly trafficClass?: number;
  readonly flowLabel?: number;
  readonly hopLimit?: number;
  readonly extensions?: readonly Extension[];
}

/** @returns an IPv6 packet whose length is right */
export function ipv6(fields: Ipv6Fields, protocol: number, content: Uint8Array): Uint8Array {
  const first = 0x60000000 + (fields.trafficClass ?? 0) * 0x100000 + (fields.flowLabel ?? 0);
  const header = Uint8Array.from([...u32(first), ...u16(content.length), protocol, fields.hopLimit ?? 64]);
  return extended6(concat(header, ip6(fields.source), ip6(fields.destination), content), fields.extensions ?? []);
}

/** @returns an IPv6 packet, or the beginning of one, with extension headers more between its header and what is behind that */
export function extended6(packet: Uint8Array, extensions: readonly Extension[]): Uint8Array {
  const [length, nextHeader, end] = [4, 6, 40];
  const kinds = [...extensions.map(([kind]) => kind), packet[nextHeader]];
  const headers = concat(...extensions.map(([, rest], i) => concat(Uint8Array.of(kinds[i + 1]), rest)));
  const extended = concat(packet.subarray(0, end), headers, packet.subarray(end));
  const before = packet[length] * 256 + packet[length + 1];
  extended.set([...u16(before + headers.length), kinds[0]], length);
  return extended;
}

/** @returns the checksum of an upper layer's bytes, in which the checksum field is zero */
export function checksum6(source: string, destination: string, protocol: number, content: Uint8Array): number {
  const pseudoHeader = Uint8Array.from([...u32(content.length), ...u32(protocol)]);
  return checksum(concat(ip6(source), ip6(destination), pseudoHeader, content));
}

export interface Udp6Fields extends Ipv6Fields {
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** @returns an IPv6 packet with a UDP datagram */
export function udp6(fields: Udp6Fields, content: Uint8Array): Uint8Array {
  const ports = [...u16(fields.sourcePort), ...u16(fields.destinationPort)];
  const datagram = concat(Uint8Array.from([...ports, ...u16(8 + content.length), 0, 0]), content);
  datagram.set(u16(checksum6(fields.source, fields.destination, UDP, datagram) || 0xffff), 6);
  return ipv6(fields, UDP, datagram);
}

export type Tcp6Fields = Ipv6Fields &
  Omit<TcpFields, keyof Ipv6Fields | "tos" | "identification" | "fragment" | "ttl" | "options">;

/** @returns an IPv6 packet with a TCP segment */
export function tcp6(fields: Tcp6Fields, content: Uint8Array = NOTHING): Uint8Array {
  const { source, destination, extensions, trafficClass, flowLabel, hopLimit, ...rest } = fields;
  const segment = tcp({ ...rest, source: "0.0.0.0", destination: "0.0.0.0" }, content).slice(20);
  segment.set([0, 0], 16);
  segment.set(u16(checksum6(source, destination, TCP, segment)), 16);
  return ipv6(fields, TCP, segment);
}

export interface Icmpv6Fields extends Ipv6Fields {
  readonly type: number;
  readonly code?: number;
  /** The header's second word: identifier and sequence number, MTU, pointer, flags, … */
  readonly rest?: number;
}

/** @returns an IPv6 packet with an ICMPv6 message */
export function icmpv6(fields: Icmpv6Fields, content: Uint8Array = NOTHING): Uint8Array {
  const message = concat(Uint8Array.from([fields.type, fields.code ?? 0, 0, 0, ...u32(fields.rest ?? 0)]), content);
  message.set(u16(checksum6(fields.source, fields.destination, ICMPV6, message)), 2);
  return ipv6(fields, ICMPV6, message);
}

/**
 * @param packet an IPv6 packet without extension headers, whole
 * @param size bytes of payload in each fragment but the last, a multiple of 8
 * @returns the packet in fragments, first to last
 */
export function fragmented6(packet: Uint8Array, size: number, identification?: number): Uint8Array[] {
  const content = packet.subarray(40);
  return Array.from({ length: Math.ceil(content.length / size) }, (_, i) => {
    const part = content.subarray(i * size, (i + 1) * size);
    const [, rest] = fragment(i * size, (i + 1) * size < content.length, identification);
    const header = packet.slice(0, 40);
    header.set([...u16(8 + part.length), FRAGMENT], 4);
    return concat(header, Uint8Array.of(packet[6]), rest, part);
  });
}

/**
 * @param packet a whole IPv6 packet without extension headers, its length right
 * @returns the names of the checksums that don't verify
 */
export function wrongChecksums6(packet: Uint8Array): string[] {
  const protocol = packet[6];
  const name = new Map([
    [TCP, "TCP"],
    [UDP, "UDP"],
    [ICMPV6, "ICMPV6"],
  ]).get(protocol);
  const content = packet.subarray(40, 40 + packet[4] * 256 + packet[5]);
  if (name === undefined) return [];
  const right = checksum6(text6(packet.subarray(8, 24)), text6(packet.subarray(24, 40)), protocol, content) === 0;
  return right ? [] : [name];
}
