// The firewall's own questions to name servers: how they leave, which answers are taken, and that nothing else is.

import { describe, expect, test } from "bun:test";
import { ip, ipv4, payload, toHex } from "../../../lab/frames.ts";
import { leaveChecksum } from "../../../lab/offload.ts";
import { TCP, UDP } from "../../../lab/protocols.ts";
import {
  answered,
  arpReply,
  dropped,
  forwarded,
  frameFrom,
  GATEWAY,
  Lab,
  type LabOptions,
  NEIGHBOUR,
  OUTSIDE,
  type Outcome,
  REMOTE,
  REMOTE_2,
  SETTINGS,
  shownTo,
  UPLINK,
  UPLINK_SETTINGS,
  WORK_HOST,
} from "../../../lab/router-lab.ts";
import { LONGEST_QUESTION } from "../../../src/dataplane/frame/endpoint.ts";
import { RESOLVER_PORTS, RESOLVER_TCP_PORTS } from "../../../src/dataplane/ports/mappings.ts";
import { cut, datagram, HOP, icmpError, query, segment, sentPort } from "../../support/nat.ts";

type TcpNumbers = Parameters<typeof segment>[2];

const QUESTION = payload(30);
const ANSWER = payload(90);
const TAKEN: Outcome = { verdict: "taken by the firewall's resolver", sent: [] };

class Bench {
  readonly lab: Lab;
  /** Answers that control was given: number of the question, and the bytes. */
  readonly answers: [number, string][] = [];
  private questions = 0;

  constructor(options: LabOptions = {}) {
    const answeredTo = (id: number, at: number, length: number) =>
      this.answers.push([id, toHex(this.lab.ring.bytes.subarray(at, at + length))]);
    this.lab = new Lab({ ...options, control: { answered: answeredTo, passing: () => {} } });
  }

  /** Asks a server. @returns what was sent at that */
  ask(server = REMOTE, question = QUESTION): string[] {
    return this.lab.command((router) => router.ask(++this.questions, ip(server), question));
  }

  /** @returns the port that the question left from */
  asked(server = REMOTE): number {
    const sent = this.ask(server);
    const port = sentPort(this.lab);
    expect(sent).toEqual([shownTo(server, datagram(`${OUTSIDE}:${port} > ${server}:53`, {}, QUESTION))]);
    return port;
  }

  answer(ends: string): Outcome {
    return this.lab.from(REMOTE, datagram(ends, {}, ANSWER));
  }
}

describe("a question", () => {
  test("leaves from our uplink address and a random port, to the gateway or the server on the link", () => {
    const bench = new Bench();
    const ports = Array.from({ length: 200 }, () => bench.asked());
    expect(new Set(ports).size).toBe(200);
    const { portLow, portHigh } = RESOLVER_PORTS;
    expect(ports.filter((port) => port < portLow || port > portHigh)).toEqual([]);
    expect(Math.max(...ports) - Math.min(...ports)).toBeGreaterThan(7500);
    const sent = bench.ask(NEIGHBOUR);
    const port = sentPort(bench.lab);
    expect(sent).toEqual([shownTo(NEIGHBOUR, datagram(`${OUTSIDE}:${port} > ${NEIGHBOUR}:53`, {}, QUESTION))]);
  });

  test("waits until the next hop has said its MAC address", () => {
    const bench = new Bench({ answering: [GATEWAY] });
    bench.ask(NEIGHBOUR);
    const { lab } = bench;
    const { verdict, sent } = lab.receive(UPLINK, arpReply(NEIGHBOUR, lab.last[0].bytes));
    const port = sentPort(lab);
    expect(verdict).toBe("ARP taken");
    expect(sent).toEqual([shownTo(NEIGHBOUR, datagram(`${OUTSIDE}:${port} > ${NEIGHBOUR}:53`, {}, QUESTION))]);
    expect(lab.from(NEIGHBOUR, datagram(`${NEIGHBOUR}:53 > ${OUTSIDE}:${port}`, {}, ANSWER))).toEqual(TAKEN);
  });

  test("is not asked when it is too long, or when 256 are under way", () => {
    const bench = new Bench();
    expect(bench.ask(REMOTE, payload(LONGEST_QUESTION + 1))).toEqual([]);
    const [longest] = bench.ask(REMOTE, payload(LONGEST_QUESTION));
    const ends = `${OUTSIDE}:${sentPort(bench.lab)} > ${REMOTE}:53`;
    expect(longest).toBe(shownTo(REMOTE, datagram(ends, {}, payload(LONGEST_QUESTION))));
    for (let i = 1; i < 256; i++) expect(bench.ask()).toHaveLength(1);
    expect(bench.ask()).toEqual([]);
    expect(bench.answer(`${REMOTE}:53 > ${ends.split(" > ")[0]}`)).toEqual(TAKEN);
    expect(bench.ask()).toHaveLength(1);
  });

  test("keeps its port to itself: a client's datagrams from the same port leave from another", () => {
    const bench = new Bench();
    const port = bench.asked();
    const out = `${WORK_HOST}:${port} > ${REMOTE_2}:53`;
    expect(bench.lab.from(WORK_HOST, datagram(out)).verdict).toBe("forwarded");
    const other = sentPort(bench.lab);
    expect(other).not.toBe(port);
    expect(bench.answer(`${REMOTE}:53 > ${OUTSIDE}:${port}`)).toEqual(TAKEN);
    expect(bench.lab.from(REMOTE_2, datagram(`${REMOTE_2}:53 > ${OUTSIDE}:${other}`))).toEqual(
      forwarded(WORK_HOST, datagram(`${REMOTE_2}:53 > ${WORK_HOST}:${port}`, HOP)),
    );
  });
});

