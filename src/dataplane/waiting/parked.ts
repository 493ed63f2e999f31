// Frames that wait: for a neighbour's MAC address, for the first fragment of their packet, or until control has seen them. Each
// of these has a store of its own: a fixed pool of slots, which all share fairly (shares.ts). A frame does not outlive its flow:
// once that has ended, its slot is as good as free.
import type { Parties } from "../parties.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../ring.ts";
import type { FlowTable } from "../tables/flows.ts";
import { EXPENDABLE, NO_RECORD, Shares } from "../tables/shares.ts";
import { type Flow, NO_FLOW, type Party } from "../types.ts";

/** A multiple of 4, since frames are copied in words. */
const SLOT_LENGTH = VNET_LENGTH + RESERVED_LENGTH;

const FREE = -1;
export const NO_SLOT = -1;

export class ParkedFrames {
  private readonly memory: DataView;
  /** By slot: its memory. */
  private readonly slots: readonly Uint8Array[];
  /** By slot: what it waits for, or FREE; its bytes; its flow, and that flow's birth; its turn. */
  private readonly keys: Int32Array;
  private readonly lengths: Int32Array;
  private readonly flowNumbers: Int32Array;
  private readonly births: Int32Array;
  private readonly turns: Float64Array;
  private lastTurn = 0;
  /** Slots whose key is not FREE. */
  private taken = 0;
  private readonly shares: Shares;

  /**
   * @param slots frames that can wait at a time
   * @param mostOfKey of them for one thing
   * @param evict takes a frame out that has to give way to another's: it frees the slot, at least
   */
  constructor(
    private readonly ring: Ring,
    private readonly flows: FlowTable,
    slots: number,
    private readonly mostOfKey: number,
    private readonly evict: (slot: number) => void,
  ) {
    this.shares = new Shares(slots);
    const memory = new ArrayBuffer(slots * SLOT_LENGTH);
    this.memory = new DataView(memory);
    this.slots = Array.from({ length: slots }, (_, i) => new Uint8Array(memory, i * SLOT_LENGTH, SLOT_LENGTH));
    this.keys = new Int32Array(slots).fill(FREE);
    this.lengths = new Int32Array(slots);
    this.flowNumbers = new Int32Array(slots);
    this.births = new Int32Array(slots);
    this.turns = new Float64Array(slots);
  }

  /** Takes the parties of new settings; frames stay whose they are. */
  follow(parties: Parties): void {
    this.shares.follow(parties);
  }

  /**
   * Copies a frame, with its virtio_net_hdr.
   * @param key what it waits for: 0 or more
   * @param party who pays for its slot
   * @param flow that it belongs to, or NO_FLOW
   * @returns its slot; NO_SLOT when as many wait for that as may, when all slots are taken and nobody has more of them than the
   * party, or when it is longer than a slot
   */
  park(key: number, party: Party, at: number, length: number, flow: Flow): number {
    if (length > RESERVED_LENGTH) return NO_SLOT;
    const slot = this.slotFor(key, party);
    if (slot === NO_SLOT) return NO_SLOT;
    this.copy(at - VNET_LENGTH, slot * SLOT_LENGTH, VNET_LENGTH + length);
    this.taken++;
    this.shares.add(slot, party, EXPENDABLE);
    this.keys[slot] = key;
    this.lengths[slot] = length;
    this.flowNumbers[slot] = flow;
    this.births[slot] = flow === NO_FLOW ? 0 : this.flows.birth(flow);
    this.turns[slot] = this.lastTurn++;
    return slot;
  }

  /** @returns the slot that has waited longest for something, or NO_SLOT */
  oldest(key: number): number {
    if (this.taken === 0) return NO_SLOT;
    let oldest = NO_SLOT;
    for (let i = 0; i < this.keys.length; i++) {
      if (this.keys[i] !== key || !this.isTaken(i)) continue;
      if (oldest === NO_SLOT || this.turns[i] < this.turns[oldest]) oldest = i;
    }
    return oldest;
  }

  /** @returns whether a slot holds a frame whose flow, if it has one, is there */
  isTaken(slot: number): boolean {
    if (this.keys[slot] === FREE) return false;
    const flow = this.flowNumbers[slot] as Flow;
    return flow === NO_FLOW || this.flows.isAlive(flow, this.births[slot]);
  }

  /** @returns bytes of a slot's frame */
  length(slot: number): number {
    return this.lengths[slot];
  }

  flow(slot: number): Flow {
    return this.flowNumbers[slot] as Flow;
  }

  /** Copies a slot's frame to where it can be sent from, and frees the slot. @returns the frame's offset */
  take(slot: number): number {
    const at = this.ring.reserve();
    this.ring.bytes.set(this.slots[slot], at - VNET_LENGTH); // a reserved frame has room for a whole slot
    this.free(slot);
    return at;
  }

  /** @returns what a slot's frame waits for */
  key(slot: number): number {
    return this.keys[slot];
  }

  /** Frees a slot that is not free. */
  free(slot: number): void {
    this.shares.remove(slot);
    this.forget(slot);
  }

  /** Drops the frames that wait for something. */
  drop(key: number): void {
    if (this.taken === 0) return;
    for (let i = 0; i < this.keys.length; i++) if (this.keys[i] === key) this.free(i);
  }

  /** Drops those that wait for what nobody waits for any more. */
  dropThose(isOver: (key: number) => boolean): void {
    if (this.taken === 0) return;
    for (let i = 0; i < this.keys.length; i++) if (this.keys[i] !== FREE && isOver(this.keys[i])) this.free(i);
  }

  /** Drops all frames. */
  clear(): void {
    for (let i = 0; i < this.keys.length; i++) if (this.keys[i] !== FREE) this.free(i);
  }

  private forget(slot: number): void {
    this.keys[slot] = FREE;
    this.taken--;
  }

  /** A free slot, for the sake of which somebody may have had to give way, or NO_SLOT. */
  private slotFor(key: number, party: Party): number {
    let slot = NO_SLOT;
    let waiting = 0;
    for (let i = 0; i < this.keys.length; i++) {
      if (this.keys[i] !== FREE && !this.isTaken(i)) this.free(i);
      if (this.keys[i] === FREE) slot = i;
      else if (this.keys[i] === key) waiting++;
    }
    if (waiting >= this.mostOfKey) return NO_SLOT;
    if (slot !== NO_SLOT) return slot;
    const victim = this.shares.victim(party);
    if (victim !== NO_RECORD) this.evict(victim);
    return victim;
  }

  /**
   * Copies from the ring in words, so up to three bytes more than asked for. `set` needs a view of just these bytes, an object for
   * each frame, which a thread that never leaves its loop does not get rid of in time. Of 1524 bytes it takes 2 µs where `set`
   * takes 0.3 and a loop over bytes 6.
   */
  private copy(from: number, to: number, length: number): void {
    const { memory } = this;
    const { view } = this.ring;
    for (let i = 0; i < length; i += 4) memory.setInt32(to + i, view.getInt32(from + i, true), true);
  }
}
