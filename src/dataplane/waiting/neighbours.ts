// ARP (RFC 826, RFC 1122 section 2.3.2): who answers on which interface with which MAC address, what we answer ourselves,
// and the first packets to a neighbour, which wait for its answer. Asks with retries, confirms what is in use, forgets the rest.
// It is long, since all of that moves one neighbour from state to state: apart, each part would know the others' states.
import { ARP, ARP_REPLY, ARP_REQUEST, checkArp, writeArp } from "../../wire/arp.ts";
import { ETHERNET, ETHERTYPE, isGroupMac, macHead, macTail, writeMac } from "../../wire/ethernet.ts";
import { type Address, readAddress } from "../../wire/ipv4.ts";
import type { KeyedHash } from "../keyed-hash.ts";
import { SHARE } from "../line-shares.ts";
import { beginFrame } from "../own-frames.ts";
import { MAX_INTERFACES, type Ring, VNET_LENGTH } from "../ring.ts";
import { MAX_NEIGHBOURS } from "../tables/flow-records.ts";
import type { FlowTable } from "../tables/flows.ts";
import { ASSURED, Shares } from "../tables/shares.ts";
import type { PinnedMac, Topology } from "../topology.ts";
import { column, type Flow, type Iface, type Neighbour, NO_FLOW, NO_NEIGHBOUR, NOBODY, type Party } from "../types.ts";
import { malformed, VERDICT, type Verdict } from "../verdict.ts";
import { NO_SLOT, ParkedFrames } from "./parked.ts";

const CAPACITY = MAX_NEIGHBOURS;
const BUCKETS = 1024;
/** The end of a chain. */
const NONE = NO_NEIGHBOUR;
/** The neighbour on the uplink that we are ourselves: what is handed to it comes in again, a hairpin. */
export const OURSELVES = 0 as Neighbour;

/** The first number that is given out. */
const FIRST = (OURSELVES + 1) as Neighbour;

/** In place of the number of an interface that is gone. */
export const GONE = -1 as Iface;

/** States; from USABLE up the MAC address is known. */
const FREE = 0;
const INCOMPLETE = 1;
const FAILED = 2;
export const USABLE = 3;
const REACHABLE = 3;
const PROBING = 4;
export const PINNED = 5;

/** ff:ff:ff:ff:ff:ff. */
const BROADCAST_HEAD = -1;
const BROADCAST_TAIL = 0xffff;

const RETRY_MS = 1000; // RFC 1122 2.3.2.1: at most one request a second and destination
const INCOMPLETE_TRIES = 3;
const PROBE_TRIES = 5;
const CONFIRM_AFTER_MS = 60_000;
const FORGET_AFTER_MS = 300_000;
const FORGET_FAILED_AFTER_MS = 10_000;

/** RFC 5227 section 1.1: an address of ours that is new somewhere is told twice, a tick or two apart. */
const ANNOUNCEMENTS = 2;

const WAITING_FRAMES = 128;
const WAITING_PER_NEIGHBOUR = 8;

export class NeighbourTable {
  /** By neighbour number: read by the router for each frame. */
  readonly state = column<Neighbour>(new Uint8Array(CAPACITY));
  readonly head = column<Neighbour>(new Int32Array(CAPACITY));
  readonly tail = column<Neighbour>(new Int32Array(CAPACITY));

  /** The interface that it is on, or GONE. */
  readonly interfaceOf = column<Neighbour, Iface>(new Int32Array(CAPACITY));

  /** Called when a neighbour who was USABLE is not as it was any more: no packet goes to where it was. */
  onChange: (n: Neighbour) => void = () => {};

