// NAT mappings with endpoint-independent mapping (RFC 4787 REQ-1): one client address and port has one external port,
// whichever remotes it talks to. A mapping lives as long as a flow uses it, and one of UDP a while longer (REQ-5). There is
// one external address, so address pooling is "paired" by itself (REQ-2); no external port serves two mappings, so there is
// no port overloading (REQ-3).

import { type Address, PROTOCOL } from "../../wire/ipv4.ts";
import type { Port } from "../../wire/ports.ts";
import type { RandomPool } from "../random.ts";
import { type Mapping, NO_MAPPING } from "../types.ts";
import type { KeyedHash } from "./keyed-hash.ts";

const PORTS = 65536;
/** Where the ports begin that a mapping may get when its own is taken: low ones (RFC 4787 REQ-3a), others (RFC 6056 3.2). */
const FIRST_LOW_PORT = 2;
const FIRST_PORT = 1024;

const MAPPING_WORDS = 8;
const ADDRESS = 0;
/** internal port << 16 | external port */
const PORT_PAIR = 1;
const IP_PROTOCOL = 2;
/** Flows that use it; 0 of one that lingers, or is free. */
const FLOWS = 3;
/** Next in the chain of the same hash; of a free one, how many numbers after its own the next free one is, less one. */
const NEXT = 4;
/**
 * Lingering mappings form a list, the oldest first: neighbours in it; and the second at which a flow let go last that
 * makes a mapping linger.
 */
const YOUNGER = 5;
const OLDER = 6;
const RELEASED = 7;

/** The end of a chain; and no port. */
const NONE = -1;

/** More cannot be in use: both TCP and UDP have 64512 ports, and ICMP leaves much of its own. */
const MOST = 131072;
/** Seconds that a mapping of UDP stays without a flow, so that it lasts more than the two minutes of RFC 4787 REQ-5. */
const LINGER_SECONDS = 120;

export class MappingTable {
  private readonly words: Int32Array;
  private readonly heads: Int32Array;
  private readonly capacity: number;
  /** The first that is free; `capacity` when there is none. All are in memory of zeros, which is not written to before use. */
  private free = 0 as Mapping;
  /** By protocol class and external port: mapping + 1, or 0. */
  private readonly external = new Int32Array(3 * PORTS);
  private reserved: readonly PortRange[] = [];
  /** By protocol class: 1 when a search found no free port, and none has come free since. */
  private readonly exhausted = new Uint8Array(3);

  private oldest = NO_MAPPING;
  private youngest = NO_MAPPING;

  /**
   * @param flows capacity of the flow table
   * @param keyed keeps clients from choosing ports that collide
   */
  constructor(
    flows: number,
    private readonly keyed: KeyedHash,
    private readonly random: RandomPool,
  ) {
    this.capacity = Math.min(flows, MOST);
    this.words = new Int32Array(this.capacity * MAPPING_WORDS);
    this.heads = new Int32Array(2 ** Math.ceil(Math.log2(this.capacity * 2))).fill(NONE);
  }

  /** @returns the mapping of a client's address and port (or ICMP identifier), or NO_MAPPING when it has none */
  find(protocol: number, address: Address, port: Port): Mapping {
    for (let m = this.heads[this.hash(protocol, address, port)]; m !== NONE; ) {
      const at = m * MAPPING_WORDS;
      if (
        this.words[at + ADDRESS] === address &&
        this.words[at + PORT_PAIR] >>> 16 === port &&
        this.words[at + IP_PROTOCOL] === protocol
      ) {
        return m as Mapping;
      }
      m = this.words[at + NEXT];
    }
    return NO_MAPPING;
  }

  /** @returns the mapping that owns an external port, or NO_MAPPING */
  findExternal(protocol: number, port: Port): Mapping {
    return (this.external[classOf(protocol) * PORTS + port] - 1) as Mapping;
  }

