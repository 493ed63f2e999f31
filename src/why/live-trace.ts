// What became of packets of the running firewall, step by step: made of what a capture sees of them, each as it came in, and all
// that was sent because of it. Their payload is looked at by nobody.
import { summarise } from "../captures/summary.ts";
import { summaryText } from "../captures/summary-text.ts";
import type { Config } from "../config/config.ts";
import type { OpenRing } from "../control/captures/captures.ts";
import { flowWords, ruleOfText, verdictText } from "../control/captures/packet-notes.ts";
import { flowText } from "../control/views/flow-text.ts";
import { type CaptureFacts, WHAT } from "../dataplane/io/capture-ring.ts";
import type { Settings } from "../dataplane/settings.ts";
import type { FlowRecords } from "../dataplane/tables/flow-records.ts";
import type { Flow } from "../dataplane/types.ts";
import { VERDICT, VERDICT_SLUGS, type Verdict } from "../dataplane/verdict.ts";
import { monotonicTime } from "../linux/clock.ts";
import { formatRule } from "../rules/parse.ts";
import { CHECKS, type Check, checksOf } from "./checks.ts";
import { type Rewriting, rewritings } from "./rewriting.ts";

/** Bytes of a frame that are looked at: all headers. */
export const TRACE_SNAP = 256;

/** Packets that wait, whose bytes are kept so that it can be told what is rewritten when they go on. */
const MOST_WAITING = 64;

/** The keys are those of `firebreak trace --json`: docs/CONTROL.md has them. */
export interface TraceEntry {
  /** Unix time in seconds. */
  readonly time: number;
  /** The same for a packet that waits and for its going on. */
  readonly packet?: number;
  readonly frame: string;
  readonly verdict: string;
  readonly steps: readonly TraceStep[];
}

export type TraceStep =
  | { readonly step: "received"; readonly interface: string; readonly client?: string; readonly bytes: number }
  | { readonly step: "check"; readonly check: Check; readonly passed: boolean; readonly text: string }
  | { readonly step: "flow"; readonly opens: boolean; readonly text: string }
  | {
      readonly step: "rule";
      /** Whether it was asked now; else it was when the flow was opened. */
      readonly asked: boolean;
      readonly client: string;
      readonly rule: number;
      readonly text: string;
      readonly place?: string;
    }
  | ({ readonly step: "rewrite" } & Rewriting)
  | { readonly step: "sent"; readonly interface: string; readonly waited?: true }
  | { readonly step: "answered"; readonly interface: string; readonly text: string };

/** A frame as it was. */
interface Kept {
  readonly facts: CaptureFacts;
  readonly bytes: Buffer;
  readonly original: number;
  readonly flow: string | undefined;
}

/** What rules are called by. */
export interface TraceNames {
  readonly config: Config;
  readonly settings: Settings;
}

export class LiveTrace {
  private readonly flow: FlowRecords;
  /** By packet: those that wait. */
  private readonly waiting = new Map<number, Kept>();
  /** What came in last, and what was sent because of it so far. */
  private received: Kept | undefined;
  private readonly sent: Kept[] = [];
  private epoch = 0;

  /** @param names those in force at the moment */
  constructor(
    private readonly ring: OpenRing,
    private readonly names: () => TraceNames,
  ) {
    this.flow = ring.flow;
  }

  /** @returns what has come since, and how much was lost of it. The dataplane's thread gives whole batches, so nothing is cut in two */
  take(): { readonly entries: readonly TraceEntry[]; readonly lost: number } {
    const { consumer } = this.ring;
    const entries: TraceEntry[] = [];
    this.epoch = Date.now() - monotonicTime() / 1e6;
    while (consumer.next()) {
      const frame = this.keep();
      if (frame === undefined) continue;
      const isSent = (frame.facts.what & WHAT.SENT) !== 0;
      if (isSent && (frame.facts.what & WHAT.WAITED) === 0) {
        if (this.received !== undefined) this.sent.push(frame);
        continue;
      }
      this.finish(entries);
      if (isSent) entries.push(this.wentOn(frame));
      else this.received = frame;
    }
    this.finish(entries);
    return { entries, lost: consumer.lost() };
  }

  close(): Promise<void> {
    return this.ring.end();
  }

  /** @returns the frame in hand, if it is meant */
  private keep(): Kept | undefined {
    const { consumer, client } = this.ring;
    const { facts, bytes, at, captured, original } = consumer;
    const settings = this.settingsOf(facts);
    if (client !== undefined && settings.clients[facts.client]?.name !== client) return undefined;
    this.flow.setExternal(settings.uplink);
    return {
      facts: { ...facts },
      bytes: Buffer.from(bytes.subarray(at, at + captured)),
      original,
      flow: facts.flow < 0 ? undefined : flowWords(flowText(this.flow, 0 as Flow)),
    };
  }

  private finish(entries: TraceEntry[]): void {
    const { received } = this;
    this.received = undefined;
    const sent = this.sent.splice(0);
    if (received === undefined) return;
    const { facts } = received;
    if (isWaiting(facts.verdict) && facts.packet !== 0) {
      this.waiting.set(facts.packet, received);
      for (const oldest of this.waiting.keys()) {
        if (this.waiting.size <= MOST_WAITING) break;
        this.waiting.delete(oldest);
      }
    }
    const passed = sent.filter((frame) => (frame.facts.what & WHAT.PACKET) !== 0);
    const own = sent.filter((frame) => (frame.facts.what & WHAT.PACKET) === 0);
    entries.push(
      this.entry(received, [
        ...this.judged(received),
        ...passed.slice(0, 1).flatMap((frame) => rewriteSteps(received, frame)),
        ...passed.map((frame) => this.sentStep(frame)),
        ...own.map((frame) => this.answerStep(frame)),
      ]),
    );
  }