  private readonly address = column<Neighbour, Address>(new Int32Array(CAPACITY));
  /** Flows (and who else keeps the gateway known) that hold a number; it stays the same neighbour while any do. */
  private readonly holds = column<Neighbour>(new Int32Array(CAPACITY));
  /** Whose the held ones are: of who was the first to hold it. A record is a neighbour's number less FIRST. */
  private readonly shares = new Shares(CAPACITY - FIRST);
  /** The settings by which it was looked at last: their turn. */
  private readonly turns = column<Neighbour>(new Uint8Array(CAPACITY));
  private turn = 0;
  /** The next one that is to be looked at by the settings in force, and the next that the second's tick is for; `end` when all are done. */
  private settling: number = CAPACITY;
  private ticking: number = CAPACITY;
  private ticked = 0;
  /** By interface: 1 where all who are in use are to be asked anew, as the look comes to them. */
  private readonly isAnew = column<Iface>(new Uint8Array(MAX_INTERFACES));
  private readonly tries = column<Neighbour>(new Uint8Array(CAPACITY));
  /** When the state was entered or confirmed, or last asked for: ms of the clock. */
  private readonly since = column<Neighbour>(new Float64Array(CAPACITY));
  private readonly asked = column<Neighbour>(new Float64Array(CAPACITY));
  private readonly chain = column<Neighbour, Neighbour>(new Int32Array(CAPACITY));
  private readonly buckets = new Int32Array(BUCKETS).fill(NONE);
  /** By interface: who was found there last, most likely to be looked for again. A number that is FREE at first. */
  private readonly recent = column<Iface, Neighbour>(new Int32Array(MAX_INTERFACES).fill(FIRST));
  private free = FIRST;
  /** Where the last search for a neighbour that nobody holds ended. */
  private hand = OURSELVES;
  /** All numbers that have ever been in use are below this. */
  private end: number = FIRST;

  /** Frames that wait for a MAC address: each for a neighbour, for which so many may. */
  private readonly waiting: ParkedFrames;
  /** Addresses of ours that are to be told again on an interface, and how often. */
  private announcing: { iface: Iface; readonly address: Address; left: number }[] = [];
  private now = 0;

  constructor(
    private readonly ring: Ring,
    /** Other than by `apply`, only for one that differs in the state of interfaces. */
    public topology: Topology,
    private readonly flows: FlowTable,
    private readonly keyed: KeyedHash,
    /** Says whether a flow may live on by the settings in force: no frame of another leaves that has waited. */
    private readonly admits: (flow: Flow) => boolean,
  ) {
    this.waiting = new ParkedFrames(ring, flows, WAITING_FRAMES, WAITING_PER_NEIGHBOUR, (slot) =>
      this.waiting.free(slot),
    );
    for (let n = this.free; n < CAPACITY; n++) this.chain[n] = n + 1 < CAPACITY ? ((n + 1) as Neighbour) : NONE;
    this.state[OURSELVES] = PINNED;
    this.interfaceOf[OURSELVES] = topology.uplink;
    this.shares.follow(topology.parties);
    this.waiting.follow(topology.parties);
  }

  /**
   * The neighbour with this address; one not known yet is asked for at once.
   * @param party on whose behalf it is held
   * @returns its number, held until `release`, or NO_NEIGHBOUR when the table has no room for another of the party's
   */
  hold(iface: Iface, address: Address, party: Party): Neighbour {
    let n = this.find(iface, address);
    if (n !== NONE) this.settle(n);
    if (n !== NONE && this.holds[n] > 0) {
      this.holds[n]++;
      return n;
    }
    if (!this.shares.mayHave(party)) return NONE;
    if (n === NONE) n = this.create(iface, address);
    if (n === NONE) return NONE;
    this.holds[n] = 1;
    this.shares.add(n - FIRST, party, ASSURED);
    return n;
  }

  /** @returns who holds most of those that a party's group holds: the party itself if nobody holds more */
  greediestBeside(party: Party): Party {
    return this.shares.greediestBeside(party);
  }

  /** @returns the address that a neighbour is known by; of OURSELVES none */
  addressOf(n: Neighbour): Address {
    return this.address[n];
  }

