// TCP connections as seen from between their ends (RFC 9293, RFC 5382): handshake, windows, FINs and RSTs of both sides.
// What lies outside the windows that the ends offered each other was not sent by them: it must not pass, close or refresh
// a flow (RFC 5961's reasoning; the bounds are those of van Rooij, "Real Stateful TCP Packet Filtering in IP Filter").
import { ACK, FIN, RST, SYN, TCP, tcpHeaderLength, windowScale } from "../../wire/tcp.ts";
import { type Flow, otherSide, type Side } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import { FLOW, FLOW_WORDS } from "./flow-records.ts";
import {
  BOTH_FINS_ACKED,
  BOTH_FINS_SEEN,
  BOTH_SYNS_ACKED,
  BOTH_SYNS_AGREED,
  BOTH_SYNS_SEEN,
  DOUBTFUL,
  ENDING,
  FIN_ACKED,
  FIN_SEEN,
  FLOW_STATE,
  RESET,
  SCALE_OFFERED,
  SYN_ACKED,
  SYN_SEEN,
  TCP_BITS,
  windowScaleOf,
  withWindowScale,
} from "./flow-state.ts";
import type { FlowTable } from "./flows.ts";
import { PendingSyns } from "./pending-syns.ts";
import { TIMEOUT } from "./timeouts.ts";

/** What becomes of a segment: one of TRACK, which let it pass, or the verdict that drops it. */
export type Tracked = Verdict | (typeof TRACK)[keyof typeof TRACK];
export const TRACK = {
  /** And it keeps the flow alive. */
  PASS: 0,
  /** It may be somebody else's, or means nothing: the flow's deadline stays. */
  PASS_UNREFRESHED: -1,
} as const;

/** Words of one side of a connection, behind FLOW.TCP. */
export const SIDE_WORDS = 2;
/** One past the highest sequence number it has sent, SYN and FIN counted. */
export const END = 0;
/** The highest acknowledgment that it has sent. Before its first one: the other side's initial sequence number. */
export const ACKED = 1;
/** Of both sides, 16 bits each: the largest window offered, as it stands in the header after the handshake. */
export const WINDOWS = FLOW.TCP + 2 * SIDE_WORDS;

/**
 * Bytes that a segment which begins in the window can reach beyond it. How far an end may lag behind the highest number seen
 * of the other allows for that, or one such segment of somebody else's would lock out the ends themselves.
 */
export const OVERREACH = 66_000;

/**
 * The fast path calls `isPlain` and `follow`, and what these call is inlined only so deep (fast-path.ts). So the other side is
 * written out there: by `otherSide`, a packet takes 64 ns in place of 58 (bench core).
 */
export class TcpTracker {
  private readonly words: Int32Array;
  /** The same memory: one side's window is written without the other's, which the kernel path may be writing. */
  private readonly halves: Uint16Array;

  private readonly pending: PendingSyns;

  constructor(private readonly flows: FlowTable) {
    this.pending = new PendingSyns(flows);
    const { words } = flows;
    this.words = words;
    this.halves = new Uint16Array(words.buffer, words.byteOffset, 2 * words.length);
  }

  /** @returns whether both ends have agreed to the connection, and at least one has not ended it (RFC 5382 section 5) */
  isEstablished(flow: Flow): boolean {
    const state = this.flows.state(flow);
    const isOpen = (state & BOTH_SYNS_ACKED) === BOTH_SYNS_ACKED;
    return isOpen && (state & BOTH_FINS_SEEN) !== BOTH_FINS_SEEN && (state & RESET) === 0;
  }

  /**
   * Follows one segment of a flow.
   * @param side the side that it comes from
   * @param at offset of its checked TCP header
   * @param length bytes of header and payload
   * @returns what becomes of it
   */
  track(view: DataView, flow: Flow, side: Side, at: number, length: number): Tracked {
    const flags = view.getUint8(at + TCP.FLAGS);
    if ((flags & RST) !== 0) return this.reset(view, flow, side, at);
    if ((flags & SYN) !== 0) {
      return (flags & ACK) !== 0
        ? this.synAck(view, flow, side, at, length)
        : this.synchronize(view, flow, side, at, length);
    }
    return this.segment(view, flow, side, at, length);
  }

