// What the page says of verdicts and of fields, for somebody who has just heard what NAT is. docs/VERDICTS.md says it for those who
// run a firewall.

import type { IpSummary } from "../captures/summary.ts";
import { VERDICT, VERDICT_NAMES, type Verdict } from "../dataplane/verdict.ts";
import { ICMPV6_TYPE } from "../wire/icmpv6.ts";
import type { Pair } from "./changes.ts";

const VERDICT_WORDS = {
  FORWARDED: "The firewall rewrote the packet and sent it on.",
  ANSWERED: "This was for the firewall itself, and it answered.",
  QUEUED:
    "The packet may pass, but the firewall doesn't know the next machine's MAC address yet. It asks, by ARP or, of IPv6, by Neighbour Discovery, and keeps the packet until the answer comes.",
  HELD: "This is a later piece of a packet that was cut up. Only the first piece has port numbers, so this one waits for it.",
  ANSWER_HELD:
    "An answer with the addresses of a name. It waits for a moment, until the firewall's rules know these addresses.",
  TAKEN: "An answer to a question that the firewall itself had asked.",
  ARP_TAKEN: "The firewall learnt from it which MAC address belongs to an IP address.",
  NOT_TO_US: "The frame is not addressed to the firewall's MAC address, so it is none of its business.",
  ETHERTYPE: "The frame carries neither IP nor ARP, and the firewall passes on nothing that it doesn't understand.",
  ND_TAKEN:
    "The firewall learnt from it which MAC address belongs to an IPv6 address, or that somebody asks who listens to groups.",
  NO_IPV6: "The frame carries IPv6, and the configuration gives nobody on this interface an address of it.",
  VLAN: "The frame belongs to a virtual LAN, which this firewall has no part in.",
  ARP_NOT_FOR_US: "A question about another machine, or an answer that nobody had asked for.",
  ARP_SPOOFED: "Its sender claims an address that belongs to somebody else.",
  ND_NOT_FOR_US: "A question about another machine, or an answer that nobody had asked for.",
  ND_SPOOFED: "Its sender claims an IPv6 address that belongs to somebody else.",
  SPOOFED:
    "Its source address can't be true where it came in: whoever sent it pretends to be another machine. Letting it pass would help an attacker to hide.",
  MAC_SPOOFED: "It came from another network card than the one that this client has.",
  UNROUTABLE: "Its destination is no address of a single machine that can be reached, so there is no way to it.",
  CLIENT_TO_CLIENT: "It is for another client of this firewall, and the configuration doesn't let these two meet.",
  TO_FIREWALL: "It wants something of the firewall itself, which offers nothing but answers to ping.",
  REFUSED: "The rules of this client don't allow it.",
  UNSOLICITED:
    "Nobody inside asked for it. From outside only answers come in; this is no answer, so there is no entry in the firewall's notes that would say whom inside it is for.",
  IP_OPTIONS: "It carries IP options, which this client is not to send or get.",
  TTL: "Its time to live, which IPv6 calls hop limit, is used up: it has passed as many routers as it may, and perhaps goes round in circles. The firewall tells its sender. (traceroute finds routers by that.)",
  TOO_BIG:
    "It is larger than the next link takes and may not be cut up, as no router may cut a packet of IPv6. The firewall tells its sender what fits.",
  TCP_STATE: "It belongs to no TCP connection that the firewall knows, and doesn't open one either.",
  TCP_WINDOW:
    "Its numbers don't fit the connection that it claims to be of: neither end would have sent that, but somebody who guesses might.",
  ICMP_ORPHAN: "An error message about a packet that nobody inside had sent.",
  ICMP_MTU: "An error message that says something impossible about the size of packets.",
  ICMP_TYPE: "A kind of control message that a firewall has no reason to pass on.",
  FRAGMENT: "A piece of a packet that as a whole was dropped.",
  FRAGMENT_OVERLAP: "Pieces of a packet overlap. Nobody does that but to slip something past a firewall.",
  FRAGMENT_LIMIT: "Too many pieces of packets wait for their first ones already.",
  TABLE_FULL: "The firewall's notes are full: it can't remember another conversation.",
  NEIGHBOURS_FULL: "The firewall knows as many machines as it can remember.",
  NO_PORT: "All ports that the firewall could give this conversation are taken.",
  CLIENT_FLOWS: "This client has as many conversations at a time as it may.",
  CLIENT_MAPPINGS: "This client has as many ports of the firewall's address as it may.",
  CLIENT_RATE: "This client opens conversations faster than it may.",
  EGRESS_DOWN: "The way out is closed: the interface is down.",
  EGRESS_FULL: "The way out is jammed.",
  EGRESS_REFUSED: "The interface would not take it.",
  UNRESOLVED: "The next machine doesn't answer the question for its MAC address, so the packet can't be delivered.",
  ARP_QUEUE_FULL: "Too many packets wait for a MAC address already.",
  OFFLOAD: "What its sender left to the network card to do makes no sense.",
  SEGMENTS: "It would have to be cut into too many pieces.",
  KERNEL: "The kernel could not send it on.",
} satisfies Record<keyof typeof VERDICT, string>;

