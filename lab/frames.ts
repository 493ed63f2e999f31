// Builds frames for tests and shows them as text. It shares no code with src/wire, so that a mistake there can't hide
// itself: checksums are added up here in another way.
import { formatAddress, formatMac, parseAddress, parseMac } from "../src/base/address.ts";
import { ICMP, TCP, UDP } from "./protocols.ts";

export const ARP_TYPE = 0x0806;
export const IPV4_TYPE = 0x0800;

/** @returns the bytes of hex digits; white space and what stands behind a "#" is skipped */
export function fromHex(text: string): Uint8Array {
  const digits = text.replace(/#.*$/gm, "").replace(/\s+/g, "");
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new Error(`not hex: ${digits}`);
  return Uint8Array.from(digits.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

/** @returns lines of 16 bytes each: what a whole frame is compared as, so that a difference shows its place */
export function toHex(bytes: Uint8Array): string {
  const pairs = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"));
  const lines: string[] = [];
  for (let i = 0; i < pairs.length; i += 16) lines.push(pairs.slice(i, i + 16).join(" "));
  return lines.join("\n");
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** @returns `length` bytes that differ from each other and from zero as far as bytes can */
export function payload(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + 1) & 0xff);
}

/** @returns six bytes of aa:bb:cc:dd:ee:ff */
export function mac(text: string): Uint8Array {
  return known(parseMac(text), text);
}

/** @returns the address as unsigned 32-bit number in host order */
export function ip(text: string): number {
  return known(parseAddress(text), text);
}

function known<T>(value: T | undefined, text: string): T {
  if (value === undefined) throw new Error(`bad address in a test: ${text}`);
  return value;
}

/** @returns the Internet checksum as it stands in a header: 16-bit words added with end-around carry, inverted */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i] * 256 + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

function u16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255];
}

function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value)];
}

/** @param source, destination MAC addresses as text */
export function ethernet(source: string, destination: string, type: number, content: Uint8Array): Uint8Array {
  return concat(mac(destination), mac(source), Uint8Array.from(u16(type)), content);
}

export interface ArpFields {
  readonly operation: "request" | "reply";
  readonly senderMac: string;
  readonly senderIp: string;
  /** All zero in most requests. */
  readonly targetMac?: string;
  readonly targetIp: string;
}

/** @returns an ARP packet of 28 bytes, without Ethernet header */
export function arp(fields: ArpFields): Uint8Array {
  return concat(
    Uint8Array.of(0, 1, 8, 0, 6, 4, 0, fields.operation === "request" ? 1 : 2),
    mac(fields.senderMac),
    Uint8Array.from(u32(ip(fields.senderIp))),
    mac(fields.targetMac ?? "00:00:00:00:00:00"),
    Uint8Array.from(u32(ip(fields.targetIp))),
  );
}

export interface Ipv4Fields {
  readonly source: string;
  readonly destination: string;
  readonly tos?: number;
  readonly identification?: number;
  /** The word of flags and fragment offset; DF by default. */
  readonly fragment?: number;
  readonly ttl?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
}

/** @returns an IPv4 packet whose header checksum and lengths are right */
export function ipv4(fields: Ipv4Fields, protocol: number, content: Uint8Array): Uint8Array {
  const options = fields.options ?? new Uint8Array(0);
  const header = Uint8Array.from([
    0x45 + options.length / 4,
    fields.tos ?? 0,
    ...u16(20 + options.length + content.length),
    ...u16(fields.identification ?? 0),
    ...u16(fields.fragment ?? 0x4000),
    fields.ttl ?? 64,
    protocol,
    ...u16(0),
    ...u32(ip(fields.source)),
    ...u32(ip(fields.destination)),
    ...options,
  ]);
  header.set(u16(checksum(header)), 10);
  return concat(header, content);
}

/**
 * @param packet an IPv4 packet without options, whole
 * @param size bytes of payload in each fragment but the last, a multiple of 8
 * @returns the packet in fragments, first to last, as a router without knowledge of what it carries would make them
 */
export function fragmented(packet: Uint8Array, size: number): Uint8Array[] {
  const view = new DataView(packet.buffer, packet.byteOffset);
  const fields = {
    source: formatAddress(view.getUint32(12)),
    destination: formatAddress(view.getUint32(16)),
    tos: packet[1],
    identification: view.getUint16(4),
    ttl: packet[8],
  };
  const content = packet.subarray(20);
  return Array.from({ length: Math.ceil(content.length / size) }, (_, i) => {
    const part = content.subarray(i * size, (i + 1) * size);
    const more = (i + 1) * size < content.length ? 0x2000 : 0;
    return ipv4({ ...fields, fragment: more | ((i * size) / 8) }, packet[9], part);
  });
}

export interface UdpFields extends Ipv4Fields {
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** @returns an IPv4 packet with a UDP datagram */
export function udp(fields: UdpFields, content: Uint8Array): Uint8Array {
  const header = [...u16(fields.sourcePort), ...u16(fields.destinationPort), ...u16(8 + content.length), ...u16(0)];
  const datagram = concat(Uint8Array.from(header), content);
  // RFC 768: a sum of zero is sent as all ones, because zero says that there is none.
  datagram.set(u16(transportChecksum(fields.source, fields.destination, UDP, datagram) || 0xffff), 6);
  return ipv4(fields, UDP, datagram);
}

export interface TcpFields extends Ipv4Fields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  /** tcpdump's letters: F S R P . (ACK) U E W */
  readonly flags: string;
  readonly window?: number;
  /** A multiple of 4 bytes. */
  readonly tcpOptions?: Uint8Array;
}

