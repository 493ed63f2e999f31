// The drop ring: what became of frames that were not forwarded, for control to read (drop-records.ts). Frames that are alike (who sent
// them, addresses, ports, protocol, verdict) count in one record; whose record goes for another is the business of drop-shares.ts.
// Nothing is allocated for a frame, and nobody is waited for.
import type { KeyedHash } from "../keyed-hash.ts";
import { DROP, DROP_ADDRESSES, DROP_RECORDS, DROP_WORDS, DROPS, DROPS_LENGTH } from "./drop-records.ts";
import { DropShares } from "./drop-shares.ts";

/** What is to be noted of a frame: filled in by who notes it, and the same object for all. The fields are those of DROP. */
export class Drop {
  verdict = 0;
  protocol = 0;
  /** TCP flags, or the ICMP type. */
  flags = 0;
  has = 0;
  iface = 0;
  etherType = 0;
  client = 0;
  rule = 0;
  /** Of IPv6 a keyed hash of the address, which stands in `addresses`: the source's four words, and the destination's. */
  source = 0;
  destination = 0;
  isIpv6 = false;
  readonly addresses = new Int32Array(DROP_ADDRESSES);
  ports = 0;
  /** As numbered for `reset`. */
  party = 0;
  isLogged = false;
}

/** No record: at a chain's end. */
const NONE = -1;
/** Chains of records whose hashes end alike. */
const CHAINS = 2 * DROP_RECORDS;

/**
 * Whose a record is.
 * @param iface number of its interface, or -1 if that is gone
 * @param source address that it seems to be from; of IPv6 its four words stand at `six`, which is -1 of IPv4
 */
export type PartyOf = (iface: number, source: number, six: number) => number;

export class Drops {
  readonly words = new Int32Array(new SharedArrayBuffer(DROPS_LENGTH));
  private readonly times = new Float64Array(this.words.buffer);
  private readonly shares = new DropShares(DROP_RECORDS);
  /** By hash, and by record: the next one of its chain, and which chain it is in. */
  private readonly chains = new Int32Array(CHAINS).fill(NONE);
  private readonly next = new Int32Array(DROP_RECORDS).fill(NONE);
  private readonly chainOf = new Int32Array(DROP_RECORDS).fill(NONE);
  /** By record: its interface's number in the settings in force. */
  private readonly ifaces = new Int32Array(DROP_RECORDS);
  /** By record: 1 if it is about IPv6 addresses. */
  private readonly isIpv6 = new Uint8Array(DROP_RECORDS);
  private serial = 0;

  /** @param keyed whose keys strangers don't know: else they could have all in one chain */
  constructor(private readonly keyed: KeyedHash) {}

  /** @param now ms */
  setTime(now: number): void {
    this.times[DROPS.NOW / 2] = now;
  }

  /**
   * Follows new settings.
   * @param groupOf by party
   * @param renumber by interface before: its number now, or -1
   * @param partyOf whose a record is from now on
   */
  reset(groups: number, groupOf: Int32Array, renumber: Int32Array, partyOf: PartyOf): void {
    const { words, times, ifaces, shares } = this;
    shares.reset(groups, groupOf);
    const used = Array.from(ifaces.keys()).filter((record) => this.chainOf[record] !== NONE);
    const last = (record: number) => times[(record * DROP_WORDS + DROP.LAST) / 2];
    for (const record of used.sort((one, other) => last(one) - last(other))) {
      const at = record * DROP_WORDS;
      ifaces[record] = renumber[ifaces[record]] ?? NONE;
      const six = this.isIpv6[record] === 1 ? DROPS.ADDRESSES + record * DROP_ADDRESSES : -1;
      shares.refile(record, partyOf(ifaces[record], words[at + DROP.SOURCE], six), words[at + DROP.WHAT] & 0xff);
    }
  }

  /** From now on numbers are those of other settings. */
  countSettings(): void {
    Atomics.add(this.words, DROPS.SETTINGS, 1);
  }