const MALFORMED =
  "The packet contradicts itself: a length, a checksum or a flag can't be right. What isn't understood is not passed on.";

const BY_VERDICT = new Map<Verdict, string>(
  Object.entries(VERDICT_WORDS).map(([key, words]) => [VERDICT[key as keyof typeof VERDICT], words]),
);

/** @returns a sentence or two on what a verdict means */
export function verdictWords(verdict: Verdict): string {
  return BY_VERDICT.get(verdict) ?? (VERDICT_NAMES[verdict]?.startsWith("dropped: malformed") ? MALFORMED : "");
}

/** Why the firewall rewrites a field; behind the layer where the name alone doesn't tell. */
const FIELD_WORDS: ReadonlyMap<string, string> = new Map([
  [
    "Destination MAC address",
    "MAC addresses hold for one cable only. On the next one the frame is for the next machine there.",
  ],
  ["Source MAC address", "On the next cable it is the firewall's own network card that sends."],
  ["VLAN tag", "It said only how urgent the frame is, on the cable that it came by."],
  ["EtherType", "It stood behind the VLAN tag, which is gone."],
  ["Type of service", "The configuration says to clear it, so that it gives nothing away."],
  [
    "Version, class and flow label",
    "The configuration says to clear the class, so that it gives nothing away. The flow label stays as its sender made it.",
  ],
  ["Total length", "The packet was cut into pieces, and this is the length of one."],
  [
    "Identification",
    "The configuration says to make it random, so that packets of one machine can't be told from others.",
  ],
  ["Fragmentation", "The packet was cut into pieces; this says where a piece belongs."],
  ["Time to live (TTL)", "Each router takes 1 off. A packet that goes in circles ends when nothing is left."],
  [
    "Hop limit",
    "Each router takes 1 off. A packet that goes in circles ends when nothing is left. IPv4 calls it time to live.",
  ],
  [
    "Header checksum",
    "The sum over the IP header. When a field changes, the sum has to be made anew, or the next router would take the packet for damaged.",
  ],
  ["TCP checksum", "A sum over addresses, ports and data: new, because those changed."],
  ["UDP checksum", "A sum over addresses, ports and data: new, because those changed."],
  ["ICMP checksum", "A sum over the message: new, because something in it changed."],
  [
    "ICMPv6 checksum",
    "A sum over the message and, unlike that of ICMP, over both addresses: new, because something of these changed.",
  ],
  [
    "Source port",
    "The port tells conversations apart that share the firewall's one address: it is how the answer finds back.",
  ],
  [
    "Destination port",
    "The port tells conversations apart that share the firewall's one address: it is how the answer finds back.",
  ],
  ["Identifier", "A ping has no port; this number is what tells one machine's pings from another's."],
  ["Largest segment (MSS)", "The next link takes smaller packets, so both ends are told to send smaller ones."],
  ["Data", "The packet was cut into pieces."],
  ["Padding", "It only filled the frame up on the cable that it came by."],
]);

