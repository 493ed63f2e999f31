// Quotas: what each client may have of flows, mappings and new flows a second, and whose flow goes first when room is needed.
// Flows that clients open are theirs; those that come from the uplink are the forward's, and spend nothing of a client's. Of the
// greediest's flows the oldest expendable one goes first (unanswered, or closed), then an idle one. A connection that is open
// goes for those alone who have less than their part of the table.
import { destinationPort } from "../../wire/ports.ts";
import type { Parties } from "../parties.ts";
import type { MappingTable } from "../ports/mappings.ts";
import type { ClientSettings } from "../settings.ts";
import type { Topology } from "../topology.ts";
import { type Client, type Flow, type Group, NO_FLOW, type Party } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import { FLOW_STATE } from "./flow-state.ts";
import type { FlowTable } from "./flows.ts";
import { ASSURED, EXPENDABLE, NO_RECORD, type Rank, Shares } from "./shares.ts";
import type { TcpTracker } from "./tcp.ts";
import type { FlowTimeouts } from "./timeouts.ts";
import { TokenBuckets } from "./token-buckets.ts";

/** Seconds without traffic after which a flow may be given up for a new one. */
const IDLE_SECONDS = 60;
/** Assured flows that one search for an idle one looks at. */
const SEARCH = 32;
/** What of the table may be flows from the uplink that are not answered, or closed: one in so many, also when the table is full. */
const EMBRYONIC = 2;
const EMBRYONIC_WHEN_FULL = 64;

export class Quotas {
  /** By client: what each new flow is held against, and so not looked for in objects. */
  private mostFlows: Float64Array = new Float64Array(0);
  private mostMappings: Float64Array = new Float64Array(0);
  private perSecond: Float64Array = new Float64Array(0);
  /** By client: new flows a second that are kept for hosts who have not opened their part. */
  private kept: Float64Array = new Float64Array(0);
  private uplink = 0 as Group;
  private parties: Parties;
  /** New flows: by client's group, and by party. */
  private readonly rates = new TokenBuckets();
  private readonly hostRates = new TokenBuckets();
  private readonly shares: Shares;

  constructor(
    private readonly flows: FlowTable,
    private readonly mappings: MappingTable,
    private readonly tcp: TcpTracker,
    private readonly timeouts: FlowTimeouts,
    topology: Topology,
  ) {
    this.shares = new Shares(flows.capacity);
    this.parties = topology.parties;
    this.follow(topology);
  }

  /** Takes new settings. Flows stay whose they are, until `settle`. */
  follow(topology: Topology): void {
    const { parties, settings } = topology;
    this.parties = parties;
    this.setLimits(settings.clients);
    this.uplink = parties.group(parties.uplink);
    this.shares.follow(parties);
    this.rates.grow(parties.groups);
    this.hostRates.grow(parties.groupOf.length);
  }

  /** Counts a flow for whom it is by the settings in force, which its record follows already. @returns who that is */
  settle(flow: Flow, topology: Topology): Party {
    const party = this.opener(flow, topology);
    if (this.shares.partyOf(flow) !== party) {
      this.shares.remove(flow);
      this.add(flow, party);
    }
    return party;
  }

  /** New limits for the same clients. */
  setLimits(clients: readonly ClientSettings[]): void {
    this.mostFlows = Float64Array.from(clients, ({ limits }) => limits.flows);
    this.mostMappings = Float64Array.from(clients, ({ limits }) => limits.mappings);
    this.perSecond = Float64Array.from(clients, ({ limits }) => limits.flowsPerSecond);
    this.kept = this.perSecond.map((rate, client) =>
      this.parties.hosts(client as Client) > 1 ? Math.floor(rate / 2) : 0,
    );
  }

  /**
   * Whether a client's host may open a flow now; it is counted as one of this second's. Beside what a network may open at once, half as
   * much is kept for hosts that have not opened an equal part of that.
   * @param now ms
   * @returns VERDICT.FORWARDED, or the verdict that refuses it
   */
  take(client: Client, party: Party, now: number): Verdict {
    const rate = this.perSecond[client];
    const kept = this.kept[client];
    const group = this.parties.ofClient(client);
    if (this.rates.take(group, rate, rate + kept, now, kept)) return VERDICT.FORWARDED;
    if (kept === 0) return VERDICT.CLIENT_RATE;
    const part = rate / 2 / this.parties.hosts(client);
    const hasPart = this.hostRates.take(party, part, Math.max(part, 1), now);
    return hasPart && this.rates.take(group, rate, rate + kept, now) ? VERDICT.FORWARDED : VERDICT.CLIENT_RATE;
  }

  /** @returns whether the client has all the flows that it may have */
  hasAllFlows(client: Client): boolean {
    return this.shares.countOf(this.parties.ofClient(client)) >= this.mostFlows[client];
  }