  /** @returns OURSELVES, held like the neighbours */
  holdOurselves(): Neighbour {
    this.holds[OURSELVES]++;
    return OURSELVES;
  }

  release(n: Neighbour): void {
    if (--this.holds[n] === 0 && n !== OURSELVES) this.shares.remove(n - FIRST);
  }

  /**
   * @returns whether an answer may still come from a neighbour that is not USABLE: one that has failed is asked again when
   * its time has come
   */
  mayAnswer(n: Neighbour): boolean {
    if (this.state[n] === FAILED && this.now - this.since[n] >= RETRY_MS) this.ask(n, INCOMPLETE);
    return this.state[n] !== FAILED;
  }

  /** @returns whether a frame's source MAC address is not that of a neighbour who is pinned to his */
  isImpostor(n: Neighbour, at: number): boolean {
    if (this.state[n] !== PINNED) return false;
    const source = at + ETHERNET.SOURCE;
    return macHead(this.ring.view, source) !== this.head[n] || macTail(this.ring.view, source) !== this.tail[n];
  }

  /**
   * Keeps a copy of a frame, complete but for its destination MAC address, until the neighbour answers.
   * @param flow that it belongs to: the frame does not outlive it
   * @param party who opened it: where too many wait, the greediest party's oldest frame goes
   */
  queue(n: Neighbour, at: number, length: number, flow: Flow, party: Party): Verdict {
    if (!this.mayAnswer(n)) return VERDICT.UNRESOLVED;
    return this.waiting.park(n, party, at, length, flow) === NO_SLOT ? VERDICT.ARP_QUEUE_FULL : VERDICT.QUEUED;
  }

  /** Whose a neighbour is, which a flow of the party's holds: if he is gone who was the first to hold it, the party's. */
  own(n: Neighbour, party: Party): void {
    if (n === OURSELVES || this.shares.isLive(n - FIRST)) return;
    this.shares.remove(n - FIRST);
    this.shares.add(n - FIRST, party, ASSURED);
  }

  /** Handles an ARP packet: answers requests that are ours to answer, in place, and learns what was asked for. */
  receive(iface: Iface, at: number, length: number): Verdict {
    const view = this.ring.view;
    const arp = at + ETHERNET.HEADER_LENGTH;
    const fault = checkArp(view, arp, length - ETHERNET.HEADER_LENGTH);
    if (fault !== 0) return malformed(fault);
    const sender = readAddress(view, arp + ARP.SENDER_IP);
    const target = readAddress(view, arp + ARP.TARGET_IP);
    if (!this.isGenuine(iface, at, sender)) return VERDICT.ARP_SPOOFED;
    const isReply = view.getUint16(arp + ARP.OPERATION) === ARP_REPLY;
    const asksUs = !isReply && this.answersFor(iface, sender, target);
    let known = sender === 0 ? NONE : this.find(iface, sender);
    // A neighbour is noted when we asked, or when a client asks us and so will want an answer soon (RFC 826). Not when a
    // host on the uplink does: none of them is to fill the table.
    if (known === NONE && asksUs && sender !== 0 && iface !== this.topology.uplink) known = this.add(iface, sender);
    if (known !== NONE) this.learn(known, macHead(view, arp + ARP.SENDER_MAC), macTail(view, arp + ARP.SENDER_MAC));
    if (!asksUs) return known === NONE ? VERDICT.ARP_NOT_FOR_US : VERDICT.ARP_TAKEN;
    this.answer(iface, at, target, sender);
    return VERDICT.ANSWERED;
  }

  /** Has `step` retry, confirm and forget. @param now ms of the clock; to be called about once a second */
  tick(now: number): void {
    this.now = now;
    this.ticked = now;
    if (this.announcing.length > 0) this.announce();
    if (this.ticking >= this.end) this.ticking = FIRST;
  }

