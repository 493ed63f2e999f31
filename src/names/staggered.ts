// Attempts at one thing, of which one has to do: the next one begins when the one before has failed, or has taken too long.

import type { Clock } from "../base/clock.ts";

export interface Attempted<T> {
  /** The first good result, if there is one. */
  readonly good: T | undefined;
  /** Those that were no good, in the order in which they came; all, where none was. */
  readonly results: readonly T[];
}

/**
 * @param delay ms until the next attempt begins beside those that are under way
 * @param attempts at least one; they never reject
 * @returns settles with the first good result, and else when all have ended; nobody waits for the others then
 */
export function firstGood<T>(
  clock: Clock,
  delay: number,
  attempts: readonly (() => Promise<T>)[],
  isGood: (result: T) => boolean,
): Promise<Attempted<T>> {
  const { promise, resolve } = Promise.withResolvers<Attempted<T>>();
  const results: T[] = [];
  let begun = 0;
  let isOver = false;
  let cancel = () => {};
  const end = (good: T | undefined) => {
    isOver = true;
    cancel();
    resolve({ good, results });
  };
  const begin = async () => {
    cancel();
    const attempt = attempts[begun++];
    if (begun < attempts.length) cancel = clock.after(delay, begin);
    const result = await attempt();
    if (isOver) return;
    if (isGood(result)) {
      end(result);
      return;
    }
    results.push(result);
    if (results.length === attempts.length) end(undefined);
    else if (begun < attempts.length) begin();
  };
  begin();
  return promise;
}
