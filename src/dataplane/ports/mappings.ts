// NAT mappings with endpoint-independent mapping (RFC 4787 REQ-1): one client address and port has one external port,
// whichever remotes it talks to. A mapping lives as long as a flow uses it, and one of UDP a while longer (REQ-5). There is
// one external address, so address pooling is "paired" by itself (REQ-2); no external port serves two mappings, so there is
// no port overloading (REQ-3). Which port a mapping gets, port-pool.ts says; who may have how many is said here.

import { type Address, PROTOCOL } from "../../wire/ipv4.ts";
import type { Port } from "../../wire/ports.ts";
import { AddressBook, isIpv6 } from "../address-book.ts";
import type { KeyedHash } from "../keyed-hash.ts";
import type { Parties } from "../parties.ts";
import type { RandomPool } from "../random.ts";
import { type Group, grown, type Mapping, NO_MAPPING, NO_PARTY, type Party } from "../types.ts";
import { NO_PORT, PortPool, type PortRange } from "./port-pool.ts";

const PORTS = 65536;

/**
 * Ports that only the firewall's own questions leave from, so that nobody else can have an influence on which of them is next. Few
 * hosts have them as their own: ephemeral ports begin at 32768 or above, services lie below.
 */
export const RESOLVER_PORTS = { protocol: PROTOCOL.UDP, portLow: 16384, portHigh: 24575 } as const;
/** Over TCP sequence numbers do what ports do over UDP, so that few are enough. */
export const RESOLVER_TCP_PORTS = { protocol: PROTOCOL.TCP, portLow: 24320, portHigh: 24575 } as const;
/** How often a port of these is drawn until one is free. Since few are in use at a time, twice is rare. */
const RESOLVER_DRAWS = 16;

const MAPPING_WORDS = 8;
const ADDRESS = 0;
/** internal port << 16 | external port */
const PORT_PAIR = 1;
/** protocol | party + 1 << 8 */
const OWNER = 2;
/** Flows that use it; 0 of one that lingers, or is free. */
const FLOWS = 3;
/** Next in the chain of the same hash; of a free one, how many numbers after its own the next free one is, less one. */
const NEXT = 4;
/**
 * Lingering mappings of a group form a list, the oldest first, which is circular: neighbours in it; and the second at which a flow let
 * go last that makes a mapping linger. YOUNGER is NONE of one that does not linger.
 */
const YOUNGER = 5;
const OLDER = 6;
const RELEASED = 7;
/** In place of OLDER while flows use a mapping: how many of them are its client's doing (RFC 4787 REQ-6), not a stranger's alone. */
const KEEPERS = OLDER;

/** The end of a chain; no list. */
const NONE = -1;

/** More cannot be in use: both TCP and UDP have 64512 ports, and ICMP leaves much of its own. */
export const MOST_MAPPINGS = 131072;
/** Seconds that a mapping of UDP stays without a flow, so that it lasts more than the two minutes of RFC 4787 REQ-5. */
const LINGER_SECONDS = 120;

/** What has ports of its own: ICMP's identifiers (of both ICMPs), TCP's and UDP's ports, by family. */
const CLASS_OF_ICMP = 0;
const CLASS_OF_TCP = 1;
const CLASS_OF_UDP = 2;
/** Our address of IPv6 has ports of its own: their classes stand behind those of IPv4. */
const OF_FAMILY = 3;
const CLASSES = 2 * OF_FAMILY;

/** Protocols that have ports reserved. */
const RESERVING: readonly number[] = [PROTOCOL.ICMP, PROTOCOL.TCP, PROTOCOL.UDP];

