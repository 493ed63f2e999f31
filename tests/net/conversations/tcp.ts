// Random TCP connections: opened, used and closed in the ways that RFC 9293 allows, with oddities in between.
import { payload } from "../../../lab/frames.ts";
import { type Conversation, FRAGMENT, other, type Side, Talk } from "./talk.ts";

const LARGEST = 1400;

/** One end of a connection. Sequence numbers count from its initial one. */
interface TcpEnd {
  initial: number;
  /** What it sends next, and what it has acknowledged of the other's. */
  next: number;
  acked: number;
  /** As it stands in the header, and by how many bits it is scaled. */
  window: number;
  scale: number;
  /** How far it has allowed the other to send. */
  edge: number;
  /** It has sent a FIN or a RST. */
  finished: boolean;
}

/** How a segment differs from what an honest end would send now: distances from that, or other values. */
interface Oddity {
  readonly sequence?: number;
  readonly acknowledgment?: number;
  readonly remote?: string;
  readonly remotePort?: number;
}

export class TcpTalk extends Talk {
  private inside = this.newEnd();
  private outside = this.newEnd();

  hold(): Conversation {
    const { random } = this;
    if (!this.open(random.below(28))) return this.steps;
    this.talk(random.below(14));
    if (random.chance(0.2)) return this.steps;
    const isLost = random.chance(0.3);
    if (isLost) {
      // At any age: while it is open, half closed, or closed.
      if (random.chance(0.5)) this.close(random.below(6));
      this.lose();
    }
    const isOver = this.close(random.below(6));
    this.talk(random.below(5), 0.3);
    if (!isOver || random.chance(0.5)) return this.steps;
    // A new connection between the same ports.
    this.begin();
    this.open(random.pick([10, 20, 21, 22, 23, 24, 25, 26, 27]));
    this.talk(random.below(4));
    return this.steps;
  }

  /** Both ends begin anew. */
  private begin(): void {
    this.inside = this.newEnd();
    this.outside = this.newEnd();
  }

  /** An end is started anew, or both are, and the client connects again from the same port. */
  private lose(): void {
    const kind = this.random.below(4);
    if (kind === 0 && !this.inside.finished) this.loseOutside();
    else if (kind === 1 && !this.outside.finished) this.loseInside();
    this.begin();
    if (kind === 2) {
      this.segment("SYN", "inside", "S");
      this.refuse();
      this.begin();
    }
    this.open(this.random.pick([10, 20, 21, 22, 23, 24, 25, 26, 27]));
    this.talk(this.random.below(4));
  }

  /** What the client still sends is answered with a RST (RFC 9293 section 3.10.7.1). */
  private loseOutside(): void {
    this.acknowledge("inside");
    this.segment("RST of an end that lost the connection", "outside", "R", 0, {
      sequence: this.inside.acked - this.outside.next,
    });
  }

  /** The client's SYN is challenged, and it resets what the other end has (RFC 9293 section 3.5.1). */
  private loseInside(): void {
    const { initial, next } = this.inside;
    this.inside.initial = this.random.next();
    this.inside.next = 0;
    this.segment("SYN of an end that lost the connection", "inside", "S");
    this.inside.initial = initial;
    this.inside.next = next;
    this.acknowledge("outside");
    const sequence = this.outside.acked - next;
    this.segment("RST of an end that lost the connection", "inside", "R", 0, { sequence });
  }

  /** No program listens at the server. */
  private refuse(): void {
    this.outside.acked = 1;
    this.segment("refusal", "outside", "R.", 0, { sequence: -this.outside.initial });
    this.outside.acked = 0;
  }

  protected rebuild(from: Side, seenFrom: Side): Uint8Array {
    // Its first byte is the last one that was sent.
    return this.build(from, seenFrom, ".", 100, { sequence: -1 });
  }

