// What a replay tells: a line or a JSON object for each frame, and totals at the end.
import type { Resolution } from "../captures/frame.ts";
import { type FrameSummary, summarise } from "../captures/summary.ts";
import { summaryText } from "../captures/summary-text.ts";
import { flowWords, ruleOfText } from "../control/captures/packet-notes.ts";
import type { Settings } from "../dataplane/settings.ts";
import { VERDICT_NAMES, VERDICT_SLUGS, type Verdict } from "../dataplane/verdict.ts";
import type { Comparison } from "./comparison.ts";
import { sinceStart, timestamp } from "./moment.ts";
import type { Player } from "./player.ts";

/** A frame that was handled, beside what the player knows of it. */
export interface Handled {
  readonly iface: number;
  readonly number: number;
  readonly bytes: Buffer;
  readonly at: number;
  readonly captured: number;
  readonly original: number;
  /** A verdict's name, or what else became of it. */
  readonly verdict: string;
  /** The verdict; undefined where the router did not receive it. */
  readonly code: Verdict | undefined;
  /** Whether the router received it: only then does the player know of rule, flow, and what was sent. */
  readonly received: boolean;
}

export const SENT_BY_ROUTER = "sent by the router, not replayed";

export type Format = (frame: Handled, player: Player, settings: Settings, resolution: Resolution) => string;

/** Absolute time stands behind the time since the first frame, which lines have always begun with. */
export const formatLine: Format = (frame, player, settings, resolution) =>
  [
    sinceStart(player, resolution),
    timestamp(player, resolution),
    settings.interfaces[frame.iface].name,
    `#${frame.number}`,
    describe(frame, player, settings),
  ].join(" ");

function describe(frame: Handled, player: Player, settings: Settings): string {
  const { bytes, at, captured, received, verdict } = frame;
  const summary = summarise(bytes, at, captured);
  const parts = [
    verdict,
    summaryText(summary),
    // Addresses that IPv4 and ARP are told without, where they are what matters.
    verdict.includes("MAC address") && summary.packet && ethernetEnds(summary),
    ...reasons(frame, player),
    ...(received ? player.sentLengths : []).map(
      (length, i) => `sent ${length} bytes on ${settings.interfaces[player.sentIfaces[i]].name}`,
    ),
  ];
  return parts.filter((part) => typeof part === "string" && part !== "").join("; ");
}

/** @returns of a frame that has just been handled, why it became of it what it did: what was missing, the rule, the flow */
export function reasons(frame: Handled, player: Player): string[] {
  const { iface, bytes, at, captured, original, received } = frame;
  const rule = received && player.rule(iface, bytes, at, captured);
  const flow = received && player.flow();
  const parts = [
    captured < original && `only ${captured} of ${original} bytes captured (use tcpdump -s 0)`,
    rule && ruleOfText(rule.number, rule.client),
    flow && flowWords(flow),
  ];
  return parts.filter((part) => typeof part === "string");
}

function ethernetEnds({ ethernet }: FrameSummary): string | undefined {
  return ethernet && `from ${ethernet.source} to ${ethernet.destination}`;
}

/** Members without a value are left out. */
export const formatJson: Format = (frame, player, settings, resolution) => {
  const { received, number, original, captured, verdict, code, bytes, at } = frame;
  const rule = received ? player.rule(frame.iface, bytes, at, captured) : undefined;
  const lengths = received ? player.sentLengths : [];
  return JSON.stringify({
    time: Number(sinceStart(player, resolution)),
    timestamp: timestamp(player, resolution),
    interface: settings.interfaces[frame.iface].name,
    frame: number,
    length: original,
    captured,
    ...summarise(bytes, at, captured),
    verdict,
    slug: code === undefined ? undefined : VERDICT_SLUGS[code],
    client: rule?.client,
    rule: rule?.number,
    flow: received ? player.flow() : undefined,
    sent: lengths.map((length, i) => ({ interface: settings.interfaces[player.sentIfaces[i]].name, length })),
  });
};

/** Counts of what became of frames. */
export class Totals {
  readonly verdicts = new Float64Array(VERDICT_NAMES.length);
  byRouter = 0;
  /** Sent by us, by interface number. */
  readonly sent: Float64Array;

  constructor(private readonly settings: Settings) {
    this.sent = new Float64Array(settings.interfaces.length);
  }

  get frames(): number {
    return this.verdicts.reduce((sum, count) => sum + count, this.byRouter);
  }

  /** @returns a line for the sum, one for each verdict that came up, and one for each interface */
  lines(): string[] {
    const counts = [...this.verdicts].map((count, verdict): [number, string] => [count, VERDICT_NAMES[verdict]]);
    const rows: [number, string][] = [
      [this.frames, this.frames === 1 ? "frame" : "frames"],
      ...counts.filter(([count]) => count > 0),
      ...(this.byRouter > 0 ? [[this.byRouter, SENT_BY_ROUTER] satisfies [number, string]] : []),
      ...this.settings.interfaces.map(({ name }, i): [number, string] => [this.sent[i], `sent on ${name}`]),
    ];
    return rows.map(([count, what]) => `${String(count).padStart(10)} ${what}`);
  }

  /** @param compared how a comparison came out, if there was one */
  toObject(compared: ReturnType<Comparison["counts"]> | undefined) {
    const counts = Array.from(this.verdicts, (count, verdict): [string, number] => [VERDICT_NAMES[verdict], count]);
    return {
      frames: this.frames,
      verdicts: Object.fromEntries(counts.filter(([, count]) => count > 0)),
      sentByRouter: this.byRouter,
      compared,
      sent: Object.fromEntries(this.settings.interfaces.map(({ name }, i) => [name, this.sent[i]])),
    };
  }
}
