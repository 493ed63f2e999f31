// A TCP connection between a client's host ("work" unless a test says another) and a remote one through the firewall: each
// segment is sent from one end, and what arrives at the other is compared whole with what the end would have sent by itself.
import { expect } from "bun:test";
import { payload, type TcpFields, tcp, toHex } from "../../lab/frames.ts";
import { frameTo, interfaceOf, type Lab, OUTSIDE, REMOTE, shown, WORK_HOST } from "../../lab/router-lab.ts";

export type Segment = Partial<Omit<TcpFields, "source" | "destination">> & { readonly flags: string };

const NOTHING = new Uint8Array(0);

export class Conversation {
  constructor(
    readonly lab: Lab,
    private readonly clientPort = 40000,
    private readonly remotePort = 443,
    /** The port that the client's is expected to have outside. */
    private readonly outsidePort = clientPort,
    private readonly host = WORK_HOST,
  ) {}

  /** A segment of the client's. @returns the verdict on it */
  client(segment: Segment, data: Uint8Array = NOTHING): string {
    const fields = { ...segment, sourcePort: this.clientPort, destinationPort: this.remotePort, destination: REMOTE };
    const packet = tcp({ ...fields, source: this.host }, data);
    const outside = { ...fields, source: OUTSIDE, sourcePort: this.outsidePort, ttl: 63 };
    return this.pass(this.host, REMOTE, packet, tcp(outside, data));
  }

  /** A segment of the remote's. @returns the verdict on it */
  remote(segment: Segment, data: Uint8Array = NOTHING): string {
    const fields = { ...segment, sourcePort: this.remotePort, destinationPort: this.clientPort, source: REMOTE };
    const packet = tcp({ ...fields, destination: OUTSIDE, destinationPort: this.outsidePort }, data);
    return this.pass(REMOTE, this.host, packet, tcp({ ...fields, destination: this.host, ttl: 63 }, data));
  }

  /** The handshake: the client begins at 1000, the remote at 5000. @returns the three verdicts */
  open(segment: Partial<Segment> = {}): string[] {
    return [
      this.client({ sequence: 1000, ...segment, flags: "S" }),
      this.remote({ sequence: 5000, acknowledgment: 1001, ...segment, flags: "S." }),
      this.client({ sequence: 1001, acknowledgment: 5001, window: segment.window ?? 65535, flags: "." }),
    ];
  }

  private pass(from: string, to: string, packet: Uint8Array, expected: Uint8Array): string {
    const { verdict, sent } = this.lab.from(from, packet);
    const wanted = verdict === "forwarded" ? [shown(interfaceOf(to), frameTo(to, expected))] : [];
    if (sent.join("\n") !== wanted.join("\n")) {
      throw new Error(`${verdict}, but sent\n${sent.join("\n")}\nnot\n${wanted.join("\n")}\nfor\n${toHex(packet)}`);
    }
    return verdict;
  }
}

/** A segment: who sends it, its flags, sequence and acknowledgment number, bytes of payload. */
export type Step = readonly ["client" | "remote", string, number, number, number?];

/** The client begins at 1000, the remote at 5000. */
export const HANDSHAKE: readonly Step[] = [
  ["client", "S", 1000, 0],
  ["remote", "S.", 5000, 1001],
  ["client", ".", 1001, 5001],
];

/** Each segment must pass, its ends translated; `Conversation` compares the frames. */
export function follow(conversation: Conversation, steps: readonly Step[]): void {
  for (const [sender, flags, sequence, acknowledgment, length = 0] of steps) {
    const verdict = conversation[sender]({ flags, sequence, acknowledgment }, payload(length));
    expect([sender, flags, sequence, verdict]).toEqual([sender, flags, sequence, "forwarded"]);
  }
}