  /**
   * A new mapping, without flows as yet: `retain` it.
   * @returns its number, or NO_MAPPING when all ports (or all records) are taken
   */
  allocate(protocol: number, address: Address, port: Port): Mapping {
    if (this.free === this.capacity && !this.dropOldest()) return NO_MAPPING;
    const chosen = this.choosePort(protocol, port);
    const external = chosen === NONE ? this.lingeringPort(protocol) : chosen;
    if (external === NONE) return NO_MAPPING;
    const mapping = this.free;
    const at = mapping * MAPPING_WORDS;
    const head = this.hash(protocol, address, port);
    this.free = (mapping + 1 + this.words[at + NEXT]) as Mapping;
    this.words[at + ADDRESS] = address;
    this.words[at + PORT_PAIR] = (port << 16) | external;
    this.words[at + IP_PROTOCOL] = protocol;
    this.words[at + FLOWS] = 0;
    this.words[at + NEXT] = this.heads[head];
    this.heads[head] = mapping;
    this.words[at + RELEASED] = -LINGER_SECONDS;
    this.external[classOf(protocol) * PORTS + external] = mapping + 1;
    this.linger(mapping);
    return mapping;
  }

  /** @returns whether flows use it: it does not just linger */
  isUsed(mapping: Mapping): boolean {
    return this.words[mapping * MAPPING_WORDS + FLOWS] > 0;
  }

  /** Counts one more flow. @returns whether it is the first */
  retain(mapping: Mapping): boolean {
    const isFirst = this.words[mapping * MAPPING_WORDS + FLOWS]++ === 0;
    if (isFirst) this.unlinger(mapping);
    return isFirst;
  }

  /**
   * Gives up one flow's hold; the last one ends the mapping, or leaves it to linger.
   * @param lingers whether it is to stay for LINGER_SECONDS after this flow, unless its port is needed
   * @param second the clock
   * @returns whether this was the last
   */
  release(mapping: Mapping, lingers: boolean, second: number): boolean {
    const at = mapping * MAPPING_WORDS;
    if (lingers) this.words[at + RELEASED] = second;
    if (--this.words[at + FLOWS] > 0) return false;
    this.linger(mapping);
    if (second - this.words[at + RELEASED] >= LINGER_SECONDS) this.drop(mapping);
    return true;
  }

  /** Ends a mapping that no flow came to use. */
  dropUnused(mapping: Mapping): void {
    if (!this.isUsed(mapping)) this.drop(mapping);
  }

  /** Ends mappings that have lingered long enough, up to `most`. @param second the clock */
  expire(second: number, most: number): void {
    for (let i = 0; i < most && this.oldest !== NO_MAPPING; i++) {
      if (second - this.words[this.oldest * MAPPING_WORDS + RELEASED] < LINGER_SECONDS) return;
      this.dropOldest();
    }
  }

  /** The settings have changed: ends mappings that linger. @param stays says of a client's address whether its may stay */
  retire(stays: (address: Address) => boolean): void {
    for (let mapping = this.oldest; mapping !== NO_MAPPING; ) {
      const younger = this.words[mapping * MAPPING_WORDS + YOUNGER] as Mapping;
      if (!stays(this.address(mapping))) this.drop(mapping);
      mapping = younger;
    }
  }

