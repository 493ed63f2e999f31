// Runs the dataplane over captured frames, by the captures' own clock: what the appliance would have made of them. The
// same captures, settings and seed give the same frames and verdicts, byte for byte.

import { type FlowText, flowText } from "../control/flow-text.ts";
import { Router } from "../dataplane/frame/router.ts";
import { MemoryRing } from "../dataplane/memory-ring.ts";
import type { Settings } from "../dataplane/settings.ts";
import type { Flow } from "../dataplane/types.ts";
import { VERDICT_NAMES } from "../dataplane/verdict.ts";
import { ETHERNET } from "../wire/ethernet.ts";
import { IPV4, maskOf } from "../wire/ipv4.ts";
import type { CapturedFrame } from "./pcap.ts";

/** Frames that came in on one interface, in the order in which they did. */
export interface Input {
  /** The interface's number in the settings. */
  readonly iface: number;
  readonly frames: readonly CapturedFrame[];
}

/** What became of one frame. */
export interface FrameVerdict {
  /** Seconds and nanoseconds since the first frame of all. */
  readonly moment: Moment;
  readonly interface: string;
  /** The frame's place in its capture, from 1, as Wireshark numbers it. */
  readonly number: number;
  /** Bytes that the frame had, and those of them that the capture holds. */
  readonly length: number;
  readonly captured: number;
  readonly verdict: string;
  /** The rule that decided, and whose it is; number 0 is the policy. */
  readonly rule: { readonly number: number; readonly client: string } | undefined;
  readonly flow: FlowText | undefined;
  /** What went out because of it. */
  readonly sent: readonly { readonly interface: string; readonly length: number }[];
}

export interface Moment {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface Playback {
  readonly verdicts: readonly FrameVerdict[];
  /** What went out, by interface number: each frame at the moment of the frame or of the timer that caused it. */
  readonly sent: readonly (readonly CapturedFrame[])[];
}

/** Beyond the longest timeout, all else that the dataplane waits for is over in so many seconds. */
const SETTLED = 600;

/** @param seed any 32-bit number: where random ports come from */
export function play(settings: Settings, inputs: readonly Input[], seed: number): Playback {
  return new Player(settings, seed).play(inputs);
}

interface Arrival {
  readonly iface: number;
  readonly number: number;
  readonly frame: CapturedFrame;
}

class Player {
  private readonly ring = new MemoryRing();
  private readonly router: Router;
  private readonly sent: CapturedFrame[][];
  /** Of the first frame: where the clock is zero. */
  private start: Moment = { seconds: 0, nanoseconds: 0 };
  /** The latest moment so far: a capture's step back in time holds the clock. */
  private latest: Moment = this.start;
  /** Whole seconds of the clock that have passed, and those of them that were skipped. */
  private passed = 0;
  private skipped = 0;
  /** Seconds of silence after which nothing is waited for any more: the rest of it is skipped. */
  private readonly longestSilence: number;

  constructor(
    private readonly settings: Settings,
    seed: number,
  ) {
    this.router = new Router(this.ring, settings, seededRandom(seed));
    this.sent = settings.interfaces.map(() => []);
    this.longestSilence = Math.max(...Object.values(settings.nat.timeouts)) + SETTLED;
  }

  play(inputs: readonly Input[]): Playback {
    const arrivals = merge(inputs);
    const first = arrivals[0];
    if (first !== undefined) this.start = this.latest = first.frame;
    this.collect(this.start);
    return { verdicts: arrivals.map((arrival) => this.receive(arrival)), sent: this.sent };
  }

  private receive({ iface, number, frame }: Arrival): FrameVerdict {
    if (isBefore(this.latest, frame)) this.latest = frame;
    const moment = since(this.start, this.latest);
    this.passTo(moment);
    const verdict = this.router.receive(iface, this.ring.put(frame.bytes), frame.bytes.length);
    const flow = this.flow();
    return {
      moment,
      interface: this.settings.interfaces[iface].name,
      number,
      length: frame.originalLength,
      captured: frame.bytes.length,
      verdict: VERDICT_NAMES[verdict],
      rule: this.rule(iface, frame.bytes, flow),
      flow: flow === undefined ? undefined : flowText(this.router.flows, flow),
      sent: this.collect(this.latest),
    };
  }

