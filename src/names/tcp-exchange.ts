// A question over TCP, for answers that a datagram doesn't hold (RFC 7766): the least of a TCP client that one connection with one
// question and one answer needs (RFC 9293). It neither knows ports nor checksums: the dataplane fills them in, and hands over only
// segments of this connection. What is out of order is asked for again, by acknowledging what is there.

import type { Clock } from "../base/clock.ts";
import { ACK, FIN, PSH, RST, SYN, TCP, tcpHeaderLength, writeTcp } from "../wire/tcp.ts";

/** How long it may take as a whole, in ms. */
export const TCP_PATIENCE = 5000;
/** ms until a segment is sent again that nobody has acknowledged; twice as long each time (RFC 6298 section 2.1). */
const RETRANSMISSION = 1000;
/** ms that the server's FIN is waited for. */
const LINGER = 2000;

/** Largest segment that we take: one that gets through everywhere. Option 2 (RFC 9293 section 3.7.1), of four bytes. */
const MSS = [2, 4, 1220 >> 8, 1220 & 0xff];
/** The window need not move: no message is longer than that. */
const WINDOW = 65535;
/** In front of each message stands its length (RFC 7766 section 8). */
const PREFIX = 2;

const NOTHING = new Uint8Array(0);

/** The server says that it takes no TCP: not just that none came through. */
export class TcpRefusal extends Error {}

export interface SegmentWay {
  /** @param segment header and payload, with ports and checksum 0 */
  send(segment: Uint8Array): void;
  /** Nothing more is sent, nor wanted. */
  hangUp(): void;
}

export class TcpExchange {
  /** Settles with the answer; rejects where the server gives none. */
  readonly answer: Promise<Uint8Array>;
  private readonly settled = Promise.withResolvers<Uint8Array>();
  private state: "opening" | "asking" | "closing" | "over" = "opening";
  /** Our next sequence number, behind all that was sent, and the server's (SND.NXT and RCV.NXT), of 32 bits. */
  private next = crypto.getRandomValues(new Int32Array(1))[0];
  private expected = 0;
  private received = new Uint8Array(0);
  private cancelRetransmission = () => {};
  private readonly cancelPatience: () => void;
  private cancelLinger = () => {};

  constructor(
    private readonly question: Uint8Array,
    private readonly way: SegmentWay,
    private readonly clock: Clock,
  ) {
    this.answer = this.settled.promise;
    this.cancelPatience = clock.after(TCP_PATIENCE, () => this.fail("no answer over TCP"));
    this.sendReliably(SYN, NOTHING);
  }

  /** @param segment one of this connection's, with a header that the dataplane has checked; or nothing, when that has given it up */
  receive(segment: Uint8Array): void {
    if (segment.length === 0) {
      this.beginAnew();
      return;
    }
    const view = new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
    const flags = view.getUint8(TCP.FLAGS);
    const sequence = view.getInt32(TCP.SEQUENCE);
    const acknowledged = view.getInt32(TCP.ACKNOWLEDGMENT);
    const payload = segment.subarray(tcpHeaderLength(view, 0));
    if (this.state === "over") return;
    if (this.state === "opening") this.opened(flags, sequence, acknowledged);
    else this.continued(flags, sequence, acknowledged, payload);
  }

  /** New settings have cut the connection: that says nothing of the server. The next SYN leaves from another port. */
  private beginAnew(): void {
    if (this.state === "closing") this.end();
    if (this.state === "over") return;
    // The number of a SYN stays: it may be under way once more already, and have opened the new connection.
    if (this.state === "opening") this.next = (this.next - 1) | 0;
    this.state = "opening";
    this.expected = 0;
    this.received = NOTHING;
    this.sendReliably(SYN, NOTHING);
  }