  private newEnd(): TcpEnd {
    const { random } = this;
    const initial = random.chance(0.2) ? 2 ** 32 - 1 - random.below(3000) : random.next();
    const window = random.pick([1000, 8192, 29200, 65535]);
    return { initial, next: 0, acked: 0, window, scale: random.below(9), edge: 0, finished: false };
  }

  private end(side: Side): TcpEnd {
    return side === "inside" ? this.inside : this.outside;
  }

  private build(from: Side, seenFrom: Side, flags: string, length: number, oddity: Oddity): Uint8Array {
    const me = this.end(from);
    const peer = this.end(other(from));
    const remotePort = oddity.remotePort ?? this.remotePort;
    return this.family.tcp(
      {
        ...this.fields(from, seenFrom, oddity.remote),
        ...(from === "inside" ? { destinationPort: remotePort } : { sourcePort: remotePort }),
        sequence: (me.initial + me.next + (oddity.sequence ?? 0)) >>> 0,
        acknowledgment: flags.includes(".") ? (peer.initial + me.acked + (oddity.acknowledgment ?? 0)) >>> 0 : 0,
        flags,
        window: me.window,
        ...(flags.includes("S") && { tcpOptions: Uint8Array.of(2, 4, 5, 180, 1, 3, 3, me.scale) }),
      },
      payload(length),
    );
  }

  /** What an honest end sends; what it sends next is for the caller to count. */
  private segment(what: string, from: Side, flags: string, length = 0, change: Oddity = {}): void {
    this.add(`${what} from ${from}`, from, this.build(from, from, flags, length, change), true);
    const me = this.end(from);
    // The window of a SYN is never scaled (RFC 7323 section 2.2), that of a RST means nothing.
    const offered = flags.includes("R") ? 0 : flags.includes("S") ? me.window : me.window << me.scale;
    me.edge = Math.max(me.edge, me.acked + offered);
  }

  private oddSegment(what: string, from: Side, flags: string, length = 0, oddity: Oddity = {}): void {
    this.add(what, from, this.build(from, from, flags, length, oddity), false);
  }

  /** @returns whether there is a connection now */
  private open(kind: number): boolean {
    const { random, inside, outside } = this;
    if (kind === 0) return this.rememberAnother();
    if (kind === 1) return this.openAtOnce();
    if (kind === 2) {
      this.oddSegment("SYN unasked", "outside", "S");
      return random.chance(0.5) && this.shakeHands();
    }
    if (kind <= 7) this.segment("SYN", "inside", "S");
    if (kind === 3 || kind === 4) {
      // What the host refused, or answered in vain, is tried again.
      outside.acked = 1;
      this.segment(kind === 3 ? "refusal" : "SYN-ACK", "outside", kind === 3 ? "R." : "S.");
      outside.acked = 0;
    }
    if (kind === 5) {
      this.oddSegment("RST that refuses another SYN", "outside", "R.", 0, { acknowledgment: random.next() });
    }
    if (kind === 6) {
      const acknowledgment = random.pick([0, 2, -1, 5000]);
      this.oddSegment("SYN-ACK that answers another SYN", "outside", "S.", 0, { acknowledgment });
    }
    if (kind === 7) {
      const from = random.pick<Side>(["inside", "outside"]);
      inside.acked = outside.acked = 1;
      this.oddSegment("data before the handshake", from, ".", 100, { sequence: 1 });
      inside.acked = outside.acked = 0;
    }
    if (kind === 20) this.segment("SYN", "inside", "S"); // is sent again
    if (kind === 21) {
      this.segment("SYN", "inside", "S");
      inside.initial = random.next();
      this.oddSegment("SYN of another attempt", "inside", "S");
    }
    if (kind === 22 || kind === 23) {
      this.segment("SYN", "inside", "S");
      this.answer(); // is lost behind the firewall
      if (kind === 23) outside.initial = random.next(); // it keeps no state
    }
    if (kind === 24) {
      this.segment("SYN", "inside", "S");
      this.answer();
      this.begin(); // both are started anew meanwhile
    }
    if (kind >= 25) return this.openWithData(kind);
    return this.shakeHands();
  }

