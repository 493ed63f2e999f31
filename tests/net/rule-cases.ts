// What is asked of a kernel with Qubes' rules and of our dataplane, in the words of both families: rule sets that a person would try
// first, and how packets may fare that rules alone do not decide about. Each family's own are in rule-cases4.ts and rule-cases6.ts.
import { TCP, UDP } from "../../lab/protocols.ts";
import type { Outcome, Probe } from "./probes.ts";
import { NOW } from "./rule-lab.ts";

/** Rules' texts by name, and the policy behind them: to drop, if not given. */
export type NamedRules = [name: string, texts: string[], policy?: "accept" | "drop"];
/** Who enforces these rules; the other refuses everything. */
export type OneSided = [who: "agent" | "ours", name: string, texts: string[]];

export const SAME_OF_BOTH: readonly NamedRules[] = [
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
  ["one port", ["action=accept proto=tcp dstports=443"]],
  ["a port range", ["action=accept proto=udp dstports=1000-2000"]],
  ["all ports", ["action=accept proto=udp dstports=0-65535"]],
  ["the first and the last port", ["action=accept dstports=0", "action=accept dstports=65535"]],
  ["ports without a protocol", ["action=accept dstports=53"]],
  ["a drop of ports without a protocol", ["action=drop dstports=0-1023"], "accept"],
  ["TCP", ["action=accept proto=tcp"]],
  ["UDP", ["action=drop proto=udp"], "accept"],
  ["ICMP", ["action=drop proto=icmp", "action=accept"]],
  ["an ICMP type that only IPv4 has as a request", ["action=accept proto=icmp icmptype=8"]],
  ["an ICMP type that only IPv6 has as a request", ["action=accept proto=icmp icmptype=128"]],
  ["name servers", ["action=accept specialtarget=dns"]],
  ["name servers by TCP", ["action=accept specialtarget=dns proto=tcp dstports=53"]],
  ["a name server by name", ["action=accept specialtarget=dns dsthost=dns.example proto=udp"]],
  ["name servers at another port", ["action=drop specialtarget=dns dstports=54", "action=accept"]],
  ["name servers at a range of ports", ["action=accept specialtarget=dns dstports=53-54"]],
  ["a drop of a name that nobody knows", ["action=drop dsthost=unknown.example", "action=accept"], "accept"],
  ["an unknown key", ["action=accept dpi=http"], "accept"],
  ["an unknown action", ["action=reject"], "accept"],
  ["an unknown protocol", ["action=accept proto=quic"], "accept"],
  ["ports of ICMP", ["action=accept proto=icmp dstports=80"], "accept"],
  ["an ICMP type of TCP", ["action=accept proto=tcp icmptype=8"], "accept"],
  ["an ICMP type with ports", ["action=accept icmptype=8 dstports=80"], "accept"],
  ["name servers by ICMP", ["action=accept", "action=drop proto=icmp specialtarget=dns"], "accept"],
  ["a range of ports the wrong way round", ["action=accept dstports=443-80"], "accept"],
  ["a port too large", ["action=accept proto=tcp dstports=65536"], "accept"],
  ["a list of ports", ["action=accept proto=tcp dstports=80,443"], "accept"],
  ["an ICMP type too large", ["action=accept proto=icmp icmptype=256"], "accept"],
];

export const ONE_SIDED_OF_BOTH: readonly OneSided[] = [
  ["ours", "a comment", ["action=accept comment=for now"]],
  ["ours", "an expiry", [`action=accept expire=${NOW + 1}`]],
  ["ours", "a name without an address", ["action=drop dsthost=none.example", "action=accept"]],
  ["ours", "a name that nobody knows, accepted", ["action=accept dsthost=unknown.example", "action=accept"]],
  ["ours", "a name that nobody knows, by TCP", ["action=drop proto=tcp dsthost=unknown.example", "action=accept"]],
  [
    "agent",
    "name servers at ports the wrong way round",
    ["action=drop specialtarget=dns dstports=22-21", "action=accept"],
  ],
  ["agent", "name servers at a port by name", ["action=drop specialtarget=dns dstports=domain", "action=accept"]],
  ["agent", "a key twice", ["action=drop action=accept"]],
  ["agent", "a protocol by number", ["action=accept proto=6"]],
  ["agent", "another protocol's name", ["action=accept proto=esp"]],
  ["agent", "a port by name", ["action=accept dstports=https"]],
  ["agent", "an ICMP type by name", ["action=accept proto=icmp icmptype=echo-request"]],
];

/** What became of a packet: by the kernel and by ours, where rules accept everything, and where they refuse everything. */
export type Fates = readonly [accepted: readonly [Outcome, Outcome], refused: readonly [Outcome, Outcome]];

/** A packet that rules alone do not decide about. */
export interface Oddity<P extends Probe> {
  readonly what: string;
  readonly probe: P;
  readonly fates: Fates;
}

export function odd<P extends Probe>(what: string, probe: P, fates: Fates): Oddity<P> {
  return { what, probe, fates };
}

export const NOBODY: Fates = [
  ["silence", "silence"],
  ["silence", "silence"],
];
/** The agent judges it; ours does not ask rules. */
export const UNASKED: Fates = [
  ["accept", "silence"],
  ["refuse", "silence"],
];
/** Where rules refuse it the agent says so; else it goes nowhere either. */
export const TOLD: Fates = [
  ["silence", "silence"],
  ["refuse", "silence"],
];
const RESET: Fates = [
  ["accept", "reset"],
  ["refuse", "reset"],
];
/** As RESET, of what Linux takes for no part of any connection. */
const RESET_BY_OURS: Fates = [
  ["silence", "reset"],
  ["refuse", "reset"],
];

export const udpTo = (destination: string): Probe => ({ protocol: UDP, destination, selector: 53 });

/** Some of which each of the rules that only one enforces would accept. @param echo type of ICMP's echo request */
export function welcomeTo(destination: string, icmp: number, echo: number): readonly Probe[] {
  return [
    { protocol: TCP, destination, selector: 443 },
    { protocol: icmp, destination, selector: echo },
    { protocol: 50, destination, selector: 0 },
  ];
}

/** Segments of TCP that rules alone do not decide about. */
export function oddSegmentsTo(destination: string): readonly Oddity<Probe>[] {
  const tcpWith = (flags: string): Probe => ({ protocol: TCP, destination, selector: 80, flags });
  return [
    odd("TCP data without a connection", tcpWith("P."), RESET),
    odd("TCP ACK without a connection", tcpWith("."), RESET),
    odd("TCP SYN and ACK without a SYN", tcpWith("S."), RESET_BY_OURS),
    odd("TCP FIN and ACK without a connection", tcpWith("F."), RESET_BY_OURS),
    odd("TCP FIN alone", tcpWith("F"), TOLD),
    odd("TCP RST without a connection", tcpWith("R"), TOLD),
  ];
}