  /** Keeps the ports of these ranges, and no others, from new mappings; a mapping that has one of them keeps it. */
  reserve(ranges: readonly PortRange[]): void {
    this.reserved = ranges;
    this.exhausted.fill(0);
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

  /** Calls back with the client's address of every mapping that flows use. */
  forEach(visit: (address: Address) => void): void {
    for (const owner of this.external) {
      const mapping = (owner - 1) as Mapping;
      if (owner !== 0 && this.isUsed(mapping)) visit(this.address(mapping));
    }
  }

  private linger(mapping: Mapping): void {
    const at = mapping * MAPPING_WORDS;
    this.words[at + YOUNGER] = NO_MAPPING;
    this.words[at + OLDER] = this.youngest;
    if (this.youngest === NO_MAPPING) this.oldest = mapping;
    else this.words[this.youngest * MAPPING_WORDS + YOUNGER] = mapping;
    this.youngest = mapping;
  }

  private unlinger(mapping: Mapping): void {
    const at = mapping * MAPPING_WORDS;
    const younger = this.words[at + YOUNGER] as Mapping;
    const older = this.words[at + OLDER] as Mapping;
    if (younger === NO_MAPPING) this.youngest = older;
    else this.words[younger * MAPPING_WORDS + OLDER] = older;
    if (older === NO_MAPPING) this.oldest = younger;
    else this.words[older * MAPPING_WORDS + YOUNGER] = younger;
  }

  private dropOldest(): boolean {
    if (this.oldest === NO_MAPPING) return false;
    this.drop(this.oldest);
    return true;
  }

  private drop(mapping: Mapping): void {
    this.unlinger(mapping);
    this.remove(mapping);
  }

  private remove(mapping: Mapping): void {
    const at = mapping * MAPPING_WORDS;
    const words = this.words;
    this.external[classOf(words[at + IP_PROTOCOL]) * PORTS + this.externalPort(mapping)] = 0;
    this.exhausted[classOf(words[at + IP_PROTOCOL])] = 0;
    const head = this.hash(words[at + IP_PROTOCOL], this.address(mapping), this.internalPort(mapping));
    if (this.heads[head] === mapping) {
      this.heads[head] = words[at + NEXT];
    } else {
      let before = this.heads[head];
      while (words[before * MAPPING_WORDS + NEXT] !== mapping) before = words[before * MAPPING_WORDS + NEXT];
      words[before * MAPPING_WORDS + NEXT] = words[at + NEXT];
    }
    words[at + NEXT] = this.free - mapping - 1;
    this.free = mapping;
  }

  /** The client's own port where it is free; else a random one of its range (RFC 4787 REQ-3a), else a high one. */
  private choosePort(protocol: number, port: Port): number {
    if (port !== 0 && this.isFree(protocol, port)) return port;
    const low = port < FIRST_PORT ? this.randomPort(protocol, port, FIRST_LOW_PORT, FIRST_PORT) : NONE;
    if (low !== NONE || this.exhausted[classOf(protocol)] === 1) return low;
    const high = this.randomPort(protocol, port, FIRST_PORT, PORTS);
    if (high === NONE) this.exhausted[classOf(protocol)] = 1;
    return high;
  }

  /** Ends the mapping of the protocol that has lingered longest. @returns its port, or NONE when none lingers */
  private lingeringPort(protocol: number): number {
    for (let mapping = this.oldest; mapping !== NO_MAPPING; ) {
      const younger = this.words[mapping * MAPPING_WORDS + YOUNGER] as Mapping;
      if (this.words[mapping * MAPPING_WORDS + IP_PROTOCOL] === protocol) {
        const port = this.externalPort(mapping);
        this.drop(mapping);
        if (this.isFree(protocol, port)) return port;
      }
      mapping = younger;
    }
    return NONE;
  }

  /** A free port of `first` to `end` - 1, both even, of the same parity as `port` (RFC 4787 REQ-4), else of the other. */
  private randomPort(protocol: number, port: number, first: number, end: number): number {
    const start = (first + this.random.below(end - first)) & ~1;
    const same = this.firstFree(protocol, start | (port & 1), first, end);
    return same !== NONE ? same : this.firstFree(protocol, start | (~port & 1), first, end);
  }

  /** The first free port of the same parity from `start` on, round to it again. */
  private firstFree(protocol: number, start: number, first: number, end: number): number {
    for (let port = start; port < end; port += 2) if (this.isFree(protocol, port)) return port;
    for (let port = first + (start & 1); port < start; port += 2) if (this.isFree(protocol, port)) return port;
    return NONE;
  }

  private isFree(protocol: number, port: number): boolean {
    if (this.external[classOf(protocol) * PORTS + port] !== 0) return false;
    for (const range of this.reserved) {
      if (range.protocol === protocol && port >= range.portLow && port <= range.portHigh) return false;
    }
    return true;
  }

  private hash(protocol: number, address: Address, port: Port): number {
    return this.keyed.of(address, port, 0, protocol) & (this.heads.length - 1);
  }
}

/** External ports of one protocol, both ends included. */
export interface PortRange {
  readonly protocol: number;
  readonly portLow: number;
  readonly portHigh: number;
}

/** Protocols with ports of their own: ICMP's identifiers, TCP's and UDP's ports. */
function classOf(protocol: number): number {
  if (protocol === PROTOCOL.TCP) return 1;
  return protocol === PROTOCOL.UDP ? 2 : 0;
}
