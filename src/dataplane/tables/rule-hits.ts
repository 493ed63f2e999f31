// How often each rule has decided about a packet that would open a flow, and when last: in shared memory, which control reads. Clients and
// rules are those by number in the settings in force; what was counted under others stands, and control knows how much that was. What an
// open flow carries is no hit: no rule is asked about it.
import type { Client } from "../types.ts";

/** A power of two. Each rule that ever decided anything has one: rules beyond are not counted. */
const SLOTS = 8192;
const SLOT_BITS = 13;
/** Slots that are looked at for one rule. */
const PROBES = 32;

/** Bytes: a count and a time of each slot, float64, and its key, int32. */
const RULE_HITS_LENGTH = SLOTS * 20;

/** What is known of a rule. */
export interface Hit {
  readonly count: number;
  /** ms of the router's clock. */
  readonly last: number;
}

const NONE: Hit = { count: 0, last: 0 };

export class RuleHits {
  private readonly counts: Float64Array;
  private readonly times: Float64Array;
  private readonly keys: Int32Array;
  /** The rule that was counted last, and its slot. */
  private lastKey = 0;
  private lastSlot = 0;

  /** @param memory zero at first; one side counts, others read */
  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(RULE_HITS_LENGTH)) {
    this.counts = new Float64Array(memory, 0, SLOTS);
    this.times = new Float64Array(memory, SLOTS * 8, SLOTS);
    this.keys = new Int32Array(memory, SLOTS * 16, SLOTS);
  }

  /** @param rule the user's number, 0 for the policy @param now ms of the router's clock */
  note(client: Client, rule: number, now: number): void {
    const key = keyOf(client, rule);
    if (key === this.lastKey) {
      this.counts[this.lastSlot]++;
      this.times[this.lastSlot] = now;
    } else {
      this.noteAnother(key, now);
    }
  }

  private noteAnother(key: number, now: number): void {
    const slot = this.find(key);
    if (slot < 0) return;
    this.counts[slot]++;
    this.times[slot] = now;
    this.keys[slot] = key;
    this.lastKey = key;
    this.lastSlot = slot;
  }

  /** @returns what has been counted so far; a count and a time may be of two hits that come one after the other */
  read(client: number, rule: number): Hit {
    const slot = this.find(keyOf(client, rule));
    return slot < 0 || this.keys[slot] === 0 ? NONE : { count: this.counts[slot], last: this.times[slot] };
  }

  /** @returns the rule's slot, or a free one for it, or -1 */
  private find(key: number): number {
    const { keys } = this;
    for (let i = 0, slot = Math.imul(key, 0x9e3779b1) >>> (32 - SLOT_BITS); i < PROBES; i++) {
      if (keys[slot] === key || keys[slot] === 0) return slot;
      slot = (slot + 1) & (SLOTS - 1);
    }
    return -1;
  }
}

/** Never 0, which is a free slot's. */
function keyOf(client: number, rule: number): number {
  return (((client & 0x7fff) << 16) | rule) + 1;
}
