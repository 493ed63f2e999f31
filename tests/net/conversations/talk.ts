// What all random conversations between a client and hosts outside have: two ends, packets from both as honest ends would
// send them and as strangers, broken ends and attackers do, and ICMP errors about them. Neither end hears what became of its
// packets, so that one conversation can be held through several firewalls at once. What it looks like, its family of addresses knows.
import type { Random } from "../../../lab/random.ts";
import type { Ends, Family } from "./family.ts";

export type Side = "inside" | "outside";

/** One packet, or the fragments of one in the order that they travel. */
export interface Step {
  readonly from: Side;
  readonly packets: readonly Uint8Array[];
  /** Which kind of packet it is: what a difference between two firewalls is told by. */
  readonly what: string;
  /** Whether an honest end, with an honest one before it, could have sent it at that point. */
  readonly honest: boolean;
}

export type Conversation = readonly Step[];

const FIRST_PORT = 33000;
const PORTS = 30000;
/** Bytes of payload in a fragment. */
export const FRAGMENT = 488;

export function other(side: Side): Side {
  return side === "inside" ? "outside" : "inside";
}

/** What all conversations have: their ends, and errors about their packets. */
export abstract class Talk {
  protected readonly steps: Step[] = [];
  protected readonly remote: string;
  protected readonly stranger: string;
  protected readonly port: number;
  protected readonly remotePort: number;
  /** Of half of the conversations. */
  private readonly isEven: boolean;

  constructor(
    protected readonly family: Family,
    protected readonly random: Random,
    number: number,
  ) {
    this.remote = family.remoteOf(number);
    this.stranger = family.strangerOf(number);
    this.port = FIRST_PORT + (number % PORTS);
    this.isEven = number % 2 === 1;
    this.remotePort = 1024 + random.below(60000);
  }

  abstract hold(): Conversation;

  /** A packet of the conversation, built as its sender sends it or as the other side of the firewall has it. */
  protected abstract rebuild(from: Side, seenFrom: Side): Uint8Array;

  protected add(what: string, from: Side, packet: Uint8Array, honest: boolean): void {
    const [dress, dressed] = (honest ? this.family.dressed(packet, this.random) : undefined) ?? [what, packet];
    this.steps.push({ from, what: dress, packets: [dressed], honest: honest && dressed === packet });
  }

  /** Adds a packet in fragments, in one of several orders. @returns whether all of it is there */
  protected addFragmented(what: string, from: Side, packet: Uint8Array): boolean {
    const fragments = this.family.fragmented(packet, FRAGMENT, this.random);
    const first = fragments.slice(0, 1);
    const [order, packets] = this.random.pick([
      ["in fragments", fragments],
      ["in fragments, the last one first", fragments.toReversed()],
      ["in fragments, one of them twice", [...first, ...fragments]],
      ["in fragments, the last one missing", fragments.slice(0, -1)],
    ] as const);
    const isWhole = packets.length >= fragments.length;
    this.steps.push({ what: isWhole ? `${what} ${order}` : order, from, packets, honest: isWhole });
    return isWhole;
  }

  /** Ports (or identifier and type) and addresses of a packet from a side, as that side, or the other one, has it. */
  protected fields(from: Side, seenFrom: Side = from, remote = this.remote): Ends {
    const client = seenFrom === "inside" ? this.family.client : this.family.uplink;
    const own = { address: client, port: this.port };
    const theirs = { address: remote, port: this.remotePort };
    const [source, destination] = from === "inside" ? [own, theirs] : [theirs, own];
    return {
      source: source.address,
      destination: destination.address,
      sourcePort: source.port,
      destinationPort: destination.port,
    };
  }

  /** An ICMP error from a side, about a packet that the other one may have sent, or about none. */
  protected addError(): void {
    const { family, random } = this;
    const from = random.pick<Side>(["inside", "outside"]);
    const host = from === "inside" ? family.client : this.remote;
    const about = this.rebuild(other(from), from);
    const [ports, usual, most] = [8, 40, 556].map((length) => family.upper + length);
    const quoted = about.subarray(0, random.pick([ports, usual, most]));
    const otherPort = quoted.slice();
    otherPort[family.upper] ^= 0x55; // a port, or the type of an ICMP message
    const [odd, oddQuote] = family.oddQuote(quoted, random);
    const router = from === "inside" ? family.client : family.router;
    const own = this.rebuild(from, from).subarray(0, usual);
    const errors: readonly (() => unknown)[] = [
      () => this.sendError("error", from, host, quoted),
      () => this.sendError("error of a router", from, router, quoted),
      () => this.sendError("error about another flow", from, host, otherPort),
      () => this.sendError("error about one's own packet", from, host, own),
      () => random.chance(0.3) && this.sendError(odd, from, host, oddQuote),
      () =>
        this.sendError(
          "error that quotes less than 8 bytes of payload",
          from,
          host,
          about.subarray(0, family.upper + 4),
        ),
    ];
    random.pick(errors)();
  }

  private sendError(what: string, from: Side, source: string, quoted: Uint8Array): void {
    const { family } = this;
    const [type, code, rest] = this.random.pick(family.errors);
    const destination = from === "inside" ? this.remote : family.uplink;
    const isAboutMtu = family.isAboutMtu(type, code);
    const isTrue = this.isEven;
    const about = isAboutMtu && isTrue ? family.tooLong(quoted) : quoted;
    const kind = isAboutMtu && !isTrue ? family.untrueMtu : what;
    const fields = { source, destination, sourcePort: 0, destinationPort: 0, mayBeFragmented: true };
    this.add(kind, from, family.icmp({ ...fields, type, code, rest }, about), false);
  }
}