  /** Whether `step` has something to do. */
  get isBusy(): boolean {
    return this.ticking < this.end || this.isSettling;
  }

  /** Whether there are some who have not been looked at by the settings in force. */
  get isSettling(): boolean {
    return this.settling < this.end;
  }

  /** Looks at so many of those who are due, at most. */
  step(count: number): void {
    if (this.isSettling) {
      for (let i = 0; i < count && this.isSettling; i++) this.lookAnew(this.settling++ as Neighbour);
      if (!this.isSettling) for (let iface = 0 as Iface; iface < MAX_INTERFACES; iface++) this.isAnew[iface] = 0;
    }
    for (let i = 0; i < count && this.ticking < this.end; i++) this.tickOne(this.ticking++ as Neighbour, this.ticked);
  }

  private tickOne(n: Neighbour, now: number): void {
    const state = this.state[n];
    if (state === FREE) return;
    if (this.interfaceOf[n] === GONE) {
      if (this.holds[n] === 0) this.remove(n);
      return;
    }
    if (state === PINNED) return;
    const age = now - this.since[n];
    if (state === REACHABLE) {
      if (this.holds[n] > 0 && age >= CONFIRM_AFTER_MS) this.ask(n, PROBING);
      else if (this.holds[n] === 0 && age >= FORGET_AFTER_MS) this.remove(n);
    } else if (state === FAILED) {
      if (this.holds[n] === 0 && age >= FORGET_FAILED_AFTER_MS) this.remove(n);
    } else if (now - this.asked[n] >= RETRY_MS) {
      this.retry(n);
    }
  }

  /** The clock, between ticks. */
  setTime(now: number): void {
    this.now = now;
  }

  /**
   * Takes new settings, in which interfaces may be numbered anew. All else about each neighbour that they change is done as `settle`
   * and `step` come to it: before anything is sent to it for a flow that these settings allow.
   * @param renumber the new number of each old interface, or GONE
   */
  follow(topology: Topology, renumber: Int32Array): void {
    this.topology = topology;
    this.shares.follow(topology.parties);
    this.waiting.follow(topology.parties);
    const { interfaceOf } = this;
    for (let n = FIRST; n < this.end; n++) interfaceOf[n] = (renumber[interfaceOf[n]] ?? GONE) as Iface; // without an uplink, its gateway was on none
    interfaceOf[OURSELVES] = topology.uplink;
    this.waiting.dropThose((n) => interfaceOf[n as Neighbour] === GONE);
    const wereAnew = Array.from({ length: MAX_INTERFACES }, (_, iface) => this.isAnew[iface as Iface]);
    for (let iface = 0 as Iface; iface < MAX_INTERFACES; iface++) this.isAnew[iface] = 0;
    for (let iface = 0; iface < renumber.length; iface++) {
      if (renumber[iface] !== GONE) this.isAnew[renumber[iface] as Iface] = wereAnew[iface];
    }
    for (const told of this.announcing) told.iface = (renumber[told.iface] ?? GONE) as Iface;
    this.announcing = this.announcing.filter(({ iface }) => iface !== GONE);
    this.turn = (this.turn + 1) & 0xff;
    this.settling = FIRST;
  }

  /** Pins a neighbour to his MAC address, or no longer, as the settings in force say. */
  settle(n: Neighbour): void {
    if (this.turns[n] === this.turn || n === OURSELVES) return;
    this.turns[n] = this.turn;
    const pin = this.pinFor(this.interfaceOf[n], this.address[n]);
    if (pin !== undefined) this.learn(n, pin.head, pin.tail, PINNED);
    else if (this.state[n] === PINNED) this.ask(n, PROBING);
  }

