// Name servers' answers to clients whose rules have host names: control sees each before the client does, so that the rules
// know the addresses when the client's first packet to them comes. Held for a moment only: control answers, or time is up.
import { UDP } from "../wire/udp.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "./ring.ts";

const SLOTS = 32;
const SLOT_LENGTH = VNET_LENGTH + RESERVED_LENGTH;
/** Longest delay of an answer. */
const PATIENCE_MS = 100;

export class HeldAnswers {
  private readonly bytes = new Uint8Array(SLOTS * SLOT_LENGTH);
  /** By slot: number of the answer (0: free), egress interface, bytes, and when it was taken. */
  private readonly id = new Int32Array(SLOTS);
  private readonly iface = new Int32Array(SLOTS);
  private readonly length = new Int32Array(SLOTS);
  private readonly since = new Float64Array(SLOTS);
  private last = 0;

  /** @param show gets the number of an answer, the client's number, and the DNS message: a copy */
  constructor(
    private readonly ring: Ring,
    private readonly show: (id: number, client: number, answer: Uint8Array) => void,
  ) {}

  /**
   * Takes a frame that is ready to be sent.
   * @param at, length the frame
   * @param transport offset of its UDP header
   * @returns whether it is held; one that is not is to be sent now
   */
  hold(iface: number, at: number, length: number, transport: number, client: number, now: number): boolean {
    const slot = this.id.indexOf(0);
    if (slot < 0 || length > RESERVED_LENGTH) return false;
    this.last = (this.last & 0x3fffffff) + 1;
    this.bytes.set(this.ring.bytes.subarray(at - VNET_LENGTH, at + length), slot * SLOT_LENGTH);
    this.id[slot] = this.last;
    this.iface[slot] = iface;
    this.length[slot] = length;
    this.since[slot] = now;
    const end = transport + this.ring.view.getUint16(transport + UDP.LENGTH);
    this.show(this.last, client, this.ring.bytes.slice(transport + UDP.HEADER_LENGTH, end));
    return true;
  }

  /** Sends an answer that control has seen. @param id as shown; one that is not held any more is passed over */
  release(id: number): void {
    const slot = this.id.indexOf(id);
    if (slot >= 0 && id !== 0) this.send(slot);
  }

  /** Sends what control did not look at in time. */
  expire(now: number): void {
    for (let slot = 0; slot < SLOTS; slot++) {
      if (this.id[slot] !== 0 && now - this.since[slot] >= PATIENCE_MS) this.send(slot);
    }
  }

  /** Lets go of all: interfaces are numbered anew. */
  clear(): void {
    this.id.fill(0);
  }

  private send(slot: number): void {
    const at = this.ring.reserve();
    const from = slot * SLOT_LENGTH;
    this.ring.bytes.set(this.bytes.subarray(from, from + VNET_LENGTH + this.length[slot]), at - VNET_LENGTH);
    this.ring.send(this.iface[slot], at, this.length[slot]);
    this.id[slot] = 0;
  }
}
