// Fairness: what each client has of flows, mappings and new flows a second, and whose flow goes first when room is needed.
// Flows of a client are in one of two lists: expendable (unanswered, or closed) and assured; the oldest expendable one of
// the greediest client goes first, then an idle one of its others. An established connection goes for its own client only.

import type { ClientLimits, ClientSettings } from "../settings.ts";
import type { Topology } from "../topology.ts";
import { VERDICT } from "../verdict.ts";
import { FLOW, FLOW_STATE, FLOW_WORDS, type FlowTable, NO_FLOW } from "./flows.ts";
import type { MappingTable } from "./mappings.ts";
import type { TcpTracker } from "./tcp.ts";
import type { FlowTimeouts } from "./timeouts.ts";

const NONE = -1;
/** Seconds without traffic after which a flow may be given up for a new one. */
const IDLE_SECONDS = 60;
/** Assured flows that one search for an idle one looks at. */
const SEARCH = 32;

export class Shares {
  private limits: readonly ClientLimits[] = [];
  /** By client. */
  private flowCount = new Int32Array(0);
  private mappingCount = new Int32Array(0);
  private tokens = new Float64Array(0);
  private filled = new Float64Array(0);

  /** Lists, by client * 2 + (assured ? 1 : 0): the oldest; by flow: its neighbours in its list, which is circular. */
  private heads = new Int32Array(0);
  private readonly next: Int32Array;
  private readonly previous: Int32Array;

  constructor(
    private readonly flows: FlowTable,
    private readonly tcp: TcpTracker,
    private readonly timeouts: FlowTimeouts,
  ) {
    this.next = new Int32Array(flows.capacity);
    this.previous = new Int32Array(flows.capacity);
  }

  /** Takes new settings, and counts anew: clients may have other numbers, flows other clients. @param now ms */
  apply(topology: Topology, mappings: MappingTable, now: number): void {
    const clients = topology.settings.clients;
    this.setLimits(clients);
    this.flowCount = new Int32Array(clients.length);
    this.mappingCount = new Int32Array(clients.length);
    this.tokens = Float64Array.from(this.limits, ({ flowsPerSecond }) => flowsPerSecond);
    this.filled = new Float64Array(clients.length).fill(now);
    this.heads = new Int32Array(clients.length * 2).fill(NONE);
    for (let flow = 0; flow < this.flows.end; flow++) if (this.flows.used(flow)) this.add(flow);
    mappings.forEach((address) => {
      this.mappingCount[topology.clientOf(address)]++;
    });
  }

  /** New limits for the same clients. */
  setLimits(clients: readonly ClientSettings[]): void {
    this.limits = clients.map(({ limits }) => limits);
  }

  /**
   * Whether a client may open a flow now; it is counted as one of this second's.
   * @param now ms
   * @returns 0, or the verdict that refuses it
   */
  take(client: number, now: number): number {
    const rate = this.limits[client].flowsPerSecond;
    const tokens = Math.min(rate, this.tokens[client] + ((now - this.filled[client]) / 1000) * rate);
    this.filled[client] = now;
    this.tokens[client] = Math.max(tokens - 1, 0);
    return tokens >= 1 ? 0 : VERDICT.CLIENT_RATE;
  }

  /** @returns whether the client has all the flows that it may have */
  hasAllFlows(client: number): boolean {
    return this.flowCount[client] >= this.limits[client].flows;
  }

  /** @returns whether the client has all the mappings that it may have */
  hasAllMappings(client: number): boolean {
    return this.mappingCount[client] >= this.limits[client].mappings;
  }

  mapped(client: number): void {
    this.mappingCount[client]++;
  }

  unmapped(client: number): void {
    this.mappingCount[client]--;
  }

  /** Counts a filled-in flow, and enters it in its list. */
  add(flow: number): void {
    this.flowCount[this.flows.client(flow)]++;
    this.append(flow);
  }

  /** To be called when a flow's ASSURED bit has changed. */
  move(flow: number): void {
    this.unlink(flow);
    this.append(flow);
  }

  remove(flow: number): void {
    this.flowCount[this.flows.client(flow)]--;
    this.unlink(flow);
  }

  /** @returns the client with the most flows */
  greediest(): number {
    let greediest = 0;
    for (let client = 1; client < this.flowCount.length; client++) {
      if (this.flowCount[client] > this.flowCount[greediest]) greediest = client;
    }
    return greediest;
  }

  /**
   * The flow of a client that is to go for a new one.
   * @param forItself whether the new flow is the same client's: then an idle established connection may go too
   * @param second the clock
   * @returns its number, or NO_FLOW when none may go
   */
  victim(client: number, forItself: boolean, second: number): number {
    const expendable = this.heads[client * 2];
    if (expendable !== NONE) return expendable;
    const assured = client * 2 + 1;
    for (let i = 0; i < SEARCH && this.heads[assured] !== NONE; i++) {
      const flow = this.heads[assured];
      const last = this.flows.words[flow * FLOW_WORDS + FLOW.DEADLINE] - this.timeouts.of(flow);
      const may = forItself || !this.tcp.isEstablished(flow);
      if (may && second - last >= IDLE_SECONDS) return flow;
      this.heads[assured] = this.next[flow]; // the next search goes on behind it
    }
    return NO_FLOW;
  }

  private append(flow: number): void {
    const list = this.flows.client(flow) * 2 + (this.flows.has(flow, FLOW_STATE.ASSURED) ? 1 : 0);
    const head = this.heads[list];
    if (head === NONE) {
      this.heads[list] = flow;
      this.next[flow] = flow;
      this.previous[flow] = flow;
      return;
    }
    const last = this.previous[head];
    this.next[last] = flow;
    this.previous[flow] = last;
    this.next[flow] = head;
    this.previous[head] = flow;
  }

  private unlink(flow: number): void {
    const next = this.next[flow];
    const previous = this.previous[flow];
    this.next[previous] = next;
    this.previous[next] = previous;
    const expendable = this.flows.client(flow) * 2;
    for (let list = expendable; list <= expendable + 1; list++) {
      if (this.heads[list] === flow) this.heads[list] = next === flow ? NONE : next;
    }
  }
}