  private answer(acked = 1): void {
    this.outside.acked = acked;
    this.segment("SYN-ACK", "outside", "S.");
    this.outside.acked = 0;
  }

  /** TCP Fast Open (RFC 7413): the SYN has data, which the server takes or not; or it is sent again without. */
  private openWithData(kind: number): true {
    const { inside, outside, random } = this;
    const length = 1 + random.below(1400);
    this.oddSegment("SYN with data", "inside", "S", length);
    outside.acked = random.chance(0.5) ? 1 : 1 + length;
    if (kind === 26) this.oddSegment("SYN without its data", "inside", "S");
    if (kind === 27) {
      this.segment("SYN-ACK", "outside", "S."); // is lost behind the firewall
      this.oddSegment("SYN without its data", "inside", "S");
      if (random.chance(0.3)) {
        outside.initial = random.next(); // it keeps no state
        outside.acked = 1;
        outside.edge = 0;
      }
    }
    this.segment("SYN-ACK", "outside", "S.");
    inside.next = outside.acked;
    outside.next = 1;
    this.acknowledge("inside");
    return true;
  }

  private shakeHands(): true {
    this.segment("SYN", "inside", "S");
    this.outside.acked = 1;
    this.segment("SYN-ACK", "outside", "S.");
    this.inside.next = 1;
    this.outside.next = 1;
    this.acknowledge("inside");
    return true;
  }

  /** Simultaneous open. */
  private openAtOnce(): true {
    this.segment("SYN", "inside", "S");
    this.segment("SYN", "outside", "S");
    for (const side of ["inside", "outside"] as const) {
      this.end(side).acked = 1;
      this.segment("SYN-ACK to a SYN", side, "S.");
    }
    this.inside.next = 1;
    this.outside.next = 1;
    this.acknowledge("inside");
    this.acknowledge("outside");
    return true;
  }

  /** Both ends have a connection that the firewall does not know. */
  private rememberAnother(): false {
    const { random, inside, outside } = this;
    inside.next = outside.acked = 1 + random.below(100_000);
    outside.next = inside.acked = 1 + random.below(100_000);
    for (let left = 1 + random.below(3); left > 0; left--) {
      const flags = random.pick([".", "P.", "F.", "R", "R.", "S."]);
      this.oddSegment(
        "segment without a connection",
        random.pick<Side>(["inside", "outside"]),
        flags,
        random.below(100),
      );
    }
    return false;
  }

  private acknowledge(from: Side): void {
    this.end(from).acked = this.end(other(from)).next;
    this.segment("ACK", from, ".");
  }

  /** Bytes that a side may still send. */
  private room(from: Side): number {
    return Math.max(0, this.end(other(from)).edge - this.end(from).next);
  }

  private sendData(from: Side): void {
    const { random } = this;
    const me = this.end(from);
    const length = Math.min(this.room(from), 1 + random.below(LARGEST));
    if (length === 0) {
      this.acknowledge(other(from));
      return;
    }
    if (random.chance(0.7)) me.acked = this.end(other(from)).next;
    this.segment("data", from, random.pick([".", "P."]), length);
    me.next += length;
  }

  private finish(from: Side, acked = this.end(other(from)).next): void {
    const me = this.end(from);
    me.acked = acked;
    this.segment("FIN", from, "F.");
    me.next++;
    me.finished = true;
  }

  /** @returns whether neither end has the connection any more */
  private close(kind: number): boolean {
    const first = this.random.pick<Side>(["inside", "outside"]);
    const second = other(first);
    if (kind === 0) {
      this.end(first).acked = this.end(second).next;
      this.segment("RST", first, "R.");
      this.end(first).finished = true;
      return true;
    }
    this.finish(first);
    if (kind === 5) {
      const { acked } = this.end(second);
      this.finish(second, acked); // both at once: it has not seen the first
      this.acknowledge(first);
      this.acknowledge(second);
      return true;
    }
    if (kind === 1) {
      this.finish(second); // it acknowledges the first
    } else {
      this.acknowledge(second);
      if (kind === 2) return false; // the other one goes on
      this.finish(second);
    }
    this.acknowledge(first);
    return true;
  }

