// What is asked of a kernel with Qubes' rules of IPv6, and of ours: rule sets that a person would try first, packets that rules alone do
// not decide about, and protocols behind extension headers.
import { type Extension, fragment, HOP_BY_HOP, NO_NEXT, options, routing } from "../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import type { Answer6, Probe6 } from "./probes6.ts";
import type { RuleSet } from "./rule-sets.ts";

type Outcome = Answer6["outcome"];

/** A client that the one that asks may not reach. */
export const OTHER_CLIENT = "fd09:24ef:4179::a89:1";

/** Rule sets that a person would try first, and all that is wrong for both. */
export const SAME: [string, string[], ("accept" | "drop")?][] = [
  ["no rules", []],
  ["no rules, accepted by policy", [], "accept"],
  ["everything accepted", ["action=accept"]],
  ["everything dropped before it is accepted", ["action=drop", "action=accept"], "accept"],
  [
    "the default of Qubes OS for a restricted qube",
    [
      "action=accept dsthost=one.example proto=tcp dstports=443-443",
      "action=accept specialtarget=dns",
      "action=accept proto=icmp",
      "action=drop",
    ],
  ],
  ["one host", ["action=accept dst6=2600::"]],
  ["bits behind the prefix", ["action=accept dst6=2606:2800:220:1:248:1893:25c8:1946/44"]],
  ["a hole in a network", ["action=drop dst6=2a00:1450:4001::/64", "action=accept dst6=2a00:1450::/32"]],
  ["half of the Internet", ["action=accept dst6=2600::1/7"]],
  ["all of it", ["action=drop dst6=2600::1/0"], "accept"],
  ["a prefix that ends within a word", ["action=accept dst6=2a00:1450:4001:80b::/61"]],
  ["one port", ["action=accept proto=tcp dstports=443"]],
  ["the first and the last port", ["action=accept dstports=0", "action=accept dstports=65535"]],
  ["ports without a protocol", ["action=accept dstports=53"]],
  ["UDP", ["action=drop proto=udp"], "accept"],
  ["ICMPv6", ["action=drop proto=icmp", "action=accept"]],
  ["an ICMPv6 type", ["action=accept proto=icmp icmptype=128"]],
  ["an ICMP type that is no request here", ["action=accept proto=icmp icmptype=8"]],
  ["name servers", ["action=accept specialtarget=dns"]],
  ["name servers by TCP", ["action=accept specialtarget=dns proto=tcp dstports=53"]],
  ["one name server", ["action=accept specialtarget=dns dst6=2620:fe::fe"]],
  ["a name server by name", ["action=accept specialtarget=dns dsthost=dns.example proto=udp"]],
  ["name servers at another port", ["action=drop specialtarget=dns dstports=54", "action=accept"]],
  ["a name with many addresses", ["action=drop dsthost=many.example", "action=accept dst6=2a00::/12"]],
  ["an IPv4 destination", ["action=accept", "action=accept dst4=8.8.8.8"], "accept"],
  ["an IPv4 address in dst6", ["action=accept dst6=8.8.8.8"], "accept"],
  ["a prefix too long", ["action=accept dst6=2600::/129"], "accept"],
  ["a zone", ["action=accept dst6=fe80::1%eth0"], "accept"],
  ["an address of nine words", ["action=accept dst6=1:2:3:4:5:6:7:8:9"], "accept"],
  ["an unknown key", ["action=accept dpi=http"], "accept"],
  ["ports of ICMPv6", ["action=accept proto=icmp dstports=80"], "accept"],
];

/** Who enforces these rules; the other refuses everything. */
export const ONE_SIDED: ["agent" | "ours", string, string[]][] = [
  ["ours", "a name without an IPv6 address", ["action=drop dsthost=none.example", "action=accept"]],
  [
    "ours",
    "an IPv4 address inside of one, which nft 1.0.6 can't read",
    ["action=accept dst6=64:ff9b::198.51.100.10", "action=accept"],
  ],
  ["agent", "ICMPv6 by its own name", ["action=accept proto=icmpv6"]],
  ["agent", "an ICMPv6 type by name", ["action=accept proto=icmp icmptype=echo-request"]],
  ["agent", "a range of addresses", ["action=accept dst6=2600::-2600::9"]],
];
/** Some of which each of those rules would accept. */
export const WELCOME: readonly Probe6[] = [
  { protocol: TCP, destination: "2600::", selector: 443 },
  { protocol: ICMPV6, destination: "2600::", selector: 128 },
  { protocol: 50, destination: "2600::", selector: 0 },
];

export type Fates = readonly [accepted: readonly [Outcome, Outcome], refused: readonly [Outcome, Outcome]];

/** Packets that rules alone do not decide about. */
interface Oddity {
  readonly what: string;
  readonly probe: Probe6;
  readonly fates: Fates;
}

function odd(what: string, probe: Probe6, fates: Fates): Oddity {
  return { what, probe, fates };
}

function udpTo(destination: string): Probe6 {
  return { protocol: UDP, destination, selector: 53 };
}

function icmpOf(type: number, destination = "2600::"): Probe6 {
  return { protocol: ICMPV6, destination, selector: type };
}

function tcpWith(flags: string): Probe6 {
  return { protocol: TCP, destination: "2600::", selector: 80, flags };
}

