// What Topology knows of IPv6: our addresses and the clients' networks, as numbers of the address book, and what may be said of an address
// by its number. The settings' own addresses are in the book as long as the settings are in force, so that two are compared by number.
import type { Address } from "../wire/ipv4.ts";
import { ADDRESS_WORDS, type AddressBook, NO_NUMBER, type Number6 } from "./address-book.ts";
import type { Settings } from "./settings.ts";
import { type Client, type Column, column, NOBODY } from "./types.ts";

/** Words of a prefix: address, and mask. */
const PREFIX_WORDS = 2 * ADDRESS_WORDS;

/** Prefixes of addresses, laid out for look-ups. */
class Prefixes {
  private readonly words: Int32Array;

  /** @param prefixes undefined: one that no address is in */
  constructor(prefixes: readonly ({ readonly address: Uint8Array; readonly prefix: number } | undefined)[]) {
    this.words = new Int32Array(prefixes.length * PREFIX_WORDS);
    for (const [i, prefix] of prefixes.entries()) {
      for (let word = 0; word < ADDRESS_WORDS; word++) {
        const mask = prefix === undefined ? 0 : maskWord(prefix.prefix, word);
        const at = i * PREFIX_WORDS + word;
        // What is in no address: bits that are set outside the mask.
        this.words[at] = prefix === undefined ? -1 : wordOf(prefix.address, word) & mask;
        this.words[at + ADDRESS_WORDS] = mask;
      }
    }
  }

  /** @returns whether an address is in the i-th */
  has(i: number, a: number, b: number, c: number, d: number): boolean {
    const { words } = this;
    const at = i * PREFIX_WORDS;
    return (
      (a & words[at + 4]) === words[at] &&
      (b & words[at + 5]) === words[at + 1] &&
      (c & words[at + 6]) === words[at + 2] &&
      (d & words[at + 7]) === words[at + 3]
    );
  }

  /** @returns whether an address in the i-th is its first, all bits behind the prefix being zero; never of a prefix of 127 or 128 */
  isFirst(i: number, a: number, b: number, c: number, d: number): boolean {
    const { words } = this;
    const at = i * PREFIX_WORDS;
    if ((words[at + 7] | 1) === -1) return false;
    return ((a & ~words[at + 4]) | (b & ~words[at + 5]) | (c & ~words[at + 6]) | (d & ~words[at + 7])) === 0;
  }
}

export class Topology6 {
  /** Our address on the uplink, and its gateway; NO_NUMBER where there is no IPv6. */
  readonly uplinkAddress: Number6;
  readonly gateway: Number6;
  /** Name servers; and addresses that are not behind the uplink even while no client has them. */
  readonly dns: ReadonlySet<Address>;
  readonly inside: ReadonlySet<Address>;
  /** By client: our address as it sees it; NO_NUMBER of one without IPv6. */
  readonly gateways: Column<Client, Number6>;
  /** By forward: the host that it leads to, or NO_NUMBER. */
  readonly forwardTo: readonly Number6[];
  private readonly forwardFrom: readonly (Prefixes | undefined)[];
  private readonly forwardFromCount: readonly number[];
  private readonly own: ReadonlySet<Address>;
  private readonly networks: Prefixes;
  private readonly link: Prefixes;
  private readonly routed: Column<Client>;
  private readonly isMany: Column<Client>;
  private readonly clientCount: number;
  /** All numbers that are held. */
  private readonly held: readonly Number6[];

  constructor(
    { uplink, clients, forwards }: Settings,
    readonly book: AddressBook,
  ) {
    const held: Number6[] = [];
    const number = (address: Uint8Array | undefined): Number6 => {
      if (address === undefined) return NO_NUMBER;
      const taken = book.take(wordOf(address, 0), wordOf(address, 1), wordOf(address, 2), wordOf(address, 3));
      held.push(taken);
      return taken;
    };
    this.uplinkAddress = number(uplink.ipv6?.address);
    this.gateway = number(uplink.ipv6?.gateway);
    this.dns = new Set(uplink.ipv6?.dns.map(number));
    this.inside = new Set(uplink.ipv6?.inside?.map(number));
    this.link = new Prefixes([uplink.ipv6]);
    const gateways = clients.map(({ ipv6 }) => number(ipv6?.gateway));
    this.gateways = column(Int32Array.from(gateways));
    this.own = new Set([this.uplinkAddress, ...gateways].filter((address) => address !== NO_NUMBER));
    this.networks = new Prefixes(clients.map(({ ipv6 }) => ipv6 && { address: ipv6.network, prefix: ipv6.prefix }));
    this.routed = column(Uint8Array.from(clients, ({ ipv6 }) => (ipv6?.nat === "route" ? 1 : 0)));
    this.isMany = column(Uint8Array.from(clients, ({ ipv6 }) => (ipv6 !== undefined && ipv6.prefix < 128 ? 1 : 0)));
    this.clientCount = clients.length;
    this.forwardTo = forwards.map(({ to6 }) => number(to6));
    this.forwardFrom = forwards.map(({ from6 }) => from6 && new Prefixes(from6));
    this.forwardFromCount = forwards.map(({ from6 }) => from6?.length ?? 0);
    this.held = held;
  }

