// Fragments of IPv4 packets (RFC 791 section 3.2), forwarded one by one: only the first says which flow they belong to, so
// later ones that come before it are held. Bounded in memory, in time, and for each sender; overlapping fragments condemn
// their packet (RFC 5722's reasoning: nobody sends them but to slip something past a firewall).
import { FRAGMENT_OFFSET, IPV4, MORE_FRAGMENTS } from "../../wire/ipv4.ts";
import type { Packet } from "../packet.ts";
import { RESERVED_LENGTH, type Ring, VNET_LENGTH } from "../ring.ts";
import { VERDICT } from "../verdict.ts";
import { type FlowTable, NO_FLOW } from "./flows.ts";

/** Fragmented packets that are followed at a time: of all senders, and of one client or of the whole uplink. */
const PACKETS = 128;
const PACKETS_PER_OWNER = 64;
/** Fragments that are held at a time. 44 are a packet of 65535 bytes in fragments of 1500, all but the first. */
const HELD = 160;
const HELD_PER_OWNER = 96;
/** A packet's fragments come together, or never (RFC 1122 section 3.3.2 would wait longer, but as its receiver). */
const LIFE_MS = 15_000;

/** 8-byte blocks of the largest packet, one bit each. */
const BITMAP_WORDS = 8192 / 32;
const SLOT_LENGTH = VNET_LENGTH + RESERVED_LENGTH;
const NONE = -1;

/** What is known of a packet. */
const UNUSED = 0;
const WAITING = 1;
const KNOWN = 2;
const CONDEMNED = 3;

export class Fragments {
  private readonly state = new Uint8Array(PACKETS);
  /** Which packet: interface, addresses, protocol << 16 | identification (RFC 791's four, and where it came in). */
  private readonly iface = new Int32Array(PACKETS);
  private readonly source = new Int32Array(PACKETS);
  private readonly destination = new Int32Array(PACKETS);
  private readonly name = new Int32Array(PACKETS);
  private readonly owner = new Int32Array(PACKETS);
  private readonly born = new Float64Array(PACKETS);
  /** The order in which they came. */
  private readonly order = new Float64Array(PACKETS);
  private arrivals = 0;
  /** Its flow << 1 | side, and who the flow's other end was: a flow's number may come to name another flow. */
  private readonly hit = new Int32Array(PACKETS);
  private readonly farSource = new Int32Array(PACKETS);
  private readonly farPorts = new Int32Array(PACKETS);
  /** TCP: the sequence number of the payload's first byte, less the header's length. */
  private readonly sequence = new Int32Array(PACKETS);
  /** The blocks seen, how many, where the last of them ends, and how many there will be (0: the last fragment has not come). */
  private readonly seen = new Int32Array(PACKETS * BITMAP_WORDS);
  private readonly blocks = new Int32Array(PACKETS);
  private readonly reach = new Int32Array(PACKETS);
  private readonly end = new Int32Array(PACKETS);

  private readonly held = new Uint8Array(HELD * SLOT_LENGTH);
  private readonly heldLength = new Int32Array(HELD);
  private readonly heldFor = new Int32Array(HELD).fill(NONE);
  private heldCount = 0;

  constructor(
    private readonly ring: Ring,
    private readonly flows: FlowTable,
  ) {}

  /**
   * Notes the fragment in hand.
   * @param owner whose share it takes: a client's number, or -1 for the uplink
   * @param now ms
   * @returns the number of its packet, or minus the verdict that drops it
   */
  note(packet: Packet, owner: number, now: number): number {
    const name = (packet.protocol << 16) | this.ring.view.getUint16(packet.ip + IPV4.IDENTIFICATION);
    let p = this.find(packet, name, now);
    if (p === NONE) p = this.follow(packet, name, owner, now);
    if (this.state[p] === CONDEMNED) return -VERDICT.FRAGMENT;
    return this.mark(p, packet);
  }

  /** @returns the flow << 1 | side of a noted packet, or NO_FLOW while (or if) it is not known */
  flowOf(p: number): number {
    if (this.state[p] !== KNOWN) return NO_FLOW;
    const hit = this.hit[p];
    const flow = hit >>> 1;
    const far = (hit & 1) ^ 1;
    const isSame =
      this.flows.source(flow, far) === this.farSource[p] && this.flows.ports(flow, far) === this.farPorts[p];
    return isSame && this.flows.used(flow) ? hit : NO_FLOW;
  }

  /** @returns whether the first fragment has not come yet */
  isWaiting(p: number): boolean {
    return this.state[p] === WAITING;
  }

  /** The first fragment has passed: its packet belongs to this flow. @param sequence of TCP, less the header's length */
  settle(p: number, flow: number, side: number, sequence: number): void {
    this.state[p] = KNOWN;
    this.hit[p] = (flow << 1) | side;
    this.farSource[p] = this.flows.source(flow, side ^ 1);
    this.farPorts[p] = this.flows.ports(flow, side ^ 1);
    this.sequence[p] = sequence;
  }

  /** Nothing more of this packet passes. */
  condemn(p: number): void {
    this.state[p] = CONDEMNED;
    this.drop(p);
  }

  /** @returns the TCP sequence number behind the last byte of a later fragment */
  sequenceEnd(p: number, packet: Packet): number {
    const offset = (packet.fragment & FRAGMENT_OFFSET) * 8;
    return (this.sequence[p] + offset + packet.length) | 0;
  }

