// What became of a frame: a number for the hot path and for counters, a name for people. Every dropped frame has exactly
// one reason, and every reason is a counter.
import { FAULT_NAMES } from "../wire/fault.ts";

const NAMES = [
  "forwarded",
  "answered",
  "queued for ARP",
  "ARP taken",
  "dropped: not to our MAC address",
  "dropped: EtherType not handled",
  "dropped: ARP not for us",
  "dropped: ARP spoofed",
  "dropped: source address spoofed",
  "dropped: source MAC address spoofed",
  "dropped: interface not configured",
  "dropped: destination not routable",
  "dropped: to another client",
  "dropped: to the firewall itself",
  "dropped: refused by rules",
  "dropped: unsolicited from the uplink",
  "dropped: fragment",
  "dropped: protocol not handled",
  "dropped: TTL exceeded",
  "dropped: larger than the egress MTU",
  "dropped: TCP without a connection",
  "dropped: TCP outside the window",
  "dropped: ICMP error that belongs to no flow",
  "dropped: ICMP type not handled",
  "dropped: flow table full",
  "dropped: no free port",
  "dropped: next hop does not answer ARP",
  "dropped: ARP queue full",
] as const;

/** Verdict codes. A malformed frame's code is VERDICT.MALFORMED plus its FAULT number. */
export const VERDICT = {
  FORWARDED: 0,
  ANSWERED: 1,
  QUEUED: 2,
  ARP_TAKEN: 3,
  NOT_TO_US: 4,
  ETHERTYPE: 5,
  ARP_NOT_FOR_US: 6,
  ARP_SPOOFED: 7,
  SPOOFED: 8,
  MAC_SPOOFED: 9,
  NOT_CONFIGURED: 10,
  UNROUTABLE: 11,
  CLIENT_TO_CLIENT: 12,
  TO_FIREWALL: 13,
  REFUSED: 14,
  UNSOLICITED: 15,
  FRAGMENT: 16,
  PROTOCOL: 17,
  TTL: 18,
  TOO_BIG: 19,
  TCP_STATE: 20,
  TCP_WINDOW: 21,
  ICMP_ORPHAN: 22,
  ICMP_TYPE: 23,
  TABLE_FULL: 24,
  NO_PORT: 25,
  UNRESOLVED: 26,
  ARP_QUEUE_FULL: 27,
  MALFORMED: 28 - 1,
} as const;

/** Names by verdict code: what counters, replay and logs show. */
export const VERDICT_NAMES: readonly string[] = [
  ...NAMES,
  ...FAULT_NAMES.slice(1).map((fault) => `dropped: malformed ${fault}`),
];