  /** Looks at one by the settings in force. */
  private lookAnew(n: Neighbour): void {
    if (this.state[n] === FREE) return;
    const iface = this.interfaceOf[n];
    if (iface === GONE) {
      if (this.holds[n] === 0) this.remove(n); // else the tick does, later
      return;
    }
    this.settle(n);
    if (this.isAnew[iface] === 0 || this.state[n] === PINNED) return;
    if (this.holds[n] === 0) this.remove(n);
    else this.ask(n, this.state[n] >= USABLE ? PROBING : INCOMPLETE);
  }

  /**
   * Where an interface is there again, or has its link again, has `step` ask once more for all who are in use on it: they may be others. Where an
   * address of ours is new, or our MAC address or the link is, tells everybody there.
   * @param before what was in force; nothing, when the program starts: then all of them are told, for it may have had another MAC
   * address when it ran last
   */
  followInterfaces(before?: Topology): void {
    const { settings } = this.topology;
    for (const [i, { name, index, mac, isDown }] of settings.interfaces.entries()) {
      const iface = i as Iface;
      this.announcing = this.announcing.filter((told) => told.iface !== iface);
      if (isDown) continue;
      const interfaces = before?.settings.interfaces ?? [];
      const oldIface = interfaces.findIndex((old) => old.name === name) as Iface;
      const old = interfaces[oldIface];
      const isSameLink = old !== undefined && !old.isDown && old.index === index;
      if (old !== undefined && !isSameLink) {
        this.isAnew[iface] = 1;
        this.settling = FIRST;
      }
      const isKnown = isSameLink && old.mac.every((byte, at) => byte === mac[at]);
      const told = (isKnown && before?.ownAddressesOn(oldIface)) || [];
      for (const address of this.topology.ownAddressesOn(iface)) {
        if (!told.includes(address)) this.announcing.push({ iface, address, left: ANNOUNCEMENTS });
      }
    }
    this.announce();
  }

  /** ARP announcements (RFC 5227 section 2.3): requests for our own address, which whoever knows us takes our MAC address from. */
  private announce(): void {
    for (const told of this.announcing) {
      this.request(told.iface, told.address, told.address);
      told.left--;
    }
    this.announcing = this.announcing.filter(({ left }) => left > 0);
  }

  /**
   * A sender must be who the settings say is on that interface; 0 is a probe of one's own address (RFC 5227). Who it is, the ARP
   * packet says and not the frame's source address (RFC 826): a virtual router sends the one from the other (RFC 9568 section
   * 8.1.2). Of a client that is pinned to its MAC address both are.
   */
  private isGenuine(iface: Iface, at: number, sender: Address): boolean {
    const view = this.ring.view;
    const senderMac = at + ETHERNET.HEADER_LENGTH + ARP.SENDER_MAC;
    const head = macHead(view, senderMac);
    const tail = macTail(view, senderMac);
    if (isGroupMac(view, senderMac) || isGroupMac(view, at + ETHERNET.SOURCE)) return false; // they are nobody's
    if (iface === this.topology.uplink) {
      const pin = sender === this.topology.gateway ? this.topology.gatewayMac : undefined;
      if (pin !== undefined && (pin.head !== head || pin.tail !== tail)) return false;
      return sender === 0 || (!this.topology.isOwn(sender) && this.topology.mayBeOutside(sender));
    }
    if (sender === 0) return true;
    const client = this.topology.clientOn(iface, sender);
    if (client === NOBODY) return false;
    if (!this.topology.hasPinnedMac(view, client, at)) return false;
    const pin = this.topology.pinned[client];
    return pin === undefined || (pin.head === head && pin.tail === tail);
  }

  /**
   * On the uplink we answer for our address, to hosts of a network for their gateway. A point-to-point client may believe
   * in any netmask, so it gets an answer for every address but the clients' own on that interface (Qubes' convention).
   */
  private answersFor(iface: Iface, sender: Address, target: Address): boolean {
    const topology = this.topology;
    if (iface === topology.uplink) return target === topology.uplinkAddress;
    const asker = sender === 0 ? topology.firstOn(iface) : topology.clientOn(iface, sender);
    if (asker === NOBODY) return false;
    if (topology.clientMask[asker] !== -1) return target === topology.clientGateway[asker];
    return target !== sender && topology.clientOn(iface, target) === NOBODY;
  }

