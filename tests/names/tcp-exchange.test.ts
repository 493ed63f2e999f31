// The TCP client for one question: its segments against a server's, played by hand, in simulated time. That it gets on with a real
// one, tests/net/names.test.ts shows.
import { beforeEach, describe, expect, test } from "bun:test";
import { TCP_PATIENCE, TcpExchange } from "../../src/names/tcp-exchange.ts";
import { ACK, FIN, PSH, RST, SYN, TCP, tcpHeaderLength, writeTcp } from "../../src/wire/tcp.ts";
import { rejectionOf } from "../support/rejection.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const QUESTION = Uint8Array.from({ length: 30 }, (_, i) => i);
const ANSWER = Uint8Array.from({ length: 3000 }, (_, i) => (i * 7) & 255);
const STREAM = Uint8Array.from([ANSWER.length >> 8, ANSWER.length & 255, ...ANSWER]);
/** The server's first sequence number: its numbers go round. */
const SERVER = -1000;
const NAMES = [
  [SYN, "SYN"],
  [FIN, "FIN"],
  [RST, "RST"],
  [PSH, "PSH"],
  [ACK, "ACK"],
] as const;

let clock: SimulatedClock;
let sent: Uint8Array[];
let isOver: boolean;
let exchange: TcpExchange;
let first: number;

beforeEach(() => {
  clock = new SimulatedClock();
  sent = [];
  isOver = false;
  const way = {
    send: (segment: Uint8Array) => sent.push(segment),
    hangUp: () => {
      isOver = true;
    },
  };
  exchange = new TcpExchange(QUESTION, way, clock);
  exchange.answer.catch(() => {});
  first = viewOf(sent[0]).getInt32(TCP.SEQUENCE);
});

function viewOf(segment: Uint8Array): DataView {
  return new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
}

/** @returns what was sent since the last call: flags, and numbers relative to both ends' first ones */
function takeSent(): string[] {
  return sent.splice(0).map((segment) => {
    const view = viewOf(segment);
    const flags = view.getUint8(TCP.FLAGS);
    const sequence = (view.getInt32(TCP.SEQUENCE) - first) | 0;
    const acknowledged = (view.getInt32(TCP.ACKNOWLEDGMENT) - SERVER) | 0;
    const length = segment.length - tcpHeaderLength(view, 0);
    const names = NAMES.flatMap(([flag, name]) => ((flags & flag) === 0 ? [] : [name]));
    return `${names.join(" ")} ${sequence}${flags & ACK ? ` ack ${acknowledged}` : ""}${length > 0 ? `: ${length}` : ""}`;
  });
}

/** The server sends. @param sequence, acknowledged relative to both ends' first ones */
function receive(flags: number, sequence: number, acknowledged: number, payload = new Uint8Array(0)): void {
  const segment = new Uint8Array(TCP.HEADER_LENGTH + payload.length);
  writeTcp(viewOf(segment), 0, 0, (SERVER + sequence) | 0, (first + acknowledged) | 0, flags, 1000);
  segment.set(payload, TCP.HEADER_LENGTH);
  exchange.receive(segment);
}

/** Opens the connection; the question is under way then. */
function open(): void {
  receive(SYN | ACK, 0, 1);
  takeSent();
}

const part = (from: number, to: number) => STREAM.subarray(from, to);

describe("a question over TCP", () => {
  test("opens a connection, sends its length and itself, acknowledges what comes, and closes", async () => {
    expect(Buffer.from(sent[0]).toString("hex")).toMatch(/^00000000.{8}000000006002ffff00000000020404c4$/);
    takeSent();
    receive(SYN | ACK, 0, 1);
    expect(Buffer.from(sent[0].subarray(TCP.HEADER_LENGTH))).toEqual(Buffer.from([0, QUESTION.length, ...QUESTION]));
    expect(takeSent()).toEqual(["PSH ACK 1 ack 1: 32"]);
    receive(ACK, 1, 33);
    expect(takeSent()).toEqual([]);
    receive(ACK, 1, 33, part(0, 1));
    receive(ACK, 2, 33, part(1, 1400));
    expect(takeSent()).toEqual(["ACK 33 ack 2", "ACK 33 ack 1401"]);
    receive(ACK, 1401, 33, part(1400, 3002));
    expect(await exchange.answer).toEqual(ANSWER);
    expect(takeSent()).toEqual(["FIN ACK 33 ack 3003"]);
    receive(ACK, 3003, 34);
    expect(isOver).toBe(false);
    receive(FIN | ACK, 3003, 34);
    expect(takeSent()).toEqual(["ACK 34 ack 3004"]);
    expect([isOver, clock.pending]).toEqual([true, 0]);
  });

  test("is answered by the segment that acknowledges it, which may close the connection too", async () => {
    open();
    receive(PSH | FIN | ACK, 1, 33, STREAM);
    expect(await exchange.answer).toEqual(ANSWER);
    expect(takeSent()).toEqual(["FIN ACK 33 ack 3004"]);
    expect([isOver, clock.pending]).toEqual([true, 0]);
  });

  test("sends again what nobody acknowledges, ever more slowly, and gives up", async () => {
    takeSent();
    await clock.advance(1000);
    expect(takeSent()).toEqual(["SYN 0"]);
    await clock.advance(1999);
    expect(takeSent()).toEqual([]);
    await clock.advance(1);
    expect(takeSent()).toEqual(["SYN 0"]);
    receive(SYN | ACK, 0, 1);
    await clock.advance(1000);
    expect(takeSent()).toEqual(["PSH ACK 1 ack 1: 32", "PSH ACK 1 ack 1: 32"]);
    receive(ACK, 1, 33);
    await clock.advance(TCP_PATIENCE - 4001);
    expect([takeSent(), isOver]).toEqual([[], false]);
    await clock.advance(1);
    expect(await rejectionOf(exchange.answer)).toContain("no answer over TCP");
    expect([takeSent(), isOver, clock.pending]).toEqual([["RST ACK 33 ack 1"], true, 0]);
  });

  test("takes each byte once, in order, whatever comes twice or too early", async () => {
    open();
    receive(ACK, 1001, 33, part(1000, 2000));
    receive(SYN | ACK, 0, 1);
    receive(ACK, 1, 33, part(0, 1000));
    receive(ACK, 1, 33, part(0, 1000));
    receive(ACK, 501, 33, part(500, 2000));
    expect(takeSent()).toEqual([
      "ACK 33 ack 1",
      "ACK 33 ack 1",
      "ACK 33 ack 1001",
      "ACK 33 ack 1001",
      "ACK 33 ack 2001",
    ]);
    receive(ACK, 2001, 33, part(2000, 3002));
    expect(await exchange.answer).toEqual(ANSWER);
  });

  test("does not wait for ever for the server's FIN", async () => {
    open();
    receive(ACK, 1, 33, STREAM);
    receive(ACK, 3003, 34);
    await clock.advance(2000);
    expect([isOver, clock.pending]).toEqual([true, 0]);
  });
});