  /** Forgets a packet when all of its fragments have come. */
  forgetIfWhole(p: number): void {
    if (this.end[p] !== 0 && this.blocks[p] === this.end[p]) this.forget(p);
  }

  /** Keeps a copy of the fragment in hand until its packet's flow is known. @returns the verdict */
  hold(p: number, packet: Packet, length: number): number {
    let free = NONE;
    let owned = 0;
    for (let i = 0; i < HELD; i++) {
      if (this.heldFor[i] === NONE) free = i;
      else if (this.owner[this.heldFor[i]] === this.owner[p]) owned++;
    }
    if (free === NONE || owned >= HELD_PER_OWNER || length > RESERVED_LENGTH) {
      this.condemn(p);
      return VERDICT.FRAGMENT_LIMIT;
    }
    const from = packet.at - VNET_LENGTH;
    this.held.set(this.ring.bytes.subarray(from, packet.at + length), free * SLOT_LENGTH);
    this.heldLength[free] = length;
    this.heldFor[free] = p;
    this.heldCount++;
    return VERDICT.HELD;
  }

  /**
   * Takes one held fragment of a packet, copied to where it can be sent from.
   * @returns its length, at the offset that `takenAt` says, or 0 when there is none
   */
  take(p: number): number {
    const slot = this.heldCount === 0 ? NONE : this.heldFor.indexOf(p);
    if (slot === NONE) return 0;
    const length = this.heldLength[slot];
    this.takenAt = this.ring.reserve();
    const from = slot * SLOT_LENGTH;
    this.ring.bytes.set(this.held.subarray(from, from + VNET_LENGTH + length), this.takenAt - VNET_LENGTH);
    this.release(slot);
    return length;
  }
  takenAt = 0;

  /** Forgets what is too old. @param now ms */
  expire(now: number): void {
    for (let p = 0; p < PACKETS; p++) {
      if (this.state[p] !== UNUSED && now - this.born[p] >= LIFE_MS) this.forget(p);
    }
  }

  /** Forgets everything: interfaces are numbered anew. */
  clear(): void {
    for (let p = 0; p < PACKETS; p++) this.forget(p);
  }

  private find(packet: Packet, name: number, now: number): number {
    for (let p = 0; p < PACKETS; p++) {
      if (
        this.state[p] !== UNUSED &&
        this.name[p] === name &&
        this.source[p] === packet.source &&
        this.destination[p] === packet.destination &&
        this.iface[p] === packet.iface
      ) {
        if (now - this.born[p] < LIFE_MS) return p;
        this.forget(p);
        return NONE;
      }
    }
    return NONE;
  }

  /** A place for a new packet: an owner who has his share loses his oldest; when all are taken, the oldest of all goes. */
  private follow(packet: Packet, name: number, owner: number, now: number): number {
    let free = NONE;
    let oldest = 0;
    let oldestOwn = NONE;
    let owned = 0;
    for (let p = 0; p < PACKETS; p++) {
      if (this.state[p] === UNUSED) {
        free = p;
        continue;
      }
      if (this.order[p] < this.order[oldest]) oldest = p;
      if (this.owner[p] !== owner) continue;
      owned++;
      if (oldestOwn === NONE || this.order[p] < this.order[oldestOwn]) oldestOwn = p;
    }
    if (owned >= PACKETS_PER_OWNER || free === NONE) {
      free = owned >= PACKETS_PER_OWNER ? oldestOwn : oldest;
      this.forget(free);
    }
    this.state[free] = WAITING;
    this.iface[free] = packet.iface;
    this.source[free] = packet.source;
    this.destination[free] = packet.destination;
    this.name[free] = name;
    this.owner[free] = owner;
    this.born[free] = now;
    this.order[free] = this.arrivals++;
    this.blocks[free] = 0;
    this.end[free] = 0;
    this.seen.fill(0, free * BITMAP_WORDS, free * BITMAP_WORDS + ((this.reach[free] + 31) >>> 5));
    this.reach[free] = 0;
    return free;
  }

  /** Marks the blocks of a fragment as seen. @returns p, or minus the verdict on a fragment that says anything twice */
  private mark(p: number, packet: Packet): number {
    const first = packet.fragment & FRAGMENT_OFFSET;
    const count = (packet.length + 7) >> 3;
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
    if (fresh === 0) return -VERDICT.FRAGMENT; // a duplicate, from the network: the first one counts
    this.blocks[p] += count;
    this.reach[p] = Math.max(this.reach[p], end);
    if (isLast && this.end[p] === 0) this.end[p] = end;
    const isBeyond = this.end[p] !== 0 && this.reach[p] > this.end[p];
    if (again !== 0 || isBeyond || (isLast && this.end[p] !== end)) {
      this.condemn(p);
      return -VERDICT.FRAGMENT_OVERLAP;
    }
    return p;
  }

  private forget(p: number): void {
    this.state[p] = UNUSED;
    this.drop(p);
  }

  private drop(p: number): void {
    if (this.heldCount === 0) return;
    for (let i = 0; i < HELD; i++) if (this.heldFor[i] === p) this.release(i);
  }

  private release(slot: number): void {
    this.heldFor[slot] = NONE;
    this.heldCount--;
  }
}
