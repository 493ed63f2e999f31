// A frame taken apart into fields that together are all of its bytes, each with its name and what it says. It judges nothing, and
// reads only what is there: a frame may be cut, or lie about its lengths.
import { ERRORS, EXTENSIONS, MOST_EXTENSIONS, QUERIES, QUERIES_6 } from "../captures/summary.ts";
import { ARP } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, VLAN_ID, VLAN_TAG_LENGTH } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE, UNREACHABLE_CODE } from "../wire/icmp.ts";
import { ICMPV6_TYPE, isError6 } from "../wire/icmpv6.ts";
import { FRAGMENT_OFFSET, IPV4, PROTOCOL } from "../wire/ipv4.ts";
import { FRAGMENT6, FRAGMENT6_OFFSET, IPV6, NEXT_HEADER } from "../wire/ipv6.ts";
import { ND } from "../wire/ndp.ts";
import { TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";
import {
  ADVERTISEMENT_FIELDS,
  ARP_FIELDS,
  ERROR_FIELDS,
  ETHERNET_FIELDS,
  EXTENSION_FIELDS,
  etherType,
  type FieldName,
  FRAGMENT6_FIELDS,
  ICMP_FIELDS,
  ICMP6_FIELDS,
  IPV4_FIELDS,
  IPV6_FIELDS,
  type Layout,
  ND_OPTIONS,
  nothing,
  QUERY_FIELDS,
  SOLICITATION_FIELDS,
  TCP_FIELDS,
  TCP_OPTION_LENGTHS,
  TCP_OPTIONS,
  TOO_BIG_FIELDS,
  TOO_BIG6_FIELDS,
  UDP_FIELDS,
} from "./layouts.ts";

export interface Field {
  readonly layer: string;
  readonly name: FieldName;
  /** Where its bytes are in the frame. */
  readonly at: number;
  readonly length: number;
  /** What they say, for people; "" where the bytes are all there is to say. */
  readonly text: string;
}

/** Layers of extension headers, by the value that names them. */
const EXTENSION_NAMES = new Map<number, string>([
  [NEXT_HEADER.HOP_BY_HOP, "Hop-by-hop options"],
  [NEXT_HEADER.DESTINATION, "Destination options"],
  [NEXT_HEADER.ROUTING, "Routing header"],
  [NEXT_HEADER.AH, "Authentication header"],
]);
const FRAGMENT_LAYER = "Fragment header";
/** Layers of a packet's own extension headers. */
export const EXTENSION_LAYERS: readonly string[] = [...EXTENSION_NAMES.values(), FRAGMENT_LAYER];

/** @param bytes a frame, from its first byte, as far as it was captured @returns its fields, in order, without gaps */
export function dissect(bytes: Buffer): Field[] {
  const dissection = new Dissection(bytes);
  dissection.ethernet();
  return dissection.fields;
}

class Dissection {
  readonly fields: Field[] = [];
  private at = 0;
  /** Of the bytes that headers may use: what is behind it is padding. */
  private end: number;

  constructor(private readonly bytes: Buffer) {
    this.end = bytes.length;
  }

  ethernet(): void {
    const { bytes } = this;
    if (this.end < ETHERNET.HEADER_LENGTH) {
      this.rest("Ethernet", "Data");
      return;
    }
    this.take("Ethernet", ETHERNET_FIELDS, ETHERNET.TYPE);
    while (isTag(bytes.readUInt16BE(this.at)) && this.end - this.at >= VLAN_TAG_LENGTH + 2) {
      this.add("Ethernet", "VLAN tag", VLAN_TAG_LENGTH, `VLAN ${bytes.readUInt16BE(this.at + 2) & VLAN_ID}`);
    }
    const type = bytes.readUInt16BE(this.at);
    this.add("Ethernet", "EtherType", 2, etherType(bytes, this.at, 2));
    if (type === ETHERTYPE.ARP) this.take("ARP", ARP_FIELDS, ARP.LENGTH);
    else if (type === ETHERTYPE.IPV4) this.ipv4("", this.end);
    else if (type === ETHERTYPE.IPV6) this.ipv6("", this.end);
    else this.rest("Data", "Data");
    this.padding();
  }

  /** @param prefix of the layers' names: of a packet that an ICMP error quotes @param end behind which it has no bytes */
  private ipv4(prefix: string, end: number): void {
    const { bytes, at } = this;
    const layer = `${prefix}IPv4`;
    if (!this.take(layer, IPV4_FIELDS, IPV4.HEADER_LENGTH)) {
      this.rest(layer, "Data");
      return;
    }
    const header = (bytes[at] & 15) * 4;
    const word = bytes.readUInt16BE(at + IPV4.FRAGMENT);
    const stop = Math.min(end, at + Math.max(bytes.readUInt16BE(at + IPV4.TOTAL_LENGTH), IPV4.HEADER_LENGTH));
    if (prefix === "") this.end = stop;
    const options = Math.min(at + header, stop) - this.at;
    if (options > 0) this.add(layer, "Options", options, "");
    if ((word & FRAGMENT_OFFSET) === 0) this.transport(prefix, bytes[at + IPV4.PROTOCOL]);
    this.rest("Data", `${prefix}Data`);
  }

  /** As `ipv4`, with the extension headers that are there. */
  private ipv6(prefix: string, end: number): void {
    const { bytes, at } = this;
    const layer = `${prefix}IPv6`;
    if (!this.take(layer, IPV6_FIELDS, IPV6.HEADER_LENGTH)) {
      this.rest(layer, "Data");
      return;
    }
    const stop = Math.min(end, this.at + bytes.readUInt16BE(at + IPV6.PAYLOAD_LENGTH));
    if (prefix === "") this.end = stop;
    let next = bytes[at + IPV6.NEXT_HEADER];
    for (let i = 0; i < MOST_EXTENSIONS; i++) {
      const here = this.at;
      if (!this.extension(prefix, next)) break;
      if (next === NEXT_HEADER.FRAGMENT && (bytes.readUInt16BE(here + FRAGMENT6.OFFSET) & FRAGMENT6_OFFSET) !== 0) {
        this.rest("Data", `${prefix}Data`);
        return;
      }
      next = bytes[here];
    }
    this.transport6(prefix, next);
    this.rest("Data", `${prefix}Data`);
  }

  /** @returns whether a whole extension header was there */
  private extension(prefix: string, kind: number): boolean {
    if (kind === NEXT_HEADER.FRAGMENT) return this.take(prefix + FRAGMENT_LAYER, FRAGMENT6_FIELDS, FRAGMENT6.LENGTH);
    const name = EXTENSION_NAMES.get(kind);
    const [unit, more] = EXTENSIONS.get(kind) ?? [0, 0];
    if (name === undefined || this.end - this.at < 2) return false;
    const length = unit * (this.bytes[this.at + 1] + more);
    if (length > this.end - this.at) return false;
    const layer = prefix + name;
    this.take(layer, EXTENSION_FIELDS, 2);
    this.add(layer, "Options", length - 2, "");
    return true;
  }

  private transport(prefix: string, protocol: number): void {
    const { bytes, at } = this;
    if (protocol === PROTOCOL.TCP) {
      const layer = `${prefix}TCP`;
      // Of a packet that is quoted only the first 8 bytes are sure to be there.
      if (this.take(layer, TCP_FIELDS, TCP.HEADER_LENGTH)) this.tcpOptions(layer, at + (bytes[at + 12] >>> 4) * 4);
      else this.take(layer, TCP_FIELDS.slice(0, 3), TCP.ACKNOWLEDGMENT);
    } else if (protocol === PROTOCOL.UDP) {
      this.take(`${prefix}UDP`, UDP_FIELDS, UDP.HEADER_LENGTH);
    } else if (protocol === PROTOCOL.ICMP && this.take(`${prefix}ICMP`, ICMP_FIELDS, 4)) {
      this.icmp(prefix, bytes[at], bytes[at + 1]);
    }
  }

  private transport6(prefix: string, protocol: number): void {
    const type = this.bytes[this.at];
    if (protocol === NEXT_HEADER.ICMPV6) {
      if (this.take(`${prefix}ICMPv6`, ICMP6_FIELDS, 4)) this.icmp6(prefix, type);
    } else if (protocol !== PROTOCOL.ICMP) this.transport(prefix, protocol);
  }

  private icmp(prefix: string, type: number, code: number): void {
    const layer = `${prefix}ICMP`;
    if (this.end - this.at < 4) return;
    this.at -= ICMP.IDENTIFIER;
    if (QUERIES.includes(type)) this.take(layer, QUERY_FIELDS, ICMP.HEADER_LENGTH);
    else if (type === ICMP_TYPE.UNREACHABLE && code === UNREACHABLE_CODE.FRAGMENTATION_NEEDED) {
      this.take(layer, TOO_BIG_FIELDS, ICMP.HEADER_LENGTH);
    } else this.take(layer, ERROR_FIELDS, ICMP.HEADER_LENGTH);
    if (ERRORS.includes(type) && prefix === "" && this.at < this.end) this.ipv4("Quoted ", this.end);
  }

  private icmp6(prefix: string, type: number): void {
    const layer = `${prefix}ICMPv6`;
    const isQuestion = type === ICMPV6_TYPE.NEIGHBOUR_SOLICITATION;
    if (isQuestion || type === ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT) {
      if (this.end - this.at < ND.OPTIONS - ICMP.IDENTIFIER) return;
      this.at -= ICMP.IDENTIFIER;
      this.take(layer, isQuestion ? SOLICITATION_FIELDS : ADVERTISEMENT_FIELDS, ND.OPTIONS);
      this.neighbourOptions(layer);
      return;
    }
    const isQuery = QUERIES_6.includes(type);
    if (this.end - this.at < 4 || (!isQuery && !isError6(type))) return;
    this.at -= ICMP.IDENTIFIER;
    const fields = isQuery ? QUERY_FIELDS : type === ICMPV6_TYPE.PACKET_TOO_BIG ? TOO_BIG6_FIELDS : ERROR_FIELDS;
    this.take(layer, fields, ICMP.HEADER_LENGTH);
    if (isError6(type) && prefix === "" && this.at < this.end) this.ipv6("Quoted ", this.end);
  }

  private neighbourOptions(layer: string): void {
    const { bytes } = this;
    while (this.end - this.at >= 8) {
      const length = bytes[this.at + 1] * 8;
      if (length === 0 || length > this.end - this.at) return;
      const [name, read] = (length === 8 ? ND_OPTIONS.get(bytes[this.at]) : undefined) ?? ["Options", nothing];
      this.add(layer, name, length, read(bytes, this.at, length));
    }
  }

  private tcpOptions(layer: string, header: number): void {
    const { bytes } = this;
    const stop = Math.min(header, this.end);
    while (this.at < stop) {
      const kind = bytes[this.at];
      if (kind <= 1) {
        let fill = 1;
        while (this.at + fill < stop && bytes[this.at + fill] <= 1) fill++;
        this.add(layer, "Fill", fill, "");
        continue;
      }
      const length = this.at + 1 < stop ? bytes[this.at + 1] : 0;
      if (length < 2 || this.at + length > stop) {
        this.add(layer, "Options", stop - this.at, "");
        return;
      }
      const [name, read] = TCP_OPTIONS.get(kind) ?? ["Options", nothing];
      const isKnown = (TCP_OPTION_LENGTHS.get(kind) ?? length) === length;
      this.add(layer, name, length, isKnown ? read(bytes, this.at, length) : "");
    }
  }

  /** @returns whether all of a header is there; if not, none of it is taken */
  private take(layer: string, layout: Layout, length: number): boolean {
    const { bytes, at } = this;
    if (this.end - at < length) return false;
    for (const [name, offset, size, read] of layout) {
      this.fields.push({ layer, name, at: at + offset, length: size, text: read(bytes, at + offset, size) });
    }
    this.at = at + length;
    return true;
  }

  private add(layer: string, name: FieldName, length: number, text: string): void {
    this.fields.push({ layer, name, at: this.at, length, text });
    this.at += length;
  }

  private rest(layer: string, name: FieldName): void {
    const left = Math.min(this.end, this.bytes.length) - this.at;
    if (left > 0) this.add(layer, name, left, `${left} bytes`);
  }

  private padding(): void {
    const left = this.bytes.length - this.at;
    if (left > 0) this.add("Padding", "Padding", left, `${left} bytes`);
  }
}

function isTag(type: number): boolean {
  return type === ETHERTYPE.VLAN || type === ETHERTYPE.SERVICE_VLAN;
}
