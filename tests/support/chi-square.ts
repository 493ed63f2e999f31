// Whether numbers look as if they were drawn from a set, each member as likely as the others.

const BINS = 64;
/** Below this lies the statistic of numbers that are drawn so, 9 999 times in 10 000 (63 degrees of freedom). */
export const CHI_SQUARE_LIMIT = 112;

/**
 * @param drawn members of the set; some hundred for each of 64 bins
 * @param set some hundred members or more, a multiple of 64 or many more
 * @returns the statistic; infinite if one drawn is no member
 */
export function chiSquare(drawn: readonly number[], set: Iterable<number>): number {
  const rank = new Map([...set].sort((a, b) => a - b).map((member, i) => [member, i]));
  const members = new Float64Array(BINS);
  const counts = new Float64Array(BINS);
  const binOf = (i: number) => Math.floor((i * BINS) / rank.size);
  for (const i of rank.values()) members[binOf(i)]++;
  for (const number of drawn) {
    const i = rank.get(number);
    if (i === undefined) return Number.POSITIVE_INFINITY;
    counts[binOf(i)]++;
  }
  return counts.reduce((sum, count, bin) => {
    const expected = (drawn.length * members[bin]) / rank.size;
    return sum + (count - expected) ** 2 / expected;
  }, 0);
}
