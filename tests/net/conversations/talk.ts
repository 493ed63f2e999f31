// What all random conversations between a client and hosts outside have: two ends, packets from both as honest ends would
// send them and as strangers, broken ends and attackers do, and ICMP errors about them. Neither end hears what became of its
// packets, so that one conversation can be held through several firewalls at once.
import { checksum, fragmented, icmp } from "../../../lab/frames.ts";
import { CLIENT, ROUTER, UPLINK } from "../../../lab/places.ts";
import type { Random } from "../../../lab/random.ts";

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

// ICMP types of errors.
const UNREACHABLE = 3;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;

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

  constructor(
    protected readonly random: Random,
    number: number,
  ) {
    const host = `${(number >> 7) & 255}.${1 + (number & 127)}`;
    this.remote = `198.18.${host}`;
    this.stranger = `198.19.${host}`;
    this.port = FIRST_PORT + (number % PORTS);
    this.remotePort = 1024 + random.below(60000);
  }

  abstract hold(): Conversation;

  /** A packet of the conversation, built as its sender sends it or as the other side of the firewall has it. */
  protected abstract rebuild(from: Side, seenFrom: Side): Uint8Array;

  protected add(what: string, from: Side, packet: Uint8Array, honest: boolean): void {
    this.steps.push({ what, from, packets: [packet], honest });
  }

  /** Adds a packet in fragments, in one of several orders. @returns whether all of it is there */
  protected addFragmented(what: string, from: Side, packet: Uint8Array): boolean {
    const fragments = fragmented(packet, FRAGMENT);
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
  protected fields(from: Side, seenFrom: Side = from, remote = this.remote) {
    const client = seenFrom === "inside" ? CLIENT : UPLINK;
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
    const { random } = this;
    const from = random.pick<Side>(["inside", "outside"]);
    const host = from === "inside" ? CLIENT : this.remote;
    const about = this.rebuild(other(from), from);
    const quoted = about.subarray(0, random.pick([28, 60, 576]));
    const otherPort = quoted.slice();
    otherPort[20] ^= 0x55; // a port, or the type of an ICMP message
    const wrongSum = quoted.slice();
    wrongSum[10] ^= 0x55;
    const router = from === "inside" ? CLIENT : ROUTER;
    const errors: readonly (() => unknown)[] = [
      () => this.sendError("error", from, host, quoted),
      () => this.sendError("error of a router", from, router, quoted),
      () => this.sendError("error about another flow", from, host, otherPort),
      () => this.sendError("error about one's own packet", from, host, this.rebuild(from, from).subarray(0, 60)),
      () => random.chance(0.3) && this.sendError("error that quotes a wrong header checksum", from, host, wrongSum),
      () => this.sendError("error that quotes less than 8 bytes of payload", from, host, about.subarray(0, 24)),
    ];
    random.pick(errors)();
  }

  private sendError(what: string, from: Side, source: string, quoted: Uint8Array): void {
    const [type, code, rest] = this.random.pick([
      [UNREACHABLE, 0, 0],
      [UNREACHABLE, 1, 0],
      [UNREACHABLE, 3, 0],
      [UNREACHABLE, 4, 1400],
      [UNREACHABLE, 13, 0],
      [TIME_EXCEEDED, 0, 0],
      [TIME_EXCEEDED, 1, 0],
      [PARAMETER_PROBLEM, 0, 0],
    ] as const);
    const destination = from === "inside" ? this.remote : UPLINK;
    const isAboutMtu = type === UNREACHABLE && code === 4;
    const isTrue = ((quoted[15] ^ quoted[19]) & 1) === 0; // of half of the remotes
    const about = isAboutMtu && isTrue ? tooLong(quoted) : quoted;
    const kind = isAboutMtu && !isTrue ? "fragmentation needed about a packet that needed none" : what;
    this.add(kind, from, icmp({ source, destination, type, code, rest, fragment: 0 }, about), false);
  }
}

/** The beginning of a packet as of one that is not to be fragmented and longer than any MTU that is stated here. */
function tooLong(quoted: Uint8Array): Uint8Array {
  const packet = quoted.slice();
  const view = new DataView(packet.buffer);
  view.setUint16(2, 1480);
  view.setUint16(6, 0x4000);
  view.setUint16(10, 0);
  view.setUint16(10, checksum(packet.subarray(0, (packet[0] & 15) * 4)));
  return packet;
}