  /**
   * Whether a segment changes nothing but what has been sent and acknowledged, so that `follow` does for it what `track` would: of
   * a connection that both ends have agreed to and neither has begun to end, itself neither SYN nor FIN nor RST.
   * @param at offset of its header, not checked yet
   * @param length bytes of header and payload
   */
  isPlain(view: DataView, flow: Flow, at: number, length: number): boolean {
    const header = tcpHeaderLength(view, at);
    if (header < TCP.HEADER_LENGTH || header > length) return false;
    if ((view.getUint8(at + TCP.FLAGS) & (FIN | SYN | RST | ACK)) !== ACK) return false;
    return (this.flows.state(flow) & ENDING) === BOTH_SYNS_AGREED;
  }

  /** Everything after the handshake. Its ACK bit is set: checkTcp lets no other pass. */
  private segment(view: DataView, flow: Flow, side: Side, at: number, length: number): Tracked {
    const words = this.words;
    const state = this.flows.state(flow);
    const s = sideAt(flow, side);
    const r = sideAt(flow, otherSide(side));
    const flags = view.getUint8(at + TCP.FLAGS);
    const fin = flags & FIN;
    const sequence = view.getInt32(at + TCP.SEQUENCE);
    const acknowledgment = view.getInt32(at + TCP.ACKNOWLEDGMENT);
    const payload = length - tcpHeaderLength(view, at);
    const end = (sequence + payload + fin) | 0;
    if ((state & BOTH_SYNS_SEEN) !== BOTH_SYNS_SEEN) {
      // An end that has the connection from before challenges the SYN of one that lost it (RFC 9293 section 3.5.1).
      return side === 1 && end === sequence ? TRACK.PASS_UNREFRESHED : VERDICT.TCP_STATE;
    }
    const other = otherSide(side);
    // The first acknowledgment must cover the other side's SYN.
    const isFirst = (state & SYN_ACKED[other]) === 0;
    if (isFirst && ((acknowledgment - words[s + ACKED]) | 0) <= 0) return VERDICT.TCP_WINDOW;
    if (!this.follow(view, flow, side, at, end)) return VERDICT.TCP_WINDOW;
    let after = isFirst ? state | SYN_ACKED[other] : state;
    if (fin !== 0) after |= FIN_SEEN[side];
    if (payload > 0 && (after & RESET) !== 0) after = (after & ~RESET) | DOUBTFUL; // RFC 7857 section 2
    if ((state & FIN_SEEN[other]) !== 0 && acknowledgment === words[r + END]) after |= FIN_ACKED[other];
    if (isFirst) this.pending.clear(flow); // the handshake is complete: a late answer to its SYN must not undo it
    if (after !== state) this.enter(flow, after);
    return TRACK.PASS;
  }

  /**
   * Notes a segment, if it lies within what the ends have offered each other.
   * @param at offset of its header
   * @param end the sequence number behind its last byte, its FIN counted
   * @returns whether it does; if not, nothing has changed
   */
  follow(view: DataView, flow: Flow, side: Side, at: number, end: number): boolean {
    const sequence = view.getInt32(at + TCP.SEQUENCE);
    const acknowledgment = view.getInt32(at + TCP.ACKNOWLEDGMENT);
    if (!this.isOffered(flow, side, sequence, end) || !this.mayHaveSent(flow, (side ^ 1) as Side, acknowledgment))
      return false;
    this.note(flow, side, end, acknowledgment, view.getUint16(at + TCP.WINDOW));
    return true;
  }

  /** Notes what a side has sent, acknowledged and offered. */
  private note(flow: Flow, side: Side, end: number, acknowledgment: number, window: number): void {
    const words = this.words;
    const s = sideAt(flow, side);
    if (((end - words[s + END]) | 0) > 0) words[s + END] = end;
    if (((acknowledgment - words[s + ACKED]) | 0) > 0) words[s + ACKED] = acknowledgment;
    if (window > this.rawWindow(flow, side)) this.setRawWindow(flow, side, window);
  }

  /** @returns whether what a side sends begins and ends within a window of what the other side has acknowledged */
  private isOffered(flow: Flow, side: Side, sequence: number, end: number): boolean {
    const acknowledged = this.words[sideAt(flow, (side ^ 1) as Side) + ACKED];
    const window = this.window(flow, (side ^ 1) as Side) + 1;
    return ((sequence - acknowledged) | 0) <= window && ((end - acknowledged) | 0) >= -window;
  }

