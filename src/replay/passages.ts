// Each frame that the router received, together with what it sent because of it: what capture files with notes, and pages, are made of.
// Which of those are the packet itself, as it went on, and which are the firewall's own words (ARP, errors, echo replies) is told
// here. Bounded: only of frames that wait is a copy kept.
import type { FlowText } from "../control/views/flow-text.ts";
import { VERDICT, type Verdict } from "../dataplane/verdict.ts";
import { ETHERNET, ETHERTYPE, VLAN_TAG_LENGTH } from "../wire/ethernet.ts";
import type { Egress, Player } from "./player.ts";
import { type Handled, reasons } from "./report.ts";

/** A frame that the router sent. */
export interface SentFrame {
  readonly iface: number;
  /** Unix time. */
  readonly seconds: number;
  readonly nanoseconds: number;
  /** A copy: as much of it as comes from the capture. */
  readonly bytes: Buffer;
  /** Bytes that it has. */
  readonly length: number;
  /** Whether it is the packet that was received, or a part of it: not something that the firewall itself says. */
  readonly isPacket: boolean;
}

/** A frame that the router received, and what became of it. */
export interface Passage {
  readonly iface: number;
  /** Its number in its capture. */
  readonly number: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  /** The bytes that were captured. In memory that is used again, unless its verdict is one that waits. */
  readonly bytes: Buffer;
  readonly original: number;
  readonly code: Verdict;
  readonly verdict: string;
  /** Why: the rule, the flow, what was missing. */
  readonly reasons: readonly string[];
  readonly flow: FlowText | undefined;
  /** Of IPv4 packets: counted from 1. */
  readonly packetId: number | undefined;
  /** What was sent because of it at once. */
  readonly sent: readonly SentFrame[];
}

export interface Witness {
  /** The router has received a frame. */
  passage(passage: Passage): void;
  /** Later it sent another because of it, or because of no frame: then of its own accord. */
  later(sent: SentFrame, passage: Passage | undefined): void;
}

/** Verdicts on packets that go on: at once, or later. */
const GO_ON: readonly Verdict[] = [VERDICT.FORWARDED, VERDICT.QUEUED, VERDICT.HELD, VERDICT.ANSWER_HELD];
/** Frames that may wait; the router lets fewer. */
const MOST_WAITING = 512;

export class Passages {
  private readonly waiting = new Map<number, Passage>();
  private packets = 0;
  private sentNow: (SentFrame & { isPacket: boolean })[] = [];
  private readonly origins: number[] = [];
  private isReceiving = false;

  constructor(private readonly witnesses: readonly Witness[]) {}

  /** From now on the router receives a frame, until that has been handled. */
  begin(): void {
    this.isReceiving = true;
  }

  sent(...[iface, seconds, nanoseconds, bytes, at, captured, length, origin]: Parameters<Egress["sent"]>): void {
    const copy = Buffer.from(bytes.subarray(at, at + captured));
    const passage = this.waiting.get(origin);
    const isPacket = passage !== undefined && isIp(copy);
    const sent = { iface, seconds, nanoseconds, bytes: copy, length, isPacket };
    if (this.isReceiving) {
      this.sentNow.push(sent);
      this.origins.push(origin);
    } else for (const witness of this.witnesses) witness.later(sent, passage);
  }

  /** A frame has been handled: one that was received, if there was a `begin`. */
  handled(frame: Handled, player: Player): void {
    this.isReceiving = false;
    const { code, iface, number, original, verdict } = frame;
    if (code === undefined) return;
    const goesOn = GO_ON.includes(code);
    const isWaiting = goesOn && code !== VERDICT.FORWARDED;
    const bytes = frame.bytes.subarray(frame.at, frame.at + frame.captured);
    const now = this.sentNow.filter((_, i) => this.origins[i] === player.received);
    for (const sent of now) sent.isPacket = goesOn && isIp(sent.bytes);
    const passage: Passage = {
      iface,
      number,
      seconds: player.seconds,
      nanoseconds: player.nanoseconds,
      bytes: isWaiting ? Buffer.from(bytes) : bytes,
      original,
      code,
      verdict,
      reasons: reasons(frame, player),
      flow: player.flow(),
      packetId: isIp(bytes) ? ++this.packets : undefined,
      sent: now,
    };
    if (isWaiting) this.wait(player.received, passage);
    const others = this.sentNow.flatMap((sent, i) => {
      const origin = this.origins[i];
      return origin === player.received ? [] : [{ sent, passage: this.waiting.get(origin) }];
    });
    this.sentNow = [];
    this.origins.length = 0;
    for (const witness of this.witnesses) {
      witness.passage(passage);
      for (const other of others) witness.later(other.sent, other.passage);
    }
  }

  private wait(received: number, passage: Passage): void {
    this.waiting.set(received, passage);
    if (this.waiting.size <= MOST_WAITING) return;
    const [oldest] = this.waiting.keys();
    this.waiting.delete(oldest);
  }
}

/** Behind a tag of VLAN 0, too: such frames are taken as if they had none. */
function isIp(bytes: Buffer): boolean {
  const tagged = ETHERNET.HEADER_LENGTH + VLAN_TAG_LENGTH;
  if (bytes.length < ETHERNET.HEADER_LENGTH) return false;
  const type = bytes.readUInt16BE(ETHERNET.TYPE);
  if (type !== ETHERTYPE.VLAN && type !== ETHERTYPE.SERVICE_VLAN) return isIpType(type);
  return bytes.length >= tagged && isIpType(bytes.readUInt16BE(tagged - 2));
}

function isIpType(type: number): boolean {
  return type === ETHERTYPE.IPV4 || type === ETHERTYPE.IPV6;
}