export class MappingTable {
  private readonly words: Int32Array;
  private readonly heads: Int32Array;
  private readonly capacity: number;
  /** The first that is free; `capacity` when there is none. All are in memory of zeros, which is not written to before use. */
  private free = 0 as Mapping;
  /** By protocol class and external port: mapping + 1, or 0. */
  private readonly external = new Int32Array(CLASSES * PORTS);
  /** By protocol class. */
  private readonly pools: readonly PortPool[];
  /** By protocol class: the ranges that are kept. */
  private readonly reserved: string[] = [];
  /** By party: the mapping that has lingered longest, or NO_MAPPING. By group or party, and protocol class: mappings, also lingering. */
  private oldest: Int32Array = new Int32Array(0);
  private counts: Int32Array = new Int32Array(0);
  private hostCounts: Int32Array = new Int32Array(0);
  /** Whose mappings there are: clients' hosts. */
  private parties: Parties | undefined;
  private groupOf: Int32Array = new Int32Array(0);
  private clients = 0;
  /** The party whose mappings `expire` looks at next, and how many it has yet to look at. */
  private hand = 0;
  private left = 0;
  /** Whether all that linger are over. */
  private isClearing = false;

  /**
   * @param flows capacity of the flow table
   * @param keyed keeps clients from choosing ports that collide
   */
  constructor(
    flows: number,
    private readonly keyed: KeyedHash,
    private readonly random: RandomPool,
    /** Holds the addresses of clients that are IPv6's. */
    private readonly book: AddressBook = AddressBook.empty(),
  ) {
    this.capacity = Math.min(flows, MOST_MAPPINGS);
    this.words = new Int32Array(this.capacity * MAPPING_WORDS);
    this.heads = new Int32Array(2 ** Math.ceil(Math.log2(this.capacity * 2))).fill(NONE);
    this.pools = Array.from({ length: CLASSES }, () => new PortPool(random));
    this.reserve([]);
    this.reserve([], true);
  }

  /**
   * Takes the parties of new settings. What lingers of who is gone is over; a mapping that flows use stays whose it is, until `give`.
   * @param clients how many there are
   */
  follow(parties: Parties, clients: number): void {
    this.parties = parties;
    this.clients = clients;
    this.groupOf = parties.groupOf;
    this.left = parties.groupOf.length;
    this.oldest = grown(this.oldest, parties.groupOf.length, NO_MAPPING);
    this.counts = grown(this.counts, parties.groups * CLASSES, 0);
    this.hostCounts = grown(this.hostCounts, parties.groupOf.length * CLASSES, 0);
  }

  /** From now on all that linger are over, for we have another address; until `hasCleared`. */
  clear(): void {
    this.isClearing = true;
    this.left = this.groupOf.length;
  }

  /** There are none any more that lingered when `clear` was called, nor flows. */
  hasCleared(): void {
    this.isClearing = false;
  }

  /** Counts a mapping for a party, if it has been another's. */
  give(mapping: Mapping, party: Party): void {
    const owner = this.owner(mapping);
    if (owner === party || owner === NO_PARTY) return;
    const at = mapping * MAPPING_WORDS;
    const lingers = this.words[at + YOUNGER] !== NONE;
    if (lingers) this.unlinger(mapping);
    this.count(mapping, -1);
    this.words[at + OWNER] = (this.words[at + OWNER] & 0xff) | ((party + 1) << 8);
    this.count(mapping, 1);
    if (lingers) this.linger(mapping);
  }

  /** @returns the mapping of a client's address and port (or ICMP identifier), or NO_MAPPING when it has none */
  find(protocol: number, address: Address, port: Port): Mapping {
    return this.findAt(this.hash(protocol, address, port), protocol, address, port);
  }

  /** As `find` does. @param head `hash` of the other arguments */
  findAt(head: number, protocol: number, address: Address, port: Port): Mapping {
    for (let m = this.heads[head]; m !== NONE; ) {
      const at = m * MAPPING_WORDS;
      if (
        this.words[at + ADDRESS] === address &&
        this.words[at + PORT_PAIR] >>> 16 === port &&
        (this.words[at + OWNER] & 0xff) === protocol
      ) {
        return m as Mapping;
      }
      m = this.words[at + NEXT];
    }
    return NO_MAPPING;
  }