describe("an answer", () => {
  test("is taken once, and given to control with the number of its question", () => {
    const bench = new Bench();
    const [first, second] = [bench.asked(), bench.asked(REMOTE_2)];
    expect(bench.answer(`${REMOTE_2}:53 > ${OUTSIDE}:${second}`)).toEqual(TAKEN);
    expect(bench.answer(`${REMOTE}:53 > ${OUTSIDE}:${first}`)).toEqual(TAKEN);
    expect(bench.answers).toEqual([
      [2, toHex(ANSWER)],
      [1, toHex(ANSWER)],
    ]);
    expect(bench.answer(`${REMOTE}:53 > ${OUTSIDE}:${first}`)).toEqual(dropped("unsolicited"));
    expect(bench.answers).toHaveLength(2);
  });

  test("of another server, from or to another port is not; the right one is, afterwards", () => {
    const bench = new Bench();
    const port = bench.asked();
    for (const ends of [
      `${REMOTE_2}:53 > ${OUTSIDE}:${port}`,
      `${REMOTE}:54 > ${OUTSIDE}:${port}`,
      `${REMOTE}:53 > ${OUTSIDE}:${port ^ 1}`,
    ]) {
      expect(bench.answer(ends)).toEqual(dropped("unsolicited"));
    }
    expect(bench.answers).toEqual([]);
    expect(bench.answer(`${REMOTE}:53 > ${OUTSIDE}:${port}`)).toEqual(TAKEN);
  });

  test("with a wrong checksum is counted as malformed, and the right one is taken afterwards", () => {
    const bench = new Bench();
    const right = datagram(`${REMOTE}:53 > ${OUTSIDE}:${bench.asked()}`, {}, ANSWER);
    const wrong = right.slice();
    wrong[wrong.length - 1] ^= 1;
    const malformed = "dropped: malformed udp: checksum";
    expect(bench.lab.from(REMOTE, wrong)).toEqual({ verdict: malformed, sent: [] });
    expect(bench.lab.counts()[malformed]).toBe(1);
    expect(bench.answers).toEqual([]);
    expect(bench.lab.from(REMOTE, right)).toEqual(TAKEN);
  });

  test("whose checksum is left out, or left to the interface, is taken", () => {
    const bench = new Bench();
    const without = datagram(`${REMOTE}:53 > ${OUTSIDE}:${bench.asked()}`, {}, ANSWER);
    without.fill(0, 26, 28);
    expect(bench.lab.from(REMOTE, without)).toEqual(TAKEN);
    const left = leaveChecksum(frameFrom(REMOTE, datagram(`${REMOTE}:53 > ${OUTSIDE}:${bench.asked()}`, {}, ANSWER)));
    expect(bench.lab.receive(UPLINK, left.frame, left.vnet)).toEqual(TAKEN);
    expect(bench.answers.map(([id]) => id)).toEqual([1, 2]);
  });

  test("is its UDP length long, whatever stands behind it", () => {
    const bench = new Bench();
    const padded = datagram(`${REMOTE}:53 > ${OUTSIDE}:${bench.asked()}`, {}, ANSWER);
    const frame = frameFrom(REMOTE, padded);
    expect(bench.lab.receive(UPLINK, Uint8Array.of(...frame, 1, 2, 3))).toEqual(TAKEN);
    expect(bench.answers).toEqual([[1, toHex(ANSWER)]]);
  });

  test("in fragments is not taken", () => {
    const bench = new Bench();
    const whole = datagram(`${REMOTE}:53 > ${OUTSIDE}:${bench.asked()}`, {}, ANSWER);
    const fields = { source: REMOTE, destination: OUTSIDE, identification: 3 };
    const fragments = cut(whole, 48, (fragment, content) => ipv4({ ...fields, fragment }, UDP, content));
    expect(fragments.map((fragment) => bench.lab.from(REMOTE, fragment))).toEqual([
      dropped("unsolicited"),
      dropped("fragment of a dropped packet"),
      dropped("fragment of a dropped packet"),
    ]);
    expect(bench.answers).toEqual([]);
  });

  test("that comes after five seconds is not taken", () => {
    const bench = new Bench();
    const port = bench.asked();
    bench.lab.wait(4900);
    const late = bench.asked();
    bench.lab.wait(2000);
    expect(bench.answer(`${REMOTE}:53 > ${OUTSIDE}:${port}`)).toEqual(dropped("unsolicited"));
    expect(bench.answer(`${REMOTE}:53 > ${OUTSIDE}:${late}`)).toEqual(TAKEN);
  });

  test("to a question from before our address changed is not taken", () => {
    const bench = new Bench();
    const port = bench.asked();
    const address = "192.0.2.200";
    bench.lab.apply({ ...SETTINGS, uplink: { ...UPLINK_SETTINGS, address: ip(address) } });
    for (const ours of [OUTSIDE, address]) {
      expect(bench.answer(`${REMOTE}:53 > ${ours}:${port}`)).toEqual(dropped("unsolicited"));
    }
    expect(bench.answers).toEqual([]);
  });
});