  /** A SYN without ACK. */
  private synchronize(view: DataView, flow: Flow, side: Side, at: number, length: number): Tracked {
    const state = this.flows.state(flow);
    const words = this.words;
    const sequence = view.getInt32(at + TCP.SEQUENCE);
    const payload = length - tcpHeaderLength(view, at);
    const end = (sequence + payload + 1) | 0;
    const closed = isClosed(state);
    if ((state & SYN_SEEN[1]) === 0) {
      // Nothing was answered yet: it opens the connection, or tries again; or the other end does so too (RFC 5382 REQ-2).
      const other = sideAt(flow, otherSide(side));
      const isRepeated = (state & (SYN_SEEN[side] | RESET)) === SYN_SEEN[side] && words[other + ACKED] === sequence;
      const before = words[sideAt(flow, side) + END];
      // The data of one that was sent before may have arrived (RFC 7413 section 4.1.3: it is sent again without).
      const reach = isRepeated && ((before - end) | 0) > 0 ? before : end;
      const kept = side === 0 ? state & ~(TCP_BITS | FLOW_STATE.ASSURED) : state;
      this.open(flow, side, sequence, reach, view.getUint16(at + TCP.WINDOW), windowScale(view, at), kept);
      return TRACK.PASS;
    }
    if (side === 1) {
      const isRepeated = !closed && (state & SYN_ACKED[1]) === 0 && end === words[sideAt(flow, 1) + END];
      if (isRepeated) return TRACK.PASS;
      // From outside none is let through into a connection, unless both ends begin anew.
      if (!closed || !this.pending.has(flow)) return VERDICT.TCP_WINDOW;
      this.reopen(flow);
      this.open(flow, 1, sequence, end, view.getUint16(at + TCP.WINDOW), windowScale(view, at), this.flows.state(flow));
      return TRACK.PASS;
    }
    // Its end may have the connection no more, or the other one; else that one challenges it (RFC 5961 section 4).
    const isOpen = !closed && (state & SYN_ACKED[1]) !== 0;
    if (isOpen && end === words[sideAt(flow, 0) + END]) return TRACK.PASS_UNREFRESHED; // late: it was the connection's own
    this.pending.note(flow, sequence, payload, view.getUint16(at + TCP.WINDOW), windowScale(view, at));
    const isRepeated = !closed && !isOpen && end === words[sideAt(flow, 0) + END];
    return closed || isRepeated ? TRACK.PASS : TRACK.PASS_UNREFRESHED;
  }

  /** A SYN-ACK. */
  private synAck(view: DataView, flow: Flow, side: Side, at: number, length: number): Tracked {
    const words = this.words;
    const state = this.flows.state(flow);
    const other = otherSide(side);
    const s = sideAt(flow, side);
    if ((state & SYN_SEEN[other]) === 0) return VERDICT.TCP_STATE;
    const sequence = view.getInt32(at + TCP.SEQUENCE);
    const end = (sequence + length - tcpHeaderLength(view, at) + 1) | 0;
    const acknowledgment = view.getInt32(at + TCP.ACKNOWLEDGMENT);
    const isLater = ((acknowledgment - words[sideAt(flow, other) + END]) | 0) > 0;
    const isAgain = (state & SYN_SEEN[side]) !== 0 && end === words[s + END];
    if (isAgain && !isLater) {
      if ((state & SYN_ACKED[other]) === 0) this.enter(flow, state | SYN_ACKED[other]); // simultaneous open
      return TRACK.PASS;
    }
    if (side === 1 && this.pending.isAcknowledged(flow, acknowledgment)) {
      this.reopen(flow);
    } else {
      // While the handshake goes on, the end may answer anew, by another number: it was started anew, or keeps no state. The
      // answer must acknowledge the SYN, as the one before it did.
      const isUnderWay = (state & SYN_ACKED[side]) === 0;
      const least = (state & SYN_ACKED[other]) === 0 ? 1 : 0;
      if (!isUnderWay || isLater || ((acknowledgment - words[s + ACKED]) | 0) < least) return VERDICT.TCP_WINDOW;
    }
    const after = this.flows.state(flow) | SYN_ACKED[other];
    this.open(flow, side, sequence, end, view.getUint16(at + TCP.WINDOW), windowScale(view, at), after);
    words[s + ACKED] = acknowledgment;
    return TRACK.PASS;
  }

  /** The connection begins anew, with the SYN that was let through. */
  private reopen(flow: Flow): void {
    const { pending } = this;
    const sequence = pending.sequence(flow);
    const end = (sequence + pending.length(flow) + 1) | 0;
    const state = this.flows.state(flow) & ~(TCP_BITS | FLOW_STATE.ASSURED);
    this.open(flow, 0, sequence, end, pending.window(flow), pending.scale(flow), state);
    pending.clear(flow);
  }

