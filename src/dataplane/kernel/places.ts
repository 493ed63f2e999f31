// Which flows have a place in the kernel path's table. There are fewer places than flows where memory is small, and every open flow
// wants one. While there is room, it gets one; then the greediest party gives way to who has less, and a flow that has had no
// traffic for some seconds to another one of its own party's. So nobody keeps others from the kernel path, nor do flows hardly used.
import type { Parties } from "../parties.ts";
import { EXPENDABLE, Shares } from "../tables/shares.ts";
import type { FlowTimeouts } from "../tables/timeouts.ts";
import { TokenBuckets } from "../tables/token-buckets.ts";
import { type Flow, NO_FLOW, type Party } from "../types.ts";

export const NO_PLACE = -1;

/** Seconds without traffic after which a flow gives way to others of its party. */
const IDLE_SECONDS = 3;
/** A party's flows that one search looks at, from the one on that has had its place longest. */
const SEARCH = 8;
/** Searches a second for one party. Each may take a place from a flow, whose next frame asks for another. */
const SEARCHES = 64;
/** A party, or a group, gives way to those that have so many places less: with one, they would take a place from each other for ever. */
const LEAD = 2;

export class Places {
  private readonly shares: Shares;
  /** By flow: place + 1, or 0; and the other way round. */
  private readonly placeOf: Int32Array;
  private readonly flowOf: Int32Array;
  /** Places that were given back, as a stack, and how many; and the first that never had a flow. */
  private readonly free: Int32Array;
  private freed = 0;
  private reached = 0;
  private readonly searches = new TokenBuckets();

  /**
   * @param count how many there are
   * @param flows capacity of the flow table
   */
  constructor(
    private readonly count: number,
    flows: number,
    private readonly timeouts: Pick<FlowTimeouts, "lastUsed">,
  ) {
    this.shares = new Shares(count);
    this.placeOf = new Int32Array(flows);
    this.flowOf = new Int32Array(count);
    this.free = new Int32Array(count);
  }

  /** Takes the parties of new settings; flows keep their places. */
  follow(parties: Parties): void {
    this.shares.follow(parties);
    this.searches.grow(parties.groupOf.length);
  }

  /** @returns a flow's place, or NO_PLACE */
  of(flow: Flow): number {
    return this.placeOf[flow] - 1;
  }

  get isFull(): boolean {
    return this.freed === 0 && this.reached === this.count;
  }

  /** @param flow that has none, where there is room @returns its place */
  give(flow: Flow, party: Party): number {
    const place = this.freed > 0 ? this.free[--this.freed] : this.reached++;
    this.placeOf[flow] = place + 1;
    this.flowOf[place] = flow;
    this.shares.add(place, party, EXPENDABLE);
    return place;
  }

  /** A flow that has a place is a party's: it may have been another's. */
  own(flow: Flow, party: Party): void {
    const place = this.of(flow);
    if (this.shares.partyOf(place) === party) return;
    this.shares.remove(place);
    this.shares.add(place, party, EXPENDABLE);
  }

  giveBack(flow: Flow): void {
    const place = this.of(flow);
    this.placeOf[flow] = 0;
    this.shares.remove(place);
    this.free[this.freed++] = place;
  }

  /**
   * The flow that has to give up its place for one of a party's.
   * @param now ms of the clock, and its second
   * @returns NO_FLOW if none has to
   */
  victim(party: Party, now: number, second: number): Flow {
    if (!this.searches.take(party, SEARCHES, SEARCHES, now)) return NO_FLOW;
    const greediest = this.shares.greediest(party);
    if (this.isAhead(greediest, party)) return this.mostIdle(greediest);
    const own = this.mostIdle(party);
    return own !== NO_FLOW && this.isIdle(own, second) ? own : NO_FLOW;
  }

  /** Whether the flow at a place has to give way where there is no room for both it and one of a party's. */
  yields(place: number, party: Party, second: number): boolean {
    const owner = this.shares.partyOf(place);
    return this.isAhead(owner, party) || (owner === party && this.isIdle(this.flowOf[place] as Flow, second));
  }

  private isAhead(one: Party, other: Party): boolean {
    return this.shares.lead(one, other) >= LEAD;
  }

  /** Of a party's next flows the one without traffic for longest. */
  private mostIdle(party: Party): Flow {
    let most = NO_FLOW;
    for (let i = 0; i < SEARCH; i++) {
      const place = this.shares.oldest(party, EXPENDABLE);
      if (place < 0) return NO_FLOW;
      const flow = this.flowOf[place] as Flow;
      if (most === NO_FLOW || this.timeouts.lastUsed(flow) < this.timeouts.lastUsed(most)) most = flow;
      this.shares.rotate(party, EXPENDABLE); // the next search goes on behind it
    }
    return most;
  }

  private isIdle(flow: Flow, second: number): boolean {
    return second - this.timeouts.lastUsed(flow) >= IDLE_SECONDS;
  }
}
