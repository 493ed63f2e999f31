// When flows end: a wheel of one-second slots, each a doubly linked list of flow numbers. Traffic does not touch the
// wheel: it only moves the flow's own deadline, and a flow whose slot comes round too early is filed again.

/** Slots: more seconds than the longest timeout, 2 h 4 min of an idle TCP connection (RFC 5382 REQ-5). */
const SLOTS = 8192;
const NONE = -1;

export class TimerWheel {
  private readonly heads = new Int32Array(SLOTS).fill(NONE);
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  /** Slot of each filed flow, NONE for others. */
  private readonly slot: Int32Array;
  /** The second up to which slots have been emptied. */
  private reached = 0;

  /** @param capacity flow numbers go from 0 to capacity - 1 */
  constructor(capacity: number) {
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.slot = new Int32Array(capacity).fill(NONE);
  }

  /** Files a flow under its deadline, and takes it from where it was. @param second of the clock that `expire` gets */
  file(flow: number, second: number): void {
    this.remove(flow);
    const ahead = Math.min(Math.max(second - this.reached, 1), SLOTS - 1);
    const slot = (this.reached + ahead) % SLOTS;
    const head = this.heads[slot];
    this.slot[flow] = slot;
    this.next[flow] = head;
    this.previous[flow] = NONE;
    if (head !== NONE) this.previous[head] = flow;
    this.heads[slot] = flow;
  }

  remove(flow: number): void {
    const slot = this.slot[flow];
    if (slot === NONE) return;
    const next = this.next[flow];
    const previous = this.previous[flow];
    if (next !== NONE) this.previous[next] = previous;
    if (previous !== NONE) this.next[previous] = next;
    else this.heads[slot] = next;
    this.slot[flow] = NONE;
  }

  /**
   * Takes a flow whose slot has come out of the wheel; the caller ends it or files it again. Call until NONE comes back, at
   * most as often as one breath can afford: what is left waits for the next breath.
   * @param second the clock, in whole seconds
   * @returns a flow number, or -1
   */
  expire(second: number): number {
    // A clock that leapt over the whole wheel has passed every slot once; more turns would find nothing.
    if (second - this.reached > SLOTS) this.reached = second - SLOTS;
    for (; this.reached <= second; this.reached++) {
      const flow = this.heads[this.reached % SLOTS];
      if (flow !== NONE) {
        this.remove(flow);
        return flow;
      }
      if (this.reached === second) return NONE;
    }
    return NONE;
  }
}
