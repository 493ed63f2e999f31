// Which frames a capture is about: what somebody wrote (control/captures/capture-filter.ts), as numbers that the dataplane's thread
// compares. What belongs to a flow is told by the flow, as its originator sees it, so that both ways match, on both sides of NAT.
import { PROTOCOL } from "../../wire/ipv4.ts";
import { NEXT_HEADER } from "../../wire/ipv6.ts";
import { VERDICT } from "../verdict.ts";

/** All of it must hold that is there. */
export interface CaptureMatch {
  /** Number of the client; -1 of one that is not there any more. */
  readonly client?: number;
  /** Number of the interface where the frame itself came in or went out; -1 likewise. */
  readonly iface?: number;
  /** Any of these: "icmp" means that of either family. */
  readonly protocols?: readonly number[];
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

/** As many words as an address of its family has, int32 in host order. */
export interface Network {
  readonly words: readonly number[];
  readonly masks: readonly number[];
}

/** Words of an address, by family; none where there is no address. */
export const WORDS_OF = { NONE: 0, IPV4: 1, IPV6: 4 } as const;

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
  /** Words that its addresses have: one of WORDS_OF. */
  words: number = WORDS_OF.NONE;
  readonly source = new Int32Array(WORDS_OF.IPV6);
  readonly destination = new Int32Array(WORDS_OF.IPV6);
  /** Where that was sent on to. */
  readonly reached = new Int32Array(WORDS_OF.IPV6);
  /** Of TCP and UDP; of ICMP the type stands where others have the destination's. */
  sourcePort = NONE;
  destinationPort = NONE;
  rule = NONE;
}

/** Whether it is about such frames, whatever became of them and wherever they are. */
export function isAbout(match: CaptureMatch, subject: Subject): boolean {
  if (match.client !== undefined && match.client !== subject.client) return false;
  if (match.protocols !== undefined && !has(match.protocols, subject.protocol)) return false;
  if (match.rule !== undefined && match.rule !== subject.rule) return false;
  if (match.source !== undefined && !isIn(match.source, subject.source, subject.words)) return false;
  if (match.destination !== undefined) {
    const { words, destination, reached } = subject;
    if (!isIn(match.destination, destination, words) && !isIn(match.destination, reached, words)) return false;
  }
  if (match.icmpType !== undefined) {
    const isIcmp = subject.protocol === PROTOCOL.ICMP || subject.protocol === NEXT_HEADER.ICMPV6;
    if (!isIcmp || subject.destinationPort !== match.icmpType) return false;
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

function has(protocols: readonly number[], protocol: number): boolean {
  for (let i = 0; i < protocols.length; i++) if (protocols[i] === protocol) return true;
  return false;
}

/** @param count words of the address */
function isIn(networks: readonly Network[], address: Int32Array, count: number): boolean {
  for (let i = 0; i < networks.length; i++) {
    const { words, masks } = networks[i];
    let word = 0;
    while (word < count && (address[word] & masks[word]) === words[word]) word++;
    if (word === count && words.length === count) return true;
  }
  return false;
}

function isBetween({ low, high }: Range, port: number): boolean {
  return low <= port && port <= high;
}
