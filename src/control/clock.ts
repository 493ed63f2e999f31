// Time for what control does later: the machine's, or in tests a simulated one.

export interface Clock {
  /** ms, never going back. */
  now(): number;
  /**
   * Calls back once.
   * @param delay ms
   * @returns what calls it off
   */
  after(delay: number, callback: () => void): () => void;
}

export const MACHINE_CLOCK: Clock = {
  now: () => performance.now(),
  after(delay, callback) {
    const timer = setTimeout(callback, delay);
    return () => clearTimeout(timer);
  },
};
