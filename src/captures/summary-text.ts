// The words for a frame's summary: one line for people.
import { ETHERTYPE } from "../wire/ethernet.ts";
import { ICMP_TYPE, UNREACHABLE_CODE } from "../wire/icmp.ts";
import { ICMPV6_TYPE, UNREACHABLE6_CODE } from "../wire/icmpv6.ts";
import {
  type ArpSummary,
  type EthernetSummary,
  type FrameSummary,
  type IcmpSummary,
  type IpSummary,
  isArp,
} from "./summary.ts";

export const ICMP_NAMES = new Map<number, string>([
  [ICMP_TYPE.ECHO_REPLY, "echo reply"],
  [ICMP_TYPE.UNREACHABLE, "unreachable"],
  [ICMP_TYPE.SOURCE_QUENCH, "source quench"],
  [ICMP_TYPE.REDIRECT, "redirect"],
  [ICMP_TYPE.ECHO, "echo request"],
  [ICMP_TYPE.TIME_EXCEEDED, "time exceeded"],
  [ICMP_TYPE.PARAMETER_PROBLEM, "parameter problem"],
  [ICMP_TYPE.TIMESTAMP, "timestamp request"],
  [ICMP_TYPE.TIMESTAMP_REPLY, "timestamp reply"],
]);
/** IANA "ICMPv6 Parameters". */
export const ICMP6_NAMES = new Map<number, string>([
  [ICMPV6_TYPE.UNREACHABLE, "unreachable"],
  [ICMPV6_TYPE.PACKET_TOO_BIG, "packet too big"],
  [ICMPV6_TYPE.TIME_EXCEEDED, "time exceeded"],
  [ICMPV6_TYPE.PARAMETER_PROBLEM, "parameter problem"],
  [ICMPV6_TYPE.ECHO, "echo request"],
  [ICMPV6_TYPE.ECHO_REPLY, "echo reply"],
  [ICMPV6_TYPE.ROUTER_SOLICITATION, "router solicitation"],
  [ICMPV6_TYPE.ROUTER_ADVERTISEMENT, "router advertisement"],
  [ICMPV6_TYPE.NEIGHBOUR_SOLICITATION, "neighbour solicitation"],
  [ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT, "neighbour advertisement"],
  [ICMPV6_TYPE.REDIRECT, "redirect"],
  [ICMPV6_TYPE.LISTENER_QUERY, "listener query"],
  [ICMPV6_TYPE.LISTENER_REPORT, "listener report"],
  [ICMPV6_TYPE.LISTENER_DONE, "listener done"],
  [ICMPV6_TYPE.LISTENER_REPORT_2, "listener report"],
]);
/** Codes of type 1 there. */
const UNREACHABLE6_NAMES = new Map<number, string>([
  [UNREACHABLE6_CODE.NO_ROUTE, "no route"],
  [UNREACHABLE6_CODE.ADMIN_PROHIBITED, "prohibited"],
  [UNREACHABLE6_CODE.ADDRESS, "address"],
  [UNREACHABLE6_CODE.PORT, "port"],
  [UNREACHABLE6_CODE.SOURCE_POLICY, "source address"],
]);
/** IANA "ICMP Type Numbers", codes of type 3. */
const UNREACHABLE_NAMES = new Map<number, string>([
  [0, "network"],
  [UNREACHABLE_CODE.HOST, "host"],
  [2, "protocol"],
  [UNREACHABLE_CODE.PORT, "port"],
  [UNREACHABLE_CODE.FRAGMENTATION_NEEDED, "fragmentation needed"],
  [UNREACHABLE_CODE.HOST_PROHIBITED, "host prohibited"],
  [UNREACHABLE_CODE.ADMIN_PROHIBITED, "prohibited"],
]);
/** Names of EtherTypes of frames whose packet is not there (IANA "Ethernet Numbers"). */
const ETHERTYPE_NAMES = new Map<number, string>([[ETHERTYPE.IPV6, "IPv6"]]);

/** `tcp 10.137.0.10:40000 > 198.51.100.80:80 SYN`. @returns "" where nothing can be told */
export function summaryText({ ethernet, packet }: FrameSummary): string {
  if (ethernet === undefined) return "";
  const tag = ethernet.vlan === undefined ? "" : `vlan ${ethernet.vlan} `;
  if (packet === undefined) return tag + ethernetText(ethernet);
  return tag + (isArp(packet) ? arpText(packet) : ipText(packet));
}

/** `02:00:00:00:00:0a > 02:00:00:00:01:00 type 0x86dd (IPv6)` */
function ethernetText({ source, destination, type }: EthernetSummary): string {
  const name = ETHERTYPE_NAMES.get(Number(type));
  return `${source} > ${destination} type ${type}${name === undefined ? "" : ` (${name})`}`;
}

function arpText({ operation, source, destination, senderMac }: ArpSummary): string {
  if (operation === "request") return `arp who has ${destination}, tell ${source}`;
  return operation === "reply" ? `arp ${source} is at ${senderMac}` : `arp operation ${operation}`;
}

function ipText(packet: IpSummary): string {
  const { protocol, source, destination, sourcePort, destinationPort, flags, icmp, fragment } = packet;
  const ends = `${portText(source, sourcePort)} > ${portText(destination, destinationPort)}`;
  const parts = [
    PROTOCOL_NUMBER.test(protocol) ? `protocol ${protocol}` : protocol,
    ends,
    ...(flags ?? []),
    icmp && icmpText(icmp, protocol),
    fragment && (fragment.offset > 0 ? `fragment at ${fragment.offset}` : "first fragment"),
  ];
  return parts.filter((part) => typeof part === "string" && part !== "").join(" ");
}

/** An end of a packet: `198.51.100.80:80`, `[2001:db8::80]:80`; without a port its address. */
export function portText(address: string, port: number | undefined): string {
  if (port === undefined) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

const PROTOCOL_NUMBER = /^\d+$/;

/** `echo request id 1 seq 2`, `unreachable (port) about udp …`. */
export function icmpText(
  { type, code, identifier, sequence, mtu, about, target }: IcmpSummary,
  protocol: string,
): string {
  const is6 = protocol === "icmp6";
  const name = (is6 ? ICMP6_NAMES : ICMP_NAMES).get(type) ?? `type ${type}`;
  if (identifier !== undefined) return `${name} id ${identifier} seq ${sequence}`;
  if (target !== undefined) return `${name} of ${target}`;
  const codes = is6 ? UNREACHABLE6_NAMES : UNREACHABLE_NAMES;
  const isUnreachable = type === (is6 ? ICMPV6_TYPE.UNREACHABLE : ICMP_TYPE.UNREACHABLE);
  const detail = isUnreachable ? codes.get(code) : is6 && mtu !== undefined ? `MTU ${mtu}` : undefined;
  const reason = detail ?? (code === 0 ? "" : `code ${code}`);
  const told = [name, reason && `(${reason}${mtu === undefined || is6 ? "" : `, MTU ${mtu}`})`];
  return [...told, about && `about ${ipText(about)}`].filter((part) => part).join(" ");
}
