// A frame in a few plain words, for somebody who sees its like for the first time.
import { type ArpSummary, type FrameSummary, type IpSummary, isArp } from "../captures/summary.ts";
import { icmpText } from "../captures/summary-text.ts";
import { ICMP_TYPE } from "../wire/icmp.ts";
import { ICMPV6_TYPE, isError6 } from "../wire/icmpv6.ts";
import { DNS_PORT } from "../wire/ports.ts";

/** @param data bytes that the packet carries behind its headers @returns `TCP: asks to open a connection` */
export function tell({ ethernet, packet }: FrameSummary, data: number): string {
  if (ethernet === undefined) return "Not even a whole Ethernet header";
  if (packet === undefined) return `A frame with something else than IP (${ethernet.type})`;
  if (isArp(packet)) return tellArp(packet);
  if (packet.fragment !== undefined && packet.fragment.offset > 0) return "A later piece of a packet";
  const piece = packet.fragment === undefined ? "" : " (the first piece)";
  return tellIp(packet, data) + piece;
}

function tellArp({ operation, source, destination, senderMac }: ArpSummary): string {
  if (operation === "request" && source === destination) return `ARP: ${source} says that it is here`;
  if (operation === "request") return `ARP: who has ${destination}? asks ${source}`;
  return operation === "reply" ? `ARP: ${source} is at ${senderMac}` : "ARP";
}

function tellIp(packet: IpSummary, data: number): string {
  const { protocol, icmp, flags } = packet;
  if (icmp !== undefined) return tellIcmp(packet);
  if (flags !== undefined) return `TCP: ${tellFlags(flags, data)}`;
  if (protocol !== "udp") return `${/\d/.test(protocol) ? `Protocol ${protocol}` : protocol.toUpperCase()}`;
  if (packet.destinationPort === DNS_PORT) return "UDP: a question to a name server";
  return packet.sourcePort === DNS_PORT ? "UDP: an answer of a name server" : `UDP: ${bytes(data)} of data`;
}

function tellIcmp(packet: IpSummary): string {
  const { icmp, protocol } = packet;
  if (icmp === undefined) return "ICMP";
  const { about, ...rest } = icmp;
  const [ask, answer] =
    protocol === "icmp6" ? [ICMPV6_TYPE.ECHO, ICMPV6_TYPE.ECHO_REPLY] : [ICMP_TYPE.ECHO, ICMP_TYPE.ECHO_REPLY];
  if (icmp.type === ask) return `Ping number ${icmp.sequence}: are you there?`;
  if (icmp.type === answer) return `Ping number ${icmp.sequence}: yes, I am here`;
  if (protocol === "icmp6" && !isError6(icmp.type)) return tellOfLink(packet, icmp.target);
  return `${protocol === "icmp6" ? "ICMPv6" : "ICMP"}, an error: ${icmpText(rest, protocol)}`;
}

/** Messages of ICMPv6 that stay on their cable. */
function tellOfLink({ icmp, protocol, source }: IpSummary, target = "an address"): string {
  switch (icmp?.type) {
    case ICMPV6_TYPE.NEIGHBOUR_SOLICITATION:
      return source === "::"
        ? `Neighbour Discovery: has somebody ${target} already?`
        : `Neighbour Discovery: who has ${target}? asks ${source}`;
    case ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT:
      return `Neighbour Discovery: ${target} is here`;
    case ICMPV6_TYPE.ROUTER_SOLICITATION:
      return "Neighbour Discovery: are there routers?";
    case ICMPV6_TYPE.ROUTER_ADVERTISEMENT:
      return "Neighbour Discovery: a router says that it is here";
    case ICMPV6_TYPE.LISTENER_QUERY:
      return "Groups: who listens to which?";
    case ICMPV6_TYPE.LISTENER_REPORT:
    case ICMPV6_TYPE.LISTENER_REPORT_2:
      return "Groups: which ones this machine listens to";
    default:
      return icmp === undefined ? "ICMPv6" : `ICMPv6: ${icmpText(icmp, protocol)}`;
  }
}

function tellFlags(flags: readonly string[], data: number): string {
  const has = (flag: string) => flags.includes(flag);
  if (has("SYN")) return has("ACK") ? "agrees to the connection" : "asks to open a connection";
  if (has("RST")) return "breaks the connection off";
  const carried = data > 0 ? `${bytes(data)} of data` : "";
  if (has("FIN")) return `${carried === "" ? "" : `${carried}, and `}nothing more to send`;
  return carried === "" ? "got it (an acknowledgment)" : carried;
}

function bytes(count: number): string {
  return count === 1 ? "1 byte" : `${count} bytes`;
}
