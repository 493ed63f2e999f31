// Runs the dataplane over captured frames, by the captures' own clock: what the appliance would have made of them. The
// same captures, settings and seed give the same frames and verdicts, byte for byte. One frame after the other, and nothing
// is kept of it; words for people are made only where they are asked for.

import { hostPrefix, type IpAddress, isInside } from "../base/ip.ts";
import { hostsOf } from "../config/clients.ts";
import { type FlowText, flowText } from "../control/views/flow-text.ts";
import { Router } from "../dataplane/frame/router.ts";
import type { ClientSettings, Settings } from "../dataplane/settings.ts";
import { type Flow, NO_FLOW } from "../dataplane/types.ts";
import { VERDICT, type Verdict } from "../dataplane/verdict.ts";
import { ARP, ARP_REQUEST } from "../wire/arp.ts";
import { ETHERNET, ETHERTYPE } from "../wire/ethernet.ts";
import { ICMPV6_TYPE } from "../wire/icmpv6.ts";
import { IPV4 } from "../wire/ipv4.ts";
import { IPV6 } from "../wire/ipv6.ts";
import { makeAsSent } from "./as-sent.ts";
import { ARP_FRAME_LENGTH, ND_FRAME_LENGTH, type NextHops, neighbourType, someMac } from "./next-hops.ts";
import { RECEIVED_AT, ReplayRing } from "./ring.ts";

/** Whoever takes what the router sends. */
export interface Egress {
  /**
   * @param seconds, nanoseconds Unix time of the frame or of the timer that caused it
   * @param bytes, at where it is, until this returns
   * @param captured bytes of it that come from the capture, of `length`
   * @param origin which received frame it is, or was sent because of: `Player.received` then; 0 where it was none, but time
   */
  sent(
    iface: number,
    seconds: number,
    nanoseconds: number,
    bytes: Buffer,
    at: number,
    captured: number,
    length: number,
    origin: number,
  ): void;
}

/** The rule that decided, and whose it is; number 0 is the policy. */
export interface RuleText {
  readonly number: number;
  readonly client: string;
}

/** Verdicts on frames that are sent later. */
const WAITING: readonly Verdict[] = [VERDICT.QUEUED, VERDICT.HELD, VERDICT.ANSWER_HELD];
/** Tags of frames that wait, from 1. The router lets a few hundred wait at a time, and none for longer than 15 s. */
const TAGS = 0xffff;

/** Beyond the longest timeout, all else that the dataplane waits for is over in so many seconds. */
const SETTLED = 600;

export class Player {
  /** The latest moment so far, as Unix time: a capture's step back in time holds the clock. */
  seconds: number;
  nanoseconds: number;
  /** What went out because of the last frame: interface and length of each. */
  readonly sentIfaces: number[] = [];
  readonly sentLengths: number[] = [];
  /** Frames received, without answers to ARP that no capture has; while one is received, its number. */
  received = 0;

  private readonly ring = new ReplayRing((iface, at, length) => this.pass(iface, at, length));
  private readonly router: Router;
  /** Of the frame in the ring: how many of its bytes the capture has, and how many it has by now. */
  private captured = 0;
  private length = 0;
  /** The moment that sent frames get. */
  private sendSeconds: number;
  private sendNanoseconds: number;
  /** Whole seconds that have passed; those of them that the router has seen, the others were skipped; and its clock in ms. */
  private passed = 0;
  private seen = 0;
  private clock = -1;
  /** The router's ARP requests and solicitations that have still to be answered. */
  private questions: { readonly iface: number; readonly frame: Buffer }[] = [];
  /** Of the last frame. */
  private lastFlow = NO_FLOW;
  private lastRule = -1;
  /** By tag: the number of the frame received that has it. The tag of the frame in hand is used again unless that waits. */
  private readonly origins = new Float64Array(TAGS + 1);
  private tag = 1;

  /** Seconds of silence after which nothing is waited for any more: the rest of it is skipped. */
  private readonly longestSilence: number;

