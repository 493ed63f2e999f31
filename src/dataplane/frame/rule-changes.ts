// Changed rules and settings, and the flows there are: a flow judged by older ones is judged again before its next packet
// passes, so no packet is judged by a mix; and a sweep over the table, a little at a time, ends those that have no next packet.
//
// What a flow was judged by, a generation says, of its client's number. New rules begin another for one client. Settings in which clients
// may have other numbers begin another for every number: so no flow is taken for another client's, though its record has the old number
// until it is judged. There are few generations, and one that no flow may have any more has to be found by a whole sweep: who
// wants to change something asks first whether that may be now.

import { PROTOCOL } from "../../wire/ipv4.ts";
import { isSameRuleset, type Ruleset } from "../rules/ruleset.ts";
import type { Settings } from "../settings.ts";
import { GENERATIONS } from "../tables/flow-state.ts";
import type { FlowTable } from "../tables/flows.ts";
import { type Client, column, type Flow } from "../types.ts";
import type { Answers } from "./answers.ts";
import { readmit, rejudge } from "./readmission.ts";
import type { State } from "./state.ts";

/** Clients that a flow's CLIENT_RULE can number. Of the tables only what is used takes memory. */
const MOST_CLIENTS = 1 << 16;

export class RuleChanges {
  private readonly flows: FlowTable;
  /** By client's number: the generation of its rules, and how many there have been since the last whole sweep. */
  private readonly generation = column<Client>(new Uint8Array(MOST_CLIENTS));
  private readonly unswept = column<Client>(new Uint8Array(MOST_CLIENTS));
  /** Numbers that clients have ever had. */
  private clients: number;
  /** Of the number that has had most. */
  private mostUnswept = 0;
  /**
   * The sweep goes round the table. How far it has come: rounds times the table's capacity, and the next record; and where it
   * will have seen all flows that were judged before the last change, or before the last settings that are not only rules.
   */
  private position = 0;
  private goal = 0;
  private settingsGoal = 0;

  constructor(
    private readonly state: State,
    private readonly answers: Answers,
  ) {
    this.flows = state.flows;
    this.clients = state.topology.settings.clients.length;
  }

  /** Whether a sweep is under way: it wants to go on even without traffic. */
  get isSweeping(): boolean {
    return this.position < this.goal;
  }

  /** Whether there may be flows that were judged by settings before those in force, not by other rules alone. */
  get isFollowing(): boolean {
    return this.position < this.settingsGoal;
  }

  /** Whether a client may get new rules now; else once there has been a whole sweep. */
  mayChange(client: Client): boolean {
    return this.unswept[client] < GENERATIONS - 1;
  }

  /** The same of all clients. */
  mayChangeAll(): boolean {
    return this.mostUnswept < GENERATIONS - 1;
  }

  /** The state has followed settings of any kind: each flow is judged by all that they say. */
  follow(): void {
    this.clients = Math.max(this.clients, this.state.topology.settings.clients.length);
    for (let client = 0 as Client; client < this.clients; client++) this.begin(client);
    this.settingsGoal = this.goal;
  }

  /** Puts settings in force that have the same layout as those before. */
  replaceRules(settings: Settings): void {
    const before = this.state.topology.settings.clients;
    this.state.replaceRules(settings);
    for (const [client, { ruleset }] of settings.clients.entries()) {
      if (!isSameRuleset(ruleset, before[client].ruleset)) this.begin(client as Client);
    }
  }

  /** Gives one client new rules: all that is looked at is that client's. */
  setRules(client: Client, ruleset: Ruleset): void {
    this.state.topology.setRules(client, ruleset);
    this.begin(client);
  }

  /** As `setRules`, of rules that rules/packed.ts has written. */
  takeRules(client: Client, packed: Int32Array<ArrayBufferLike>, at: number): void {
    this.state.topology.takeRules(client, packed, at);
    this.begin(client);
  }

  /** Notes that a flow was judged by the rules in force. */
  stamp(flow: Flow): void {
    this.flows.setGeneration(flow, this.generation[this.flows.client(flow)]);
  }

  /** @returns whether a flow was judged by the rules in force */
  isJudged(flow: Flow): boolean {
    return this.flows.generation(flow) === this.generation[this.flows.client(flow)];
  }

  /** @returns whether a flow may live on by the rules in force; if not, it is ended, and its client told where it is what it was */
  admits(flow: Flow): boolean {
    if (this.isJudged(flow)) return true;
    if (this.isFollowing) return this.admitsAnew(flow);
    if (rejudge(this.state, flow)) {
      this.stamp(flow);
      return true;
    }
    this.cut(flow);
    return false;
  }

  /** Ends a flow that may not live on, judged by the settings in force but for rules, and tells its client. */
  cut(flow: Flow): void {
    if (this.flows.protocol(flow) === PROTOCOL.TCP) this.answers.cut(flow, 0);
    this.state.endRefused(flow);
  }

  private admitsAnew(flow: Flow): boolean {
    if (!readmit(this.state, flow)) {
      this.state.endRefused(flow);
      return false;
    }
    this.stamp(flow); // first: what follows may send frames that have waited, and ask of this flow
    this.state.settle(flow);
    return true;
  }

  /** Looks at the next flows. @param count records, at most */
  sweep(count: number): void {
    const { flows } = this;
    const { capacity } = flows;
    for (let i = 0; i < count && this.isSweeping; i++) {
      const flow = (this.position % capacity) as Flow;
      if (flow >= flows.end) {
        this.position += capacity - flow; // the rest was never used
        continue;
      }
      if (flows.isUsed(flow)) this.admits(flow);
      this.position++; // not before: the last one too is judged by all that settings say
    }
    if (this.isSweeping) return;
    // A whole sweep leaves no flow that was judged by rules from before.
    for (let client = 0 as Client; client < this.clients; client++) this.unswept[client] = 0;
    this.mostUnswept = 0;
  }

  /** Begins another generation of a client's number. */
  private begin(client: Client): void {
    if (!this.mayChange(client)) throw new Error("a client's rules change before all flows were looked at");
    this.mostUnswept = Math.max(this.mostUnswept, ++this.unswept[client]);
    this.generation[client] = (this.generation[client] + 1) % GENERATIONS;
    this.goal = this.position + this.flows.capacity;
  }
}