  private wentOn(frame: Kept): TraceEntry {
    const before = this.waiting.get(frame.facts.packet);
    this.waiting.delete(frame.facts.packet);
    const steps = before === undefined ? [] : rewriteSteps(before, frame);
    return this.entry(before ?? frame, [...steps, this.sentStep(frame)], frame.facts);
  }

  private entry(about: Kept, steps: readonly TraceStep[], facts = about.facts): TraceEntry {
    return {
      time: (this.epoch + facts.time) / 1000,
      ...(facts.packet !== 0 && { packet: facts.packet }),
      frame: summaryText(summarise(about.bytes, 0, about.bytes.length)),
      verdict: VERDICT_SLUGS[facts.verdict] ?? String(facts.verdict),
      steps,
    };
  }

  /** What was looked at, and what came of that. */
  private judged({ facts, original, flow }: Kept): TraceStep[] {
    const settings = this.settingsOf(facts);
    const client = settings.clients[facts.client]?.name;
    const opens = (facts.what & WHAT.ASKED) !== 0 || flow === undefined;
    const { passed, failed } = checksOf(facts.verdict as Verdict, opens);
    const isOfLink = facts.verdict === VERDICT.ARP_TAKEN || facts.verdict === VERDICT.ND_TAKEN;
    const isTcp = flow?.startsWith("tcp ") ?? false;
    const checks = passed.filter((check) =>
      isOfLink ? check === "frame" || check === "format" : check !== "segment" || isTcp,
    );
    const steps: TraceStep[] = [
      {
        step: "received",
        interface: nameOf(settings, facts.iface),
        ...(client !== undefined && { client }),
        bytes: original,
      },
    ];
    for (const check of checks) {
      if (check === "rules" && this.addRule(steps, facts, settings)) continue;
      steps.push({ step: "check", check, passed: true, text: CHECKS[check] });
      if (check === "flow" && flow !== undefined) {
        steps.push({ step: "flow", opens, text: flow });
        if (!opens) this.addRule(steps, facts, settings);
      }
    }
    if (failed === "rules") this.addRule(steps, facts, settings);
    if (failed !== undefined) {
      steps.push({ step: "check", check: failed, passed: false, text: verdictText(facts.verdict) });
    }
    return steps;
  }

  /** @returns whether a rule has to do with it */
  private addRule(steps: TraceStep[], { rule, client, what }: CaptureFacts, settings: Settings): boolean {
    const name = settings.clients[client]?.name;
    if (rule < 0 || name === undefined) return false;
    const { config, settings: inForce } = this.names();
    const isCurrent = inForce.clients[client]?.name === name;
    const own = isCurrent ? config.clients[client] : undefined;
    const written =
      rule === 0 ? own && `action=${own.policy}` : own?.rules[rule - 1] && formatRule(own.rules[rule - 1]);
    const place = isCurrent && rule > 0 ? config.rulePlaces?.[client]?.[rule - 1] : undefined;
    const text = `${ruleOfText(rule, name)}${written === undefined ? "" : `: ${written}`}`;
    const asked = (what & WHAT.ASKED) !== 0;
    steps.push({ step: "rule", asked, client: name, rule, text, ...(place !== undefined && { place }) });
    return true;
  }

  private sentStep({ facts }: Kept): TraceStep {
    const interfaceName = nameOf(this.settingsOf(facts), facts.iface);
    return { step: "sent", interface: interfaceName, ...((facts.what & WHAT.WAITED) !== 0 && { waited: true }) };
  }

  private answerStep({ facts, bytes }: Kept): TraceStep {
    const text = summaryText(summarise(bytes, 0, bytes.length));
    return { step: "answered", interface: nameOf(this.settingsOf(facts), facts.iface), text };
  }

  private settingsOf({ settings }: CaptureFacts): Settings {
    return this.ring.settingsOf(settings) ?? this.ring.settings;
  }
}

function rewriteSteps(before: Kept, after: Kept): TraceStep[] {
  return rewritings(before.bytes, after.bytes).map((change) => ({ step: "rewrite", ...change }));
}

function nameOf({ interfaces }: Settings, iface: number): string {
  return interfaces[iface]?.name ?? "?";
}

function isWaiting(verdict: number): boolean {
  return verdict === VERDICT.QUEUED || verdict === VERDICT.HELD || verdict === VERDICT.ANSWER_HELD;
}

/** @returns lines about a packet: not all of them printable */
export function traceLines({ time, frame, verdict, steps }: TraceEntry): string[] {
  const number = VERDICT_SLUGS.indexOf(verdict);
  const end = number < 0 ? verdict : verdictText(number);
  return [
    `${new Date(time * 1000).toISOString()} ${frame}`,
    ...steps.map((step) => `  ${stepText(step)}`),
    `  = ${end}`,
  ];
}

function stepText(step: TraceStep): string {
  switch (step.step) {
    case "received":
      return `received on ${step.interface}${step.client === undefined ? "" : `, client ${step.client}`}, ${step.bytes} bytes`;
    case "check":
      return `check ${step.check}: ${step.passed ? "passed" : "failed"}: ${step.text}`;
    case "flow":
      return `${step.opens ? "opens" : "belongs to"} ${step.text}`;
    case "rule":
      return `${step.asked ? "" : "let in by "}${step.text}${step.place === undefined ? "" : ` (${step.place})`}`;
    case "rewrite":
      return `${step.field}: ${step.before} -> ${step.after}`;
    case "sent":
      return `sent on ${step.interface}${step.waited ? ", after it has waited" : ""}`;
    case "answered":
      return `answered on ${step.interface}: ${step.text}`;
  }
}