  /** @param head `hash` of an endpoint @returns the mapping that `find` looks at first, whosever it is, or NO_MAPPING: to be read ahead */
  first(head: number): Mapping {
    return this.heads[head] as Mapping;
  }

  /** @param ofIpv6 whether it is one of our address of IPv6 @returns the mapping that owns an external port, or NO_MAPPING */
  findExternal(protocol: number, port: Port, ofIpv6 = false): Mapping {
    return (this.external[classOf(protocol, ofIpv6) * PORTS + port] - 1) as Mapping;
  }

  /** @returns how many mappings a group has, with those that linger */
  mappingsOf(group: Group): number {
    return sumOf(this.counts, group);
  }

  /** @returns how many a party has */
  mappingsOfParty(party: Party): number {
    return sumOf(this.hostCounts, party);
  }

  /** @returns the party of the same group that has most, the party itself if nobody has more */
  greediestBeside(party: Party): Party {
    let greediest = party;
    let most = this.mappingsOfParty(party);
    const firstOf = this.parties?.firstOf ?? this.groupOf;
    const group = this.groupOf[party];
    for (let one = firstOf[group] as Party; one < firstOf[group + 1]; one++) {
      const count = this.mappingsOfParty(one);
      if (count <= most) continue;
      most = count;
      greediest = one;
    }
    return greediest;
  }

  /**
   * A new mapping, without flows as yet: `retain` it, or `dropUnused`.
   * @param party whom it counts for
   * @param head `hash` of protocol, address and port, from who has it
   * @returns its number, or NO_MAPPING when all ports (or all records) are taken, but for those that are kept for clients who have fewer
   */
  allocate(
    protocol: number,
    party: Party,
    address: Address,
    port: Port,
    head = this.hash(protocol, address, port),
  ): Mapping {
    const number = classOf(protocol, isIpv6(address));
    const pool = this.pools[number];
    if (pool.isShort && !this.mayHaveKept(number, party)) return NO_MAPPING;
    if (!this.hasRecord()) return NO_MAPPING;
    const external = pool.choose(port);
    if (external === NO_PORT) return NO_MAPPING;
    const before = this.external[number * PORTS + external];
    if (before !== 0) this.drop((before - 1) as Mapping);
    return this.create(head, protocol, party, address, port, external);
  }

  /** @returns whether a party has less than its part of a class's ports that are kept; what of its own lingers gives way for that */
  private mayHaveKept(number: number, party: Party): boolean {
    if (this.isBelowShare(number, party)) return true;
    return number % OF_FAMILY === CLASS_OF_UDP && this.dropOldest(party) && this.isBelowShare(number, party);
  }

  /** A client's part is for it alone; that of a network half for whichever of its hosts comes first, half for all in equal parts. */
  private isBelowShare(number: number, party: Party): boolean {
    const { parties } = this;
    const share = this.pools[number].share(this.clients);
    const group = this.groupOf[party] as Group;
    const hosts = parties === undefined ? 1 : parties.firstOf[group + 1] - parties.firstOf[group];
    const ofHost = hosts === 1 ? 0 : Math.floor(share / 2 / hosts);
    if (this.hostCounts[party * CLASSES + number] < ofHost) return true;
    return this.counts[group * CLASSES + number] < (hosts === 1 ? share : Math.ceil(share / 2));
  }

  /**
   * A new mapping for a question of the firewall's own, as `allocate` makes one; its port is one of RESOLVER_PORTS, or RESOLVER_TCP_PORTS.
   * @param protocol UDP or TCP
   * @param address ours on the uplink
   */
  allocateOwn(protocol: number, address: Address): Mapping {
    const port = this.resolverPort(classOf(protocol, isIpv6(address)), protocol);
    if (port === NO_PORT || !this.hasRecord()) return NO_MAPPING;
    return this.create(this.hash(protocol, address, port as Port), protocol, NO_PARTY, address, port as Port, port);
  }

