// Text of durations, at the edges only: 2h4m, 5m, 30s. Inside the program they are whole seconds.

/** Hours, minutes and seconds, each once at most and without leading zeros. */
const DURATION = /^(?:([1-9][0-9]{0,4})h)?(?:([1-9][0-9]{0,4})m)?(?:([1-9][0-9]{0,4})s)?$/;

/** @returns the whole seconds, at least 1, that a text like 2h4m means, or undefined. */
export function parseDuration(text: string): number | undefined {
  const parts = DURATION.exec(text);
  if (parts === null || text === "") return undefined;
  const [, hours = "0", minutes = "0", seconds = "0"] = parts;
  return (Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds);
}

/** @param duration whole seconds, at least 1 */
export function formatDuration(duration: number): string {
  const parts: [number, string][] = [
    [Math.floor(duration / 3600), "h"],
    [Math.floor(duration / 60) % 60, "m"],
    [duration % 60, "s"],
  ];
  return parts.map(([count, unit]) => (count === 0 ? "" : count + unit)).join("");
}
