// Changed rules and the flows there are: a flow judged by older rules of its client is judged again before its next packet
// passes, so no packet is judged by a mix; and a sweep over the table, a slice a batch, ends those that have no next packet.

import { PROTOCOL } from "../../wire/ipv4.ts";
import { isSameRuleset } from "../rules/ruleset.ts";
import type { ClientSettings, Settings } from "../settings.ts";
import { GENERATIONS } from "../tables/flow-state.ts";
import type { FlowTable } from "../tables/flows.ts";
import { type Client, column, type Flow } from "../types.ts";
import type { Answers } from "./answers.ts";
import { rejudge } from "./readmission.ts";
import type { State } from "./state.ts";

/** Records that one batch looks at. */
const SLICE = 512;
/** Clients that a flow's CLIENT_RULE can number. Of the tables only what is used takes memory. */
const MOST_CLIENTS = 1 << 16;

export class RuleChanges {
  private readonly flows: FlowTable;
  /** By client: the generation of its rules, and how many there have been since the last whole sweep. */
  private readonly generation = column<Client>(new Uint8Array(MOST_CLIENTS));
  private readonly unswept = column<Client>(new Uint8Array(MOST_CLIENTS));
  private clients = 0;
  /** The sweep: the next record, and where it ends; flows beyond that are younger than it. */
  private cursor = 0 as Flow;
  private end = 0;

  constructor(
    private readonly state: State,
    private readonly answers: Answers,
  ) {
    this.flows = state.flows;
    this.restart();
  }

  /** Whether a sweep is under way: it wants to go on even without traffic. */
  get isSweeping(): boolean {
    return this.cursor < this.end;
  }

  /** All flows have been judged by the settings in force, by other means; clients may be others. */
  restart(): void {
    this.clients = Math.max(this.clients, this.state.topology.settings.clients.length);
    for (let client = 0 as Client; client < this.clients; client++) this.generation[client] = 0;
    this.end = 0;
    this.swept();
    this.flows.forEachFlow((flow) => this.flows.setGeneration(flow, 0));
  }

  /** Puts settings in force that have the same layout as those before. */
  replaceRules(settings: Settings): void {
    const before = this.state.topology.settings.clients;
    this.state.replaceRules(settings);
    for (const [client, { ruleset }] of settings.clients.entries()) {
      if (!isSameRuleset(ruleset, before[client].ruleset)) this.changed(client as Client);
    }
  }

  /** Gives one client new rules: all that is looked at is that client's. */
  setClient(client: Client, settings: ClientSettings): void {
    const { topology } = this.state;
    this.state.replaceRules({ ...topology.settings, clients: topology.settings.clients.with(client, settings) });
    this.changed(client);
  }

  /** Notes that a flow was judged by the rules in force. */
  stamp(flow: Flow): void {
    this.flows.setGeneration(flow, this.generation[this.flows.client(flow)]);
  }

  /** @returns whether a flow was judged by the rules in force */
  isJudged(flow: Flow): boolean {
    return this.flows.generation(flow) === this.generation[this.flows.client(flow)];
  }

  /** @returns whether a flow may live on by the rules in force; if not, it is ended, and its client told */
  admits(flow: Flow): boolean {
    if (this.isJudged(flow)) return true;
    if (rejudge(this.state, flow)) {
      this.stamp(flow);
      return true;
    }
    this.cut(flow);
    return false;
  }

  /** Looks at the next flows. */
  sweep(): void {
    if (!this.isSweeping) return;
    for (const stop = Math.min(this.cursor + SLICE, this.end); this.cursor < stop; this.cursor++) {
      if (this.flows.isUsed(this.cursor)) this.admits(this.cursor);
    }
    this.swept();
  }

  /** A whole sweep leaves no flow that was judged by rules from before. */
  private swept(): void {
    if (this.isSweeping) return;
    for (let client = 0 as Client; client < this.clients; client++) this.unswept[client] = 0;
  }

  private changed(client: Client): void {
    // A flow must not be taken for current because the generations have come round.
    if (this.unswept[client] === GENERATIONS - 1) {
      do this.sweep();
      while (this.isSweeping);
    }
    this.unswept[client]++;
    this.generation[client] = (this.generation[client] + 1) % GENERATIONS;
    this.cursor = 0 as Flow;
    this.end = this.flows.end;
    this.swept();
    this.state.neighbours.forEachWaiting((flow) => this.admits(flow)); // they leave without another look
  }

  /** Ends a flow that may not live on, and tells its client. */
  cut(flow: Flow): void {
    if (this.flows.protocol(flow) === PROTOCOL.TCP) this.answers.cut(flow, 0);
    this.state.endRefused(flow);
  }
}
