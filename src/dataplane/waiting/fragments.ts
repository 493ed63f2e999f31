// Fragments of packets (RFC 791 section 3.2, RFC 8200 section 4.5), forwarded one by one: only the first says which flow they belong to, so
// later ones that come before it are held. Bounded in memory and in time, and shared fairly by senders; overlapping fragments
// condemn their packet (RFC 5722's reasoning: nobody sends them but to slip something past a firewall).
import { type Address, FRAGMENT_OFFSET, MORE_FRAGMENTS } from "../../wire/ipv4.ts";
import { type AddressBook, isIpv6, type Number6 } from "../address-book.ts";
import type { Packet } from "../packet.ts";
import type { Parties } from "../parties.ts";
import type { Ring } from "../ring.ts";
import type { FlowTable } from "../tables/flows.ts";
import { ASSURED, EXPENDABLE, NO_RECORD, Shares } from "../tables/shares.ts";
import { type Flow, type FlowSide, flowOf, flowSide, NO_FLOW, NO_FLOW_SIDE, type Party, type Side } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import { NO_SLOT, ParkedFrames } from "./parked.ts";

/** Fragmented packets that are followed at a time. */
const PACKETS = 128;
/** Fragments that are held at a time. 44 are a packet of 65535 bytes in fragments of 1500, all but the first. */
const HELD = 160;
/** A packet's fragments come together, or never (RFC 1122 section 3.3.2 would wait longer, but as its receiver). */
const LIFE_MS = 15_000;
/**
 * How long one whose first fragment has passed is spared when another needs its place. The others follow at once, or were lost: then it
 * must not keep its place from those that come in another order.
 */
const SPARED_MS = 1000;

/** 8-byte blocks of the largest packet, one bit each. */
const BITMAP_WORDS = 8192 / 32;

declare const brand: unique symbol;
/** The number of a fragmented packet that is followed. */
export type Fragmented = number & { readonly [brand]: "Fragmented" };
/** A packet that is none. */
export const NOT_FRAGMENTED = -1 as Fragmented;

/** What is known of a packet. */
const UNUSED = 0;
const WAITING = 1;
const KNOWN = 2;
const CONDEMNED = 3;
const ANSWERED = 4;

export class Fragments {
  private readonly state = new Uint8Array(PACKETS);
  /** Which packet: interface, addresses, and Packet.identification (RFC 791's four, RFC 8200's three, and where it came in). */
  private readonly iface = new Int32Array(PACKETS);
  private readonly source = new Int32Array(PACKETS);
  private readonly destination = new Int32Array(PACKETS);
  private readonly name = new Int32Array(PACKETS);
  private readonly born = new Float64Array(PACKETS);
  /** Its flow and side, and the flow's birth. */
  private readonly flowSide = new Int32Array(PACKETS);
  private readonly birth = new Int32Array(PACKETS);
  /** TCP: the sequence number of the payload's first byte, less how far behind the packet's first byte that is. */
  private readonly sequence = new Int32Array(PACKETS);
  /** The blocks seen, how many, where the last of them ends, and how many there will be (0: the last fragment has not come). */
  private readonly seen = new Int32Array(PACKETS * BITMAP_WORDS);
  private readonly blocks = new Int32Array(PACKETS);
  private readonly reach = new Int32Array(PACKETS);
  private readonly end = new Int32Array(PACKETS);
  /** Whose they are; assured is one whose first fragment has passed, for SPARED_MS. */
  private readonly shares = new Shares(PACKETS);

  /** Fragments that wait for the first one of their packet, whose number they wait for. */
  readonly held: ParkedFrames;

  constructor(
    ring: Ring,
    private readonly flows: FlowTable,
    private readonly book: AddressBook,
  ) {
    this.held = new ParkedFrames(ring, flows, HELD, HELD, (slot) => this.condemn(this.held.key(slot) as Fragmented));
  }

  /**
   * The packet that the fragment in hand is of; one not known yet is followed from now on.
   * @param party its sender
   * @param now ms
   */
  packetOf(packet: Packet, party: Party, now: number): Fragmented {
    const p = this.find(packet, packet.identification, now);
    return p === NOT_FRAGMENTED ? this.follow(packet, packet.identification, party, now) : p;
  }

  /**
   * Marks the blocks of the fragment in hand as seen.
   * @returns VERDICT.FORWARDED, or the verdict on one that says anything twice, or is of a packet that is condemned
   */
  mark(p: Fragmented, packet: Packet): Verdict {
    if (this.state[p] === CONDEMNED) return VERDICT.FRAGMENT;
    const first = packet.fragment & FRAGMENT_OFFSET;
    const count = (packet.carried + 7) >> 3;
    const isLast = (packet.fragment & MORE_FRAGMENTS) === 0;
    const end = first + count;
    let fresh = 0;
    let again = 0;
    for (let block = first; block < end; block = (block | 31) + 1) {
      const word = p * BITMAP_WORDS + (block >>> 5);
      const blocks = (-1 << (block & 31)) & (-1 >>> Math.max(0, (block | 31) + 1 - end));
      fresh |= blocks & ~this.seen[word];
      again |= blocks & this.seen[word];
      this.seen[word] |= blocks;
    }
    if (fresh === 0) return VERDICT.FRAGMENT; // a duplicate, from the network: the first one counts
    this.blocks[p] += count;
    this.reach[p] = Math.max(this.reach[p], end);
    if (isLast && this.end[p] === 0) this.end[p] = end;
    const isBeyond = this.end[p] !== 0 && this.reach[p] > this.end[p];
    if (again !== 0 || isBeyond || (isLast && this.end[p] !== end)) {
      this.condemn(p);
      return VERDICT.FRAGMENT_OVERLAP;
    }
    return VERDICT.FORWARDED;
  }

