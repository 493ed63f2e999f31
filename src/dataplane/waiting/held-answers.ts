// Name servers' answers to clients whose rules have host names: control sees each before the client does, so that the rules
// know the addresses when the client's first packet to them comes. Held for a moment only: control answers, or time is up.
import { UDP } from "../../wire/udp.ts";
import type { Parties } from "../parties.ts";
import type { Ring } from "../ring.ts";
import type { FlowTable } from "../tables/flows.ts";
import { type Client, column, type Flow, type Iface, type Party } from "../types.ts";
import { NO_SLOT, ParkedFrames } from "./parked.ts";

const SLOTS = 32;
/** Longest delay of an answer, in ms: control has to ask a name server itself, and a slow one takes seconds. */
export const LONGEST_HOLD = 3000;

export class HeldAnswers {
  /** Each waits for the number under which control was shown it. */
  private readonly answers: ParkedFrames;
  /** By slot: egress interface, and when it was taken. */
  private readonly iface = column<number, Iface>(new Int32Array(SLOTS));
  private readonly since = new Float64Array(SLOTS);
  private last = 0;

  /**
   * @param show gets the number of an answer, the client's number, and the DNS message: where it lies in the ring's memory until the
   * call returns
   * @param admits says whether a flow may live on by the rules in force
   */
  constructor(
    private readonly ring: Ring,
    private readonly flows: FlowTable,
    private readonly show: (id: number, client: Client, at: number, length: number) => void,
    private readonly admits: (flow: Flow) => boolean,
  ) {
    this.answers = new ParkedFrames(ring, flows, SLOTS, SLOTS, (slot) => this.send(slot));
  }

  /**
   * Takes a frame that is ready to be sent.
   * @param at, length the frame
   * @param transport offset of its UDP header
   * @param flow that it belongs to, from its side 1
   * @param party who opened it: where there are too many, one of the greediest party's is sent on before its time
   * @returns whether it is held; one that is not is to be sent now
   */
  hold(iface: Iface, at: number, length: number, transport: number, flow: Flow, party: Party, now: number): boolean {
    const id = (this.last & 0x3fffffff) + 1;
    const slot = this.answers.park(id, party, at, length, flow);
    if (slot === NO_SLOT) return false;
    this.last = id;
    this.iface[slot] = iface;
    this.since[slot] = now;
    const message = this.ring.view.getUint16(transport + UDP.LENGTH) - UDP.HEADER_LENGTH;
    this.show(id, this.flows.client(flow), transport + UDP.HEADER_LENGTH, message);
    return true;
  }

  /** Sends an answer that control has seen. @param id as shown; one that is not held any more is passed over */
  release(id: number): void {
    const slot = this.answers.oldest(id);
    if (slot !== NO_SLOT) this.send(slot);
  }

  /** Sends what control did not look at in time. */
  expire(now: number): void {
    for (let slot = 0; slot < SLOTS; slot++) {
      if (this.answers.isTaken(slot) && now - this.since[slot] >= LONGEST_HOLD) this.send(slot);
    }
  }

  /** Forgets all, for interfaces are numbered anew. */
  reset(parties: Parties): void {
    this.answers.clear();
    this.answers.follow(parties);
  }

  /** An answer does not outlive its flow: rules may have changed since. */
  private send(slot: number): void {
    if (!this.admits(this.answers.flow(slot))) {
      this.answers.free(slot);
      return;
    }
    const length = this.answers.length(slot);
    this.ring.send(this.iface[slot], this.answers.take(slot), length);
  }
}
