// What the dataplane's thread and the kernel path's programs share: maps, and what is where in their memory. Both sides take it from
// here alone. Numbers are of 32 bits in this machine's order, where nothing else is said.

import { IPV4 } from "../../../wire/ipv4.ts";
import { IPV6 } from "../../../wire/ipv6.ts";
import type { AddressKeys } from "../../address-book.ts";
import type { HashKeys, KeyedHash } from "../../keyed-hash.ts";
import { MAX_NEIGHBOURS } from "../../tables/flow-records.ts";
import { SIDE_WORDS } from "../../tables/tcp.ts";

/** What keeps clients from choosing addresses and ports that collide. */
export interface KernelKeys {
  /** Of the index. */
  readonly hash: HashKeys;
  /** Of the sums that stand for addresses of IPv6. */
  readonly addresses: AddressKeys;
}

/** Descriptors of the maps that the programs use. */
export interface Maps {
  /** One element, CONTROL, which this program writes. */
  readonly control: number;
  /** For packets of one side of a flow, ENTRY_KEY: what is to be done with them, ENTRY. See kernel/entries.ts. */
  readonly entries: number;
  /** By hash of the key: the numbers of some entries. How many buckets it has, a power of two; and the keys of that hash. */
  readonly index: number;
  readonly buckets: number;
  readonly keys: KernelKeys;
  /** The place of the map of the addresses of IPv6, which is empty while no flow needs it: kernel/addresses6.ts. */
  readonly addresses: number;
  /** The maps of the flow table's records: kernel/records.ts. */
  readonly records: number;
  /** The maps of the flows' counts, of which there are none while nobody asks for them: kernel/counts.ts. */
  readonly counts: number;
  /** For each CPU one element, NOTE. */
  readonly note: number;
}

/** Flow records of one map: a power of two. See kernel/records.ts. */
export const RECORDS_SHIFT = 12;
export const RECORDS_AT_ONCE = 1 << RECORDS_SHIFT;

/** 32-bit numbers, as this machine has them. */
export const CONTROL = {
  /** Entries of other generations do not hold. */
  GENERATION: 0,
  /** Whole seconds of the dataplane's clock, up to one behind. */
  SECOND: 4,
  /** Until when entries hold, by the kernel's monotonic clock in ns >> PULSE_SHIFT: kernel/pulse.ts. */
  ALIVE_UNTIL: 8,
  /** How many changes of rules or settings control has announced: kernel/announcements.ts. */
  ANNOUNCED: 12,
  /** COUNTERS, for one CPU after the other: as many as there are CPUs do not get in each other's way. */
  COUNTERS: 64,
  /** For each packet socket a GATE. */
  GATES: 64 + 64 * 64,
  /** Counts of changes, by neighbour and by client: kernel/dependencies.ts. */
  NEIGHBOURS: 64 + 64 * 64 + 128 * 128,
  CLIENTS: 64 + 64 * 64 + 128 * 128 + 4 * MAX_NEIGHBOURS,
  LENGTH: 64 + 64 * 64 + 128 * 128 + 4 * MAX_NEIGHBOURS + 4 * 4096,
} as const;

/** How many counts there are: powers of two. */
export const DEPENDENCY = { NEIGHBOURS: MAX_NEIGHBOURS, CLIENTS: 4096 } as const;

/** Makes of ns what 32 bits hold for two years: 17 ms. */
export const PULSE_SHIFT = 24;

/**
 * What one socket's frames are counted by, so that none overtakes another: kernel/gates.ts. Numbers of 32 bits that go round.
 */
export const GATE = {
  /** Frames that the filter has let through to the socket. */
  PASSED: 0,
  /** What PASSED was at a time from which on all that had been counted by then were sent on, or dropped. */
  SETTLED: 64,
  /** From one gate to the next; and how many there are. */
  STRIDE: 128,
  COUNT: 128,
} as const;

