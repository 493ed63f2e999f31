// Random conversations by UDP, by ICMP queries, and by a protocol without ports.
import { concat, icmp, ipv4, payload, udp } from "../../../lab/frames.ts";
import { type Conversation, type Side, Talk } from "./talk.ts";

const LARGEST = 1400;
const UDP = 17;
const ESP = 50;

// RFC 791 section 3.1: room for two routers' addresses; for an address and its time.
const RECORD_ROUTE = Uint8Array.of(7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const TIMESTAMP_OPTION = Uint8Array.of(68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0);

// ICMP types of queries.
const ECHO_REPLY = 0;
const ECHO = 8;
const TIMESTAMP = 13;
const TIMESTAMP_REPLY = 14;

export class UdpTalk extends Talk {
  hold(): Conversation {
    const { random } = this;
    if (random.chance(0.9)) this.send("datagram", "inside");
    for (let left = 1 + random.below(14); left > 0; left--) this.event();
    return this.steps;
  }

  protected rebuild(from: Side, seenFrom: Side): Uint8Array {
    return udp(this.fields(from, seenFrom), payload(40));
  }

  private send(what: string, from: Side, change: Partial<ReturnType<Talk["fields"]>> = {}): void {
    const { random } = this;
    const fields = { ...this.fields(from), ...change, fragment: random.pick([0, 0x4000]), tos: random.below(256) };
    const packet = udp(fields, payload(random.pick([0, 1, 12, random.below(LARGEST)])));
    if (random.chance(0.2)) packet.fill(0, 26, 28); // no checksum
    this.add(what, from, packet, true);
  }

  private event(): void {
    const { random, remotePort, port, stranger } = this;
    const events: readonly (() => unknown)[] = [
      () => this.send("datagram", "inside"),
      () => this.send("datagram", "inside"),
      () => this.send("answer", "outside"),
      () => this.send("answer", "outside"),
      () => this.send("answer", "outside"),
      () => this.send("datagram from another port", "outside", { sourcePort: remotePort ^ 1 }),
      () => this.send("datagram of a stranger", "outside", { source: stranger }),
      () => this.send("datagram to another port of the client", "outside", { destinationPort: port ^ 0x8000 }),
      () => {
        this.send("datagram to another port", "inside", { destinationPort: remotePort ^ 2 });
        this.send("answer from there", "outside", { sourcePort: remotePort ^ 2 });
      },
      () => {
        this.send("datagram to another host", "inside", { destination: stranger });
        this.send("answer from there", "outside", { source: stranger });
      },
      () => {
        const from = random.pick<Side>(["inside", "outside"]);
        const content = payload(600 + random.below(2000));
        this.addFragmented(`datagram from ${from}`, from, udp({ ...this.fields(from), fragment: 0 }, content));
      },
      () => this.addError(),
      () => random.chance(0.3) && this.addOdd(),
    ];
    random.pick(events)();
  }

  private addOdd(): void {
    const { random } = this;
    const from = random.pick<Side>(["inside", "outside"]);
    const fields = this.fields(from);
    const wrongSum = udp(fields, payload(40));
    wrongSum[27] ^= 0x55;
    const short = ipv4(fields, UDP, concat(udp(fields, payload(32)).subarray(20), payload(8)));
    const recordRoute = udp({ ...fields, options: RECORD_ROUTE }, payload(40));
    const timestamp = udp({ ...fields, options: TIMESTAMP_OPTION }, payload(40));
    const odd: readonly (readonly [string, Uint8Array])[] = [
      ["datagram with a wrong checksum", wrongSum],
      ["datagram shorter than its packet", short],
      ["packet that records its route", recordRoute],
      ["packet that records its times", timestamp],
    ];
    const [what, packet] = random.pick(odd);
    this.add(what, from, packet, false);
  }
}

export class IcmpTalk extends Talk {
  private sequence = 0;

  hold(): Conversation {
    const { random } = this;
    if (random.chance(0.9)) this.send("echo", "inside", ECHO);
    for (let left = 1 + random.below(12); left > 0; left--) this.event();
    return this.steps;
  }

  protected rebuild(from: Side, seenFrom: Side): Uint8Array {
    const type = from === "inside" ? ECHO : ECHO_REPLY;
    return icmp({ ...this.fields(from, seenFrom), type, rest: this.port * 65536 }, payload(40));
  }

  private send(what: string, from: Side, type: number, identifier = this.port, remote = this.remote): void {
    const rest = identifier * 65536 + this.sequence;
    const content = payload(this.random.below(LARGEST));
    this.add(what, from, icmp({ ...this.fields(from, from, remote), type, rest, fragment: 0 }, content), true);
  }

  private event(): void {
    const { random, port, stranger } = this;
    const events: readonly (() => void)[] = [
      () => {
        this.sequence++;
        this.send("echo", "inside", ECHO);
      },
      () => this.send("reply", "outside", ECHO_REPLY),
      () => this.send("reply", "outside", ECHO_REPLY),
      () => this.send("reply with another identifier", "outside", ECHO_REPLY, port ^ 1),
      () => this.send("reply of a stranger", "outside", ECHO_REPLY, port, stranger),
      () => this.send("echo from outside", "outside", ECHO, port ^ 0x8000),
      () => this.send("reply that nobody asked for", "inside", ECHO_REPLY, port ^ 1),
      () => {
        this.send("timestamp", "inside", TIMESTAMP, port ^ 2);
        this.send("timestamp reply", "outside", TIMESTAMP_REPLY, port ^ 2);
      },
      () => this.sendFragmented("inside", ECHO),
      () => this.sendFragmented("outside", ECHO_REPLY),
      () => this.addError(),
    ];
    random.pick(events)();
  }

  private sendFragmented(from: Side, type: number): void {
    const rest = this.port * 65536 + this.sequence;
    const content = payload(600 + this.random.below(2000));
    const packet = icmp({ ...this.fields(from), type, rest, fragment: 0 }, content);
    this.addFragmented(`echo from ${from}`, from, packet);
  }
}

/** A protocol without ports: one conversation to each remote host. */
export class OtherTalk extends Talk {
  hold(): Conversation {
    const { random } = this;
    for (let left = 1 + random.below(10); left > 0; left--) {
      const kind = random.below(8);
      if (kind <= 2) this.send("packet", "inside", this.remote);
      else if (kind <= 5) this.send("packet back", "outside", this.remote);
      else if (kind === 6) this.send("packet of a stranger", "outside", this.stranger);
      else this.addError();
    }
    return this.steps;
  }

  protected rebuild(from: Side, seenFrom: Side): Uint8Array {
    return ipv4(this.fields(from, seenFrom), ESP, payload(40));
  }

  private send(what: string, from: Side, remote: string): void {
    this.add(what, from, ipv4(this.fields(from, from, remote), ESP, payload(8 + this.random.below(LARGEST))), true);
  }
}
