// The external ports of one protocol: which are free, which have a mapping that lingers and may go, and which one a new mapping gets.
// Who takes ports and lets them go can't foretell the next one (RFC 6056): it is drawn from all that may go, and there are always many
// of these, since the last are kept for clients who have few. None of it takes longer the fuller it is.
import type { RandomPool } from "../random.ts";
import { highOf, type Kin, kinOf, markPorts, otherParity, PORT_WORDS, PortSet } from "./port-set.ts";

/** No port. */
export const NO_PORT = -1;

/** What part of the ports must be left to draw from: below that, others may go too that had rather been spared. */
const ENOUGH = 8;
/** What part of the ports is kept for clients who have less than their part of it. */
const KEPT = 4;

/** Of a kin's range: its own parity, or both. */
type Parities = typeof ONE | typeof BOTH;
const ONE = 1;
const BOTH = 2;
const LOW = kinOf(0);
const HIGH = highOf(LOW);

/** External ports of one protocol, both ends included. */
export interface PortRange {
  readonly protocol: number;
  readonly portLow: number;
  readonly portHigh: number;
}

export class PortPool {
  private readonly closed = new Int32Array(PORT_WORDS);
  /** All that is not closed, and no more: only its counts are used. */
  private readonly open = new PortSet(this.closed, true);
  private readonly free = new PortSet(this.closed, true);
  private readonly lingering = new PortSet(this.closed, false);
  /** How many ports are kept for clients who have less than their share of these. */
  private kept = 0;

  constructor(private readonly random: RandomPool) {
    this.close([]);
  }

  /** No new mapping gets a port of these ranges, nor port 0. A mapping that has one keeps it. */
  close(ranges: readonly Omit<PortRange, "protocol">[]): void {
    this.closed.fill(0);
    markPorts(this.closed, 0, 0);
    for (const { portLow, portHigh } of ranges) markPorts(this.closed, portLow, portHigh);
    for (const set of [this.open, this.free, this.lingering]) set.recount();
    this.kept = Math.floor(this.open.size / KEPT);
  }

  // A port is free, used, or lingers. From one to the other:

  use(port: number): void {
    this.free.remove(port);
  }

  linger(port: number): void {
    this.lingering.add(port);
  }

  unlinger(port: number): void {
    this.lingering.remove(port);
  }

  release(port: number): void {
    this.free.add(port);
  }

  /** @returns how many ports each of so many clients can always have, whatever the others have */
  share(clients: number): number {
    return Math.floor(this.kept / Math.max(1, clients));
  }

  /** @returns whether no more ports may go than those that are kept for clients who have less than their `share` */
  get isShort(): boolean {
    return this.free.size + this.lingering.size <= this.kept;
  }

  /**
   * The port of a new mapping: the client's own where that is free. Else it is drawn from those of its range and parity; if too few of
   * these may go, from its range; if too few of those, from 1024 on (RFC 4787 REQ-3a, REQ-4; RFC 7857 section 9).
   * @returns one that is free, or lingers; NO_PORT when there is none
   */
  choose(port: number): number {
    if (this.free.has(port)) return port;
    const kin = kinOf(port);
    const high = highOf(kin);
    if (this.hasEnough(kin, ONE)) return this.draw(kin, ONE);
    if (this.hasEnough(kin, BOTH)) return this.draw(kin, BOTH);
    if (this.hasEnough(high, ONE)) return this.draw(high, ONE);
    const isInRange = !this.hasEnough(high, BOTH) && this.mayGo(kin, BOTH) > this.mayGo(high, BOTH);
    return this.draw(isInRange ? kin : high, BOTH);
  }

  /** @returns any that lingers, or NO_PORT */
  anyLingering(): number {
    if (this.lingering.size === 0) return NO_PORT;
    const low = countOf(this.lingering, LOW, BOTH);
    const rank = this.random.below(this.lingering.size);
    return rank < low ? drawOf(this.lingering, LOW, rank) : drawOf(this.lingering, HIGH, rank - low);
  }

  private hasEnough(kin: Kin, parities: Parities): boolean {
    const count = this.mayGo(kin, parities);
    return count > 0 && count * ENOUGH >= countOf(this.open, kin, parities);
  }

  private mayGo(kin: Kin, parities: Parities): number {
    return countOf(this.free, kin, parities) + countOf(this.lingering, kin, parities);
  }

  /** Any that is free; where too few are, any that may go, since who knows which are free would know the next one. */
  private draw(kin: Kin, parities: Parities): number {
    const free = countOf(this.free, kin, parities);
    const isEnough = free > 0 && free * ENOUGH >= countOf(this.open, kin, parities);
    const drawable = isEnough ? free : this.mayGo(kin, parities);
    if (drawable === 0) return NO_PORT;
    const rank = this.random.below(drawable);
    return rank < free ? drawOf(this.free, kin, rank) : drawOf(this.lingering, kin, rank - free);
  }
}

/** @returns how many members a set has of a kin, or of both parities of its range */
function countOf(set: PortSet, kin: Kin, parities: Parities): number {
  return set.count(kin) + (parities === BOTH ? set.count(otherParity(kin)) : 0);
}

/** @param rank among those of the kin, and of the other parity behind them */
function drawOf(set: PortSet, kin: Kin, rank: number): number {
  const count = set.count(kin);
  return rank < count ? set.draw(kin, rank) : set.draw(otherParity(kin), rank - count);
}