const TCP_FLAGS = "FSRP.UEW";

/** @returns an IPv4 packet with a TCP segment */
export function tcp(fields: TcpFields, content: Uint8Array = new Uint8Array(0)): Uint8Array {
  const options = fields.tcpOptions ?? new Uint8Array(0);
  const flags = [...fields.flags].reduce((bits, letter) => bits | (1 << TCP_FLAGS.indexOf(letter)), 0);
  const header = Uint8Array.from([
    ...u16(fields.sourcePort),
    ...u16(fields.destinationPort),
    ...u32(fields.sequence ?? 0),
    ...u32(fields.acknowledgment ?? 0),
    (5 + options.length / 4) << 4,
    flags,
    ...u16(fields.window ?? 65535),
    ...u32(0),
    ...options,
  ]);
  const segment = concat(header, content);
  segment.set(u16(transportChecksum(fields.source, fields.destination, TCP, segment)), 16);
  return ipv4(fields, TCP, segment);
}

export interface IcmpFields extends Ipv4Fields {
  readonly type: number;
  readonly code?: number;
  /** The header's second word: identifier and sequence number, next-hop MTU, … */
  readonly rest?: number;
}

/** @returns an IPv4 packet with an ICMP message */
export function icmp(fields: IcmpFields, content: Uint8Array): Uint8Array {
  const message = concat(Uint8Array.from([fields.type, fields.code ?? 0, 0, 0, ...u32(fields.rest ?? 0)]), content);
  message.set(u16(checksum(message)), 2);
  return ipv4(fields, ICMP, message);
}

function transportChecksum(source: string, destination: string, protocol: number, content: Uint8Array): number {
  const pseudoHeader = [...u32(ip(source)), ...u32(ip(destination)), ...u32(protocol), ...u32(content.length)];
  return checksum(concat(Uint8Array.from(pseudoHeader), content));
}

/**
 * A frame in one line, for lists of frames that a test compares: who to whom, what, and every checksum that is wrong.
 * Only for frames whose lengths are right.
 */
export function describe(frame: Uint8Array): string {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const macs = `${formatMac(frame.subarray(6, 12))} > ${formatMac(frame.subarray(0, 6))}`;
  const type = view.getUint16(12);
  if (type === ARP_TYPE) return `${macs} ${describeArp(frame, view)}`;
  if (type !== IPV4_TYPE) return `${macs} type 0x${type.toString(16).padStart(4, "0")}`;
  return `${macs} ${describeIpv4(frame.subarray(14, 14 + view.getUint16(16)))}`;
}

function describeArp(frame: Uint8Array, view: DataView): string {
  const target = formatAddress(view.getUint32(38));
  const sender = formatAddress(view.getUint32(28));
  if (view.getUint16(20) === 1) return `ARP who has ${target}, tell ${sender}`;
  return `ARP ${sender} is at ${formatMac(frame.subarray(22, 28))}`;
}

function describeIpv4(packet: Uint8Array): string {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const headerLength = (packet[0] & 15) * 4;
  const source = formatAddress(view.getUint32(12));
  const destination = formatAddress(view.getUint32(16));
  const content = packet.subarray(headerLength);
  const wrong = wrongChecksums(packet).map((name) => `, WRONG ${name} CHECKSUM`);
  const tail = `ttl ${packet[8]}, ${packet.length} bytes${wrong.join("")}`;
  const fragmented = (view.getUint16(6) & 0x3fff) !== 0;
  if (fragmented) return `${source} > ${destination} fragment at ${(view.getUint16(6) & 0x1fff) * 8}, ${tail}`;
  if (packet[9] === ICMP) {
    return `${source} > ${destination} ICMP type ${content[0]} code ${content[1]} rest ${view.getUint32(headerLength + 4)}, ${tail}`;
  }
  if (packet[9] !== TCP && packet[9] !== UDP) return `${source} > ${destination} protocol ${packet[9]}, ${tail}`;
  const ports = [view.getUint16(headerLength), view.getUint16(headerLength + 2)];
  const ends = `${source}:${ports[0]} > ${destination}:${ports[1]}`;
  return packet[9] === TCP ? `${ends} TCP [${tcpFlags(content[13])}], ${tail}` : `${ends} UDP, ${tail}`;
}

function tcpFlags(bits: number): string {
  return [...TCP_FLAGS].filter((_, i) => (bits >>> i) & 1).join("");
}

/**
 * @param packet a whole IPv4 packet, its lengths right
 * @returns the names of the checksums that don't verify; those of fragments are not looked at
 */
export function wrongChecksums(packet: Uint8Array): string[] {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const headerLength = (packet[0] & 15) * 4;
  const wrong: string[] = [];
  if (checksum(packet.subarray(0, headerLength)) !== 0) wrong.push("IPV4");
  if ((view.getUint16(6) & 0x3fff) !== 0) return wrong;
  const content = packet.subarray(headerLength, view.getUint16(2));
  const source = formatAddress(view.getUint32(12));
  const destination = formatAddress(view.getUint32(16));
  if (packet[9] === ICMP && checksum(content) !== 0) wrong.push("ICMP");
  if (packet[9] === TCP && transportChecksum(source, destination, TCP, content) !== 0) wrong.push("TCP");
  const udpWithout = packet[9] === UDP && view.getUint16(headerLength + 6) === 0;
  if (packet[9] === UDP && !udpWithout && transportChecksum(source, destination, UDP, content) !== 0) wrong.push("UDP");
  return wrong;
}
