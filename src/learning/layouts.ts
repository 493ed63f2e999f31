// Which fields headers have: their names, where their bytes are, and what these say, for people.
import { formatAddress, formatAddress6, formatMac } from "../base/address.ts";
import { PROTOCOL_NAMES, PROTOCOL_NAMES_6 } from "../captures/summary.ts";
import { ICMP_NAMES, ICMP6_NAMES } from "../captures/summary-text.ts";
import { ARP, ARP_REPLY, ARP_REQUEST } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE, MAC_LENGTH } from "../wire/ethernet.ts";
import { ICMP } from "../wire/icmp.ts";
import { ICMPV6 } from "../wire/icmpv6.ts";
import { DONT_FRAGMENT, FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS } from "../wire/ipv4.ts";
import { ADDRESS6_LENGTH, FRAGMENT6, FRAGMENT6_MORE, FRAGMENT6_OFFSET, IPV6, NEXT_HEADER } from "../wire/ipv6.ts";
import { ND, OVERRIDE, ROUTER, SOLICITED } from "../wire/ndp.ts";
import { flagNames, TCP } from "../wire/tcp.ts";
import { UDP } from "../wire/udp.ts";

/** A name of FIELD_WORDS (words.ts). */
export type FieldName = string;

type Read = (bytes: Buffer, at: number, length: number) => string;

/** Name, offset in its header, length, and how it is read. */
export type Layout = readonly (readonly [name: FieldName, at: number, length: number, read: Read])[];

const number: Read = (bytes, at, length) => String(bytes.readUIntBE(at, length));
const hex: Read = (bytes, at, length) => `0x${bytes.toString("hex", at, at + length)}`;
const mac: Read = (bytes, at) => formatMac(bytes.subarray(at, at + MAC_LENGTH));
const address: Read = (bytes, at) => formatAddress(bytes.readUInt32BE(at));
const address6: Read = (bytes, at) => formatAddress6(bytes.subarray(at, at + ADDRESS6_LENGTH));
export const nothing: Read = () => "";
const inBytes: Read = (bytes, at, length) => `${number(bytes, at, length)} bytes`;

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
const NEXT_HEADERS = new Map<number, string>([
  ...PROTOCOL_NAMES_6,
  [NEXT_HEADER.HOP_BY_HOP, "hop-by-hop options"],
  [NEXT_HEADER.DESTINATION, "destination options"],
  [NEXT_HEADER.ROUTING, "routing header"],
  [NEXT_HEADER.FRAGMENT, "fragment header"],
  [NEXT_HEADER.AH, "authentication header"],
  [NEXT_HEADER.ESP, "encrypted"],
  [NEXT_HEADER.NONE, "nothing"],
]);
export const etherType: Read = (bytes, at) => {
  const name = ETHERTYPES.get(bytes.readUInt16BE(at));
  return name === undefined ? hex(bytes, at, 2) : `${hex(bytes, at, 2)} (${name})`;
};

function pieceText(offset: number, more: boolean, dontFragment: boolean): string {
  const parts = [
    dontFragment && "don't fragment",
    more && "more fragments follow",
    offset > 0 && `begins at byte ${offset} of the packet`,
  ];
  return parts.filter((part) => part !== false).join(", ") || "a whole packet";
}

const fragmentWord: Read = (bytes, at) => {
  const word = bytes.readUInt16BE(at);
  return pieceText((word & FRAGMENT_OFFSET) * 8, (word & MORE_FRAGMENTS) !== 0, (word & DONT_FRAGMENT) !== 0);
};
const fragmentWord6: Read = (bytes, at) => {
  const word = bytes.readUInt16BE(at);
  return pieceText(word & FRAGMENT6_OFFSET, (word & FRAGMENT6_MORE) !== 0, false);
};

/** Version, traffic class and flow label share bytes. */
const classAndLabel: Read = (bytes, at) => {
  const word = bytes.readUInt32BE(at);
  const digits = (value: number, count: number) => value.toString(16).padStart(count, "0");
  return `IPv${word >>> 28}, class 0x${digits((word >>> 20) & 0xff, 2)}, flow label 0x${digits(word & 0xfffff, 5)}`;
};

/** What an advertisement says of its sender (RFC 4861 section 4.4). */
const advertisementFlags: Read = (bytes, at) => {
  const flags = bytes[at];
  const parts = [
    (flags & ROUTER) !== 0 && "a router",
    (flags & SOLICITED) !== 0 && "was asked",
    (flags & OVERRIDE) !== 0 && "in place of what was known",
  ];
  return parts.filter((part) => part !== false).join(", ") || "none";
};

const tcpFlags: Read = (bytes, at) => flagNames(bytes[at]).join(" ") || "none";