  note(drop: Drop): void {
    const { words, times, shares } = this;
    const { protocol, source, destination, ports, verdict, party } = drop;
    const hash = this.keyed.of(source, destination, ports, protocol | (verdict << 8));
    const chain = hash & (CHAINS - 1);
    const owner = shares.find(party, verdict);
    let record = this.find(chain, owner, drop);
    const isKnown = record !== NONE;
    if (isKnown) {
      shares.touch(record);
    } else {
      record = shares.take(party, verdict, owner);
      this.chain(record, chain);
    }
    this.ifaces[record] = drop.iface;
    const at = record * DROP_WORDS;
    const version = words[at + DROP.VERSION];
    const now = times[DROPS.NOW / 2];
    Atomics.store(words, at + DROP.VERSION, version + 1);
    if (!isKnown) {
      words[at + DROP.SERIAL] = ++this.serial;
      words[at + DROP.COUNT] = 0;
      words[at + DROP.LOGGED] = 0;
      words[at + DROP.SOURCE] = source;
      words[at + DROP.DESTINATION] = destination;
      words[at + DROP.PORTS] = ports;
      this.isIpv6[record] = drop.isIpv6 ? 1 : 0;
      if (drop.isIpv6) this.keepAddresses(record, drop.addresses);
      times[(at + DROP.FIRST) / 2] = now;
    }
    words[at + DROP.COUNT]++;
    words[at + DROP.LOGGED] += Number(drop.isLogged);
    words[at + DROP.WHAT] = verdict | (protocol << 8) | (drop.flags << 16) | (drop.has << 24);
    words[at + DROP.WHERE] = (drop.iface << 16) | drop.etherType;
    words[at + DROP.CLIENT] = drop.client;
    words[at + DROP.RULE] = drop.rule;
    words[at + DROP.SETTINGS] = words[DROPS.SETTINGS];
    times[(at + DROP.LAST) / 2] = now;
    Atomics.store(words, at + DROP.VERSION, (version + 2) & 0x7fffffff || 2);
    // Last, so that who reads it first finds the frames in the records.
    if (drop.isLogged) Atomics.add(words, DROPS.LOGGED, 1);
  }

  /** How many records a party has for a verdict. */
  has(party: number, verdict: number): number {
    return this.shares.has(party, verdict);
  }

  /** @param owner what shares.find returned @returns the record of such frames, or NONE */
  private find(
    chain: number,
    owner: number,
    { source, destination, ports, protocol, isIpv6, addresses }: Drop,
  ): number {
    if (owner === NONE) return NONE;
    const { words, next, shares } = this;
    for (let record = this.chains[chain]; record !== NONE; record = next[record]) {
      const at = record * DROP_WORDS;
      if (
        words[at + DROP.SOURCE] === source &&
        words[at + DROP.DESTINATION] === destination &&
        words[at + DROP.PORTS] === ports &&
        ((words[at + DROP.WHAT] >>> 8) & 0xff) === protocol &&
        shares.classOf(record) === owner &&
        (isIpv6 ? this.hasAddresses(record, addresses) : this.isIpv6[record] === 0)
      ) {
        return record;
      }
    }
    return NONE;
  }

  private keepAddresses(record: number, addresses: Int32Array): void {
    const at = DROPS.ADDRESSES + record * DROP_ADDRESSES;
    for (let word = 0; word < DROP_ADDRESSES; word++) this.words[at + word] = addresses[word];
  }

  private hasAddresses(record: number, addresses: Int32Array): boolean {
    if (this.isIpv6[record] === 0) return false;
    const at = DROPS.ADDRESSES + record * DROP_ADDRESSES;
    for (let word = 0; word < DROP_ADDRESSES; word++) if (this.words[at + word] !== addresses[word]) return false;
    return true;
  }

  /** Puts a record into a chain, out of the one that it was in. */
  private chain(record: number, chain: number): void {
    const { chains, next, chainOf } = this;
    const old = chainOf[record];
    if (old !== NONE) {
      if (chains[old] === record) {
        chains[old] = next[record];
      } else {
        let at = chains[old];
        while (next[at] !== record) at = next[at];
        next[at] = next[record];
      }
    }
    chainOf[record] = chain;
    next[record] = chains[chain];
    chains[chain] = record;
  }
}