  /**
   * @param seed any 32-bit number: where random ports come from
   * @param startSeconds, startNanoseconds Unix time of the first frame: where the clock is zero
   */
  constructor(
    private readonly settings: Settings,
    seed: number,
    private readonly nextHops: NextHops,
    private readonly egress: Egress,
    readonly startSeconds: number,
    readonly startNanoseconds: number,
  ) {
    this.seconds = this.sendSeconds = startSeconds;
    this.nanoseconds = this.sendNanoseconds = startNanoseconds;
    this.router = new Router(this.ring, settings, seededRandom(seed));
    this.longestSilence = Math.max(...Object.values(settings.nat.timeouts)) + SETTLED;
    this.settle();
  }

  /** Lets time pass until a moment, which may be past already. */
  advance(seconds: number, nanoseconds: number): void {
    if (seconds > this.seconds || (seconds === this.seconds && nanoseconds > this.nanoseconds)) {
      this.seconds = seconds;
      this.nanoseconds = nanoseconds;
    }
    const borrow = this.nanoseconds < this.startNanoseconds ? 1 : 0;
    const elapsed = this.seconds - this.startSeconds - borrow;
    if (elapsed > this.passed) this.passTo(elapsed);
    const past = this.nanoseconds - this.startNanoseconds + borrow * 1e9;
    const clock = this.seen * 1000 + Math.floor(past / 1e6);
    this.sendSeconds = this.seconds;
    this.sendNanoseconds = this.nanoseconds;
    if (clock === this.clock) return;
    this.clock = clock;
    this.router.advance(clock);
    this.settle();
  }

  /**
   * Has the router receive a frame, at the moment to which time has passed.
   * @param captured bytes of it that the capture has @param original bytes that it had
   */
  receive(iface: number, bytes: Buffer, at: number, captured: number, original: number): Verdict {
    const { ring, router } = this;
    this.sentIfaces.length = 0;
    this.sentLengths.length = 0;
    ring.put(bytes, at, captured);
    this.captured = captured;
    this.length = makeAsSent(ring.view, RECEIVED_AT, captured, original, this.settings.interfaces[iface].mtu);
    this.received++;
    this.origins[this.tag] = this.received;
    ring.setTag(this.tag);
    const verdict = router.receive(iface, RECEIVED_AT, this.length);
    this.lastFlow = router.lastFlow;
    this.lastRule = router.lastRule;
    if (this.questions.length > 0) this.settle();
    ring.setTag(0);
    if (WAITING.includes(verdict)) this.tag = (this.tag % TAGS) + 1;
    return verdict;
  }

  /** The last frame's flow, unless that frame ended it. */
  flow(): FlowText | undefined {
    const flow = this.flowNumber();
    return flow === undefined ? undefined : flowText(this.router.flows, flow);
  }

  /**
   * The rule asked for the last frame, or the one that once accepted its flow.
   * @param iface, bytes, at, captured as `receive` had them
   */
  rule(iface: number, bytes: Buffer, at: number, captured: number): RuleText | undefined {
    const flow = this.flowNumber();
    if (flow !== undefined) {
      const { flows } = this.router;
      return { number: flows.rule(flow), client: this.settings.clients[flows.client(flow)].name };
    }
    const source = this.lastRule < 0 ? undefined : sourceOf(bytes, at, captured);
    return source === undefined ? undefined : { number: this.lastRule, client: this.clientOf(iface, source) };
  }

  /** @returns the MAC address of a host on an interface: the one that it is pinned to, or any */
  peer(iface: number, address: IpAddress): Uint8Array {
    return this.clientWith(iface, address)?.mac ?? someMac(address);
  }

  private flowNumber(): Flow | undefined {
    const { lastFlow } = this;
    return lastFlow !== NO_FLOW && this.router.flows.isUsed(lastFlow) ? lastFlow : undefined;
  }

  /** @returns the name of the client that sent a packet, of which the router has found out that a client did */
  private clientOf(iface: number, source: IpAddress): string {
    return this.clientWith(iface, source)?.name ?? "?";
  }

