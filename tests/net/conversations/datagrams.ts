// Random conversations by UDP, by ICMP queries, and by a protocol without ports.
import { payload } from "../../../lab/frames.ts";
import type { Ends, Named } from "./family.ts";
import { type Conversation, type Side, Talk } from "./talk.ts";

const LARGEST = 1400;
const ESP = 50;

export class UdpTalk extends Talk {
  hold(): Conversation {
    const { random } = this;
    if (random.chance(0.9)) this.send("datagram", "inside");
    for (let left = 1 + random.below(14); left > 0; left--) this.event();
    return this.steps;
  }

  protected rebuild(from: Side, seenFrom: Side): Uint8Array {
    return this.family.udp(this.fields(from, seenFrom), payload(40));
  }

  private send(what: string, from: Side, change: Partial<Ends> = {}): void {
    const { family, random } = this;
    const how = { mayBeFragmented: random.pick([true, false]), tos: random.below(256) };
    const content = payload(random.pick([0, 1, 12, random.below(LARGEST)]));
    const packet = family.udp({ ...this.fields(from), ...change, ...how }, content);
    const isUnsummed = random.chance(family.unsummed);
    if (isUnsummed) packet.fill(0, family.upper + 6, family.upper + 8);
    if (isUnsummed && !family.mayBeUnsummed) this.add("datagram without a checksum", from, packet, false);
    else this.add(what, from, packet, true);
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
        this.addFragmented(
          `datagram from ${from}`,
          from,
          this.family.udp({ ...this.fields(from), mayBeFragmented: true }, content),
        );
      },
      () => this.addError(),
      () => random.chance(0.3) && this.addOdd(),
    ];
    random.pick(events)();
  }

  private addOdd(): void {
    const { family, random } = this;
    const from = random.pick<Side>(["inside", "outside"]);
    const fields = this.fields(from);
    const wrongSum = family.udp(fields, payload(40));
    wrongSum[family.upper + 7] ^= 0x55;
    const odd: readonly Named[] = [["datagram with a wrong checksum", wrongSum], ...family.oddDatagrams(fields)];
    const [what, packet] = random.pick(odd);
    this.add(what, from, packet, false);
  }
}

export class IcmpTalk extends Talk {
  private sequence = 0;

  hold(): Conversation {
    const { random } = this;
    if (random.chance(0.9)) this.send("echo", "inside", this.family.echo.request);
    for (let left = 1 + random.below(12); left > 0; left--) this.event();
    return this.steps;
  }

  protected rebuild(from: Side, seenFrom: Side): Uint8Array {
    const { echo } = this.family;
    const type = from === "inside" ? echo.request : echo.reply;
    return this.family.icmp({ ...this.fields(from, seenFrom), type, rest: this.port * 65536 }, payload(40));
  }

  private send(what: string, from: Side, type: number, identifier = this.port, remote = this.remote): void {
    const rest = identifier * 65536 + this.sequence;
    const content = payload(this.random.below(LARGEST));
    const fields = { ...this.fields(from, from, remote), mayBeFragmented: true };
    const { otherQuery } = this.family;
    const isHonest = otherQuery.isHonest || (type !== otherQuery.request && type !== otherQuery.reply);
    this.add(what, from, this.family.icmp({ ...fields, type, rest }, content), isHonest);
  }

  private event(): void {
    const { random, port, stranger } = this;
    const { echo, otherQuery } = this.family;
    const events: readonly (() => void)[] = [
      () => {
        this.sequence++;
        this.send("echo", "inside", echo.request);
      },
      () => this.send("reply", "outside", echo.reply),
      () => this.send("reply", "outside", echo.reply),
      () => this.send("reply with another identifier", "outside", echo.reply, port ^ 1),
      () => this.send("reply of a stranger", "outside", echo.reply, port, stranger),
      () => this.send("echo from outside", "outside", echo.request, port ^ 0x8000),
      () => this.send("reply that nobody asked for", "inside", echo.reply, port ^ 1),
      () => {
        this.send(otherQuery.what, "inside", otherQuery.request, port ^ 2);
        this.send(`${otherQuery.what} answered`, "outside", otherQuery.reply, port ^ 2);
      },
      () => this.sendFragmented("inside", echo.request),
      () => this.sendFragmented("outside", echo.reply),
      () => this.addError(),
    ];
    random.pick(events)();
  }

  private sendFragmented(from: Side, type: number): void {
    const rest = this.port * 65536 + this.sequence;
    const content = payload(600 + this.random.below(2000));
    const packet = this.family.icmp({ ...this.fields(from), type, rest, mayBeFragmented: true }, content);
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
    return this.family.packet(this.fields(from, seenFrom), ESP, payload(40));
  }

  private send(what: string, from: Side, remote: string): void {
    const content = payload(8 + this.random.below(LARGEST));
    this.add(what, from, this.family.packet(this.fields(from, from, remote), ESP, content), true);
  }
}