  /** @param oddness how probable it is that an event is not what an honest end would do */
  private talk(events: number, oddness = 0.12): void {
    const { random } = this;
    for (let left = events; left > 0; left--) {
      const from = random.pick<Side>(["inside", "outside"]);
      if (random.chance(oddness)) this.odd(from);
      else if (random.chance(0.6) && !this.end(from).finished) this.sendData(from);
      else if (this.steps.at(-1)?.what !== `RST from ${from}`) this.acknowledge(from);
    }
  }

  /** Something out of the ordinary, or out of order. */
  private odd(from: Side): void {
    const { random } = this;
    const me = this.end(from);
    const peer = this.end(other(from));
    const room = this.room(from);
    const far = random.pick([1, 100, 5000, 2 ** 20]);
    const longAgo = -random.pick([1000, 65_000, 70_000, 2 ** 20, 2 ** 30]);
    const segment = (what: string, flags: string, length: number, oddity: Oddity) =>
      this.oddSegment(what, from, flags, length, oddity);
    const oddities: readonly (() => unknown)[] = [
      () => segment("data beyond the window", ".", 1 + random.below(100), { sequence: room + far }),
      () => segment("data across the window's end", ".", 20, { sequence: room - 10 }),
      () => segment("data sent again", ".", 1 + random.below(100), { sequence: -1 - random.below(100) }),
      () => segment("data of long ago", ".", 10, { sequence: longAgo }),
      () => segment("ACK of what was not sent", ".", 0, { acknowledgment: peer.next - me.acked + far }),
      () => segment("ACK of long ago", ".", 0, { acknowledgment: longAgo }),
      () => segment("blind data", ".", 100, { sequence: random.next(), acknowledgment: random.next() }),
      () => segment("blind RST", "R", 0, { sequence: random.next() }),
      () => room > 1 && segment("RST elsewhere in the window", "R", 0, { sequence: 1 + random.below(room - 1) }),
      () => segment(`SYN from ${from} into the connection`, "S", 0, { sequence: random.next() }),
      () => segment("SYN-ACK into the connection", "S.", 0, { sequence: random.next() }),
      () => segment("segment to or from another port", ".", 10, { remotePort: this.remotePort ^ 1 }),
      () => segment("segment to or from a stranger", ".", 10, { remote: this.stranger }),
      () => segment("impossible flags", random.pick(["", "FS", "SR", "FPU", "FSRP.U", "F", "PU"]), 0, {}),
      () => segment("keep-alive", ".", random.below(2), { sequence: -1 }),
      () => this.changeWindow(from),
      () => this.overtake(from),
      () => this.sendFragmented(from),
      () => this.addError(),
      () => this.addError(),
    ];
    random.pick(oddities)();
  }

  private changeWindow(from: Side): void {
    this.end(from).window = this.random.pick([0, 10, 1000, 65535]);
    this.acknowledge(from);
  }

  /** The first of two segments is overtaken by the second. */
  private overtake(from: Side): void {
    const length = Math.min(this.room(from) >> 1, 200);
    if (length === 0 || this.end(from).finished) return;
    this.oddSegment("data that has overtaken other", from, ".", length, { sequence: length });
    this.segment("data overtaken", from, ".", length);
    this.end(from).next += 2 * length;
  }

  private sendFragmented(from: Side): void {
    const length = Math.min(this.room(from), 1000);
    if (length <= FRAGMENT || this.end(from).finished) return;
    const isWhole = this.addFragmented(`data from ${from}`, from, this.build(from, from, ".", length, {}));
    if (isWhole) this.end(from).next += length;
  }
}
