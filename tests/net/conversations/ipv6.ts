// Conversations by IPv6. Packets are known again by their flow label.
import { advertisement, OVERRIDE, SOLICITED } from "../../../lab/discovery-frames.ts";
import { concat, payload, toHex } from "../../../lab/frames.ts";
import {
  ah,
  DESTINATION,
  type Extension,
  extended6,
  FRAGMENT,
  fragment,
  fragmented6,
  HOP_BY_HOP,
  IPV6_TYPE,
  icmpv6,
  ipv6,
  options,
  routing,
  tcp6,
  text6,
  udp6,
} from "../../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../../lab/protocols.ts";
import { ENDS } from "../ends.ts";
import type { Family, Fields } from "./family.ts";

export const CLIENT6 = "fd09:24ef:4179::a89:a";
export const CLIENT_GATEWAY6 = "fd09:24ef:4179::a89:1";
export const UPLINK6 = "2001:db8:ffff::2";
export const ROUTER6 = "2001:db8:ffff::1";

const HEADER = 40;

// ICMPv6 types (RFC 4443).
const UNREACHABLE = 1;
const TOO_BIG = 2;
const TIME_EXCEEDED = 3;
const PARAMETER_PROBLEM = 4;
const SOLICITATION = 135; // RFC 4861

/** Hop limits of what a firewall itself says: errors; Neighbour Discovery; reports of listeners. What it forwards has 63. */
const OWN_HOP_LIMITS = [64, 255, 1];

/** How many packets have extension headers, of 1. */
const DRESSED = 0.04;

const nothing = new Uint8Array(0);
/** An option that nobody knows, by its type: the two high bits say what is to be done with the packet (RFC 8200 section 4.2). */
const unknownOption = (type: number) => Uint8Array.of(type, 4, 0, 0, 0, 0);
/** RFC 2711 */
const ROUTER_ALERT = Uint8Array.of(5, 2, 0, 0);

type Dress = readonly [what: string, extensions: readonly Extension[]];

/** Extension headers that a router leaves alone. */
const DRESSES: readonly Dress[] = [
  ["packet with hop-by-hop options", [options(HOP_BY_HOP, nothing)]],
  ["packet with destination options", [options(DESTINATION, nothing)]],
  ["packet with a routing header of which no segment is left", [routing(253, 0)]],
  ["packet with an authentication header", [ah()]],
  ["atomic fragment", [fragment(0, false, 7)]],
  ["atomic fragment behind other headers", [options(HOP_BY_HOP, nothing), routing(253, 0), fragment(0, false, 7)]],
  ["packet with other headers behind an atomic fragment's", [fragment(0, false, 7), options(DESTINATION, nothing)]],
  [
    "packet with four extension headers",
    [options(HOP_BY_HOP, nothing), options(DESTINATION, nothing), routing(253, 0), ah()],
  ],
  ["packet with destination options twice", [options(DESTINATION, nothing), options(DESTINATION, nothing)]],
  ["packet with a router alert", [options(HOP_BY_HOP, ROUTER_ALERT)]],
  ["packet with an unknown hop-by-hop option to be skipped", [options(HOP_BY_HOP, unknownOption(0x1e))]],
  ["packet with an unknown destination option", [options(DESTINATION, unknownOption(0x9e))]],
];

/** Those that somebody objects to. No segment of a connection has them: its ends would go on as if it had arrived. */
const ODD_DRESSES: readonly Dress[] = [
  ["packet with an unknown hop-by-hop option to be dropped for", [options(HOP_BY_HOP, unknownOption(0x5e))]],
  ["packet with an unknown hop-by-hop option to be dropped and told of", [options(HOP_BY_HOP, unknownOption(0x9e))]],
  ["packet with a routing header of which a segment is left", [routing(253, 1)]],
  ["packet with a source route", [routing(0, 1, new Uint8Array(20))]],
  ["packet with hop-by-hop options behind others", [options(DESTINATION, nothing), options(HOP_BY_HOP, nothing)]],
];

function built<T extends Fields>({ tos, mayBeFragmented: _, ...fields }: T) {
  return { ...fields, trafficClass: tos ?? 0 };
}

function host(number: number): string {
  return (number + 1).toString(16);
}

