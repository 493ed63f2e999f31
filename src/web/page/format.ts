// Numbers, amounts and times as people read them. No DOM in here.

const THIN = "\u202f"; // a narrow space that no line ends at
const STEPS = ["", "k", "M", "G", "T"] as const;

/** @returns `12.3 Mbit/s`: three digits that count */
export function formatBits(rate: number): string {
  return `${scaled(rate)}bit/s`;
}

/** @returns `1.2 kB`, in powers of 1000 */
export function formatBytes(bytes: number): string {
  return `${scaled(bytes)}B`;
}

/** @returns `65 536` */
export function formatCount(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** @returns `12 a second`; below ten with a decimal, for one every few seconds is not none */
export function formatRate(rate: number): string {
  if (rate === 0) return "0/s";
  if (rate < 0.1) return "< 0.1/s";
  return `${rate < 10 ? Number(rate.toFixed(1)) : formatCount(rate)}/s`;
}

/** @param seconds @returns `3 s`, `12 min`, `3 h 12 min`, `2 d 4 h` */
export function formatSpan(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** @param time Unix time in seconds @returns `14:03:07`, here */
export function formatTime(time: number): string {
  const date = new Date(time * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

/** With its unit's step, of three digits that count. */
function scaled(value: number): string {
  let step = 0;
  let rest = value;
  for (; rest >= 999.5 && step < STEPS.length - 1; step++) rest /= 1000;
  const digits = rest >= 99.95 || step === 0 ? 0 : rest >= 9.995 ? 1 : 2;
  return `${Number(rest.toFixed(digits))} ${STEPS[step]}`;
}
