// What became of a frame: a number for the hot path and for counters, a name for people. Every dropped frame has exactly
// one reason, and every reason is a counter. This table is the only place that says which verdicts there are: their numbers
// follow from their order, and docs/VERDICTS.md explains them in the same order.
import { ETHERTYPE } from "../wire/ethernet.ts";
import { FAULT, FAULT_NAMES, type Fault } from "../wire/fault.ts";

declare const brand: unique symbol;

/** A verdict's number. 0 is FORWARDED: functions that judge a packet return it for "nothing is against it". */
export type Verdict = number & { readonly [brand]: "Verdict" };

const TABLE = [
  ["FORWARDED", "forwarded"],
  ["ANSWERED", "answered"],
  ["QUEUED", "queued for ARP"],
  ["HELD", "held until the first fragment comes"],
  ["ANSWER_HELD", "held until the rules know its names"],
  ["TAKEN", "taken by the firewall's resolver"],
  ["ARP_TAKEN", "ARP taken"],
  ["ND_TAKEN", "ND taken"],
  ["NOT_TO_US", "dropped: not to our MAC address"],
  ["ETHERTYPE", "dropped: EtherType not handled"],
  ["NO_IPV6", "dropped: IPv6 is not configured"],
  ["VLAN", "dropped: of a VLAN"],
  ["ARP_NOT_FOR_US", "dropped: ARP not for us"],
  ["ARP_SPOOFED", "dropped: ARP spoofed"],
  ["ND_NOT_FOR_US", "dropped: ND not for us"],
  ["ND_SPOOFED", "dropped: ND spoofed"],
  ["SPOOFED", "dropped: source address spoofed"],
  ["MAC_SPOOFED", "dropped: source MAC address spoofed"],
  ["UNROUTABLE", "dropped: destination not routable"],
  ["CLIENT_TO_CLIENT", "dropped: to another client"],
  ["TO_FIREWALL", "dropped: to the firewall itself"],
  ["REFUSED", "dropped: refused by rules"],
  ["UNSOLICITED", "dropped: unsolicited"],
  ["IP_OPTIONS", "dropped: IP options"],
  ["TTL", "dropped: TTL exceeded"],
  ["TOO_BIG", "dropped: larger than the egress MTU"],
  ["TCP_STATE", "dropped: TCP without a connection"],
  ["TCP_WINDOW", "dropped: TCP outside the window"],
  ["ICMP_ORPHAN", "dropped: ICMP error that belongs to no flow"],
  ["ICMP_MTU", "dropped: ICMP error that states an impossible MTU"],
  ["ICMP_TYPE", "dropped: ICMP type not handled"],
  ["FRAGMENT", "dropped: fragment of a dropped packet"],
  ["FRAGMENT_OVERLAP", "dropped: fragments overlap"],
  ["FRAGMENT_LIMIT", "dropped: too many fragments held"],
  ["TABLE_FULL", "dropped: flow table full"],
  ["NEIGHBOURS_FULL", "dropped: neighbour table full"],
  ["NO_PORT", "dropped: no free port"],
  ["CLIENT_FLOWS", "dropped: client has its quota of flows"],
  ["CLIENT_MAPPINGS", "dropped: client has its quota of mappings"],
  ["CLIENT_RATE", "dropped: client opens flows too fast"],
  ["EGRESS_DOWN", "dropped: egress interface down"],
  ["EGRESS_FULL", "dropped: egress interface's queue full"],
  ["EGRESS_REFUSED", "dropped: egress interface refused it"],
  ["UNRESOLVED", "dropped: next hop does not answer ARP"],
  ["ARP_QUEUE_FULL", "dropped: ARP queue full"],
  ["OFFLOAD", "dropped: offload header that lies"],
  ["SEGMENTS", "dropped: to be cut into too many segments"],
  ["KERNEL", "dropped: the kernel could not forward it"],
] as const;

type Key = (typeof TABLE)[number][0];

/** The numbers, by the names that code uses. */
export const VERDICT = Object.fromEntries(TABLE.map(([key], number) => [key, number])) as Readonly<
  Record<Key, Verdict>
>;

/** The names, by number: what counters, replay and logs show. Behind those of the table stands one for each fault. */
export const VERDICT_NAMES: readonly string[] = [
  ...TABLE.map(([, name]) => name),
  ...FAULT_NAMES.slice(1).map((fault) => `dropped: malformed ${fault}`),
];

/**
 * @param name a verdict's, as counters of both families have it
 * @param etherType a frame's
 * @returns the name for that frame: neighbours of IPv6 are found by Neighbour Discovery, not by ARP
 */
export function nameOnFrame(name: string, etherType: number): string {
  return etherType === ETHERTYPE.IPV6 ? name.replace("ARP", "Neighbour Discovery") : name;
}

/**
 * What programs know them by, by number: `dropped: refused by rules` is `refused`. They follow from the keys above, and stay as they are:
 * docs/VERDICTS.md promises them.
 */
export const VERDICT_SLUGS: readonly string[] = [
  ...TABLE.map(([key]) => slugOf(key)),
  ...Object.keys(FAULT)
    .slice(1)
    .map((key) => `malformed-${slugOf(key)}`),
];

function slugOf(key: string): string {
  return key.toLowerCase().replaceAll("_", "-");
}

/** @param fault not FAULT.NONE @returns the verdict on a frame that fails a check of its format */
export const malformed = (fault: Fault): Verdict => (TABLE.length + fault - 1) as Verdict;
