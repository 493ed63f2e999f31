// Few numbers out of many: what is reported of a series of measurements, and when two series can be told apart.

/** @param q from 0 (the least) to 1 (the largest); between two values in proportion. NaN of no values */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const place = (sorted.length - 1) * q;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** How far the middle half of the values goes from their median, to the side where it goes further. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  return Math.max(middle - quantile(values, 0.25), quantile(values, 0.75) - middle);
}
