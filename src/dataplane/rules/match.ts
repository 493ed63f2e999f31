// What a rule says of a packet, in numbers: one conjunction of predicates. How many of them are looked through quickly is
// ruleset.ts's business.

/** IP protocol in a match that says nothing of it. */
export const ANY_PROTOCOL = 0;
/** ICMP type in a match that says nothing of it. */
export const ANY_ICMP_TYPE = -1;

/** One conjunction of predicates. A rule of the user's may have become several of them, or none. */
export interface Match {
  /** The user's number of the rule, from 1. */
  readonly rule: number;
  readonly accept: boolean;
  /** Destination prefix: address as unsigned 32-bit number in host order, length 0–32 (0: every destination). */
  readonly address: number;
  readonly prefix: number;
  /** IANA protocol number, or ANY_PROTOCOL. */
  readonly protocol: number;
  /** Destination ports, both ends included; 0–65535 where the rule says nothing. Looked at for TCP and UDP only. */
  readonly portLow: number;
  readonly portHigh: number;
  /** ICMP type, or ANY_ICMP_TYPE. Looked at for ICMP only. */
  readonly icmpType: number;
}
