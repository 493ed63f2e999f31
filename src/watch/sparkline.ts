// A row of numbers as a row of bars, the newest at the right: where a terminal has no such characters, of ASCII.

const BLOCKS = " ▁▂▃▄▅▆▇█";
/** From nothing to full. */
const ASCII = " .:-=+*#@";

/**
 * @param values none below 0, the oldest first; those that are too many are left out, at the left
 * @param width in columns
 * @param most what fills a bar: the largest of those shown, if it isn't given
 */
export function sparkline(values: readonly number[], width: number, isUnicode: boolean, most?: number): string {
  const shown = width <= 0 ? [] : values.slice(-width);
  const full = most ?? Math.max(0, ...shown);
  const bars = isUnicode ? BLOCKS : ASCII;
  const top = bars.length - 1;
  // What is not nothing has a bar, however small.
  const heights = shown.map((value) =>
    value <= 0 || full <= 0 ? 0 : Math.max(1, Math.min(top, Math.round((value / full) * top))),
  );
  return heights
    .map((height) => bars[height])
    .join("")
    .padStart(Math.max(width, 0));
}