/** 64-bit numbers. */
export const COUNTERS = {
  FORWARDED: 0,
  /** Frames that were dropped, since the kernel had no memory to rewrite them, or they were not those that the note is about. */
  FAILED: 8,
  /** From those of one CPU to those of the next; and how many there are. */
  STRIDE: 64,
  COUNT: 64,
} as const;

/**
 * Addresses and ports in network order, then protocol | interface it comes in on << 8. Of IPv6 there are sums in place of the addresses
 * (kernel/addresses6.ts), and OF_IPV6.
 */
export const ENTRY_KEY = { SOURCE: 0, DESTINATION: 4, PORTS: 8, INGRESS: 12, LENGTH: 16 } as const;

/** Beside the protocol in an entry's key: TCP and UDP have lower numbers. */
export const OF_IPV6 = 0x80;

/** The addresses of an entry of IPv6, in network order: of its packets as they come, and as they leave. */
export const ADDRESSES = { SOURCE: 0, DESTINATION: 16, TO_SOURCE: 32, TO_DESTINATION: 48, LENGTH: 64 } as const;

/** How a packet is rewritten and where it goes; MAC addresses, addresses and ports as they will stand in it. */
export const REWRITE = {
  /** The kernel's number of the interface. */
  EGRESS: 0,
  MACS: 4,
  SOURCE: 16,
  DESTINATION: 20,
  PORTS: 24,
  // What changes in the sum of 16-bit words, read as this machine reads them: of the addresses; of the ports; of addresses and TTL.
  ADDRESS_DELTA: 28,
  PORT_DELTA: 32,
  HEADER_DELTA: 36,
  LENGTH: 40,
} as const;

/** The same of IPv6, where it is something else. */
export const REWRITE6 = {
  /** Of ADDRESSES, by `checksumOf`. */
  ADDRESSES_CHECKSUM: REWRITE.SOURCE,
  /** Number of the source address in the address book, in network order: the line's hosts are told by it. */
  SOURCE_NUMBER: REWRITE.DESTINATION,
} as const;

/** 32-bit numbers as this machine has them, where nothing else is said. */
export const ENTRY = {
  /** As in ENTRY_KEY. */
  KEY: 0,
  GENERATION: 16,
  /** Number of the flow; and its own, times NUMBER_FACTOR: the lowest bit of that is the side that its packets come from. */
  FLOW: 20,
  NUMBER: 24,
  /** Seconds that the flow lives on after such a packet, or 0: it does not keep it alive. */
  TIMEOUT: 28,
  /** What STATE must be in these bits. */
  STATE_MASK: 32,
  STATE: 36,
  /** What the flow's record must say: another flow may have it by now. */
  FLOW_SOURCE: 40,
  FLOW_PORTS: 44,
  FLOW_BACK_PORTS: 48,
  /** 16 bits: of the interface that it leaves by, in bytes; of IPv6 less EXTRA_HEADER6. */
  MTU: 52,
  /** 16 bits each: whose counts CHANGES is the sum of. A neighbour's number has MARKED in it where the line has a rate. */
  NEIGHBOUR: 54,
  CLIENT: 62,
  /** Our MAC address, in network order. */
  OUR_MAC: 56,
  /** The sender's, likewise, where no other is accepted; and in 16 bits whether that is so: 0 or 1. */
  PINNED_MAC: 64,
  PINNED: 70,
  CHANGES: 72,
  /** As in REWRITE. */
  REWRITE: 76,
  /** Of all before it, by `writeChecksum`. */
  CHECKSUM: 76 + REWRITE.LENGTH,
  LENGTH: 80 + REWRITE.LENGTH,
  // Behind the entry, not part of its checksum:
  /** Its frames that were lost. It is over, for its generation, when they are TOO_MANY. */
  LOST: 80 + REWRITE.LENGTH,
  /** What PASSED was with the last of its frames that went to the socket: it holds only once that is settled. */
  LAST: 84 + REWRITE.LENGTH,
} as const;
/** Bytes that the header of IPv6 has more than that of IPv4: for the filter all packets have one of IPv4. */
export const EXTRA_HEADER6 = IPV6.HEADER_LENGTH - IPV4.HEADER_LENGTH;
/** So that of its number the side is how far that side's words lie from side 0's in the flow's record (tables/tcp.ts). */
export const NUMBER_FACTOR = 4 * SIDE_WORDS;
/** In place of its generation: a fragment has gone to the socket, and the next ones can't be told to be this flow's. */
export const SHUT = -1;
export const TOO_MANY = 4;
/** Its frames are marked with whose they are, its client's number: above the numbers of neighbours. */
export const MARKED = 1 << 15;
export const ENTRY_REWRITE = Object.fromEntries(
  Object.entries(REWRITE).map(([name, at]) => [name, ENTRY.REWRITE + at]),
) as { readonly [name in keyof typeof REWRITE]: number };

