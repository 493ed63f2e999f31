// Time for what control does later: the machine's, or in tests a simulated one.

export interface Clock {
  /** ms, never going back. */
  now(): number;
  /** Unix time in seconds: it may be set. */
  unixTime(): number;
  /**
   * Calls back once.
   * @param delay ms
   * @returns what calls it off
   */
  after(delay: number, callback: () => void): () => void;
}

export const MACHINE_CLOCK: Clock = {
  now: () => performance.now(),
  unixTime: () => Date.now() / 1000,
  after(delay, callback) {
    const timer = setTimeout(callback, delay);
    return () => clearTimeout(timer);
  },
};