  release(): void {
    for (const address of this.held) this.book.release(address);
  }

  clientOf(address: Number6): Client {
    const { words } = this.book;
    const at = address * ADDRESS_WORDS;
    return this.clientOfWords(words[at], words[at + 1], words[at + 2], words[at + 3]);
  }

  /** Of an address that need not be in use. */
  clientOfWords(a: number, b: number, c: number, d: number): Client {
    const { networks, clientCount } = this;
    for (let client = 0; client < clientCount; client++) if (networks.has(client, a, b, c, d)) return client as Client;
    return NOBODY;
  }

  /** @returns whether an address of a client's network can be a host's: neither ours, nor all routers' (RFC 4291 section 2.6.1) */
  isHostOf(client: Client, address: Number6): boolean {
    const { words } = this.book;
    const at = address * ADDRESS_WORDS;
    if (this.isOwn(address) || this.isMartian(address)) return false;
    return !this.networks.isFirst(client, words[at], words[at + 1], words[at + 2], words[at + 3]);
  }

  isOwn(address: Number6): boolean {
    return this.own.has(address);
  }

  /** @returns what of an address tells hosts from others, as far as tables tell them */
  hostBits(address: Number6): Address {
    return this.book.word(address, 3) as Address;
  }

  /** @returns whether a client is many hosts by IPv6 */
  hasNetwork(client: Client): boolean {
    return this.isMany[client] === 1;
  }

  /** @returns whether a client's network is routed to us */
  isRouted(client: Client): boolean {
    return this.routed[client] === 1;
  }

  isOnUplinkLink(address: Number6): boolean {
    if (address === NO_NUMBER) return false;
    const { words } = this.book;
    const at = address * ADDRESS_WORDS;
    return address === this.gateway || this.link.has(0, words[at], words[at + 1], words[at + 2], words[at + 3]);
  }

  /** @returns whether a forward is for packets from an address */
  isForwardedFrom(forward: number, source: Number6): boolean {
    const prefixes = this.forwardFrom[forward];
    const count = this.forwardFromCount[forward];
    if (prefixes === undefined || count === 0) return true;
    const { words } = this.book;
    const at = source * ADDRESS_WORDS;
    for (let i = 0; i < count; i++) {
      if (prefixes.has(i, words[at], words[at + 1], words[at + 2], words[at + 3])) return true;
    }
    return false;
  }

  /** Whether packets to an address can be routed to the uplink: one that is a host's somewhere, and not to be kept local. */
  isRoutable(destination: Number6): boolean {
    return !this.isMartian(destination) && !this.inside.has(destination);
  }

  /**
   * Whether no packet that is forwarded can be from or to an address: unspecified, loopback and IPv4's in IPv6's form, all in ::/64,
   * link-local, and multicast (RFC 4291 sections 2.5 to 2.7, RFC 6890).
   */
  isMartian(address: Number6): boolean {
    const { words } = this.book;
    const at = address * ADDRESS_WORDS;
    const first = words[at];
    return (first | words[at + 1]) === 0 || first >>> 24 === 0xff || first >>> 22 === 0xfe80 >>> 6;
  }
}

/** @returns the i-th word of an address in wire order, int32 in host order */
function wordOf(bytes: Uint8Array, i: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getInt32(i * 4);
}

/** @returns the i-th word of a prefix's mask */
function maskWord(prefix: number, i: number): number {
  const bits = Math.min(32, Math.max(0, prefix - i * 32));
  return bits === 0 ? 0 : -1 << (32 - bits);
}
