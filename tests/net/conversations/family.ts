// What conversations by IPv4 and by IPv6 differ in: addresses, how packets are built, which errors and oddities there are, and how a packet
// is known again once it has come out of a firewall. ipv4.ts and ipv6.ts have the two.
import type { Random } from "../../../lab/random.ts";

export interface Ends {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export interface Fields extends Ends {
  /** The byte of DSCP and ECN. */
  readonly tos?: number;
  /** IPv4: without DF, which it has unless told otherwise. */
  readonly mayBeFragmented?: boolean;
}

export interface TcpFields extends Fields {
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: string;
  readonly window: number;
  readonly tcpOptions?: Uint8Array;
}

export interface IcmpFields extends Fields {
  readonly type: number;
  readonly code?: number;
  readonly rest: number;
}

/** What a packet is said to be, and the packet. */
export type Named = readonly [what: string, packet: Uint8Array];

/** One fragment as it came: where its content belongs, and its headers without what a router may set anew. */
export interface Part {
  readonly offset: number;
  readonly more: boolean;
  readonly header: Uint8Array;
  readonly content: Uint8Array;
}

export interface Family {
  readonly etherType: number;
  readonly client: string;
  /** The firewall's address outside. */
  readonly uplink: string;
  readonly router: string;
  /** Whom no conversation is with. */
  readonly nobody: string;
  /** Each conversation has two hosts outside to itself: one that it is with, and one that it hardly is. */
  remoteOf(number: number): string;
  strangerOf(number: number): string;

  udp(fields: Fields, content: Uint8Array): Uint8Array;
  tcp(fields: TcpFields, content: Uint8Array): Uint8Array;
  icmp(fields: IcmpFields, content: Uint8Array): Uint8Array;
  /** Of another protocol. */
  packet(fields: Fields, protocol: number, content: Uint8Array): Uint8Array;
  fragmented(packet: Uint8Array, size: number, random: Random): Uint8Array[];
  /** Where the upper layer begins in a packet that was built so. */
  readonly upper: number;

  /** ICMP types of queries; the other one is not used so often, and perhaps by no honest host at all. */
  readonly echo: { readonly request: number; readonly reply: number };
  readonly otherQuery: {
    readonly what: string;
    readonly request: number;
    readonly reply: number;
    readonly isHonest: boolean;
  };

  /** How many datagrams have no checksum, of 1, and whether an honest end sends any so. */
  readonly unsummed: number;
  readonly mayBeUnsummed: boolean;
  /** What is odd about a datagram of 40 bytes. */
  oddDatagrams(ends: Ends): readonly Named[];
  /** Packets to which nothing is to be objected, made unlike others in their network layer; undefined for most. */
  dressed(packet: Uint8Array, random: Random): Named | undefined;

  readonly errors: readonly (readonly [type: number, code: number, rest: number])[];
  isAboutMtu(type: number, code: number): boolean;
  readonly untrueMtu: string;
  /** The beginning of a packet as of one that is not to be fragmented, and is longer than any MTU that is stated here. */
  tooLong(quoted: Uint8Array): Uint8Array;
  oddQuote(quoted: Uint8Array, random: Random): Named;

  /** Gives a packet, or each fragment of one, a number by which to know it again. */
  stamp(packet: Uint8Array, stamp: number): void;
  stampOf(frame: Uint8Array): number;
  /** Whether a firewall says it itself, which is not compared. */
  isOwn(frame: Uint8Array): boolean;
  /** What the router outside answers to that, if anything: he is asked where he is where the configuration doesn't say it. */
  answerTo(frame: Uint8Array): Uint8Array | undefined;
  partOf(packet: Uint8Array): Part;
  /** A packet in one line, for who looks into a difference. */
  describe(packet: Uint8Array): string;
}