test("ICMP errors about a question belong to no flow, and echo requests are answered meanwhile", () => {
  const bench = new Bench();
  const port = bench.asked();
  const question = datagram(`${OUTSIDE}:${port} > ${REMOTE}:53`, HOP, QUESTION);
  expect(bench.lab.from(REMOTE, icmpError(`${REMOTE} > ${OUTSIDE}`, 3, 3, question))).toEqual(
    dropped("ICMP error that belongs to no flow"),
  );
  const echo = query(`${REMOTE} > ${OUTSIDE}`, port);
  expect(bench.lab.from(REMOTE, echo)).toEqual(answered(REMOTE, query(`${OUTSIDE} > ${REMOTE}`, port, { type: 0 })));
  expect(bench.answer(`${REMOTE}:53 > ${OUTSIDE}:${port}`)).toEqual(TAKEN);
});

describe("a connection to a name server", () => {
  /** What control makes: a segment without ports, and with a checksum that means nothing. */
  function made(flags: string, numbers: TcpNumbers, content = payload(0)): Uint8Array {
    const packet = segment(`${OUTSIDE}:1 > ${REMOTE}:2`, flags, numbers, content).slice(20);
    packet.set([0, 0, 0, 0]);
    return packet;
  }

  function send(bench: Bench, flags: string, numbers: TcpNumbers, content = payload(0), id = 7): string[] {
    return bench.lab.command((router) => router.sendSegment(id, ip(REMOTE), made(flags, numbers, content)));
  }

  /** @returns the port that it left from */
  function opened(bench: Bench, id = 7): number {
    const sent = send(bench, "S", { sequence: 100 }, payload(0), id);
    const port = sentPort(bench.lab);
    expect(sent).toEqual([shownTo(REMOTE, segment(`${OUTSIDE}:${port} > ${REMOTE}:53`, "S", { sequence: 100 }))]);
    return port;
  }

  test("leaves from one random port, and its segments are given to control as they come", () => {
    const bench = new Bench();
    const port = opened(bench);
    const back = `${REMOTE}:53 > ${OUTSIDE}:${port}`;
    const synAck = segment(back, "S.", { sequence: 900, acknowledgment: 101 });
    expect(bench.lab.from(REMOTE, synAck)).toEqual(TAKEN);
    expect(bench.answers).toEqual([[7, toHex(synAck.slice(20))]]);
    const numbers = { sequence: 101, acknowledgment: 901 };
    expect(send(bench, "P.", numbers, QUESTION)).toEqual([
      shownTo(REMOTE, segment(`${OUTSIDE}:${port} > ${REMOTE}:53`, "P.", numbers, QUESTION)),
    ]);
    const answer = segment(back, "P.", { sequence: 901, acknowledgment: 131 }, ANSWER);
    const left = leaveChecksum(frameFrom(REMOTE, answer));
    expect(bench.lab.receive(UPLINK, left.frame, left.vnet)).toEqual(TAKEN);
    const [id, bytes] = bench.answers[1];
    const plain = (text: string) => text.replaceAll("\n", " ");
    expect([id, plain(bytes).slice(-3 * ANSWER.length + 1)]).toEqual([7, plain(toHex(ANSWER))]);
    const ports = Array.from({ length: 50 }, (_, i) => opened(bench, 100 + i));
    expect(new Set(ports).size).toBe(50);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(RESOLVER_TCP_PORTS.portLow);
    expect(Math.max(...ports)).toBeLessThanOrEqual(RESOLVER_TCP_PORTS.portHigh);
  });

  test("takes nothing of others, with a wrong checksum, or in fragments", () => {
    const bench = new Bench();
    const port = opened(bench);
    const numbers = { sequence: 900, acknowledgment: 101 };
    for (const ends of [
      `${REMOTE_2}:53 > ${OUTSIDE}:${port}`,
      `${REMOTE}:54 > ${OUTSIDE}:${port}`,
      `${REMOTE}:53 > ${OUTSIDE}:${port ^ 1}`,
    ]) {
      expect(bench.lab.from(REMOTE, segment(ends, "S.", numbers))).toEqual(dropped("unsolicited"));
    }
    const back = `${REMOTE}:53 > ${OUTSIDE}:${port}`;
    expect(bench.lab.from(REMOTE, datagram(back, {}, ANSWER))).toEqual(dropped("unsolicited"));
    const wrong = segment(back, "P.", numbers, ANSWER);
    wrong[wrong.length - 1] ^= 1;
    expect(bench.lab.from(REMOTE, wrong)).toEqual({ verdict: "dropped: malformed tcp: checksum", sent: [] });
    const fields = { source: REMOTE, destination: OUTSIDE, identification: 3 };
    const whole = segment(back, "P.", numbers, ANSWER);
    const fragments = cut(whole, 48, (fragment, content) => ipv4({ ...fields, fragment }, TCP, content));
    expect(bench.lab.from(REMOTE, fragments[0])).toEqual(dropped("unsolicited"));
    expect(bench.answers).toEqual([]);
  });

  test("is over when control hangs up, after half a minute, or when our address changes; it begins with a SYN only", () => {
    const ends: ((bench: Bench) => void)[] = [
      ({ lab }) => lab.command((router) => router.hangUp(7)),
      ({ lab }) => lab.wait(31_000),
      ({ lab }) => lab.apply({ ...SETTINGS, uplink: { ...UPLINK_SETTINGS, prefix: 25 } }),
    ];
    for (const end of ends) {
      const bench = new Bench();
      const port = opened(bench);
      end(bench);
      const late = segment(`${REMOTE}:53 > ${OUTSIDE}:${port}`, "S.", { sequence: 900, acknowledgment: 101 });
      expect(bench.lab.from(REMOTE, late)).toEqual(dropped("unsolicited"));
      expect(send(bench, ".", { sequence: 101, acknowledgment: 901 })).toEqual([]);
      bench.lab.command((router) => router.hangUp(7));
    }
  });

  test("that new settings cut is told so, with no bytes, and can be opened anew; a question is not told", () => {
    const bench = new Bench();
    opened(bench);
    bench.asked();
    bench.answers.length = 0;
    bench.lab.apply({ ...SETTINGS, uplink: { ...UPLINK_SETTINGS, prefix: 25 } });
    expect(bench.answers).toEqual([[7, ""]]);
    opened(bench);
    bench.lab.apply({ ...SETTINGS, uplink: { ...UPLINK_SETTINGS, prefix: 25 } });
    expect(bench.answers.length).toBe(1); // the same settings: it was not cut
  });

  test("gets no more than a thousand segments", () => {
    const bench = new Bench();
    const port = opened(bench);
    const one = segment(`${REMOTE}:53 > ${OUTSIDE}:${port}`, ".", { sequence: 901, acknowledgment: 101 });
    const verdicts = Array.from({ length: 1200 }, () => bench.lab.from(REMOTE, one).verdict);
    expect(bench.answers).toHaveLength(1024);
    expect(verdicts.at(-1)).toBe("dropped: unsolicited");
  });
});