const keyWord = (entry: DataView, field: number): number => entry.getInt32(ENTRY.KEY + field, true);

/**
 * An entry's bucket in the index, modulo how many there are.
 * @param entry of which only the key is looked at
 */
export function hashKey(keyed: KeyedHash, entry: DataView): number {
  const { SOURCE, DESTINATION, PORTS, INGRESS } = ENTRY_KEY;
  return (
    keyed.of(keyWord(entry, SOURCE), keyWord(entry, DESTINATION), keyWord(entry, PORTS), keyWord(entry, INGRESS)) >>> 0
  );
}

/**
 * What stands in the index: 32-bit numbers, of an entry's number + 1, and above that the hash's highest bits, so that hardly
 * ever a wrong entry is looked at; 0: none.
 */
export const INDEX_WAYS = 4;
export const INDEX_STRIDE = 4 * INDEX_WAYS;
export const TAG_SHIFT = 21;
export const NUMBER_MASK = (1 << TAG_SHIFT) - 1;

/**
 * Writes an entry's checksum. An entry's memory may become another's while a program reads it. So a program takes a copy, and the
 * copy is an entry only if its checksum is right.
 */
export function writeChecksum(entry: DataView): void {
  entry.setInt32(ENTRY.CHECKSUM, checksumOf(entry, ENTRY.CHECKSUM), true);
}

/** @param length bytes, a multiple of 4 @returns four sums of every fourth number, mixed */
export function checksumOf(view: DataView, length: number): number {
  sums.set(CHECKSUM_BEGINNINGS);
  for (let i = 0; i < length / 4; i++)
    sums[i & 3] = Math.imul(sums[i & 3], CHECKSUM_FACTOR) + view.getInt32(4 * i, true);
  let checksum = sums[0];
  for (let i = 1; i < sums.length; i++) checksum = (Math.imul(checksum, CHECKSUM_FACTOR) + sums[i]) | 0;
  return checksum;
}

export const CHECKSUM_BEGINNINGS = [1, 2, 3, 4];
const sums = new Int32Array(CHECKSUM_BEGINNINGS.length);
export const CHECKSUM_FACTOR = 0x01000193;

export const NOTE = {
  /** Where in the frame at hand, which is to be forwarded, the transport header is; 0: there is no note. And how many bytes of it. */
  TRANSPORT: 0,
  FRAME_LENGTH: 4,
  /** What is to be done with it. */
  ENTRY: 8,
  KEY: 8 + ENTRY.KEY,
  REWRITE: 8 + ENTRY.REWRITE,
  // Of IPv6 alone: ADDRESSES, and whether the checksum is left to the interface.
  ADDRESSES: 8 + ENTRY.LENGTH,
  IS_LEFT: 8 + ENTRY.LENGTH + ADDRESSES.LENGTH,
  LENGTH: 16 + ENTRY.LENGTH + ADDRESSES.LENGTH,
} as const;