  /** Whoever answers a SYN acknowledges it exactly: others have not seen it. */
  private opened(flags: number, sequence: number, acknowledged: number): void {
    if ((flags & ACK) === 0 || acknowledged !== this.next) return;
    if ((flags & RST) !== 0) this.fail(new TcpRefusal("it refuses TCP"));
    if ((flags & (RST | SYN)) !== SYN) return;
    this.expected = (sequence + 1) | 0;
    this.state = "asking";
    const { length } = this.question;
    this.sendReliably(PSH | ACK, Uint8Array.of(length >> 8, length & 0xff, ...this.question));
  }

  private continued(flags: number, sequence: number, acknowledged: number, payload: Uint8Array): void {
    if ((flags & RST) !== 0) {
      if (sequence === this.expected) this.fail("it broke the connection"); // RFC 5961 section 3.2
      return;
    }
    if ((flags & ACK) === 0 || ((acknowledged - this.next) | 0) > 0) return; // also of what we never sent
    if (acknowledged === this.next) this.cancelRetransmission();
    const old = (this.expected - sequence) | 0;
    const isLast = (flags & FIN) !== 0;
    const hasNews = old < payload.length || (old === payload.length && (isLast || payload.length === 0));
    if ((flags & SYN) === 0 && old >= 0 && hasNews) this.take(payload.subarray(old), isLast);
    else this.send(ACK, NOTHING);
  }

  /** @param payload what comes next @param isLast whether there is a FIN behind it */
  private take(payload: Uint8Array, isLast: boolean): void {
    this.expected = (this.expected + payload.length + Number(isLast)) | 0;
    if (this.state === "closing") {
      if (payload.length > 0 || isLast) this.send(ACK, NOTHING);
      if (isLast) this.end();
      return;
    }
    this.received = Uint8Array.from([...this.received, ...payload]);
    const [high = 0, low = 0] = this.received;
    const end = PREFIX + ((high << 8) | low);
    if (this.received.length >= PREFIX && this.received.length >= end)
      this.close(this.received.slice(PREFIX, end), isLast);
    else if (isLast) this.fail("it closed the connection");
    else if (payload.length > 0) this.send(ACK, NOTHING);
  }

  /** The answer is there. @param isClosed whether the server has closed its side already */
  private close(answer: Uint8Array, isClosed: boolean): void {
    this.cancelPatience();
    this.settled.resolve(answer);
    this.state = "closing";
    this.sendReliably(FIN | ACK, NOTHING);
    if (isClosed) this.end();
    else this.cancelLinger = this.clock.after(LINGER, () => this.end());
  }

  /** Ends it at once. @param reason what the answer is rejected for, if it is not there yet */
  fail(reason: string | Error): void {
    if (this.state === "asking") this.send(RST | ACK, NOTHING);
    this.settled.reject(typeof reason === "string" ? new Error(reason) : reason);
    this.end();
  }

  private end(): void {
    if (this.state === "over") return;
    this.state = "over";
    this.cancelPatience();
    this.cancelRetransmission();
    this.cancelLinger();
    this.way.hangUp();
  }

  /** Sends what comes next, and again until all is acknowledged. */
  private sendReliably(flags: number, payload: Uint8Array): void {
    this.cancelRetransmission();
    const sequence = this.next;
    const length = payload.length + Number((flags & (SYN | FIN)) !== 0);
    this.next = (this.next + length) | 0;
    const again = (wait: number) => {
      this.send(flags, payload, sequence);
      this.cancelRetransmission = this.clock.after(wait, () => again(2 * wait));
    };
    again(RETRANSMISSION);
  }

  private send(flags: number, payload: Uint8Array, sequence = this.next): void {
    const options = (flags & SYN) === 0 ? [] : MSS;
    const length = TCP.HEADER_LENGTH + options.length;
    const segment = new Uint8Array(length + payload.length);
    const view = new DataView(segment.buffer);
    writeTcp(view, 0, 0, sequence, this.expected, flags, WINDOW);
    view.setUint8(TCP.DATA_OFFSET, (length >> 2) << 4);
    segment.set(options, TCP.HEADER_LENGTH);
    segment.set(payload, length);
    this.way.send(segment);
  }
}