  /**
   * @returns whether there are as many expendable flows from the uplink as there may be: few in a full table, so that a flood of SYNs
   * takes no more than that from those who have more than their part
   */
  hasAllEmbryonic(): boolean {
    const { size, capacity } = this.flows;
    return this.shares.expendableOf(this.uplink) >= capacity / (size < capacity ? EMBRYONIC : EMBRYONIC_WHEN_FULL);
  }

  /**
   * @returns whether a client's host has all the mappings that it may have: beside what a network may have, half as much is kept for hosts
   * that have not got an equal part of that
   */
  hasAllMappings(client: Client, party: Party): boolean {
    const most = this.mostMappings[client];
    const count = this.mappings.mappingsOf(this.parties.ofClient(client));
    if (count < most) return false;
    const hosts = this.parties.hosts(client);
    const kept = hosts > 1 ? most >> 1 : 0;
    return count >= most + kept || this.mappings.mappingsOfParty(party) >= Math.max(1, Math.floor(kept / hosts));
  }

  /** Counts a filled-in flow. @param party who has opened it */
  add(flow: Flow, party: Party): void {
    this.shares.add(flow, party, this.rank(flow));
  }

  /** To be called when a flow's ASSURED bit has changed. */
  move(flow: Flow): void {
    this.shares.move(flow, this.rank(flow));
  }

  remove(flow: Flow): void {
    this.shares.remove(flow);
  }

  /** @returns who has opened a flow */
  partyOf(flow: Flow): Party {
    return this.shares.partyOf(flow);
  }

  /** The flow that is to go for a new one of a party's, whoever's it is. @param second the clock @returns NO_FLOW if none may */
  victim(party: Party, second: number): Flow {
    return this.victimOfOrOwn(this.shares.greediest(party), party, second);
  }

  /** The same among the party's group: what it has is its quota. */
  victimBeside(party: Party, second: number): Flow {
    return this.victimOfOrOwn(this.shares.greediestBeside(party), party, second);
  }

  /** The flow of `owner`'s that is to go for something of `party`'s, or NO_FLOW. */
  victimOf(owner: Party, party: Party, second: number): Flow {
    const expendable = this.shares.oldest(owner, EXPENDABLE);
    if (expendable !== NO_RECORD) return expendable as Flow;
    if (owner === party) return this.idle(party, true, second);
    if (this.shares.isUnderPart(party, owner)) return this.mostIdle(owner);
    return this.idle(owner, false, second);
  }

  /** The expendable flow from the uplink that is to go for another, or NO_FLOW. */
  embryonicVictim(): Flow {
    return this.shares.oldest(this.shares.mostExpendable(this.uplink), EXPENDABLE) as Flow;
  }

  private victimOfOrOwn(owner: Party, party: Party, second: number): Flow {
    const victim = this.victimOf(owner, party, second);
    return victim === NO_FLOW && owner !== party ? this.victimOf(party, party, second) : victim;
  }

  /** @param established whether it may be an established connection */
  private idle(party: Party, established: boolean, second: number): Flow {
    for (let i = 0; i < SEARCH; i++) {
      const flow = this.shares.oldest(party, ASSURED) as Flow;
      if (flow === NO_FLOW) return NO_FLOW;
      if ((established || !this.tcp.isEstablished(flow)) && second - this.timeouts.lastUsed(flow) >= IDLE_SECONDS)
        return flow;
      this.shares.rotate(party, ASSURED); // the next search goes on behind it
    }
    return NO_FLOW;
  }

  /** Of the next assured ones the one without traffic for longest. */
  private mostIdle(party: Party): Flow {
    let most = NO_FLOW;
    for (let i = 0; i < SEARCH; i++) {
      const flow = this.shares.oldest(party, ASSURED) as Flow;
      if (flow === NO_FLOW) return NO_FLOW;
      if (most === NO_FLOW || this.timeouts.lastUsed(flow) < this.timeouts.lastUsed(most)) most = flow;
      this.shares.rotate(party, ASSURED);
    }
    return most;
  }

  private rank(flow: Flow): Rank {
    return this.flows.hasState(flow, FLOW_STATE.ASSURED) ? ASSURED : EXPENDABLE;
  }

  /** @returns who has opened a flow, by its record */
  private opener(flow: Flow, topology: Topology): Party {
    const { flows } = this;
    const { parties } = topology;
    if (!flows.hasState(flow, FLOW_STATE.INBOUND)) return topology.host(flows.client(flow), flows.source(flow, 0));
    const port = destinationPort(flows.ports(flow, 0));
    const forward = topology.forwardFor(flows.protocol(flow), flows.destination(flow, 0), port, flows.source(flow, 0));
    return forward < 0 ? parties.uplink : parties.forward(forward);
  }
}
