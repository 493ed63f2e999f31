// Which frames a capture is about: what somebody wrote (control/capture-filter.ts), as numbers that the dataplane's thread compares. What
// belongs to a flow is told by the flow, as its originator sees it, so that both ways of it match, on both sides of the translation.
import { PROTOCOL } from "../../wire/ipv4.ts";
import { VERDICT } from "../verdict.ts";

/** All of it must hold that is there. */
export interface CaptureMatch {
  /** Number of the client; -1 of one that is not there any more. */
  readonly client?: number;
  /** Number of the interface where the frame itself came in or went out; -1 likewise. */
  readonly iface?: number;
  readonly protocol?: number;
  readonly source?: readonly Network[];
  readonly destination?: readonly Network[];
  readonly sourcePorts?: Range;
  readonly destinationPorts?: Range;
  readonly icmpType?: number;
  /** Number of the rule, 0 for the policy. */
  readonly rule?: number;
  /** By verdict: whether such frames are meant, and what was sent because of them. */
  readonly verdicts?: readonly boolean[];
}

export interface Network {
  readonly network: number;
  readonly mask: number;
}

export interface Range {
  readonly low: number;
  readonly high: number;
}

/** No rule decided, there is no such field. */
export const NONE = -1;

/** What is compared: filled in by the tap, and the same object for all frames. */
export class Subject {
  client = NONE;
  protocol = NONE;
  source = 0;
  destination = 0;
  /** Where that was sent on to. */
  reached = 0;
  /** Of TCP and UDP; of ICMP the type stands where others have the destination's. */
  sourcePort = NONE;
  destinationPort = NONE;
  rule = NONE;
  hasAddresses = false;
}

/** Whether it is about such frames, whatever became of them and wherever they are. */
export function isAbout(match: CaptureMatch, subject: Subject): boolean {
  if (match.client !== undefined && match.client !== subject.client) return false;
  if (match.protocol !== undefined && match.protocol !== subject.protocol) return false;
  if (match.rule !== undefined && match.rule !== subject.rule) return false;
  if (match.source !== undefined && !(subject.hasAddresses && isIn(match.source, subject.source))) return false;
  if (match.destination !== undefined) {
    if (!subject.hasAddresses) return false;
    if (!isIn(match.destination, subject.destination) && !isIn(match.destination, subject.reached)) return false;
  }
  if (match.icmpType !== undefined) {
    if (subject.protocol !== PROTOCOL.ICMP || subject.destinationPort !== match.icmpType) return false;
  }
  const hasPorts = subject.protocol === PROTOCOL.TCP || subject.protocol === PROTOCOL.UDP;
  if (match.sourcePorts !== undefined && !(hasPorts && isBetween(match.sourcePorts, subject.sourcePort))) return false;
  return (
    match.destinationPorts === undefined || (hasPorts && isBetween(match.destinationPorts, subject.destinationPort))
  );
}

/** Whether it is about frames that had a verdict. */
export function isAboutVerdict(match: CaptureMatch, verdict: number): boolean {
  return match.verdicts === undefined || match.verdicts[verdict] === true;
}

/** Whether flows that it is about must not take the kernel path: their frames are to be seen. */
export function seesFlows(match: CaptureMatch): boolean {
  return isAboutVerdict(match, VERDICT.FORWARDED);
}

function isIn(networks: readonly Network[], address: number): boolean {
  for (let i = 0; i < networks.length; i++) {
    const { network, mask } = networks[i];
    if ((address & mask) === network) return true;
  }
  return false;
}

function isBetween({ low, high }: Range, port: number): boolean {
  return low <= port && port <= high;
}
