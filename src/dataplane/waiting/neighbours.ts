// Neighbours: who is on which interface with which MAC address, and the first packets to one, which wait for its answer. Asks with retries,
// confirms what is in use, forgets the rest. How one is asked and what is believed of its answer is the protocol's: arp.ts and discovery.ts
// beside this file.
// It is long, since all of that moves one neighbour from state to state: apart, each part would know the others' states.
import { ETHERNET, macHead, macTail, writeMac } from "../../wire/ethernet.ts";
import type { Address } from "../../wire/ipv4.ts";
import { type AddressBook, isIpv6 } from "../address-book.ts";
import type { KeyedHash } from "../keyed-hash.ts";
import { SHARE, shareOf } from "../line-shares.ts";
import { MAX_INTERFACES, type Ring } from "../ring.ts";
import { MAX_NEIGHBOURS } from "../tables/flow-records.ts";
import { FLOW_STATE } from "../tables/flow-state.ts";
import type { FlowTable } from "../tables/flows.ts";
import { ASSURED, Shares } from "../tables/shares.ts";
import type { PinnedMac, Topology } from "../topology.ts";
import { column, type Flow, type Iface, type Neighbour, NO_FLOW, NO_NEIGHBOUR, NOBODY, type Party } from "../types.ts";
import { VERDICT, type Verdict } from "../verdict.ts";
import { linkOf } from "./links.ts";
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

/** What is thought of the MAC address that is known. */
const SURE = 0;
const RUMOURED = 1;
const ANEW = 2;

