// What is asked of a kernel with Qubes' rules of IPv6, and of our dataplane, beside what is asked of both families: rule sets that a
// person would try first, packets that rules alone do not decide about, and protocols behind extension headers.
import { type Extension, fragment, HOP_BY_HOP, NO_NEXT, options, routing } from "../../lab/frames6.ts";
import { ICMPV6, TCP, UDP } from "../../lab/protocols.ts";
import type { Probe6 } from "./probes6.ts";
import {
  type Fates,
  type NamedRules,
  NOBODY,
  type Oddity,
  ONE_SIDED_OF_BOTH,
  type OneSided,
  odd,
  oddSegmentsTo,
  SAME_OF_BOTH,
  TOLD,
  UNASKED,
  udpTo,
  welcomeTo,
} from "./rule-cases.ts";
import type { RuleSet } from "./rule-sets.ts";

/** Somebody on the Internet. */
const HOST = "2600::";
/** A client that the one that asks may not reach. */
export const OTHER_CLIENT = "fd09:24ef:4179::a89:1";

/** Rule sets that a person would try first, and all that is wrong for both. */
export const SAME: readonly NamedRules[] = [
  ...SAME_OF_BOTH,
  ["one host", ["action=accept dst6=2600::"]],
  ["bits behind the prefix", ["action=accept dst6=2606:2800:220:1:248:1893:25c8:1946/44"]],
  ["a hole in a network", ["action=drop dst6=2a00:1450:4001::/64", "action=accept dst6=2a00:1450::/32"]],
  ["half of the Internet", ["action=accept dst6=2600::1/7"]],
  ["all of it", ["action=drop dst6=2600::1/0"], "accept"],
  ["a prefix that ends within a word", ["action=accept dst6=2a00:1450:4001:80b::/61"]],
  ["one name server", ["action=accept specialtarget=dns dst6=2620:fe::fe"]],
  ["a name with many addresses", ["action=drop dsthost=many.example", "action=accept dst6=2a00::/12"]],
  ["an IPv4 destination", ["action=accept", "action=accept dst4=8.8.8.8"], "accept"],
  ["an IPv4 address in dst6", ["action=accept dst6=8.8.8.8"], "accept"],
  ["a prefix too long", ["action=accept dst6=2600::/129"], "accept"],
  ["a zone", ["action=accept dst6=fe80::1%eth0"], "accept"],
  ["an address of nine words", ["action=accept dst6=1:2:3:4:5:6:7:8:9"], "accept"],
];

/** Who enforces these rules; the other refuses everything. */
export const ONE_SIDED: readonly OneSided[] = [
  ...ONE_SIDED_OF_BOTH,
  [
    "ours",
    "an IPv4 address inside of one, which nft 1.0.6 can't read",
    ["action=accept dst6=64:ff9b::198.51.100.10", "action=accept"],
  ],
  ["agent", "two destinations", ["action=accept dst6=2600::/7 dsthost=one.example"]],
  ["agent", "an ICMP type without a protocol", ["action=accept icmptype=128"]],
  ["agent", "ICMPv6 by its own name", ["action=accept proto=icmpv6"]],
  ["agent", "a range of addresses", ["action=accept dst6=2600::-2600::9"]],
];
export const WELCOME = welcomeTo(HOST, ICMPV6, 128);

function icmpOf(type: number, destination = HOST): Probe6 {
  return { protocol: ICMPV6, destination, selector: type };
}

function behind(...headers: readonly Extension[]): Probe6 {
  return { protocol: UDP, destination: HOST, selector: 80, odd: headers };
}

const option = (kind: number) => options(HOP_BY_HOP, Uint8Array.of(kind, 2, 0, 0));
/** A parameter problem is the answer of both. */
const PROBLEM: Fates = [
  ["problem", "problem"],
  ["problem", "problem"],
];

export const ODDITIES: readonly Oddity<Probe6>[] = [
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
  odd("ICMP, which is IPv4's", { protocol: 1, destination: HOST, selector: 0 }, [
    ["silence", "accept"],
    ["refuse", "refuse"],
  ]),
  odd("no next header", { protocol: NO_NEXT, destination: HOST, selector: 0 }, [
    ["silence", "accept"],
    ["silence", "silence"],
  ]),
  odd("another protocol, whose bytes do not add up", { protocol: 253, destination: HOST, selector: 0, summed: false }, [
    ["accept", "accept"],
    ["silence", "refuse"],
  ]),
  ...oddSegmentsTo(HOST),
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
  const probe = { protocol, destination: HOST, selector: protocol === ICMPV6 ? 128 : 443 };
  const kinds = ["hop-by-hop", "destination", "routing", "ah", "atomic"] as const;
  return [probe, { ...probe, isFragmented: true }, ...kinds.map((kind) => ({ ...probe, extensions: [kind] }))];
});
export const BY_PROTOCOL: RuleSet = { texts: ["action=drop proto=tcp", "action=accept"], policy: "drop" };
export const BY_PORT: RuleSet = { texts: ["action=accept dstports=443"], policy: "drop" };
