// In which order the router checks a packet, and at which check each verdict is given: what a trace says that a packet has passed. The
// order is that of the code in src/dataplane/frame (router.ts, admission.ts); a packet of a known flow is not asked what only new ones are.
import { VERDICT, VERDICT_SLUGS, type Verdict } from "../dataplane/verdict.ts";

/** By name: what is looked at. */
export const CHECKS = {
  frame: "the frame is for us, of a protocol that is forwarded",
  format: "its headers are sound",
  sender: "its source address may come from there",
  fragments: "it is whole, or its fragments fit",
  destination: "its destination can be reached from there",
  flow: "it belongs to a flow, or may open one",
  rules: "rules, a forward or an open mapping let it in",
  ttl: "its TTL, or hop limit, is not used up",
  room: "there is room for its flow",
  egress: "where it leaves takes it",
  segment: "it fits its TCP connection",
} as const;
export type Check = keyof typeof CHECKS;

/** Which checks a packet that opens a flow goes through, and one of a known flow. */
const OF_NEW: readonly Check[] = [
  "frame",
  "format",
  "fragments",
  "sender",
  "destination",
  "flow",
  "rules",
  "ttl",
  "room",
  "egress",
];
const OF_KNOWN: readonly Check[] = ["frame", "format", "fragments", "flow", "sender", "ttl", "egress", "segment"];

const FAILS: Readonly<Record<Check, readonly (keyof typeof VERDICT)[]>> = {
  frame: [
    "NOT_TO_US",
    "ETHERTYPE",
    "NO_IPV6",
    "VLAN",
    "ARP_NOT_FOR_US",
    "ARP_SPOOFED",
    "ND_NOT_FOR_US",
    "ND_SPOOFED",
    "IP_OPTIONS",
    "OFFLOAD",
    "SEGMENTS",
  ],
  format: [], // malformed, all of them
  fragments: ["FRAGMENT", "FRAGMENT_OVERLAP", "FRAGMENT_LIMIT", "HELD"],
  sender: ["SPOOFED", "MAC_SPOOFED"],
  destination: ["UNROUTABLE", "CLIENT_TO_CLIENT", "TO_FIREWALL"],
  flow: ["UNSOLICITED", "TCP_STATE", "ICMP_ORPHAN", "ICMP_MTU", "ICMP_TYPE"],
  rules: ["REFUSED"],
  ttl: ["TTL"],
  room: ["TABLE_FULL", "NEIGHBOURS_FULL", "NO_PORT", "CLIENT_FLOWS", "CLIENT_MAPPINGS", "CLIENT_RATE"],
  egress: ["TOO_BIG", "EGRESS_DOWN", "EGRESS_FULL", "EGRESS_REFUSED", "UNRESOLVED", "ARP_QUEUE_FULL", "KERNEL"],
  segment: ["TCP_WINDOW"],
};

/** @returns the check at which a verdict is given; undefined of one that is no failure */
export function checkOf(verdict: number): Check | undefined {
  if (VERDICT_SLUGS[verdict]?.startsWith("malformed-")) return "format";
  const found = Object.entries(FAILS).find(([, keys]) => keys.some((key) => VERDICT[key] === verdict));
  return found?.[0] as Check | undefined;
}

/**
 * @param opens whether it was judged as the first of a flow
 * @returns the checks that it has passed, and the one that it has failed, if any
 */
export function checksOf(
  verdict: Verdict,
  opens: boolean,
): { readonly passed: readonly Check[]; readonly failed?: Check } {
  const order = opens ? OF_NEW : OF_KNOWN;
  const failed = checkOf(verdict);
  if (failed === undefined) return { passed: order };
  const at = order.indexOf(failed);
  const passed = order.slice(0, at < 0 ? order.indexOf("flow") : at);
  return { passed, failed };
}
