// The drop ring's records in shared memory, as the dataplane's thread writes them (drops.ts) and control reads them: what became of
// frames that were not forwarded, one record for all alike. One thread writes; whoever reads copies a record out, and knows by its
// version whether it was being written meanwhile.
import { ETHERTYPE } from "../../wire/ethernet.ts";

/** Records, and words of one: a cache line. */
export const DROP_RECORDS = 1024;
export const DROP_WORDS = 16;

export const DROP = {
  /** Counts up before and after each change: odd while there is one. 0 in a record never used. */
  VERSION: 0,
  /** Counts up with each record that is begun: the same as long as it is about the same. */
  SERIAL: 1,
  /** Frames, modulo 2^32; those of them that were refused to a client whose settings ask for the log. */
  COUNT: 2,
  LOGGED: 3,
  /** verdict | protocol << 8 | TCP flags or ICMP type << 16 | HAS << 24; the last frame's, as all below. */
  WHAT: 4,
  /** interface << 16 | EtherType */
  WHERE: 5,
  /** Numbers in the settings that SETTINGS counts: the client or -1, the rule as Router.lastRule has it. */
  CLIENT: 6,
  RULE: 7,
  SETTINGS: 8,
  /**
   * Addresses int32 in host order, of ARP those that it speaks of; of IPv6 what tells them from others, for they stand in DROPS.ADDRESSES.
   * Ports source << 16 | destination, or those of an ICMP query.
   */
  SOURCE: 9,
  DESTINATION: 10,
  PORTS: 11,
  /** Two words each: float64, ms of the router's clock, of the first frame and of the last. */
  FIRST: 12,
  LAST: 14,
} as const;

/** What of a record means anything. */
export const HAS = { ADDRESSES: 1, PORTS: 2, FLAGS: 4, FRAGMENT: 8 } as const;

/** Words behind the records. */
export const DROPS = {
  /** How many settings have been put in force, modulo 2^32. */
  SETTINGS: DROP_RECORDS * DROP_WORDS,
  /** Sum of all LOGGED, of records that are gone too, modulo 2^32. */
  LOGGED: DROP_RECORDS * DROP_WORDS + 1,
  /** Two words: float64, the router's clock in ms. */
  NOW: DROP_RECORDS * DROP_WORDS + 2,
  /** By record, of IPv6: the source's four words, as the address book has them, and the destination's. */
  ADDRESSES: DROP_RECORDS * DROP_WORDS + 4,
} as const;
/** Words of both addresses. */
export const DROP_ADDRESSES = 8;
export const DROPS_LENGTH = (DROPS.ADDRESSES + DROP_RECORDS * DROP_ADDRESSES) * 4;

/** How often a record that is being written is tried again: its writer is done within a microsecond, unless it lost its processor. */
const TRIES = 100;

/** One record, copied out. One object serves all. */
export class DropCopy {
  readonly words = new Int32Array(DROP_WORDS);
  private readonly times = new Float64Array(this.words.buffer);
  private readonly addresses = new Int32Array(DROP_ADDRESSES);

  /** @returns whether there is one, and it could be had whole: else it is to be found at the next look */
  read(shared: Int32Array, record: number): boolean {
    const { words, addresses } = this;
    const at = record * DROP_WORDS;
    const six = DROPS.ADDRESSES + record * DROP_ADDRESSES;
    for (let i = 0; i < TRIES; i++) {
      const version = Atomics.load(shared, at + DROP.VERSION);
      if (version === 0) return false;
      if ((version & 1) !== 0) continue;
      for (let word = 0; word < DROP_WORDS; word++) words[word] = Atomics.load(shared, at + word);
      for (let word = 0; word < DROP_ADDRESSES; word++) addresses[word] = Atomics.load(shared, six + word);
      if (words[DROP.VERSION] === version && Atomics.load(shared, at + DROP.VERSION) === version) return true;
    }
    return false;
  }

  word(field: number): number {
    return this.words[field];
  }

  /** Whether it is about IPv6 addresses. */
  get isIpv6(): boolean {
    return (
      (this.words[DROP.WHERE] & 0xffff) === ETHERTYPE.IPV6 && ((this.words[DROP.WHAT] >>> 24) & HAS.ADDRESSES) !== 0
    );
  }

  /** @param field SOURCE or DESTINATION @returns uint32 in host order, of IPv6 16 bytes in wire order */
  address(field: typeof DROP.SOURCE | typeof DROP.DESTINATION): number | Uint8Array {
    if (!this.isIpv6) return this.words[field] >>> 0;
    const view = new DataView(new ArrayBuffer(16));
    const first = field === DROP.SOURCE ? 0 : 4;
    for (let word = 0; word < 4; word++) view.setInt32(4 * word, this.addresses[first + word]);
    return new Uint8Array(view.buffer);
  }

  /** @param field FIRST or LAST @returns ms of the router's clock */
  time(field: number): number {
    return this.times[field / 2];
  }
}

/** The router's clock as a record's times have it, in ms: how long ago something was, its reader can only tell by this. */
export function dropClock(shared: Int32Array): number {
  return new Float64Array(shared.buffer, shared.byteOffset)[DROPS.NOW / 2];
}
