// What a replay tells: a line or a JSON object for each frame, and totals at the end.
import type { Resolution } from "../captures/frame.ts";
import type { Settings } from "../dataplane/settings.ts";
import { VERDICT_NAMES } from "../dataplane/verdict.ts";
import type { Comparison } from "./comparison.ts";
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
  /** Whether the router received it: only then does the player know of rule, flow, and what was sent. */
  readonly received: boolean;
}

export const SENT_BY_ROUTER = "sent by the router, not replayed";

export type Format = (frame: Handled, player: Player, settings: Settings, resolution: Resolution) => string;

export const formatLine: Format = (frame, player, settings, resolution) => {
  const { captured, original, received } = frame;
  const rule = received && player.rule(frame.iface, frame.bytes, frame.at, captured);
  const flow = received && player.flow();
  const parts = [
    `${formatMoment(player, resolution)} ${settings.interfaces[frame.iface].name} #${frame.number} ${frame.verdict}`,
    captured < original && `only ${captured} of ${original} bytes captured (use tcpdump -s 0)`,
    rule && (rule.number === 0 ? `policy of ${rule.client}` : `rule ${rule.number} of ${rule.client}`),
    flow && `flow ${flow.protocol} ${flow.source} > ${flow.destination} as ${flow.mapped}`,
    ...(received ? player.sentLengths : []).map(
      (length, i) => `sent ${length} bytes on ${settings.interfaces[player.sentIfaces[i]].name}`,
    ),
  ];
  return parts.filter((part) => typeof part === "string").join("; ");
};

/** Members without a value are left out. */
export const formatJson: Format = (frame, player, settings, resolution) => {
  const { received, number, original, captured, verdict } = frame;
  const rule = received ? player.rule(frame.iface, frame.bytes, frame.at, captured) : undefined;
  const lengths = received ? player.sentLengths : [];
  return JSON.stringify({
    time: Number(formatMoment(player, resolution)),
    interface: settings.interfaces[frame.iface].name,
    frame: number,
    length: original,
    captured,
    verdict,
    client: rule?.client,
    rule: rule?.number,
    flow: received ? player.flow() : undefined,
    sent: lengths.map((length, i) => ({ interface: settings.interfaces[player.sentIfaces[i]].name, length })),
  });
};

/** @returns seconds since the first frame with all the digits that the captures can tell */
function formatMoment(player: Player, resolution: Resolution): string {
  const borrow = player.nanoseconds < player.startNanoseconds ? 1 : 0;
  const nanoseconds = player.nanoseconds - player.startNanoseconds + borrow * 1e9;
  const digits = String(nanoseconds).padStart(9, "0");
  const seconds = player.seconds - player.startSeconds - borrow;
  return `${seconds}.${resolution === "ns" ? digits : digits.slice(0, 6)}`;
}

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
  json(compared: ReturnType<Comparison["counts"]> | undefined): string {
    const counts = Array.from(this.verdicts, (count, verdict): [string, number] => [VERDICT_NAMES[verdict], count]);
    return JSON.stringify({
      frames: this.frames,
      verdicts: Object.fromEntries(counts.filter(([, count]) => count > 0)),
      sentByRouter: this.byRouter,
      compared,
      sent: Object.fromEntries(this.settings.interfaces.map(({ name }, i) => [name, this.sent[i]])),
    });
  }
}
