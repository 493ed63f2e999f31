// The highest rate at which something still holds, found on a ladder of rates each a few percent above the one before.

/** Each rung's rate is so much above the one's below. */
const STEP = 1.05;
const LOWEST = 20_000;
const RUNGS = 100;
/** A rung is stood on when one of so many tries holds: what else happens on the machine makes some fail. */
const TRIES = 2;

export function rateOf(rung: number): number {
  return LOWEST * STEP ** rung;
}

/**
 * @param last what the last search returned, where to look first; undefined: this is the first
 * @returns the highest rung that holds, or -1
 */
export async function highestRung(
  last: number | undefined,
  holds: (rate: number) => Promise<boolean>,
): Promise<number> {
  const stands = async (rung: number): Promise<boolean> => {
    for (let i = 0; i < TRIES; i++) if (await holds(rateOf(rung))) return true;
    return false;
  };
  let below = -1; // holds
  let above = RUNGS; // does not
  let rung = last === undefined || last < 0 ? RUNGS >> 1 : last;
  for (let stride = last === undefined ? 16 : 1; above - below > 1; stride *= 2) {
    if (await stands(rung)) {
      below = rung;
      if (above < RUNGS) break;
      rung = Math.min(below + stride, RUNGS - 1);
    } else {
      above = rung;
      if (below >= 0) break;
      rung = Math.max(above - stride, 0);
    }
  }
  while (above - below > 1) {
    const middle = (above + below) >> 1;
    if (await stands(middle)) below = middle;
    else above = middle;
  }
  return below;
}