  private resolverPort(number: number, protocol: number): number {
    const { portLow, portHigh } = protocol === PROTOCOL.TCP ? RESOLVER_TCP_PORTS : RESOLVER_PORTS;
    for (let i = 0; i < RESOLVER_DRAWS; i++) {
      const port = portLow + this.random.below(portHigh - portLow + 1);
      if (this.external[number * PORTS + port] === 0) return port;
    }
    return NO_PORT;
  }

  /** Makes sure that there is a free record, if need be by ending one of all that linger, so that none can be foretold. */
  private hasRecord(): boolean {
    if (this.free !== this.capacity) return true;
    for (let number = CLASS_OF_UDP; number < CLASSES; number += OF_FAMILY) {
      const port = this.pools[number].anyLingering();
      if (port === NO_PORT) continue;
      this.drop((this.external[number * PORTS + port] - 1) as Mapping);
      return true;
    }
    return false;
  }

  private create(
    head: number,
    protocol: number,
    party: Party,
    address: Address,
    port: Port,
    external: number,
  ): Mapping {
    const number = classOf(protocol, isIpv6(address));
    const mapping = this.free;
    const at = mapping * MAPPING_WORDS;
    this.free = (mapping + 1 + this.words[at + NEXT]) as Mapping;
    if (isIpv6(address)) this.book.retain(address);
    this.words[at + ADDRESS] = address;
    this.words[at + PORT_PAIR] = (port << 16) | external;
    this.words[at + OWNER] = protocol | ((party + 1) << 8);
    this.words[at + FLOWS] = 0;
    this.words[at + NEXT] = this.heads[head];
    this.heads[head] = mapping;
    this.words[at + YOUNGER] = NONE;
    this.words[at + RELEASED] = -LINGER_SECONDS;
    this.external[number * PORTS + external] = mapping + 1;
    this.pools[number].use(external);
    this.count(mapping, 1);
    return mapping;
  }

  /** @returns whether flows use it: it does not just linger */
  isUsed(mapping: Mapping): boolean {
    return this.words[mapping * MAPPING_WORDS + FLOWS] > 0;
  }

  /** Counts one more flow. @param isKept whether it is the client's doing */
  retain(mapping: Mapping, isKept = true): void {
    const at = mapping * MAPPING_WORDS;
    if (this.words[at + FLOWS]++ === 0) {
      this.unlinger(mapping);
      this.words[at + KEEPERS] = 0;
    }
    if (isKept) this.words[at + KEEPERS]++;
  }

  /** A flow that uses it has become the client's doing, or is that no more. */
  keep(mapping: Mapping, isKept: boolean): void {
    this.words[mapping * MAPPING_WORDS + KEEPERS] += isKept ? 1 : -1;
  }

  /**
   * @param second the clock
   * @returns whether the client has it open still: by a flow of its doing, or one that ended a short while ago
   */
  isOpen(mapping: Mapping, second: number): boolean {
    const at = mapping * MAPPING_WORDS;
    return (this.words[at + FLOWS] > 0 && this.words[at + KEEPERS] > 0) || !this.isOver(mapping, second);
  }

  /**
   * Gives up one flow's hold; the last one ends the mapping, or leaves it to linger.
   * @param lingers whether it is to stay for LINGER_SECONDS after this flow, unless its port is needed
   * @param second the clock
   * @param isKept whether the flow was the client's doing
   */
  release(mapping: Mapping, lingers: boolean, second: number, isKept = true): void {
    const at = mapping * MAPPING_WORDS;
    if (lingers) this.words[at + RELEASED] = second;
    if (isKept) this.words[at + KEEPERS]--;
    if (--this.words[at + FLOWS] > 0) return;
    const owner = this.owner(mapping);
    const mayLinger = owner !== NO_PARTY && !this.isClearing && this.isLive(owner);
    if (mayLinger && !this.isOver(mapping, second)) this.linger(mapping);
    else this.remove(mapping);
  }