const RETRY_MS = 1000; // RFC 1122 2.3.2.1: at most one request a second and destination
const INCOMPLETE_TRIES = 3;
const PROBE_TRIES = 5;
const CONFIRM_AFTER_MS = 60_000;
const FORGET_AFTER_MS = 300_000;
const FORGET_FAILED_AFTER_MS = 10_000;

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

  /** Asks for a neighbour by its family's protocol, on an interface that is up. */
  solicit: (n: Neighbour) => void = () => {};

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
  /** Of the MAC address that is known: SURE, RUMOURED where somebody says another one and which, ANEW where the link is another. */
  private readonly doubts = column<Neighbour>(new Uint8Array(CAPACITY));
  private readonly rumourHead = column<Neighbour>(new Int32Array(CAPACITY));
  private readonly rumourTail = column<Neighbour>(new Int32Array(CAPACITY));
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
  private now = 0;
  /** Whether nobody on the uplink is to be reached by IPv6; whether what goes there waits. */
  private isBarred = false;
  private isHeld = false;

  constructor(
    private readonly ring: Ring,
    /** Other than by `apply`, only for one that differs in the state of interfaces. */
    public topology: Topology,
    private readonly flows: FlowTable,
    private readonly keyed: KeyedHash,
    /** Says whether a flow may live on by the settings in force: no frame of another leaves that has waited. */
    private readonly admits: (flow: Flow) => boolean,
    /** Holds the addresses of neighbours that are IPv6's. */
    private readonly book: AddressBook,
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
    const n = this.recent[iface];
    if (this.holds[n] > 0 && this.isAt(n, iface, address) && this.turns[n] === this.turn) {
      this.holds[n]++;
      return n;
    }
    return this.holdAny(iface, address, party);
  }

  private isAt(n: Neighbour, iface: Iface, address: Address): boolean {
    return this.interfaceOf[n] === iface && this.address[n] === address;
  }

  /** `hold`, for all but the one that most flows need: who was the last on his interface, and is held already. */
  private holdAny(iface: Iface, address: Address, party: Party): Neighbour {
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

  /** Has `step` retry, confirm and forget. @param now ms of the clock; to be called about once a second */
  tick(now: number): void {
    this.now = now;
    this.ticked = now;
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
    const age = now - this.since[n];
    if (state === PINNED) {
      // Nobody asks for him, so nothing says that he is there: of a network he may be one of very many.
      if (this.holds[n] === 0 && age >= FORGET_AFTER_MS) this.remove(n);
    } else if (state === REACHABLE) {
      if (this.doubts[n] === RUMOURED) this.confirm(n);
      else if (this.holds[n] > 0 && age >= CONFIRM_AFTER_MS) this.ask(n, PROBING);
      else if (this.holds[n] === 0 && age >= FORGET_AFTER_MS) this.remove(n);
    } else if (state === FAILED) {
      if (this.holds[n] === 0 && age >= FORGET_FAILED_AFTER_MS) this.remove(n);
    } else if (now - this.asked[n] >= RETRY_MS) {
      this.retry(n);
    }
  }

  /** Asks a neighbour of whom something new has been heard whether it is so; once a second at most. */
  confirm(n: Neighbour): void {
    if (this.state[n] === REACHABLE && this.now - this.asked[n] >= RETRY_MS) this.ask(n, PROBING);
  }

  /**
   * Somebody says that a neighbour has another MAC address than the one known. It is asked at that one, and only when it is silent there
   * for a second the other one is believed: so nobody takes the place of one who is there.
   */
  doubt(n: Neighbour, head: number, tail: number): void {
    if (this.doubts[n] === ANEW) return; // all are being asked
    this.doubts[n] = RUMOURED;
    this.rumourHead[n] = head;
    this.rumourTail[n] = tail;
    this.confirm(n);
  }

  /** Whether a neighbour is asked for because the link is another: he may be somebody else, and whoever answers is he. */
  isAskedAnew(n: Neighbour): boolean {
    return this.doubts[n] === ANEW;
  }

  /** Asks by IPv6 for those on an interface who are looked for, from the beginning: until now there was no address to ask from. */
  askAnew6(iface: Iface): void {
    for (let n = FIRST; n < this.end; n++) {
      const state = this.state[n];
      if ((state !== INCOMPLETE && state !== FAILED) || this.holds[n] === 0) continue;
      if (this.interfaceOf[n] !== iface || !isIpv6(this.address[n])) continue;
      this.tries[n] = 0;
      this.ask(n, INCOMPLETE);
    }
  }

  /**
   * Has nobody on the uplink be reached by IPv6, or lets them be again: while our address there is somebody else's. Whoever was USABLE is
   * not any more, so that no flow goes on.
   * @returns whether it was otherwise before
   */
  barUplink6(isBarred: boolean): boolean {
    if (this.isBarred === isBarred) return false;
    this.isBarred = isBarred;
    for (let n = FIRST; n < this.end; n++) {
      if (this.state[n] === FREE || !this.isOfUplink6(n)) continue;
      if (isBarred) this.shut(n);
      else this.reopen(n);
    }
    return true;
  }

  /**
   * Has what goes to the uplink by IPv6 wait, or wait no longer: while our address there may yet be somebody else's. Nobody is USABLE
   * meanwhile, whatever is heard of him; who is looked for then, `askAnew6` asks for.
   */
  holdUplink6(isHeld: boolean): void {
    if (this.isHeld === isHeld) return;
    this.isHeld = isHeld;
    for (let n = FIRST; n < this.end; n++) {
      if (this.state[n] === FREE || !this.isOfUplink6(n)) continue;
      const pin = this.pinFor(this.interfaceOf[n], this.address[n]);
      if (isHeld) this.suspend(n);
      else if (pin !== undefined) this.learn(n, pin.head, pin.tail, PINNED);
    }
  }

  private suspend(n: Neighbour): void {
    if (this.state[n] < USABLE) return;
    this.state[n] = INCOMPLETE;
    this.since[n] = this.now;
    this.asked[n] = this.now;
    this.tries[n] = 0;
    this.doubts[n] = SURE;
    this.onChange(n);
  }

  private isOfUplink6(n: Neighbour): boolean {
    return this.interfaceOf[n] === this.topology.uplink && isIpv6(this.address[n]);
  }

  private isShut(n: Neighbour): boolean {
    return this.isBarred && this.isOfUplink6(n);
  }

  private reopen(n: Neighbour): void {
    const pin = this.pinFor(this.interfaceOf[n], this.address[n]);
    if (pin !== undefined) this.learn(n, pin.head, pin.tail, PINNED);
    else if (this.holds[n] > 0) this.ask(n, INCOMPLETE);
  }

  private shut(n: Neighbour): void {
    const wasUsable = this.state[n] >= USABLE;
    this.state[n] = FAILED;
    this.since[n] = this.now;
    this.waiting.drop(n);
    if (wasUsable) this.onChange(n);
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
    // Without an uplink, its gateway was on none.
    for (let n = FIRST; n < this.end; n++) interfaceOf[n] = (renumber[interfaceOf[n]] ?? GONE) as Iface;
    interfaceOf[OURSELVES] = topology.uplink;
    this.waiting.dropThose((n) => interfaceOf[n as Neighbour] === GONE);
    const wereAnew = Array.from({ length: MAX_INTERFACES }, (_, iface) => this.isAnew[iface as Iface]);
    for (let iface = 0 as Iface; iface < MAX_INTERFACES; iface++) this.isAnew[iface] = 0;
    for (let iface = 0; iface < renumber.length; iface++) {
      if (renumber[iface] !== GONE) this.isAnew[renumber[iface] as Iface] = wereAnew[iface];
    }
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
    if (this.holds[n] === 0) {
      this.remove(n);
      return;
    }
    this.doubts[n] = ANEW;
    this.ask(n, this.state[n] >= USABLE ? PROBING : INCOMPLETE);
  }

  /**
   * Where an interface is there again, or has its link again, has `step` ask once more for all who are in use on it: they may be others.
   * @param before what was in force
   */
  followInterfaces(before: Topology | undefined): void {
    const { topology } = this;
    for (const [i, { isDown }] of topology.settings.interfaces.entries()) {
      const iface = i as Iface;
      if (isDown || !linkOf(topology, iface, before).isAnew) continue;
      this.isAnew[iface] = 1;
      this.settling = FIRST;
    }
  }

  /** Asks for a neighbour, and enters the state that waits for the answer. */
  private ask(n: Neighbour, state: number): void {
    if (this.isShut(n)) {
      this.shut(n);
      return;
    }
    if (this.state[n] !== state) {
      this.state[n] = state;
      this.since[n] = this.now;
      this.tries[n] = 0;
    }
    this.tries[n]++;
    this.asked[n] = this.now;
    // Where no frame gets out, it is asked for once one does.
    if (this.topology.isDown[this.interfaceOf[n]] !== 1) this.solicit(n);
  }

  private retry(n: Neighbour): void {
    const probing = this.state[n] === PROBING;
    if (probing && this.doubts[n] === RUMOURED) {
      this.learn(n, this.rumourHead[n], this.rumourTail[n]);
      this.ask(n, PROBING);
      return;
    }
    if (this.tries[n] < (probing ? PROBE_TRIES : INCOMPLETE_TRIES)) {
      this.ask(n, this.state[n]);
      return;
    }
    const { gatewayFallbackMac, gateway, ipv6, uplink } = this.topology;
    const isGateway = this.address[n] === gateway || this.address[n] === ipv6.gateway;
    if (gatewayFallbackMac !== undefined && isGateway && this.interfaceOf[n] === uplink) {
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
  learn(n: Neighbour, head: number, tail: number, state = REACHABLE): void {
    if ((this.state[n] === PINNED && state !== PINNED) || this.isShut(n)) return;
    if (this.isHeld && this.isOfUplink6(n)) return;
    const isElsewhere = this.state[n] >= USABLE && (this.head[n] !== head || this.tail[n] !== tail);
    this.state[n] = state;
    this.since[n] = this.now;
    this.head[n] = head;
    this.tail[n] = tail;
    this.doubts[n] = SURE;
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
      this.ring.share = flow === NO_FLOW ? SHARE.OURSELVES : this.shareOf(flow);
      writeMac(this.ring.view, at + ETHERNET.DESTINATION, this.head[n], this.tail[n]);
      this.ring.send(this.interfaceOf[n], at, length);
    }
  }

  /** Of a client's packet that waits to get to the uplink; what waits to get to a client shares nothing. */
  private shareOf(flow: Flow): number {
    const { flows } = this;
    return shareOf(flows.client(flow), flows.source(flow, flows.hasState(flow, FLOW_STATE.INBOUND) ? 1 : 0));
  }

  private create(iface: Iface, address: Address): Neighbour {
    const n = this.note(iface, address);
    if (n !== NONE && this.state[n] !== PINNED) this.ask(n, INCOMPLETE);
    return n;
  }

  /** A number for a neighbour not known yet, whose MAC address is pinned or still to be learnt; NONE when all are in use. */
  note(iface: Iface, address: Address): Neighbour {
    if (this.free === NONE) this.reclaim();
    const n = this.free;
    if (n === NONE) return NONE;
    this.free = this.chain[n];
    this.end = Math.max(this.end, n + 1);
    if (isIpv6(address)) this.book.retain(address);
    this.interfaceOf[n] = iface;
    this.address[n] = address;
    this.holds[n] = 0;
    this.doubts[n] = SURE;
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
    if (iface === this.topology.uplink) return this.topology.gatewayPin(address);
    const client = this.topology.clientOn(iface, address);
    return client === NOBODY ? undefined : this.topology.pinned[client];
  }

  /** @returns the neighbour with this address, or NO_NEIGHBOUR */
  find(iface: Iface, address: Address): Neighbour {
    const recent = this.recent[iface];
    if (this.state[recent] !== FREE && this.isAt(recent, iface, address)) return recent;
    const n = this.search(iface, address);
    if (n !== NONE) this.recent[iface] = n;
    return n;
  }

  private search(iface: Iface, address: Address): Neighbour {
    let n = this.buckets[this.bucketOf(address)] as Neighbour;
    while (n !== NONE && !this.isAt(n, iface, address)) n = this.chain[n];
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
    const address = this.address[n];
    if (isIpv6(address)) this.book.release(address);
    this.state[n] = FREE;
    this.chain[n] = this.free;
    this.free = n;
  }

  /** By the address alone: interfaces may be numbered anew. */
  private bucketOf(address: Address): number {
    return this.keyed.of(address, 0, 0, 0) & (BUCKETS - 1);
  }
}
