// A frame taken apart into fields that together are all of its bytes, each with its name and what it says. It judges nothing, and
// reads only what is there: a frame may be cut, or lie about its lengths.
import { formatAddress, formatMac } from "../base/address.ts";
import { ERRORS, PROTOCOL_NAMES, QUERIES } from "../captures/summary.ts";
import { ICMP_NAMES } from "../captures/summary-text.ts";
import { ARP, ARP_REPLY, ARP_REQUEST } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, MAC_LENGTH, VLAN_ID, VLAN_TAG_LENGTH } from "../wire/ethernet.ts";
import { ICMP, ICMP_TYPE, UNREACHABLE_CODE } from "../wire/icmp.ts";
import { DONT_FRAGMENT, FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS, PROTOCOL } from "../wire/ipv4.ts";
import { flagNames, TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";

/** A name of FIELD_WORDS (words.ts). */
export type FieldName = string;

export interface Field {
  readonly layer: string;
  readonly name: FieldName;
  /** Where its bytes are in the frame. */
  readonly at: number;
  readonly length: number;
  /** What they say, for people; "" where the bytes are all there is to say. */
  readonly text: string;
}

type Read = (bytes: Buffer, at: number, length: number) => string;

/** Name, offset in its header, length, and how it is read. */
type Layout = readonly (readonly [name: FieldName, at: number, length: number, read: Read])[];

const number: Read = (bytes, at, length) => String(bytes.readUIntBE(at, length));
const hex: Read = (bytes, at, length) => `0x${bytes.toString("hex", at, at + length)}`;
const mac: Read = (bytes, at) => formatMac(bytes.subarray(at, at + MAC_LENGTH));
const address: Read = (bytes, at) => formatAddress(bytes.readUInt32BE(at));
const nothing: Read = () => "";

const named =
  (names: ReadonlyMap<number, string>): Read =>
  (bytes, at, length) => {
    const value = bytes.readUIntBE(at, length);
    const name = names.get(value);
    return name === undefined ? String(value) : `${value} (${name})`;
  };

const ETHERTYPES = new Map<number, string>([
  [ETHERTYPE.IPV4, "IPv4"],
  [ETHERTYPE.ARP, "ARP"],
  [ETHERTYPE.VLAN, "VLAN tag"],
  [ETHERTYPE.SERVICE_VLAN, "VLAN tag"],
  [ETHERTYPE.IPV6, "IPv6"],
]);
const OPERATIONS = new Map<number, string>([
  [ARP_REQUEST, "question"],
  [ARP_REPLY, "answer"],
]);
const etherType: Read = (bytes, at) => {
  const name = ETHERTYPES.get(bytes.readUInt16BE(at));
  return name === undefined ? hex(bytes, at, 2) : `${hex(bytes, at, 2)} (${name})`;
};

const fragmentWord: Read = (bytes, at) => {
  const word = bytes.readUInt16BE(at);
  const offset = (word & FRAGMENT_OFFSET) * 8;
  const parts = [
    (word & DONT_FRAGMENT) !== 0 && "don't fragment",
    (word & MORE_FRAGMENTS) !== 0 && "more fragments follow",
    offset > 0 && `begins at byte ${offset} of the packet`,
  ];
  return parts.filter((part) => part !== false).join(", ") || "a whole packet";
};

const tcpFlags: Read = (bytes, at) => flagNames(bytes[at]).join(" ") || "none";

const ETHERNET_FIELDS: Layout = [
  ["Destination MAC address", ETHERNET.DESTINATION, MAC_LENGTH, mac],
  ["Source MAC address", ETHERNET.SOURCE, MAC_LENGTH, mac],
];
const ARP_FIELDS: Layout = [
  ["Kinds of addresses", ARP.HARDWARE, 6, nothing],
  ["Operation", ARP.OPERATION, 2, named(OPERATIONS)],
  ["Sender's MAC address", ARP.SENDER_MAC, MAC_LENGTH, mac],
  ["Sender's address", ARP.SENDER_IP, 4, address],
  ["Target's MAC address", ARP.TARGET_MAC, MAC_LENGTH, mac],
  ["Target's address", ARP.TARGET_IP, 4, address],
];
const IPV4_FIELDS: Layout = [
  ["Version and header length", 0, 1, (bytes, at) => `IPv${bytes[at] >>> 4}, ${(bytes[at] & 15) * 4} bytes`],
  ["Type of service", IPV4.TOS, 1, hex],
  ["Total length", IPV4.TOTAL_LENGTH, 2, (bytes, at) => `${bytes.readUInt16BE(at)} bytes`],
  ["Identification", IPV4.IDENTIFICATION, 2, number],
  ["Fragmentation", IPV4.FRAGMENT, 2, fragmentWord],
  ["Time to live (TTL)", IPV4.TTL, 1, number],
  ["Protocol", IPV4.PROTOCOL, 1, named(PROTOCOL_NAMES)],
  ["Header checksum", IPV4.CHECKSUM, 2, hex],
  ["Source address", IPV4.SOURCE, 4, address],
  ["Destination address", IPV4.DESTINATION, 4, address],
];
const TCP_FIELDS: Layout = [
  ["Source port", TCP.SOURCE_PORT, 2, number],
  ["Destination port", TCP.DESTINATION_PORT, 2, number],
  ["Sequence number", TCP.SEQUENCE, 4, number],
  ["Acknowledgment number", TCP.ACKNOWLEDGMENT, 4, number],
  ["Header length", TCP.DATA_OFFSET, 1, (bytes, at) => `${(bytes[at] >>> 4) * 4} bytes`],
  ["Flags", TCP.FLAGS, 1, tcpFlags],
  ["Window", TCP.WINDOW, 2, number],
  ["TCP checksum", TCP.CHECKSUM, 2, hex],
  ["Urgent pointer", TCP.URGENT, 2, number],
];
const UDP_FIELDS: Layout = [
  ["Source port", UDP.SOURCE_PORT, 2, number],
  ["Destination port", UDP.DESTINATION_PORT, 2, number],
  ["Length", UDP.LENGTH, 2, (bytes, at) => `${bytes.readUInt16BE(at)} bytes`],
  ["UDP checksum", UDP.CHECKSUM, 2, hex],
];
const ICMP_FIELDS: Layout = [
  ["Type", ICMP.TYPE, 1, named(ICMP_NAMES)],
  ["Code", ICMP.CODE, 1, number],
  ["ICMP checksum", ICMP.CHECKSUM, 2, hex],
];
const QUERY_FIELDS: Layout = [
  ["Identifier", ICMP.IDENTIFIER, 2, number],
  ["Sequence number", ICMP.IDENTIFIER + 2, 2, number],
];
const ERROR_FIELDS: Layout = [["Detail", ICMP.IDENTIFIER, 4, nothing]];
const TOO_BIG_FIELDS: Layout = [
  ["Detail", ICMP.IDENTIFIER, 2, nothing],
  ["Next hop's MTU", ICMP.NEXT_HOP_MTU, 2, (bytes, at) => `${bytes.readUInt16BE(at)} bytes`],
];

/** TCP options that are told by name (IANA "TCP Option Kind Numbers"). */
const TCP_OPTIONS = new Map<number, readonly [name: FieldName, read: Read]>([
  [2, ["Largest segment (MSS)", (bytes, at) => `${bytes.readUInt16BE(at + 2)} bytes`]],
  [3, ["Window scale", (bytes, at) => `times ${2 ** bytes[at + 2]}`]],
  [4, ["Selective acknowledgment", () => "permitted"]],
  [5, ["Selective acknowledgment", nothing]],
  [8, ["Timestamps", nothing]],
]);
const TCP_OPTION_LENGTHS = new Map([
  [2, 4],
  [3, 3],
  [4, 2],
]);

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