export const ETHERNET_FIELDS: Layout = [
  ["Destination MAC address", ETHERNET.DESTINATION, MAC_LENGTH, mac],
  ["Source MAC address", ETHERNET.SOURCE, MAC_LENGTH, mac],
];
export const ARP_FIELDS: Layout = [
  ["Kinds of addresses", ARP.HARDWARE, 6, nothing],
  ["Operation", ARP.OPERATION, 2, named(OPERATIONS)],
  ["Sender's MAC address", ARP.SENDER_MAC, MAC_LENGTH, mac],
  ["Sender's address", ARP.SENDER_IP, 4, address],
  ["Target's MAC address", ARP.TARGET_MAC, MAC_LENGTH, mac],
  ["Target's address", ARP.TARGET_IP, 4, address],
];
export const IPV4_FIELDS: Layout = [
  ["Version and header length", 0, 1, (bytes, at) => `IPv${bytes[at] >>> 4}, ${(bytes[at] & 15) * 4} bytes`],
  ["Type of service", IPV4.TOS, 1, hex],
  ["Total length", IPV4.TOTAL_LENGTH, 2, inBytes],
  ["Identification", IPV4.IDENTIFICATION, 2, number],
  ["Fragmentation", IPV4.FRAGMENT, 2, fragmentWord],
  ["Time to live (TTL)", IPV4.TTL, 1, number],
  ["Protocol", IPV4.PROTOCOL, 1, named(PROTOCOL_NAMES)],
  ["Header checksum", IPV4.CHECKSUM, 2, hex],
  ["Source address", IPV4.SOURCE, 4, address],
  ["Destination address", IPV4.DESTINATION, 4, address],
];
export const IPV6_FIELDS: Layout = [
  ["Version, class and flow label", IPV6.VERSION_CLASS_LABEL, 4, classAndLabel],
  ["Payload length", IPV6.PAYLOAD_LENGTH, 2, inBytes],
  ["Next header", IPV6.NEXT_HEADER, 1, named(NEXT_HEADERS)],
  ["Hop limit", IPV6.HOP_LIMIT, 1, number],
  ["Source address", IPV6.SOURCE, ADDRESS6_LENGTH, address6],
  ["Destination address", IPV6.DESTINATION, ADDRESS6_LENGTH, address6],
];
/** What each extension header begins with (RFC 8200 section 4): its own length is in units. */
export const EXTENSION_FIELDS: Layout = [
  ["Next header", 0, 1, named(NEXT_HEADERS)],
  ["Length", 1, 1, number],
];
export const FRAGMENT6_FIELDS: Layout = [
  ["Next header", FRAGMENT6.NEXT_HEADER, 1, named(NEXT_HEADERS)],
  ["Reserved", 1, 1, nothing],
  ["Fragmentation", FRAGMENT6.OFFSET, 2, fragmentWord6],
  ["Identification", FRAGMENT6.IDENTIFICATION, 4, number],
];
export const TCP_FIELDS: Layout = [
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
export const UDP_FIELDS: Layout = [
  ["Source port", UDP.SOURCE_PORT, 2, number],
  ["Destination port", UDP.DESTINATION_PORT, 2, number],
  ["Length", UDP.LENGTH, 2, inBytes],
  ["UDP checksum", UDP.CHECKSUM, 2, hex],
];
export const ICMP_FIELDS: Layout = [
  ["Type", ICMP.TYPE, 1, named(ICMP_NAMES)],
  ["Code", ICMP.CODE, 1, number],
  ["ICMP checksum", ICMP.CHECKSUM, 2, hex],
];
export const ICMP6_FIELDS: Layout = [
  ["Type", ICMPV6.TYPE, 1, named(ICMP6_NAMES)],
  ["Code", ICMPV6.CODE, 1, number],
  ["ICMPv6 checksum", ICMPV6.CHECKSUM, 2, hex],
];
/** Behind the first four bytes of ICMP, and of ICMPv6. */
export const QUERY_FIELDS: Layout = [
  ["Identifier", ICMP.IDENTIFIER, 2, number],
  ["Sequence number", ICMP.IDENTIFIER + 2, 2, number],
];
export const ERROR_FIELDS: Layout = [["Detail", ICMP.IDENTIFIER, 4, nothing]];
export const TOO_BIG_FIELDS: Layout = [
  ["Detail", ICMP.IDENTIFIER, 2, nothing],
  ["Next hop's MTU", ICMP.NEXT_HOP_MTU, 2, inBytes],
];
export const TOO_BIG6_FIELDS: Layout = [["Next hop's MTU", ICMPV6.MTU, 4, inBytes]];
export const SOLICITATION_FIELDS: Layout = [
  ["Reserved", ND.FLAGS, 4, nothing],
  ["Target's address", ND.TARGET, ADDRESS6_LENGTH, address6],
];
export const ADVERTISEMENT_FIELDS: Layout = [
  ["Flags", ND.FLAGS, 4, advertisementFlags],
  ["Target's address", ND.TARGET, ADDRESS6_LENGTH, address6],
];
/** Options of Neighbour Discovery that are told by name (RFC 4861 section 4.6.1); the MAC address is behind type and length. */
export const ND_OPTIONS = new Map<number, readonly [name: FieldName, read: Read]>([
  [1, ["Sender's MAC address", (bytes, at) => mac(bytes, at + 2, MAC_LENGTH)]],
  [2, ["Target's MAC address", (bytes, at) => mac(bytes, at + 2, MAC_LENGTH)]],
]);

/** TCP options that are told by name (IANA "TCP Option Kind Numbers"). */
export const TCP_OPTIONS = new Map<number, readonly [name: FieldName, read: Read]>([
  [2, ["Largest segment (MSS)", (bytes, at) => `${bytes.readUInt16BE(at + 2)} bytes`]],
  [3, ["Window scale", (bytes, at) => `times ${2 ** bytes[at + 2]}`]],
  [4, ["Selective acknowledgment", () => "permitted"]],
  [5, ["Selective acknowledgment", nothing]],
  [8, ["Timestamps", nothing]],
]);
export const TCP_OPTION_LENGTHS = new Map([
  [2, 4],
  [3, 3],
  [4, 2],
]);