  private answer(iface: Iface, at: number, target: Address, sender: Address): void {
    const view = this.ring.view;
    const arp = at + ETHERNET.HEADER_LENGTH;
    const head = macHead(view, arp + ARP.SENDER_MAC);
    const tail = macTail(view, arp + ARP.SENDER_MAC);
    const ourHead = this.topology.macHead[iface];
    const ourTail = this.topology.macTail[iface];
    writeMac(view, at + ETHERNET.DESTINATION, head, tail);
    writeMac(view, at + ETHERNET.SOURCE, ourHead, ourTail);
    writeArp(view, arp, ARP_REPLY, ourHead, ourTail, target, head, tail, sender);
    this.ring.bytes.fill(0, at - VNET_LENGTH, at); // what the asker left to be done does not hold for the answer
    this.ring.share = SHARE.OURSELVES;
    this.ring.send(iface, at, ETHERNET.HEADER_LENGTH + ARP.LENGTH);
  }

  /** Broadcasts a request for a neighbour, and enters the state that waits for the answer. */
  private ask(n: Neighbour, state: number): void {
    if (this.state[n] !== state) {
      this.state[n] = state;
      this.since[n] = this.now;
      this.tries[n] = 0;
    }
    this.tries[n]++;
    this.asked[n] = this.now;
    const iface = this.interfaceOf[n];
    const address = this.address[n];
    // Where no frame gets out, it is asked for once one does.
    if (this.topology.isDown[iface] !== 1) this.request(iface, this.topology.ownAddressFor(iface, address), address);
  }

  private request(iface: Iface, own: Address, address: Address): void {
    const head = this.topology.macHead[iface];
    const tail = this.topology.macTail[iface];
    const at = beginFrame(this.ring, this.topology, iface, BROADCAST_HEAD, BROADCAST_TAIL, ETHERTYPE.ARP);
    writeArp(this.ring.view, at + ETHERNET.HEADER_LENGTH, ARP_REQUEST, head, tail, own, 0, 0, address);
    this.ring.share = SHARE.OURSELVES;
    this.ring.send(iface, at, ETHERNET.HEADER_LENGTH + ARP.LENGTH);
  }

  private retry(n: Neighbour): void {
    const probing = this.state[n] === PROBING;
    if (this.tries[n] < (probing ? PROBE_TRIES : INCOMPLETE_TRIES)) {
      this.ask(n, this.state[n]);
      return;
    }
    const { gatewayFallbackMac, gateway, uplink } = this.topology;
    if (gatewayFallbackMac !== undefined && this.address[n] === gateway && this.interfaceOf[n] === uplink) {
      this.learn(n, gatewayFallbackMac.head, gatewayFallbackMac.tail); // and is asked again, as all are
    } else if (probing) {
      this.ask(n, INCOMPLETE);
      this.onChange(n);
    } else {
      this.state[n] = FAILED;
      this.since[n] = this.now;
      this.waiting.drop(n);
    }
  }

  /** Notes a neighbour's MAC address, and sends what waited for it. */
  private learn(n: Neighbour, head: number, tail: number, state = REACHABLE): void {
    if (this.state[n] === PINNED && state !== PINNED) return;
    const isElsewhere = this.state[n] >= USABLE && (this.head[n] !== head || this.tail[n] !== tail);
    this.state[n] = state;
    this.since[n] = this.now;
    this.head[n] = head;
    this.tail[n] = tail;
    if (isElsewhere) this.onChange(n);
    this.sendWaiting(n);
  }

