// Name servers' answers to clients whose rules have host names: control sees each before the client does, so that the rules
// know the addresses when the client's first packet to them comes. Held for a moment only: control answers, or time is up.
import { UDP } from "../../wire/udp.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../ring.ts";
import type { FlowTable } from "./flows.ts";

const SLOTS = 32;
const SLOT_LENGTH = VNET_LENGTH + RESERVED_LENGTH;
/** Longest delay of an answer: control needs a few ms, but on a busy machine it may have to wait for its turn. */
const PATIENCE_MS = 1000;

export class HeldAnswers {
  private readonly bytes = new Uint8Array(SLOTS * SLOT_LENGTH);
  /** By slot: number of the answer (0: free), egress interface, bytes, and when it was taken. */
  private readonly id = new Int32Array(SLOTS);
  private readonly iface = new Int32Array(SLOTS);
  private readonly length = new Int32Array(SLOTS);
  private readonly since = new Float64Array(SLOTS);
  /** The flow that it belongs to, and who its client is: a flow's number may come to name another flow. */
  private readonly flow = new Int32Array(SLOTS);
  private readonly source = new Int32Array(SLOTS);
  private readonly ports = new Int32Array(SLOTS);
  private last = 0;

  /**
   * @param show gets the number of an answer, the client's number, and the DNS message: a copy
   * @param admits says whether a flow may live on by the rules in force
   */
  constructor(
    private readonly ring: Ring,
    private readonly flows: FlowTable,
    private readonly show: (id: number, client: number, answer: Uint8Array) => void,
    private readonly admits: (flow: number) => boolean,
  ) {}

  /**
   * Takes a frame that is ready to be sent.
   * @param at, length the frame
   * @param transport offset of its UDP header
   * @param flow that it belongs to, from its side 1
   * @returns whether it is held; one that is not is to be sent now
   */
  hold(iface: number, at: number, length: number, transport: number, flow: number, now: number): boolean {
    const slot = this.id.indexOf(0);
    if (slot < 0 || length > RESERVED_LENGTH) return false;
    this.last = (this.last & 0x3fffffff) + 1;
    this.bytes.set(this.ring.bytes.subarray(at - VNET_LENGTH, at + length), slot * SLOT_LENGTH);
    this.id[slot] = this.last;
    this.iface[slot] = iface;
    this.length[slot] = length;
    this.since[slot] = now;
    this.flow[slot] = flow;
    this.source[slot] = this.flows.source(flow, 0);
    this.ports[slot] = this.flows.ports(flow, 0);
    const end = transport + this.ring.view.getUint16(transport + UDP.LENGTH);
    this.show(this.last, this.flows.client(flow), this.ring.bytes.slice(transport + UDP.HEADER_LENGTH, end));
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
    this.id[slot] = 0;
    if (!this.isWanted(slot)) return;
    const at = this.ring.reserve();
    const from = slot * SLOT_LENGTH;
    this.ring.bytes.set(this.bytes.subarray(from, from + VNET_LENGTH + this.length[slot]), at - VNET_LENGTH);
    this.ring.send(this.iface[slot], at, this.length[slot]);
  }

  /** An answer does not outlive its flow: rules may have changed since. */
  private isWanted(slot: number): boolean {
    const flow = this.flow[slot];
    if (!this.flows.used(flow) || this.flows.source(flow, 0) !== this.source[slot]) return false;
    return this.flows.ports(flow, 0) === this.ports[slot] && this.admits(flow);
  }
}
