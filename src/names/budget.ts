// How much somebody may cause: so much at once, and so much a second in the long run.

export class Budget {
  /** What of it is under way. */
  underWay = 0;
  private left: number;

  /** @param now ms */
  constructor(
    private readonly burst: number,
    private readonly aSecond: number,
    private now: number,
  ) {
    this.left = burst;
  }

  /** @param now ms @returns whether there was as much; nothing is taken if not */
  take(amount: number, now: number): boolean {
    this.left = Math.min(this.burst, this.left + ((now - this.now) / 1000) * this.aSecond);
    this.now = now;
    if (amount > this.left) return false;
    this.left -= amount;
    return true;
  }
}
