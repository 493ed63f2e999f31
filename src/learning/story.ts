// What the page is made of: the frames of a replay that are worth a look, chosen while it goes on, so that memory and page stay small
// however long the capture is.

import { isArp, summarise } from "../captures/summary.ts";
import type { FlowText } from "../control/views/flow-text.ts";
import { VERDICT, type Verdict } from "../dataplane/verdict.ts";
import type { Passage, SentFrame, Witness } from "../replay/passages.ts";

/** Frames on a page. */
export const MOST_SHOWN = 200;
/** Of one conversation, beside those that open or close it and those that were not simply sent on. */
export const MOST_OF_FLOW = 10;
/** Frames sent because of one, as the fragments of a large packet. */
const MOST_SENT = 12;
/** Bytes of a frame that are looked at. */
const MOST_BYTES = 2048;

/** A frame at one of the firewall's interfaces. */
export interface Leg {
  readonly iface: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly bytes: Buffer;
  /** Bytes that it has, also where fewer are here. */
  readonly length: number;
  /** Whether it is the packet that came in, not something that the firewall itself says. */
  readonly isPacket: boolean;
}

/** A frame that came in, and what was sent because of it; or what the firewall sent of its own accord. */
export interface Episode {
  readonly came: Leg | undefined;
  /** Its number in its capture. */
  readonly number: number;
  readonly code: Verdict | undefined;
  readonly verdict: string;
  readonly reasons: readonly string[];
  readonly sent: Leg[];
  /** Frames that came before it and are not shown. */
  readonly passedOver: number;
}

export class Story implements Witness {
  readonly episodes: Episode[] = [];
  /** Conversations of what is shown, in the order in which they began. */
  readonly flows = new Map<string, FlowText>();
  /** Frames that came in, and those that are not shown, since the last one that is. */
  received = 0;
  private passedOver = 0;
  private readonly ofFlow = new Map<string, number>();
  private readonly waiting = new Map<Passage, Episode>();

  /** Frames behind the last one that is shown. */
  get left(): number {
    return this.passedOver;
  }

  passage(passage: Passage): void {
    this.received++;
    if (this.episodes.length >= MOST_SHOWN || !this.isWorthALook(passage)) {
      this.passedOver++;
      return;
    }
    const { number, code, verdict, reasons } = passage;
    const sent = passage.sent.slice(0, MOST_SENT).map(legOf);
    const came = legOf({ ...passage, length: passage.original, isPacket: true });
    const episode = { came, number, code, verdict, reasons, sent, passedOver: this.passedOver };
    this.passedOver = 0;
    this.episodes.push(episode);
    if (code !== VERDICT.FORWARDED) this.waiting.set(passage, episode);
  }

  later(sent: SentFrame, passage: Passage | undefined): void {
    if (passage !== undefined) {
      const episode = this.waiting.get(passage);
      if (episode !== undefined && episode.sent.length < MOST_SENT) episode.sent.push(legOf(sent));
      return;
    }
    if (this.episodes.length >= MOST_SHOWN) return;
    const own = { came: undefined, number: 0, code: undefined, verdict: "", reasons: [], sent: [legOf(sent)] };
    this.episodes.push({ ...own, passedOver: this.passedOver });
    this.passedOver = 0;
  }

  /** What opens or closes a connection, what is not simply sent on, and the first ones of each conversation. */
  private isWorthALook({ code, flow, bytes }: Passage): boolean {
    if (flow === undefined) return true;
    const key = JSON.stringify(flow);
    const count = (this.ofFlow.get(key) ?? 0) + 1;
    this.ofFlow.set(key, count);
    this.flows.set(key, flow);
    if (code !== VERDICT.FORWARDED || count <= MOST_OF_FLOW) return true;
    const { packet } = summarise(bytes, 0, bytes.length);
    if (packet === undefined || isArp(packet)) return false;
    return packet.flags?.some((flag) => flag === "SYN" || flag === "FIN" || flag === "RST") ?? false;
  }
}

function legOf({ iface, seconds, nanoseconds, bytes, length, isPacket }: SentFrame): Leg {
  return { iface, seconds, nanoseconds, bytes: Buffer.from(bytes.subarray(0, MOST_BYTES)), length, isPacket };
}
