// When flows end: a wheel of one-second slots, each a doubly linked list of flow numbers. Traffic does not touch the
// wheel: it only moves the flow's own deadline, and a flow whose slot comes round too early is filed again.
import { type Flow, NO_FLOW } from "../types.ts";

/**
 * Slots: more seconds than the longest usual timeout, 2 h 4 min of an idle TCP connection (RFC 5382 REQ-5). What is due later is
 * filed under the last slot, and again when that comes round.
 */
const SLOTS = 8192;
const NONE = NO_FLOW;

export class TimerWheel {
  private readonly heads = new Int32Array(SLOTS).fill(NONE);
  /** The second up to which slots have been emptied. */
  private reached = 0;

  /**
   * @param words records of flows; two words of each are the wheel's, and 0 in a record that was never filed
   * @param stride words of a record
   * @param at where the wheel's words are in a record: link to the next, and to the one before
   */
  constructor(
    private readonly words: Int32Array,
    private readonly stride: number,
    private readonly at: number,
  ) {}

  /** Files a flow under its deadline, and takes it from where it was. @param second of the clock that `expire` gets */
  file(flow: Flow, second: number): void {
    this.remove(flow);
    const ahead = Math.min(Math.max(second - this.reached, 1), SLOTS - 1);
    const slot = (this.reached + ahead) % SLOTS;
    const head = this.heads[slot] as Flow;
    this.setNext(flow, head);
    this.setBefore(flow, headOf(slot));
    if (head !== NONE) this.setBefore(head, flow + 1);
    this.heads[slot] = flow;
  }

  remove(flow: Flow): void {
    const before = this.words[flow * this.stride + this.at + 1];
    if (before === 0) return;
    const next = this.words[flow * this.stride + this.at] as Flow;
    if (next !== NONE) this.setBefore(next, before);
    if (before > 0) this.setNext((before - 1) as Flow, next);
    else this.heads[headOf(before)] = next;
    this.setBefore(flow, 0);
  }

  /**
   * Takes a flow whose slot has come out of the wheel; the caller ends it or files it again. Call until NONE comes back, at
   * most as often as one batch can afford: what is left waits for the next one.
   * @param second the clock, in whole seconds
   * @returns a flow, or NO_FLOW
   */
  expire(second: number): Flow {
    // A clock that leapt over the whole wheel has passed every slot once; more turns would find nothing.
    if (second - this.reached > SLOTS) this.reached = second - SLOTS;
    for (; this.reached <= second; this.reached++) {
      const flow = this.heads[this.reached % SLOTS] as Flow;
      if (flow !== NONE) {
        this.remove(flow);
        return flow;
      }
      if (this.reached === second) return NONE;
    }
    return NONE;
  }

  private setNext(flow: Flow, next: number): void {
    this.words[flow * this.stride + this.at] = next;
  }

  /** @param before the flow before + 1, `headOf` a slot, or 0 of a flow that is not filed */
  private setBefore(flow: Flow, before: number): void {
    this.words[flow * this.stride + this.at + 1] = before;
  }
}

/** @returns what stands for a slot in place of the flow before its first one, and back */
function headOf(slot: number): number {
  return -1 - slot;
}