  /** Lets time pass second by second, so that timers run when they are due. */
  private passTo(moment: Moment): void {
    const silence = moment.seconds - this.passed;
    for (let i = 0; i < Math.min(silence, this.longestSilence); i++) {
      this.passed++;
      this.router.advance((this.passed - this.skipped) * 1000);
      this.collect({ seconds: this.start.seconds + this.passed, nanoseconds: this.start.nanoseconds });
    }
    this.skipped += moment.seconds - this.passed;
    this.passed = moment.seconds;
    this.router.advance((this.passed - this.skipped) * 1000 + Math.floor(moment.nanoseconds / 1e6));
    this.collect(this.latest);
  }

  /** Takes over what the router sent. */
  private collect({ seconds, nanoseconds }: Moment): FrameVerdict["sent"] {
    return this.ring.takeSent().map(({ iface, bytes }) => {
      this.sent[iface].push({ seconds, nanoseconds, bytes, originalLength: bytes.length });
      return { interface: this.settings.interfaces[iface].name, length: bytes.length };
    });
  }

  /** The flow of the last frame, unless that frame ended it. */
  private flow(): Flow | undefined {
    const { lastFlow, flows } = this.router;
    return lastFlow >= 0 && flows.isUsed(lastFlow) ? lastFlow : undefined;
  }

  /** The rule asked for the last frame, or the one that once accepted its flow. */
  private rule(iface: number, frame: Uint8Array, flow: Flow | undefined): FrameVerdict["rule"] {
    const { lastRule, flows } = this.router;
    if (flow !== undefined) {
      return { number: flows.rule(flow), client: this.settings.clients[flows.client(flow)].name };
    }
    return lastRule < 0 ? undefined : { number: lastRule, client: this.clientOf(iface, frame) };
  }

  /** @returns the name of the client that sent a frame, of which the router has found out that a client did */
  private clientOf(iface: number, frame: Uint8Array): string {
    const at = frame.byteOffset + ETHERNET.HEADER_LENGTH + IPV4.SOURCE;
    const source = new DataView(frame.buffer, at, 4).getUint32(0);
    const client = this.settings.clients.find(
      ({ iface: own, network, prefix }) => own === iface && ((source ^ network) & maskOf(prefix)) === 0,
    );
    return client?.name ?? "?";
  }
}

/** By time, each input in its own order; at the same time the earlier input comes first. */
function merge(inputs: readonly Input[]): Arrival[] {
  const next = inputs.map(() => 0);
  const arrivals: Arrival[] = [];
  for (;;) {
    let earliest: (Arrival & { readonly input: number }) | undefined;
    for (const [input, { iface, frames }] of inputs.entries()) {
      const frame = frames[next[input]];
      if (frame === undefined) continue;
      if (earliest === undefined || isBefore(frame, earliest.frame)) {
        earliest = { iface, number: next[input] + 1, frame, input };
      }
    }
    if (earliest === undefined) return arrivals;
    next[earliest.input]++;
    arrivals.push(earliest);
  }
}

function isBefore(one: Moment, other: Moment): boolean {
  if (one.seconds !== other.seconds) return one.seconds < other.seconds;
  return one.nanoseconds < other.nanoseconds;
}

/** @returns how long after `start` a moment is, which is not before it */
function since(start: Moment, moment: Moment): Moment {
  const borrow = moment.nanoseconds < start.nanoseconds ? 1 : 0;
  return {
    seconds: moment.seconds - start.seconds - borrow,
    nanoseconds: moment.nanoseconds - start.nanoseconds + borrow * 1e9,
  };
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
