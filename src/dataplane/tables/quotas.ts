// Quotas: what each client may have of flows, mappings and new flows a second, and whose flow goes first when room is needed.
// Flows of a client are in one of two lists: expendable (unanswered, or closed) and assured; the oldest expendable one of
// the greediest client goes first, then an idle one of its others. An established connection goes for its own client only.

import type { ClientLimits, ClientSettings } from "../settings.ts";
import type { Topology } from "../topology.ts";
import { type Client, type Flow, NO_FLOW } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import { FLOW_STATE } from "./flow-state.ts";
import type { FlowTable } from "./flows.ts";
import type { MappingTable } from "./mappings.ts";
import type { TcpTracker } from "./tcp.ts";
import type { FlowTimeouts } from "./timeouts.ts";
import { TokenBuckets } from "./token-buckets.ts";

const NONE = NO_FLOW;
/** Seconds without traffic after which a flow may be given up for a new one. */
const IDLE_SECONDS = 60;
/** Assured flows that one search for an idle one looks at. */
const SEARCH = 32;

export class Quotas {
  private limits: readonly ClientLimits[] = [];
  /** By client. */
  private flowCount = new Int32Array(0);
  private mappingCount = new Int32Array(0);
  private readonly rates = new TokenBuckets();

  /** Lists, by client * 2 + (assured ? 1 : 0): the oldest; by flow: those before and behind it in its list, which is circular. */
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

  /** Takes new settings, and counts anew: clients may have other numbers, flows other clients. */
  apply(topology: Topology, mappings: MappingTable): void {
    const clients = topology.settings.clients;
    this.setLimits(clients);
    this.flowCount = new Int32Array(clients.length);
    this.mappingCount = new Int32Array(clients.length);
    this.rates.reset(clients.length);
    this.heads = new Int32Array(clients.length * 2).fill(NONE);
    this.flows.forEachFlow((flow) => this.add(flow));
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
   * @returns VERDICT.FORWARDED, or the verdict that refuses it
   */
  take(client: Client, now: number): Verdict {
    const rate = this.limits[client].flowsPerSecond;
    return this.rates.take(client, rate, rate, now) ? VERDICT.FORWARDED : VERDICT.CLIENT_RATE;
  }

  /** @returns whether the client has all the flows that it may have */
  hasAllFlows(client: Client): boolean {
    return this.flowCount[client] >= this.limits[client].flows;
  }

  /** @returns whether the client has all the mappings that it may have */
  hasAllMappings(client: Client): boolean {
    return this.mappingCount[client] >= this.limits[client].mappings;
  }

  mapped(client: Client): void {
    this.mappingCount[client]++;
  }

  unmapped(client: Client): void {
    this.mappingCount[client]--;
  }

  /** Counts a filled-in flow, and enters it in its list. */
  add(flow: Flow): void {
    this.flowCount[this.flows.client(flow)]++;
    this.append(flow);
  }

  /** To be called when a flow's ASSURED bit has changed. */
  move(flow: Flow): void {
    this.unlink(flow);
    this.append(flow);
  }

  remove(flow: Flow): void {
    this.flowCount[this.flows.client(flow)]--;
    this.unlink(flow);
  }

  /** @returns the client with the most flows */
  greediest(): Client {
    let greediest = 0 as Client;
    for (let client = 1; client < this.flowCount.length; client++) {
      if (this.flowCount[client] > this.flowCount[greediest]) greediest = client as Client;
    }
    return greediest;
  }

  /**
   * The flow of a client that is to go for a new one.
   * @param forItself whether the new flow is the same client's: then an idle established connection may go too
   * @param second the clock
   * @returns it, or NO_FLOW when none may go
   */
  victim(client: Client, forItself: boolean, second: number): Flow {
    const expendable = this.heads[client * 2] as Flow;
    if (expendable !== NONE) return expendable;
    const assured = client * 2 + 1;
    for (let i = 0; i < SEARCH && this.heads[assured] !== NONE; i++) {
      const flow = this.heads[assured] as Flow;
      const last = this.flows.deadline(flow) - this.timeouts.of(flow);
      const may = forItself || !this.tcp.isEstablished(flow);
      if (may && second - last >= IDLE_SECONDS) return flow;
      this.heads[assured] = this.next[flow]; // the next search goes on behind it
    }
    return NO_FLOW;
  }

  private append(flow: Flow): void {
    const list = this.flows.client(flow) * 2 + (this.flows.hasState(flow, FLOW_STATE.ASSURED) ? 1 : 0);
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

  private unlink(flow: Flow): void {
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