  /** Sends what waited for a neighbour, oldest first. */
  private sendWaiting(n: Neighbour): void {
    for (let slot = this.waiting.oldest(n); slot !== NO_SLOT; slot = this.waiting.oldest(n)) {
      const flow = this.waiting.flow(slot);
      if (flow !== NO_FLOW && !this.admits(flow)) {
        this.waiting.free(slot);
        continue;
      }
      const length = this.waiting.length(slot);
      const at = this.waiting.take(slot);
      this.ring.share = flow === NO_FLOW ? SHARE.OURSELVES : SHARE.CLIENTS + this.flows.client(flow);
      writeMac(this.ring.view, at + ETHERNET.DESTINATION, this.head[n], this.tail[n]);
      this.ring.send(this.interfaceOf[n], at, length);
    }
  }

  private create(iface: Iface, address: Address): Neighbour {
    const n = this.add(iface, address);
    if (n !== NONE && this.state[n] !== PINNED) this.ask(n, INCOMPLETE);
    return n;
  }

  /** A number for a neighbour not known yet, whose MAC address is pinned or still to be learnt; NONE when all are in use. */
  private add(iface: Iface, address: Address): Neighbour {
    if (this.free === NONE) this.reclaim();
    const n = this.free;
    if (n === NONE) return NONE;
    this.free = this.chain[n];
    this.end = Math.max(this.end, n + 1);
    this.interfaceOf[n] = iface;
    this.address[n] = address;
    this.holds[n] = 0;
    this.turns[n] = this.turn;
    this.enchain(n);
    const pin = this.pinFor(iface, address);
    if (pin !== undefined) this.learn(n, pin.head, pin.tail, PINNED);
    return n;
  }

  /** Frees a neighbour that nobody holds, if there is one: those who only asked must not keep out those who send. */
  private reclaim(): void {
    for (let i = 0; i < CAPACITY; i++) {
      this.hand = ((this.hand + 1) % CAPACITY) as Neighbour;
      if (this.hand !== OURSELVES && this.holds[this.hand] === 0) {
        this.remove(this.hand);
        return;
      }
    }
  }

  private pinFor(iface: Iface, address: Address): PinnedMac | undefined {
    if (iface === this.topology.uplink) return address === this.topology.gateway ? this.topology.gatewayMac : undefined;
    const client = this.topology.clientOn(iface, address);
    return client === NOBODY ? undefined : this.topology.pinned[client];
  }

  private find(iface: Iface, address: Address): Neighbour {
    const recent = this.recent[iface];
    if (this.state[recent] !== FREE && this.interfaceOf[recent] === iface && this.address[recent] === address)
      return recent;
    const n = this.search(iface, address);
    if (n !== NONE) this.recent[iface] = n;
    return n;
  }

  private search(iface: Iface, address: Address): Neighbour {
    let n = this.buckets[this.bucketOf(address)] as Neighbour;
    while (n !== NONE && (this.interfaceOf[n] !== iface || this.address[n] !== address)) n = this.chain[n];
    return n;
  }

  private enchain(n: Neighbour): void {
    const bucket = this.bucketOf(this.address[n]);
    this.chain[n] = this.buckets[bucket] as Neighbour;
    this.buckets[bucket] = n;
  }

  private unchain(n: Neighbour): void {
    const bucket = this.bucketOf(this.address[n]);
    if (this.buckets[bucket] === n) {
      this.buckets[bucket] = this.chain[n];
      return;
    }
    let before = this.buckets[bucket] as Neighbour;
    while (this.chain[before] !== n) before = this.chain[before];
    this.chain[before] = this.chain[n];
  }

  private remove(n: Neighbour): void {
    this.waiting.drop(n);
    this.unchain(n);
    this.state[n] = FREE;
    this.chain[n] = this.free;
    this.free = n;
  }

  /** By the address alone: interfaces may be numbered anew. */
  private bucketOf(address: Address): number {
    return this.keyed.of(address, 0, 0, 0) & (BUCKETS - 1);
  }
}
