// The player's clock as text: seconds since the first frame, and the time of day (UTC).
import type { Resolution } from "../captures/frame.ts";

/** A moment, and the one at which the replay began: Unix time each. */
export interface Moment {
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly startSeconds: number;
  readonly startNanoseconds: number;
}

/** Beyond them a Date has no text; a damaged pcapng file can tell such times. */
const MOST_SECONDS = 8.64e12;
const MICROSECOND_DIGITS = 6;

/** @returns seconds since the first frame with all the digits that the captures can tell: `0.000123` */
export function sinceStart(moment: Moment, resolution: Resolution): string {
  const borrow = moment.nanoseconds < moment.startNanoseconds ? 1 : 0;
  const nanoseconds = moment.nanoseconds - moment.startNanoseconds + borrow * 1e9;
  return `${moment.seconds - moment.startSeconds - borrow}.${fraction(nanoseconds, resolution)}`;
}

/** @returns `2023-11-14T22:13:20.000123Z` (ISO 8601), or where no calendar goes so far, Unix time: `@1e+13.000123` */
export function timestamp({ seconds, nanoseconds }: Moment, resolution: Resolution): string {
  const digits = fraction(nanoseconds, resolution);
  if (Math.abs(seconds) >= MOST_SECONDS) return `@${seconds}.${digits}`;
  return `${new Date(seconds * 1000).toISOString().slice(0, -".000Z".length)}.${digits}Z`;
}

function fraction(nanoseconds: number, resolution: Resolution): string {
  const digits = String(Math.floor(nanoseconds)).padStart(9, "0");
  return resolution === "ns" ? digits : digits.slice(0, MICROSECOND_DIGITS);
}
