// Rules in the form that the dataplane evaluates: one Int32Array, walked from the first match to the last, without
// allocation. Who wrote the rules, and in which language, is control's business.

/** IP protocol 0 in a match: any protocol. */
export const ANY_PROTOCOL = 0;
/** ICMP type in a match that says nothing of it. */
export const ANY_ICMP_TYPE = -1;

/** One conjunction of predicates. A rule of the user's may have become several of them, or none. */
export interface Match {
  /** The user's number of the rule, from 1. */
  readonly rule: number;
  readonly accept: boolean;
  /** Destination prefix: address as unsigned 32-bit number in host order, length 0–32 (0: any destination). */
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

/** Immutable, and survives structured cloning. */
export interface Ruleset {
  /** What happens when nothing matches. */
  readonly accept: boolean;
  /** STRIDE words a match. */
  readonly matches: Int32Array;
}

const STRIDE = 6;
const RULE = 0; // the user's number << 1 | accept
const ADDRESS = 1;
const MASK = 2;
const PROTOCOL = 3;
const PORTS = 4; // low << 16 | high
const ICMP_TYPE = 5;

const ICMP = 1;
const TCP = 6;
const UDP = 17;

/** A ruleset that accepts nothing: what a client gets whose rules are in error. */
export const DROP_ALL: Ruleset = { accept: false, matches: new Int32Array(0) };

/** @returns the network mask of a prefix of 0–32 bits, as the int32 with those bits. */
export function maskOf(prefix: number): number {
  return prefix === 0 ? 0 : -1 << (32 - prefix);
}

/** @param accept the policy: what happens when no match does */
export function compileRuleset(matches: readonly Match[], accept: boolean): Ruleset {
  const words = new Int32Array(matches.length * STRIDE);
  for (const [i, match] of matches.entries()) {
    const mask = maskOf(match.prefix);
    words.set(
      [
        (match.rule << 1) | Number(match.accept),
        match.address & mask,
        mask,
        match.protocol,
        (match.portLow << 16) | match.portHigh,
        match.icmpType,
      ],
      i * STRIDE,
    );
  }
  return { accept, matches: words };
}

/**
 * The first match decides.
 * @param destination address, host order
 * @param selector destination port of TCP and UDP (0–65535), type of ICMP (0–255); of no other protocol
 * @returns rule << 1 | accepted, where the rule is the user's number from 1, or 0 for the policy
 */
export function judge(ruleset: Ruleset, protocol: number, destination: number, selector: number): number {
  const words = ruleset.matches;
  for (let at = 0; at < words.length; at += STRIDE) {
    if (((destination ^ words[at + ADDRESS]) & words[at + MASK]) !== 0) continue;
    if (words[at + PROTOCOL] !== ANY_PROTOCOL && words[at + PROTOCOL] !== protocol) continue;
    if (protocol === TCP || protocol === UDP) {
      const ports = words[at + PORTS];
      if (selector < ports >>> 16 || selector > (ports & 0xffff)) continue;
    } else if (protocol === ICMP) {
      if (words[at + ICMP_TYPE] !== ANY_ICMP_TYPE && words[at + ICMP_TYPE] !== selector) continue;
    }
    return words[at + RULE];
  }
  return Number(ruleset.accept);
}
