// What went on, second by second: rates between one look at the firewall and the next, as many as the page shows.
import type { NamedStatus } from "../channel/operations/services.ts";
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
    const bits = (isUplink: boolean, direction: Direction) => (8 * bytes(last, status, isUplink, direction)) / time;
    const rates = [
      status.time,
      ...[bits(true, "transmitted"), bits(true, "received")],
      ...[frames.forwarded, frames.dropped, status.flows.used],
      ...[bits(false, "received"), bits(false, "transmitted")],
    ].map((rate) => Math.round(rate * 10) / 10);
    this.kept.push(rates);
    if (this.kept.length > KEPT_RATES) this.kept.shift();
    return rates;
  }
}

type Direction = "received" | "transmitted";

/** What came in, or went out, at the uplink or at all other interfaces. One that was made anew counts from 0. */
function bytes(before: NamedStatus, now: NamedStatus, isUplink: boolean, direction: Direction): number {
  let sum = 0;
  for (const device of now.interfaces) {
    if ((device.uplink !== undefined) !== isUplink) continue;
    const known = before.interfaces.find(({ name }) => name === device.name)?.[direction]?.bytes;
    if (known !== undefined) sum += Math.max(0, (device[direction]?.bytes ?? 0) - known);
  }
  return sum;
}