  /** What let go of it before does not make it linger any more. */
  forgetRelease(mapping: Mapping): void {
    this.words[mapping * MAPPING_WORDS + RELEASED] = -LINGER_SECONDS;
  }

  /** Ends a mapping that no flow came to use. */
  dropUnused(mapping: Mapping): void {
    if (!this.isUsed(mapping)) this.drop(mapping);
  }

  private isLive(party: Party): boolean {
    return this.parties?.isLive(this.groupOf[party] as Group) === true;
  }

  /** Ends the mapping of a party that has lingered longest. @returns whether there was one */
  dropOldest(party: Party): boolean {
    const oldest = this.oldest[party] as Mapping;
    if (oldest === NO_MAPPING) return false;
    this.drop(oldest);
    return true;
  }

  /** Has `expire` look at all that linger. */
  tick(): void {
    this.left = this.groupOf.length;
  }

  /** Whether `expire` has something to do. */
  get isBusy(): boolean {
    return this.left > 0;
  }

  /** Ends mappings that have lingered long enough, or whose group is gone, up to `most`. @param second the clock */
  expire(second: number, most: number): void {
    for (let ended = 0; this.left > 0; this.left--) {
      const party = this.hand as Party;
      for (; this.mustGo(party, second); ended++) {
        if (ended === most) return;
        this.dropOldest(party);
      }
      this.hand = (party + 1) % this.groupOf.length;
    }
  }

  /** Whether a party's oldest that lingers is over. */
  private mustGo(party: Party, second: number): boolean {
    const oldest = this.oldest[party] as Mapping;
    if (oldest === NO_MAPPING) return false;
    return this.isClearing || !this.isLive(party) || this.isOver(oldest, second);
  }

  private isOver(mapping: Mapping, second: number): boolean {
    return mapping !== NO_MAPPING && second - this.words[mapping * MAPPING_WORDS + RELEASED] >= LINGER_SECONDS;
  }

  /** Keeps, of one family, the ports of these ranges, and no others, from new mappings; a mapping that has one of them keeps it. */
  reserve(ranges: readonly PortRange[], ofIpv6 = false): void {
    const all = [...ranges, RESOLVER_PORTS, RESOLVER_TCP_PORTS];
    for (const protocol of RESERVING) {
      const number = classOf(protocol, ofIpv6);
      const own = all
        .filter((range) => range.protocol === protocol)
        .map(({ portLow, portHigh }) => ({ portLow, portHigh }));
      const text = JSON.stringify(own);
      if (this.reserved[number] !== text) this.pools[number].close(own);
      this.reserved[number] = text;
    }
  }

  /** @returns internal port << 16 | external port */
  portPair(mapping: Mapping): number {
    return this.words[mapping * MAPPING_WORDS + PORT_PAIR];
  }

  externalPort(mapping: Mapping): Port {
    return (this.words[mapping * MAPPING_WORDS + PORT_PAIR] & 0xffff) as Port;
  }

  internalPort(mapping: Mapping): Port {
    return (this.words[mapping * MAPPING_WORDS + PORT_PAIR] >>> 16) as Port;
  }

  /** @returns the client's address */
  address(mapping: Mapping): Address {
    return this.words[mapping * MAPPING_WORDS + ADDRESS] as Address;
  }

  private protocol(mapping: Mapping): number {
    return this.words[mapping * MAPPING_WORDS + OWNER] & 0xff;
  }

  /** @returns whom it counts for; NO_PARTY of the firewall's own */
  private owner(mapping: Mapping): Party {
    return ((this.words[mapping * MAPPING_WORDS + OWNER] >>> 8) - 1) as Party;
  }