function behind(...headers: readonly Extension[]): Probe6 {
  return { protocol: UDP, destination: "2600::", selector: 80, odd: headers };
}

const option = (kind: number) => options(HOP_BY_HOP, Uint8Array.of(kind, 2, 0, 0));
/** By kernel and by ours, where rules accept everything and where they refuse everything. */
const NOBODY: Fates = [
  ["silence", "silence"],
  ["silence", "silence"],
];
/** The agent judges it; ours does not ask rules. */
const UNASKED: Fates = [
  ["accept", "silence"],
  ["refuse", "silence"],
];
/** Where rules refuse it the agent says so; else it goes nowhere either. */
const TOLD: Fates = [
  ["silence", "silence"],
  ["refuse", "silence"],
];
const RESET: Fates = [
  ["accept", "reset"],
  ["refuse", "reset"],
];
/** A parameter problem is the answer of both. */
const PROBLEM: Fates = [
  ["problem", "problem"],
  ["problem", "problem"],
];

export const ODDITIES: readonly Oddity[] = [
  odd("to the unspecified address", udpTo("::"), UNASKED),
  odd("to the loopback address", udpTo("::1"), NOBODY),
  odd("to a link-local address", udpTo("fe80::7"), TOLD),
  odd("to a multicast group of the link", udpTo("ff02::fb"), NOBODY),
  odd("to a global multicast group", udpTo("ff0e::1"), NOBODY),
  odd("to an IPv4-mapped address", udpTo("::ffff:8.8.8.8"), UNASKED),
  odd("to an IPv4-compatible address", udpTo("::8.8.8.8"), UNASKED),
  odd("to another client", udpTo(OTHER_CLIENT), TOLD),
  ...[1, 2, 3, 4].map((type) => odd(`ICMPv6 error ${type} about no flow`, icmpOf(type), NOBODY)),
  odd("ICMPv6 error 100, of nobody knows what", icmpOf(100), NOBODY),
  odd("ICMPv6 echo reply to nobody", icmpOf(129), TOLD),
  ...[130, 131, 132, 143].map((type) => odd(`listener discovery, type ${type}`, icmpOf(type), UNASKED)),
  ...[133, 134, 135, 136].map((type) => odd(`neighbour discovery, type ${type}`, icmpOf(type), UNASKED)),
  odd("ICMPv6 redirect", icmpOf(137), TOLD),
  odd("ICMPv6 node information query", icmpOf(139), UNASKED),
  ...[138, 140, 144, 150, 160, 200, 255].map((type) => odd(`ICMPv6 type ${type}`, icmpOf(type), TOLD)),
  odd("ICMP, which is IPv4's", { protocol: 1, destination: "2600::", selector: 0 }, [
    ["silence", "accept"],
    ["refuse", "refuse"],
  ]),
  odd("no next header", { protocol: NO_NEXT, destination: "2600::", selector: 0 }, [
    ["silence", "accept"],
    ["silence", "silence"],
  ]),
  odd(
    "another protocol, whose bytes do not add up",
    { protocol: 253, destination: "2600::", selector: 0, summed: false },
    [
      ["accept", "accept"],
      ["silence", "refuse"],
    ],
  ),
  odd("TCP data without a connection", tcpWith("P."), RESET),
  odd("TCP ACK without a connection", tcpWith("."), RESET),
  odd("TCP SYN and ACK without a SYN", tcpWith("S."), [
    ["silence", "reset"],
    ["refuse", "reset"],
  ]),
  odd("TCP FIN alone", tcpWith("F"), TOLD),
  odd("TCP RST without a connection", tcpWith("R"), TOLD),
  odd("a hop-by-hop option to be discarded for", behind(option(0x5e)), NOBODY),
  odd("a hop-by-hop option to be told of", behind(option(0x9e)), PROBLEM),
  odd("a hop-by-hop option to be told of, but to groups", behind(option(0xde)), PROBLEM),
  odd("a jumbogram's option", behind(options(HOP_BY_HOP, Uint8Array.of(0xc2, 4, 0, 1, 0, 0))), PROBLEM),
  odd("a routing header of type 0", behind(routing(0, 0)), [
    ["accept", "problem"],
    ["refuse", "problem"],
  ]),
  odd("a routing header with a segment left", behind(routing(253, 1)), UNASKED),
  odd("a last fragment without others", behind(fragment(1232, false)), NOBODY),
  odd("nine extension headers", behind(...Array.from({ length: 9 }, () => options(60, new Uint8Array(0)))), UNASKED),
];
/** Protocols alone, which tell whether they are found behind extension headers. */
export const UPPER: readonly Probe6[] = [TCP, UDP, ICMPV6, 47].flatMap((protocol) => {
  const probe = { protocol, destination: "2600::", selector: protocol === ICMPV6 ? 128 : 443 };
  const kinds = ["hop-by-hop", "destination", "routing", "ah", "atomic"] as const;
  return [probe, { ...probe, isFragmented: true }, ...kinds.map((kind) => ({ ...probe, extensions: [kind] }))];
});
export const BY_PROTOCOL: RuleSet = { texts: ["action=drop proto=tcp", "action=accept"], policy: "drop" };
export const BY_PORT: RuleSet = { texts: ["action=accept dstports=443"], policy: "drop" };