const SOURCE_OUT =
  "This is NAT: the address inside means nothing to the internet. So the firewall puts its own address there, and notes whose it was.";
const SOURCE_OUT_6 =
  "This is NAT of IPv6, called NAT66: outside nobody knows the way to the address inside, or is to know it. So the firewall puts its own address there, and notes whose it was.";
const DESTINATION_IN =
  "This is NAT on the way back: the answer was sent to the firewall's address. Its notes say which machine inside it is for.";
const SOURCE_BACK = "The answer is to seem to come from the address that was asked.";
const DESTINATION_ELSEWHERE = "The configuration says that what is sent there goes elsewhere.";
const QUOTED =
  "An error message quotes the packet that it is about. Its sender must find the packet there that it had sent itself.";

/**
 * @param pair a field that was rewritten
 * @param own the firewall's addresses outside
 * @returns why, in a sentence or two
 */
export function fieldWords({ layer, name, before, after }: Pair, own: readonly string[]): string {
  if (layer.startsWith("Quoted")) return QUOTED;
  const isOwn = (field: Pair["before"]) => field !== undefined && own.includes(field.text);
  if (name === "Source address") return isOwn(after) ? (layer === "IPv6" ? SOURCE_OUT_6 : SOURCE_OUT) : SOURCE_BACK;
  if (name === "Destination address") return isOwn(before) ? DESTINATION_IN : DESTINATION_ELSEWHERE;
  return FIELD_WORDS.get(name) ?? "";
}

export const ARP_WORDS =
  "ARP finds out who has an IP address. On one cable frames go from network card to network card, by MAC address; a question to all asks for it, and who has the address answers.";
/** By what a message of ICMPv6 is about that stays on its cable. */
const LINK_WORDS = {
  neighbours:
    "Neighbour Discovery is to IPv6 what ARP is to IPv4: it finds out which network card, by its MAC address, has an IP address on the same cable. A question goes to the few who may have the address, and who has it answers.",
  probe:
    "Whoever takes an IPv6 address asks first whether somebody on the cable has it already: a question from nobody, ::, about the address itself. If no answer comes, he takes it.",
  routers:
    "By these messages routers tell machines of IPv6 that they are there, and which addresses to take. This firewall neither sends nor believes them: its configuration says who is where.",
  groups:
    "Questions of Neighbour Discovery go to groups of machines. Switches that want to know where a group's machines are listen to reports like this one.",
};

/** @returns what a message between neighbours is for, or undefined of any other packet */
export function linkWords({ protocol, icmp, source }: IpSummary): string | undefined {
  if (protocol !== "icmp6" || icmp === undefined) return undefined;
  switch (icmp.type) {
    case ICMPV6_TYPE.NEIGHBOUR_SOLICITATION:
      return source === "::" ? LINK_WORDS.probe : LINK_WORDS.neighbours;
    case ICMPV6_TYPE.NEIGHBOUR_ADVERTISEMENT:
      return LINK_WORDS.neighbours;
    case ICMPV6_TYPE.ROUTER_SOLICITATION:
    case ICMPV6_TYPE.ROUTER_ADVERTISEMENT:
      return LINK_WORDS.routers;
    case ICMPV6_TYPE.LISTENER_QUERY:
    case ICMPV6_TYPE.LISTENER_REPORT:
    case ICMPV6_TYPE.LISTENER_DONE:
    case ICMPV6_TYPE.LISTENER_REPORT_2:
      return LINK_WORDS.groups;
    default:
      return undefined;
  }
}

export const EXTENSION_WORDS =
  "Between the IPv6 header and what the packet carries stand extension headers, of which each says what comes next. The firewall looks through them to what is carried, and judges that; they leave as they came.";
export const OWN_WORDS = "Nothing that came in caused this: the firewall looks for a neighbour, or a time is up.";