  /** @returns the flow and side of a packet, or NO_FLOW_SIDE while they are not known, or when the flow has ended */
  flowSideOf(p: Fragmented): FlowSide {
    const known = this.flowSide[p] as FlowSide;
    return this.state[p] === KNOWN && this.flows.isAlive(flowOf(known), this.birth[p]) ? known : NO_FLOW_SIDE;
  }

  /** @returns whether the first fragment has not come yet */
  isWaiting(p: Fragmented): boolean {
    return this.state[p] === WAITING;
  }

  /** The first fragment has passed: its packet belongs to this flow. @param sequence of TCP, less what stands before its payload */
  settle(p: Fragmented, flow: Flow, side: Side, sequence: number): void {
    this.state[p] = KNOWN;
    this.shares.move(p, ASSURED);
    this.flowSide[p] = flowSide(flow, side);
    this.birth[p] = this.flows.birth(flow);
    this.sequence[p] = sequence;
  }

  /** The first fragment has been answered: its packet is an echo request to us. */
  answer(p: Fragmented): void {
    if (this.state[p] === UNUSED) return; // as a hairpin it was whole, and is forgotten
    this.state[p] = ANSWERED;
    this.shares.move(p, ASSURED);
  }

  isAnswered(p: Fragmented): boolean {
    return this.state[p] === ANSWERED;
  }

  /** Nothing more of this packet passes. */
  condemn(p: Fragmented): void {
    if (this.state[p] === UNUSED) return;
    this.state[p] = CONDEMNED;
    this.shares.move(p, EXPENDABLE);
    this.held.drop(p);
  }

  /** @returns the TCP sequence number behind the last byte of a later fragment */
  sequenceEnd(p: Fragmented, packet: Packet): number {
    const offset = (packet.fragment & FRAGMENT_OFFSET) * 8;
    return (this.sequence[p] + offset + packet.carried) | 0;
  }

  /** Forgets a packet when all of its fragments have come. */
  forgetIfWhole(p: Fragmented): void {
    if (this.end[p] !== 0 && this.blocks[p] === this.end[p]) this.forget(p);
  }

  /** Keeps a copy of the fragment in hand until its packet's flow is known. @returns the verdict */
  hold(p: Fragmented, packet: Packet, length: number): Verdict {
    if (this.held.park(p, this.shares.partyOf(p), packet.at, length, NO_FLOW) !== NO_SLOT) return VERDICT.HELD;
    this.condemn(p);
    return VERDICT.FRAGMENT_LIMIT;
  }

  /** Forgets what is too old, and spares no longer what has been spared. To be called each second. @param now ms */
  expire(now: number): void {
    for (let p = 0 as Fragmented; p < PACKETS; p++) {
      if (this.state[p] === UNUSED) continue;
      const age = now - this.born[p];
      if (age >= LIFE_MS) this.forget(p);
      else if (age >= SPARED_MS && this.shares.rankOf(p) === ASSURED) this.shares.move(p, EXPENDABLE);
    }
  }

  /** Forgets everything, for interfaces are numbered anew. */
  reset(parties: Parties): void {
    for (let p = 0 as Fragmented; p < PACKETS; p++) this.forget(p);
    this.shares.follow(parties);
    this.held.follow(parties);
  }

  private find(packet: Packet, name: number, now: number): Fragmented {
    for (let p = 0 as Fragmented; p < PACKETS; p++) {
      if (
        this.state[p] !== UNUSED &&
        this.name[p] === name &&
        this.source[p] === packet.source &&
        this.destination[p] === packet.destination &&
        this.iface[p] === packet.iface
      ) {
        if (now - this.born[p] < LIFE_MS) return p;
        this.forget(p);
        return NOT_FRAGMENTED;
      }
    }
    return NOT_FRAGMENTED;
  }

  /** Begins to follow a packet; when all numbers are taken, one of the greediest sender's goes. */
  private follow(packet: Packet, name: number, party: Party, now: number): Fragmented {
    const free = this.freeFor(party);
    this.state[free] = WAITING;
    this.iface[free] = packet.iface;
    this.source[free] = packet.source;
    this.destination[free] = packet.destination;
    if (packet.isIpv6) this.holdAddresses(free);
    this.name[free] = name;
    this.shares.add(free, party, EXPENDABLE);
    this.born[free] = now;
    this.blocks[free] = 0;
    this.end[free] = 0;
    this.seen.fill(0, free * BITMAP_WORDS, free * BITMAP_WORDS + ((this.reach[free] + 31) >>> 5));
    this.reach[free] = 0;
    return free;
  }

  private freeFor(party: Party): Fragmented {
    for (let p = 0 as Fragmented; p < PACKETS; p++) if (this.state[p] === UNUSED) return p;
    const others = this.shares.victim(party);
    const victim = (others !== NO_RECORD ? others : this.shares.ownVictim(party)) as Fragmented;
    this.forget(victim);
    return victim;
  }

  private forget(p: Fragmented): void {
    if (this.state[p] === UNUSED) return;
    this.state[p] = UNUSED;
    this.letAddressesGo(p);
    this.shares.remove(p);
    this.held.drop(p);
  }

  private holdAddresses(p: Fragmented): void {
    this.book.retain(this.source[p] as Number6);
    this.book.retain(this.destination[p] as Number6);
  }

  private letAddressesGo(p: Fragmented): void {
    if (!isIpv6(this.source[p] as Address)) return;
    this.book.release(this.source[p] as Number6);
    this.book.release(this.destination[p] as Number6);
  }
}