export const IPV6: Family = {
  etherType: IPV6_TYPE,
  client: CLIENT6,
  uplink: UPLINK6,
  router: ROUTER6,
  nobody: "2001:db8:18::ffff:fffe",
  remoteOf: (number) => `2001:db8:18::${host(number)}`,
  strangerOf: (number) => `2001:db8:19::${host(number)}`,

  udp: (fields, content) => udp6(built(fields), content),
  tcp: (fields, content) => tcp6(built(fields), content),
  icmp: (fields, content) => icmpv6(built(fields), content),
  packet: (fields, protocol, content) => ipv6(built(fields), protocol, content),
  fragmented: (packet, size, random) => fragmented6(packet, size, random.next()),
  upper: HEADER,

  echo: { request: 128, reply: 129 },
  otherQuery: { what: "node information query", request: 139, reply: 140, isHonest: false },

  unsummed: 0.02,
  mayBeUnsummed: false,
  oddDatagrams(ends) {
    const short = ipv6(ends, UDP, concat(udp6(ends, payload(32)).subarray(HEADER), payload(8)));
    return [["datagram shorter than its packet", short]];
  },
  dressed(packet, random) {
    if (!random.chance(DRESSED)) return undefined;
    const [what, extensions] = random.pick(packet[6] === TCP ? DRESSES : [...DRESSES, ...ODD_DRESSES]);
    return [what, extended6(packet, extensions)];
  },

  errors: [
    [UNREACHABLE, 0, 0],
    [UNREACHABLE, 1, 0],
    [UNREACHABLE, 3, 0],
    [UNREACHABLE, 4, 0],
    [UNREACHABLE, 5, 0],
    [TOO_BIG, 0, 1400],
    [TOO_BIG, 0, 1280],
    [TIME_EXCEEDED, 0, 0],
    [TIME_EXCEEDED, 1, 0],
    [PARAMETER_PROBLEM, 0, 4],
    [PARAMETER_PROBLEM, 1, 40],
    [PARAMETER_PROBLEM, 2, 42],
  ],
  isAboutMtu: (type) => type === TOO_BIG,
  untrueMtu: "packet too big about one that is not",
  tooLong(quoted) {
    const packet = quoted.slice();
    new DataView(packet.buffer).setUint16(4, 1480 - HEADER);
    return packet;
  },
  oddQuote(quoted, random) {
    const extensions = random.pick([
      [options(HOP_BY_HOP, nothing)],
      [options(DESTINATION, nothing), routing(253, 0)],
      [ah()],
      [fragment(0, true, 7)],
    ]);
    return ["error that quotes extension headers", extended6(quoted, extensions)];
  },

  stamp(packet, stamp) {
    packet.set([(packet[1] & 0xf0) | (stamp >>> 16), (stamp >>> 8) & 255, stamp & 255], 1);
  },
  stampOf: (frame) => new DataView(frame.buffer, frame.byteOffset).getUint32(14) & 0xfffff,
  isOwn: (frame) => OWN_HOP_LIMITS.includes(frame[21]),
  answerTo(frame) {
    if (frame[20] !== ICMPV6 || frame[54] !== SOLICITATION) return undefined;
    const [asked, target] = [frame.subarray(22, 38), frame.subarray(62, 78)].map(text6);
    if (target !== ROUTER6) return undefined;
    const { host: mac, firewall: destinationMac } = ENDS.outside;
    return advertisement({ mac, destinationMac, target, destination: asked, flags: SOLICITED | OVERRIDE });
  },
  partOf(packet) {
    const header = packet.slice(0, HEADER).fill(0, 4, 6); // length
    if (packet[6] !== FRAGMENT) return { offset: 0, more: false, header, content: packet.subarray(HEADER) };
    const field = new DataView(packet.buffer, packet.byteOffset).getUint16(HEADER + 2);
    header[6] = packet[HEADER];
    return { offset: field & 0xfff8, more: (field & 1) !== 0, header, content: packet.subarray(HEADER + 8) };
  },
  describe(packet) {
    const [source, destination] = [8, 24].map((at) => text6(packet.subarray(at, at + 16)));
    const content = toHex(packet.subarray(HEADER, HEADER + 64)).replaceAll("\n", " ");
    return `${source} > ${destination}, next header ${packet[6]}, ${packet.length} bytes: ${content}`;
  },
};