  private clientWith(iface: number, address: IpAddress): ClientSettings | undefined {
    const host = hostPrefix(address);
    const isThere = (client: ClientSettings) => hostsOf(client).some((hosts) => isInside(host, hosts));
    return this.settings.clients.find((client) => client.iface === iface && isThere(client));
  }

  /** Lets time pass second by second, so that timers run when they are due. @param elapsed whole seconds of the clock */
  private passTo(elapsed: number): void {
    const silence = Math.min(elapsed - this.passed, this.longestSilence);
    for (let i = 1; i <= silence; i++) {
      this.seen++;
      this.sendSeconds = this.startSeconds + this.passed + i;
      this.sendNanoseconds = this.startNanoseconds;
      this.clock = this.seen * 1000;
      this.router.advance(this.clock);
      this.settle();
    }
    this.passed = elapsed;
  }

  /** A frame leaves the router. */
  private pass(iface: number, at: number, length: number): void {
    const { bytes, view } = this.ring;
    // What is sent in place of a frame that was cut has no more bytes of the capture than that had.
    const isCut = at === RECEIVED_AT && this.captured < this.length;
    const captured = isCut ? Math.min(this.captured, length) : length;
    this.sentIfaces.push(iface);
    this.sentLengths.push(length);
    const origin = this.origins[this.ring.tagOf(at)];
    this.egress.sent(iface, this.sendSeconds, this.sendNanoseconds, bytes, at, captured, length, origin);
    if (neighbourType(view, at, length) === ICMPV6_TYPE.NEIGHBOUR_SOLICITATION) {
      this.questions.push({ iface, frame: Buffer.from(bytes.subarray(at, at + Math.min(length, ND_FRAME_LENGTH))) });
      return;
    }
    if (view.getUint16(at + ETHERNET.TYPE) !== ETHERTYPE.ARP) return;
    if (view.getUint16(at + ETHERNET.HEADER_LENGTH + ARP.OPERATION) !== ARP_REQUEST) return;
    this.questions.push({ iface, frame: Buffer.from(bytes.subarray(at, at + ARP_FRAME_LENGTH)) });
  }

  /** Answers ARP requests for those next hops that answer by themselves. */
  private settle(): void {
    while (this.questions.length > 0) {
      const asked = this.questions;
      this.questions = [];
      const now = this.sendSeconds * 1000 + this.sendNanoseconds / 1e6;
      for (const { iface, frame } of asked) {
        const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
        if (!this.nextHops.answer(iface, view, 0, now, (address) => this.peer(iface, address))) continue;
        this.ring.put(frame, 0, frame.length);
        this.ring.setTag(0);
        this.captured = this.length = frame.length;
        this.router.receive(iface, RECEIVED_AT, frame.length);
      }
    }
  }
}

/** @returns the source of a packet that is there with its header */
function sourceOf(bytes: Buffer, at: number, captured: number): IpAddress | undefined {
  const ip = at + ETHERNET.HEADER_LENGTH;
  if (captured < ETHERNET.HEADER_LENGTH + IPV4.HEADER_LENGTH) return undefined;
  if (bytes.readUInt16BE(at + ETHERNET.TYPE) !== ETHERTYPE.IPV6) return bytes.readUInt32BE(ip + IPV4.SOURCE);
  if (captured < ETHERNET.HEADER_LENGTH + IPV6.HEADER_LENGTH) return undefined;
  return Uint8Array.from(bytes.subarray(ip + IPV6.SOURCE, ip + IPV6.DESTINATION));
}

/** @returns SplitMix32: numbers that look random, and are the same for the same seed */
function seededRandom(seed: number): (words: Uint32Array) => void {
  let state = seed | 0;
  return (words) => {
    for (let i = 0; i < words.length; i++) {
      state = (state + 0x9e3779b9) | 0;
      let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      words[i] = mixed ^ (mixed >>> 15);
    }
  };
}