  private count(mapping: Mapping, by: number): void {
    const owner = this.owner(mapping);
    if (owner === NO_PARTY) return;
    const number = this.classOfMapping(mapping);
    this.hostCounts[owner * CLASSES + number] += by;
    this.counts[this.groupOf[owner] * CLASSES + number] += by;
  }

  private linger(mapping: Mapping): void {
    this.pools[this.classOfMapping(mapping)].linger(this.externalPort(mapping));
    this.append(mapping);
  }

  /** Enters one that lingers in its party's list, as the youngest. */
  private append(mapping: Mapping): void {
    const { words } = this;
    const at = mapping * MAPPING_WORDS;
    const owner = this.owner(mapping);
    const oldest = this.oldest[owner];
    if (oldest === NO_MAPPING) {
      words[at + YOUNGER] = mapping;
      words[at + OLDER] = mapping;
      this.oldest[owner] = mapping;
      return;
    }
    const youngest = words[oldest * MAPPING_WORDS + OLDER];
    words[at + YOUNGER] = oldest;
    words[at + OLDER] = youngest;
    words[youngest * MAPPING_WORDS + YOUNGER] = mapping;
    words[oldest * MAPPING_WORDS + OLDER] = mapping;
  }

  /** Takes one that may linger out of its list. */
  private unlinger(mapping: Mapping): void {
    const { words } = this;
    const at = mapping * MAPPING_WORDS;
    const younger = words[at + YOUNGER];
    if (younger === NONE) return;
    const older = words[at + OLDER];
    words[older * MAPPING_WORDS + YOUNGER] = younger;
    words[younger * MAPPING_WORDS + OLDER] = older;
    words[at + YOUNGER] = NONE;
    const owner = this.owner(mapping);
    if (this.oldest[owner] === mapping) this.oldest[owner] = younger === mapping ? NO_MAPPING : younger;
    this.pools[this.classOfMapping(mapping)].unlinger(this.externalPort(mapping));
  }

  private drop(mapping: Mapping): void {
    this.unlinger(mapping);
    this.remove(mapping);
  }

  /** Frees one that no flow uses, and that is in no list. */
  private remove(mapping: Mapping): void {
    const at = mapping * MAPPING_WORDS;
    const words = this.words;
    const number = this.classOfMapping(mapping);
    const address = this.address(mapping);
    this.count(mapping, -1);
    this.external[number * PORTS + this.externalPort(mapping)] = 0;
    this.pools[number].release(this.externalPort(mapping));
    const head = this.hash(this.protocol(mapping), address, this.internalPort(mapping));
    if (this.heads[head] === mapping) {
      this.heads[head] = words[at + NEXT];
    } else {
      let before = this.heads[head];
      while (words[before * MAPPING_WORDS + NEXT] !== mapping) before = words[before * MAPPING_WORDS + NEXT];
      words[before * MAPPING_WORDS + NEXT] = words[at + NEXT];
    }
    words[at + NEXT] = this.free - mapping - 1;
    this.free = mapping;
    if (isIpv6(address)) this.book.release(address);
  }

  private classOfMapping(mapping: Mapping): number {
    return classOf(this.protocol(mapping), isIpv6(this.address(mapping)));
  }

  /** @returns the number of the chain that the mapping of a client's address and port is in */
  hash(protocol: number, address: Address, port: Port): number {
    return this.keyed.of(address, port, 0, protocol) & (this.heads.length - 1);
  }
}

function sumOf(counts: Int32Array, number: number): number {
  let sum = 0;
  for (let i = 0; i < CLASSES; i++) sum += counts[number * CLASSES + i];
  return sum;
}

function classOf(protocol: number, ofIpv6: boolean): number {
  const first = ofIpv6 ? OF_FAMILY : 0;
  if (protocol === PROTOCOL.TCP) return first + CLASS_OF_TCP;
  return first + (protocol === PROTOCOL.UDP ? CLASS_OF_UDP : CLASS_OF_ICMP);
}
