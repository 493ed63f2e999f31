// What went on, second by second: rates between one look at the firewall and the next, as many as the page shows.
import type { NamedStatus } from "../channel/services.ts";
import type { InterfaceStatus } from "../control/status.ts";
import { frameRates } from "../watch/history.ts";
import { KEPT_RATES, type Rates } from "./messages.ts";

/** Seconds without an answer after which what came meanwhile is no rate any more. */
const LONGEST = 10;

export class RateBook {
  /** The oldest first. */
  readonly kept: Rates[] = [];
  private last: NamedStatus | undefined;

  /** @returns what went on since the last look; undefined at the first one, and where the firewall began anew or was silent for long */
  add(status: NamedStatus): Rates | undefined {
    const { last } = this;
    this.last = status;
    const time = last === undefined ? 0 : status.uptime - last.uptime;
    if (last === undefined || time <= 0 || time > LONGEST) return undefined;
    const frames = frameRates(last.frames, status.frames, time);
    const rates = [
      status.time,
      ...bits(last.interfaces, status.interfaces, time),
      frames.forwarded,
      frames.dropped,
      status.flows.used,
    ].map((rate) => Math.round(rate * 10) / 10);
    this.kept.push(rates);
    if (this.kept.length > KEPT_RATES) this.kept.shift();
    return rates;
  }
}

/** To the internet and from it, a second. An interface that was made anew counts from 0. */
function bits(before: readonly InterfaceStatus[], now: readonly InterfaceStatus[], time: number): [number, number] {
  const uplink = now.find((device) => device.uplink !== undefined);
  const last = before.find(({ name }) => name === uplink?.name);
  const rate = (direction: "transmitted" | "received") =>
    (8 * Math.max(0, (uplink?.[direction]?.bytes ?? 0) - (last?.[direction]?.bytes ?? Number.POSITIVE_INFINITY))) /
    time;
  return [rate("transmitted"), rate("received")];
}
