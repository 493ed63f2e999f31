// A number that packets have in common which are the same whichever correct router sent them. Left out is what a router may choose or
// has to compute: checksums, IPv4's identification and that of IPv6's fragments; of what leaves by the uplink's address, its port or ICMP
// identifier; of ICMP errors, all but who tells whom what about which packet. Only the first bytes are looked at, so that captures cut
// at different lengths compare.
import { layersOf, QUERIES_6 } from "../captures/summary.ts";
import type { Settings } from "../dataplane/settings.ts";
import { ETHERNET } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE } from "../wire/icmp.ts";
import { isOfLink6 } from "../wire/icmpv6.ts";
import { FRAGMENT_OFFSET, IPV4, PROTOCOL } from "../wire/ipv4.ts";
import { ADDRESS6_LENGTH, FRAGMENT6, IPV6, NEXT_HEADER } from "../wire/ipv6.ts";
import { TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";

/** Bytes of a frame that are looked at. */
const LOOKED_AT = 96;
const IP = ETHERNET.HEADER_LENGTH;
const ICMP_QUERIES: readonly number[] = [ICMP_TYPE.ECHO, ICMP_TYPE.ECHO_REPLY];

/** Of a message that stays on its link, or of what is no packet: it is not compared. */
export const NO_KEY = -1;

export class PacketKeys {
  private readonly uplink: number;
  private readonly address: number;
  private readonly address6: Uint8Array | undefined;
  private first = 0;
  private second = 0;

  constructor({ uplink }: Settings) {
    this.uplink = uplink.iface;
    this.address = uplink.address | 0;
    this.address6 = uplink.ipv6?.address;
  }

  /** @param captured bytes that are there, an IPv4 header among them @returns a number of 53 bits */
  keyOf4(iface: number, bytes: Buffer, at: number, captured: number): number {
    const end = at + Math.min(captured, LOOKED_AT);
    const ip = at + IP;
    const transport = ip + (bytes[ip] & 15) * 4;
    const protocol = bytes[ip + IPV4.PROTOCOL];
    const isError = protocol === PROTOCOL.ICMP && end > transport && !ICMP_QUERIES.includes(bytes[transport]);
    this.begin(iface);
    this.mix(bytes, ip + IPV4.SOURCE, ip + IPV4.SOURCE + 8);
    this.mixByte(protocol);
    if (isError) {
      this.mix(bytes, transport + ICMP.TYPE, transport + ICMP.CODE + 1);
      const quoted = transport + ICMP.HEADER_LENGTH;
      // Of the quoted packet, the end that is translated is left out.
      const untouched = quoted + (iface === this.uplink ? IPV4.SOURCE : IPV4.DESTINATION);
      if (end >= quoted + IPV4.HEADER_LENGTH) this.mix(bytes, untouched, untouched + 4);
      return this.end();
    }
    // Type of service, length, fragment word, TTL.
    this.mix(bytes, ip + 1, ip + IPV4.TOTAL_LENGTH + 2);
    this.mix(bytes, ip + IPV4.FRAGMENT, ip + IPV4.TTL + 1);
    const isFirst = (bytes.readUInt16BE(ip + IPV4.FRAGMENT) & FRAGMENT_OFFSET) === 0;
    const isMapped = iface === this.uplink && bytes.readInt32BE(ip + IPV4.SOURCE) === this.address;
    this.mixContent(bytes, transport, end, isFirst ? protocol : NO_PROTOCOL, isMapped);
    return this.end();
  }

  /** As `keyOf4`, of IPv6. */
  keyOf6(iface: number, bytes: Buffer, at: number, captured: number): number {
    const end = at + Math.min(captured, LOOKED_AT);
    const ip = at + IP;
    const { protocol, transport, fragment, fragmentAt } = layersOf(bytes, ip, end);
    const isFirst = fragment === undefined || fragment.offset === 0;
    const isIcmp = protocol === NEXT_HEADER.ICMPV6 && isFirst && end > transport;
    if (isIcmp && isOfLink6(bytes[transport])) return NO_KEY;
    this.begin(iface);
    this.mix(bytes, ip + IPV6.SOURCE, ip + IPV6.SOURCE + 2 * ADDRESS6_LENGTH);
    this.mixByte(protocol);
    if (isIcmp && !QUERIES_6.includes(bytes[transport])) {
      this.mix(bytes, transport + ICMP.TYPE, transport + ICMP.CODE + 1);
      const untouched = transport + ICMP.HEADER_LENGTH + (iface === this.uplink ? IPV6.SOURCE : IPV6.DESTINATION);
      this.mix(bytes, untouched, Math.min(untouched + ADDRESS6_LENGTH, end));
      return this.end();
    }
    // Version, class and label; length; hop limit; and the headers behind, as far as routers leave them alone.
    this.mix(bytes, ip, ip + IPV6.NEXT_HEADER);
    this.mixByte(bytes[ip + IPV6.HOP_LIMIT]);
    const headers = Math.min(transport, end);
    const identification = fragmentAt === undefined ? headers : fragmentAt + FRAGMENT6.IDENTIFICATION;
    this.mix(bytes, ip + IPV6.HEADER_LENGTH, Math.min(identification, headers));
    this.mix(bytes, Math.min(identification + 4, headers), headers);
    const isMapped = iface === this.uplink && this.isOwn6(bytes, ip + IPV6.SOURCE);
    this.mixContent(bytes, transport, end, isFirst ? protocol : NO_PROTOCOL, isMapped);
    return this.end();
  }

  private isOwn6(bytes: Buffer, at: number): boolean {
    return this.address6 !== undefined && bytes.subarray(at, at + ADDRESS6_LENGTH).equals(this.address6);
  }

  private begin(iface: number): void {
    this.first = iface + 1;
    this.second = 0x9e3779b9;
  }

  private end(): number {
    return (this.first >>> 0) * 0x200000 + (this.second >>> 11);
  }

  private mixContent(bytes: Buffer, from: number, to: number, protocol: number, isMapped: boolean): void {
    for (let i = from; i < to; i++) if (!isChosen(protocol, i - from, isMapped)) this.mixByte(bytes[i]);
  }

  private mix(bytes: Buffer, from: number, to: number): void {
    for (let i = from; i < to; i++) this.mixByte(bytes[i]);
  }

  private mixByte(byte: number): void {
    this.first = Math.imul(this.first ^ byte, 0x01000193);
    this.second = Math.imul(this.second ^ byte, 0x5bd1e995) ^ (this.second >>> 15);
  }
}

/** Of a later fragment, in which no header stands. */
const NO_PROTOCOL = -1;

/** @param offset in the transport header @returns whether a router may choose what is there, or has to compute it */
function isChosen(protocol: number, offset: number, isMapped: boolean): boolean {
  switch (protocol) {
    case PROTOCOL.TCP:
      return (isMapped && offset < 2) || offset === TCP.CHECKSUM || offset === TCP.CHECKSUM + 1;
    case PROTOCOL.UDP:
      return (isMapped && offset < 2) || offset === UDP.CHECKSUM || offset === UDP.CHECKSUM + 1;
    case PROTOCOL.ICMP:
    case NEXT_HEADER.ICMPV6:
      return (offset >= 2 && offset < 4) || (isMapped && offset >= 4 && offset < 6);
    default:
      return false;
  }
}