  /**
   * Notes the SYN of a side.
   * @param end one past all that has been sent with it
   * @param window as it stands in the header
   * @param scale what it offers to shift windows by, or -1
   * @param state the flow's, but for what this adds
   */
  private open(
    flow: Flow,
    side: Side,
    sequence: number,
    end: number,
    window: number,
    scale: number,
    state: number,
  ): void {
    const words = this.words;
    const other = otherSide(side);
    const otherSeen = (state & SYN_SEEN[other]) !== 0;
    words[sideAt(flow, side) + END] = end;
    words[sideAt(flow, other) + ACKED] = sequence;
    // Windows are scaled only if both SYNs say so (RFC 7323 section 2.2); those of SYNs themselves never are.
    const raw = Math.max(window, 1);
    let after = withWindowScale(state | SYN_SEEN[side], side, 0);
    if (!otherSeen) after &= ~SCALE_OFFERED;
    if (scale >= 0 && (!otherSeen || (state & SCALE_OFFERED) !== 0)) {
      after = withWindowScale(after | SCALE_OFFERED, side, scale);
      this.setRawWindow(flow, side, ((raw - 1) >>> scale) + 1);
    } else {
      this.setRawWindow(flow, side, raw);
      if (otherSeen) {
        const theirScale = windowScaleOf(state, other);
        this.setRawWindow(flow, other, Math.min(this.rawWindow(flow, other) << theirScale, 0xffff));
        after = withWindowScale(after, other, 0);
      }
    }
    this.enter(flow, after);
  }

  /** A RST ends the connection only with the one sequence number that its receiver would believe (RFC 5961 section 3). */
  private reset(view: DataView, flow: Flow, side: Side, at: number): Tracked {
    const state = this.flows.state(flow);
    const other = otherSide(side);
    const words = this.words;
    const s = sideAt(flow, side);
    const r = sideAt(flow, other);
    const sequence = view.getInt32(at + TCP.SEQUENCE);
    const acknowledgment = view.getInt32(at + TCP.ACKNOWLEDGMENT);
    const hasAck = (view.getUint8(at + TCP.FLAGS) & ACK) !== 0;
    if (side === 1 && hasAck && this.pending.isAcknowledged(flow, acknowledgment)) {
      this.pending.clear(flow); // neither end has the connection: one wants a new one, and the other refuses it
    } else if ((state & SYN_SEEN[side]) === 0) {
      // The refusal of a SYN: it acknowledges what the SYN sent (RFC 9293 section 3.10.7.3).
      if (!hasAck || (state & SYN_SEEN[other]) === 0) return VERDICT.TCP_WINDOW;
      if (((acknowledgment - words[r + END]) | 0) > 0) return VERDICT.TCP_WINDOW;
      if (((acknowledgment - words[s + ACKED]) | 0) <= 0) return VERDICT.TCP_WINDOW;
    } else if (sequence !== words[s + END] && sequence !== words[r + ACKED]) {
      if ((state & SYN_SEEN[other]) === 0) return TRACK.PASS_UNREFRESHED; // the answer to a challenge
      const ahead = (sequence - words[r + ACKED]) | 0;
      return ahead >= 0 && ahead <= this.window(flow, other) ? TRACK.PASS_UNREFRESHED : VERDICT.TCP_WINDOW;
    }
    this.enter(flow, state | RESET);
    // A client's RST that only answers what comes in keeps nothing alive (RFC 7857 section 7.1), nor does a second one.
    const client = (state & FLOW_STATE.INBOUND) === 0 ? 0 : 1;
    const isRefusal = side === client && (state & BOTH_SYNS_ACKED) !== BOTH_SYNS_ACKED;
    return isRefusal || (state & RESET) !== 0 ? TRACK.PASS_UNREFRESHED : TRACK.PASS;
  }

  private enter(flow: Flow, state: number): void {
    const closed = (state & RESET) !== 0 || (state & BOTH_FINS_ACKED) === BOTH_FINS_ACKED;
    const assured = (state & BOTH_SYNS_ACKED) === BOTH_SYNS_ACKED && !closed;
    this.flows.setState(flow, assured ? state | FLOW_STATE.ASSURED : state & ~FLOW_STATE.ASSURED);
    const isOpening = (state & BOTH_SYNS_ACKED) !== BOTH_SYNS_ACKED && !closed;
    const unestablished = isOpening ? TIMEOUT.TCP_OPENING : TIMEOUT.TCP_CLOSING;
    this.flows.setTimeout(flow, this.isEstablished(flow) ? TIMEOUT.TCP_ESTABLISHED : unestablished);
  }