describe("a connection", () => {
  function broken(): void {
    open();
    receive(RST, 1, 0);
  }

  /** @param bytes of the answer that have come before that */
  function closedAfter(bytes: number): void {
    open();
    receive(FIN | ACK, 1, 33, part(0, bytes));
  }

  test.each([
    ["is refused", () => receive(RST | ACK, 0, 1), "it refuses TCP"],
    ["is broken", broken, "it broke the connection"],
    ["is closed before the answer is whole", () => closedAfter(100), "it closed the connection"],
    ["is closed before its length is", () => closedAfter(1), "it closed the connection"],
  ])("that %s: the answer is rejected", async (_, act, reason) => {
    act();
    expect(await rejectionOf(exchange.answer)).toContain(reason);
    expect([isOver, clock.pending]).toEqual([true, 0]);
  });

  test("is not opened, broken or moved on by who does not know its numbers", async () => {
    for (const number of [0, 2, -1, 1 << 30]) {
      receive(SYN | ACK, 0, number);
      receive(RST | ACK, 0, number);
    }
    receive(SYN, 0, 1);
    receive(RST, 0, 1);
    expect(takeSent()).toEqual(["SYN 0"]);
    open();
    for (const sequence of [0, 2, 60_000]) receive(RST, sequence, 33);
    receive(ACK, 1, 34, part(0, 1000));
    receive(PSH, 1, 33, part(0, 1000));
    expect([takeSent(), isOver]).toEqual([[], false]);
    receive(ACK, 1, 33, STREAM);
    expect(await exchange.answer).toEqual(ANSWER);
  });

  test("is begun anew from another port when it was cut before it was open: with the same number, in case that SYN is under way", async () => {
    receive(RST | ACK, 0, 7);
    exchange.receive(new Uint8Array(0));
    expect(takeSent()).toEqual(["SYN 0", "SYN 0"]);
    open();
    receive(PSH | ACK, 1, 33, STREAM);
    expect(await exchange.answer).toEqual(ANSWER);
  });

  test("is begun anew when it was cut in the middle of an answer: what had come counts for nothing", async () => {
    open();
    receive(ACK, 1, 33, part(0, 1000));
    takeSent();
    exchange.receive(new Uint8Array(0));
    expect(takeSent()).toEqual(["SYN 33"]);
    receive(SYN | ACK, 0, 34);
    expect(takeSent()).toEqual(["PSH ACK 34 ack 1: 32"]);
    receive(PSH | ACK, 1, 66, STREAM);
    expect(await exchange.answer).toEqual(ANSWER);
    exchange.receive(new Uint8Array(0));
    expect([isOver, clock.pending]).toEqual([true, 0]);
  });

  test("that is cut again and again takes no longer", async () => {
    for (let ms = 0; ms < TCP_PATIENCE; ms += 100) {
      exchange.receive(new Uint8Array(0));
      await clock.advance(100);
    }
    expect(await rejectionOf(exchange.answer)).toContain("no answer over TCP");
    expect([isOver, clock.pending]).toEqual([true, 0]);
  });

  test("that has ended sends nothing more", () => {
    receive(RST | ACK, 0, 1);
    takeSent();
    receive(SYN | ACK, 0, 1);
    exchange.fail("again");
    exchange.receive(new Uint8Array(0));
    expect(takeSent()).toEqual([]);
  });
});
