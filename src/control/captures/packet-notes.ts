// What capture files say of a packet, of a replay or live: its verdict in the words and numbers of such files, the rule, the flow.
import { VERDICT, VERDICT_NAMES, type Verdict } from "../../dataplane/verdict.ts";
import type { FlowText } from "../views/flow-text.ts";

/** What stands in epb_verdict: linux/pkt_cls.h. */
const TC_ACT = { OK: 0, SHOT: 2, STOLEN: 4, QUEUED: 5 } as const;
export const PASSED = TC_ACT.OK;
const ACTIONS = new Map<Verdict, number>([
  [VERDICT.FORWARDED, TC_ACT.OK],
  [VERDICT.ANSWERED, TC_ACT.STOLEN],
  [VERDICT.TAKEN, TC_ACT.STOLEN],
  [VERDICT.ARP_TAKEN, TC_ACT.STOLEN],
  [VERDICT.ND_TAKEN, TC_ACT.STOLEN],
  [VERDICT.QUEUED, TC_ACT.QUEUED],
  [VERDICT.HELD, TC_ACT.QUEUED],
  [VERDICT.ANSWER_HELD, TC_ACT.QUEUED],
]);

/** @returns a TC_ACT_ of linux/pkt_cls.h */
export function verdictAction(verdict: Verdict): number {
  return ACTIONS.get(verdict) ?? TC_ACT.SHOT;
}

/** @returns a verdict's name; of a number that is none, itself */
export function verdictText(verdict: number): string {
  return VERDICT_NAMES[verdict] ?? `verdict ${verdict}`;
}

/** @param rule its number, 0 for the policy */
export function ruleOfText(rule: number, client: string): string {
  return rule === 0 ? `policy of ${client}` : `rule ${rule} of ${client}`;
}

/** `flow tcp 10.137.0.10:40000 > 198.51.100.80:443 as 192.0.2.254:40000`: and so how it is translated */
export function flowWords({ protocol, source, destination, mapped, reached }: FlowText): string {
  const end = reached === undefined ? "" : `, reaching ${reached}`;
  return `flow ${protocol} ${source} > ${destination} as ${mapped}${end}`;
}

/** @param cause whereof, or because of which, something was sent; "" of nothing that came in */
export function ownText(cause: string): string {
  return cause === "" ? "the firewall's own" : `the firewall's own, because of ${cause}`;
}