  /** @returns whether both ends know that the connection is over, and neither begins anew: a peer's SYN may open another */
  isOver(flow: Flow): boolean {
    const state = this.flows.state(flow);
    const isOver = (state & BOTH_FINS_ACKED) === BOTH_FINS_ACKED || (state & RESET) !== 0;
    return isOver && (state & SYN_SEEN[1]) !== 0 && !this.pending.has(flow);
  }

  /** @returns whether a side has sent a SYN with this sequence number that was not answered */
  awaitsAnswer(flow: Flow, side: Side, sequence: number): boolean {
    return side === 0 && this.pending.has(flow) && this.pending.sequence(flow) === sequence;
  }

  /** @returns whether a side can have sent this sequence number of late: what an ICMP error quotes must be (RFC 5927) */
  mayHaveSent(flow: Flow, side: Side, sequence: number): boolean {
    const behind = (this.words[sideAt(flow, side) + END] - sequence) | 0;
    return behind >= 0 && behind <= this.window(flow, (side ^ 1) as Side) + OVERREACH;
  }

  /**
   * @returns the one sequence number with which a RST to a side is believed (RFC 5961 section 3): what it waits for when all
   * that was sent to it has come, of which it may have acknowledged less
   */
  expected(flow: Flow, side: Side): number {
    return this.words[sideAt(flow, otherSide(side)) + END];
  }

  /**
   * Counts the payload of a later fragment, which `track` could not see.
   * @param end the sequence number behind its last byte
   */
  extend(flow: Flow, side: Side, end: number): void {
    const s = sideAt(flow, side);
    const acknowledged = this.words[sideAt(flow, otherSide(side)) + ACKED];
    const isBeyond = ((end - this.words[s + END]) | 0) > 0;
    if (isBeyond && ((end - acknowledged) | 0) <= this.window(flow, otherSide(side))) this.words[s + END] = end;
  }

  /** @returns the largest window that a side has offered, in bytes; at least 1, since probes pass a closed one */
  private window(flow: Flow, side: Side): number {
    // Not by rawWindow: a call deeper it is not inlined any more (fast-path.ts), which takes a third of the packet's time.
    const raw = this.halves[2 * (flow * FLOW_WORDS + WINDOWS) + side];
    return raw << windowScaleOf(this.words[flow * FLOW_WORDS + FLOW.STATE], side);
  }

  private rawWindow(flow: Flow, side: Side): number {
    return this.halves[2 * (flow * FLOW_WORDS + WINDOWS) + side];
  }

  private setRawWindow(flow: Flow, side: Side, window: number): void {
    this.halves[2 * (flow * FLOW_WORDS + WINDOWS) + side] = window;
  }
}

/** Whether both ends have ended a connection, as it seems: whether both FINs are acknowledged, somebody else's segments may hide. */
const isClosed = (state: number): boolean =>
  (state & (RESET | DOUBTFUL)) !== 0 || (state & BOTH_FINS_SEEN) === BOTH_FINS_SEEN;

/** @returns the first word of a side's part of a flow's record */
const sideAt = (flow: Flow, side: Side): number => flow * FLOW_WORDS + FLOW.TCP + side * SIDE_WORDS;

/** What `tcpStateName` may return. */
export const TCP_STATE_NAMES: readonly string[] = [
  ...["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT", "CLOSING", "TIME-WAIT", "RESET"],
];

/**
 * @param state the STATE word of a TCP flow
 * @returns the name of the connection's state, in RFC 9293's terms as far as they fit between the ends
 */
export function tcpStateName(state: number): string {
  if ((state & RESET) !== 0) return "RESET";
  if ((state & BOTH_FINS_ACKED) === BOTH_FINS_ACKED) return "TIME-WAIT";
  if ((state & BOTH_FINS_SEEN) === BOTH_FINS_SEEN) return "CLOSING";
  if ((state & BOTH_FINS_SEEN) !== 0) return "FIN-WAIT";
  if ((state & BOTH_SYNS_ACKED) === BOTH_SYNS_ACKED) return "ESTABLISHED";
  return (state & SYN_SEEN[1]) !== 0 ? "SYN-RECEIVED" : "SYN-SENT";
}
