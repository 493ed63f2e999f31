// What is asked of a kernel with Qubes' rules of IPv4, and of our dataplane, beside what is asked of both families: rule sets that a
// person would try first, and packets that rules alone do not decide about.
import { ICMP } from "../../lab/protocols.ts";
import type { Probe } from "./probes.ts";
import {
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

/** Somebody on the Internet. */
const HOST = "8.8.8.8";
/** A client that the one that asks may not reach. */
export const OTHER_CLIENT = "10.137.0.2";

/** Rule sets that a person would try first, and all that is wrong for both. */
export const SAME: readonly NamedRules[] = [
  ...SAME_OF_BOTH,
  ["one host", ["action=accept dst4=93.184.216.34"]],
  ["bits behind the prefix", ["action=accept dst4=93.184.216.34/20"]],
  ["a hole in a network", ["action=drop dst4=198.51.100.0/25", "action=accept dst4=198.51.0.0/16"]],
  ["half of the Internet", ["action=accept dst4=200.1.2.3/1"]],
  ["all of it", ["action=drop dst4=200.1.2.3/0"], "accept"],
  ["all ICMP types but one", ["action=drop proto=icmp icmptype=13", "action=accept proto=icmp"]],
  ["one name server", ["action=accept specialtarget=dns dst4=10.139.1.1"]],
  ["a name with many addresses", ["action=drop dsthost=many.example", "action=accept dst4=8.0.0.0/8"]],
  ["an IPv6 destination", ["action=accept", "action=accept dst6=2001:db8::1"], "accept"],
  ["a prefix too long", ["action=accept dst4=10.0.0.0/33"], "accept"],
  ["an IPv6 address in dst4", ["action=accept dst4=::1"], "accept"],
];

/** Who enforces these rules; the other refuses everything. */
export const ONE_SIDED: readonly OneSided[] = [
  ...ONE_SIDED_OF_BOTH,
  ["agent", "two destinations", ["action=accept dst4=0.0.0.0/0 dsthost=one.example"]],
  ["agent", "an ICMP type without a protocol", ["action=accept icmptype=8"]],
  ["agent", "a range of addresses", ["action=accept dst4=8.0.0.0-9.0.0.0"]],
  ["agent", "an octal address", ["action=accept dst4=010.010.010.010"]],
];
export const WELCOME = welcomeTo(HOST, ICMP, 8);

function icmpOf(type: number): Probe {
  return { protocol: ICMP, destination: HOST, selector: type };
}

/** Packets that rules alone do not decide about. */
export const ODDITIES: readonly Oddity<Probe>[] = [
  odd('to "this network"', udpTo("0.1.2.3"), UNASKED),
  odd("to a link-local address", udpTo("169.254.1.2"), UNASKED),
  odd("to a reserved address", udpTo("240.1.2.3"), UNASKED),
  odd("to a loopback address", udpTo("127.0.0.1"), NOBODY),
  odd("to a multicast group", udpTo("224.0.0.251"), NOBODY),
  odd("to everyone", udpTo("255.255.255.255"), NOBODY),
  odd("to another client", udpTo(OTHER_CLIENT), TOLD),
  odd("ICMP echo reply to nobody", icmpOf(0), TOLD),
  odd("ICMP timestamp reply to nobody", icmpOf(14), TOLD),
  odd("ICMP router advertisement", icmpOf(9), NOBODY),
  odd("ICMP type 1, which is not assigned", icmpOf(1), NOBODY),
  odd("ICMP error about no flow", icmpOf(3), NOBODY),
  odd("ICMP information request", icmpOf(15), UNASKED),
  odd("ICMP address mask request", icmpOf(17), UNASKED),
  ...oddSegmentsTo(HOST),
];
