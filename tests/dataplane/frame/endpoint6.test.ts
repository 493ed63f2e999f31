// The firewall's own questions to name servers of IPv6: they leave as those of IPv4 do, and nothing but their answers is taken. What is
// the same for both, endpoint.test.ts shows of IPv4.
import { describe, expect, test } from "bun:test";
import { concat, payload, toHex } from "../../../lab/frames.ts";
import { ip6, tcp6, udp6 } from "../../../lab/frames6.ts";
import { dropped, Lab, SETTINGS } from "../../../lab/router-lab.ts";
import { from6, OUTSIDE_6, REMOTE_6, REMOTE_62, SETTINGS_6, shownTo6, WORK_HOST_6 } from "../../../lab/router-lab6.ts";
import { LONGEST_QUESTION } from "../../../src/dataplane/frame/endpoint.ts";
import type { Router } from "../../../src/dataplane/frame/router.ts";
import { RESOLVER_PORTS } from "../../../src/dataplane/ports/mappings.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";

const QUESTION = payload(30);
const ANSWER = payload(90);
const TAKEN = { verdict: "taken by the firewall's resolver", sent: [] };

class EndpointBench {
  readonly lab: Lab;
  /** Answers that control was given: number of the question, and the bytes. */
  readonly answers: [number, string][] = [];
  private questions = 0;

  constructor(settings: Settings) {
    const answered = (id: number, at: number, length: number) =>
      this.answers.push([id, toHex(this.lab.ring.bytes.subarray(at, at + length))]);
    this.lab = new Lab({ settings, control: { answered, passing: () => {} } });
  }

  /** @returns what is sent at a question */
  command(ask: (router: Router, id: number) => void): string[] {
    return this.lab.command((router) => ask(router, ++this.questions));
  }
}

function ask6(bench: EndpointBench, server = REMOTE_6, question = QUESTION): string[] {
  return bench.command((router, id) => router.ask6(id, concat(ip6(server), question)));
}

/** @returns the port that the frame sent last left from */
function portOf({ last }: Lab): number {
  const { bytes } = last[last.length - 1];
  return bytes[54] * 256 + bytes[55];
}

function question(port: number, server = REMOTE_6, content = QUESTION): Uint8Array {
  return udp6({ source: OUTSIDE_6, destination: server, sourcePort: port, destinationPort: 53 }, content);
}

function answer(port: number, source = REMOTE_6, sourcePort = 53, content = ANSWER): Uint8Array {
  return udp6({ source, destination: OUTSIDE_6, sourcePort, destinationPort: port }, content);
}

describe("a question to a server of IPv6", () => {
  test("leaves from our IPv6 address and one of the resolver's ports, and its answer is control's", () => {
    const bench = new EndpointBench(SETTINGS_6);
    const sent = ask6(bench);
    const port = portOf(bench.lab);
    expect(sent).toEqual([shownTo6(REMOTE_6, question(port))]);
    expect(port >= RESOLVER_PORTS.portLow && port <= RESOLVER_PORTS.portHigh).toBe(true);
    expect(from6(bench.lab, REMOTE_6, answer(port))).toEqual(TAKEN);
    expect(bench.answers).toEqual([[1, toHex(ANSWER)]]);
    expect(from6(bench.lab, REMOTE_6, answer(port))).toEqual(dropped("unsolicited"));
  });

  test("is not answered by another server, from or to another port, with another number, nor without a right checksum", () => {
    const bench = new EndpointBench(SETTINGS_6);
    ask6(bench);
    const port = portOf(bench.lab);
    const spoiled = (at: number, change: number) => answer(port).map((byte, i) => (i === at ? byte ^ change : byte));
    for (const packet of [
      answer(port, REMOTE_62),
      answer(port, REMOTE_6, 54),
      answer(port ^ 1),
      answer(port, REMOTE_6, 53, payload(91).slice(1)),
    ]) {
      expect(from6(bench.lab, REMOTE_6, packet)).toEqual(dropped("unsolicited"));
    }
    expect(from6(bench.lab, REMOTE_6, spoiled(60, 1)).verdict).toContain("checksum");
    expect(from6(bench.lab, REMOTE_6, answer(port))).toEqual(TAKEN);
    expect(bench.answers).toHaveLength(1);
  });

  test("may be as long as one of IPv4, and no longer", () => {
    const bench = new EndpointBench(SETTINGS_6);
    const [longest] = ask6(bench, REMOTE_6, payload(LONGEST_QUESTION));
    expect(longest).toBe(shownTo6(REMOTE_6, question(portOf(bench.lab), REMOTE_6, payload(LONGEST_QUESTION))));
    expect(ask6(bench, REMOTE_6, payload(LONGEST_QUESTION + 1))).toEqual([]);
  });

  test("is not asked where there is no IPv6, nor of nobody", () => {
    expect(ask6(new EndpointBench(SETTINGS))).toEqual([]);
    expect(ask6(new EndpointBench(SETTINGS_6), "::")).toEqual([]);
  });

  test("and one of IPv4 are told apart even by one port", () => {
    const bench = new EndpointBench(SETTINGS_6);
    const ports = new Map<number, "4" | "6">();
    for (let i = 0; i < 200; i++) {
      ask6(bench);
      ports.set(portOf(bench.lab), "6");
      from6(bench.lab, REMOTE_6, answer(portOf(bench.lab)));
    }
    expect(bench.answers).toHaveLength(200);
    expect(ports.size).toBeGreaterThan(150);
    expect(from6(bench.lab, WORK_HOST_6, answer([...ports.keys()][0])).verdict).not.toBe(TAKEN.verdict);
  });

  test("holds its server's address as long as it is under way, and no longer", () => {
    const bench = new EndpointBench(SETTINGS_6);
    const before = sizeOf(bench);
    ask6(bench);
    ask6(bench, REMOTE_62);
    const port = portOf(bench.lab);
    expect(sizeOf(bench)).toBe(before + 2);
    expect(from6(bench.lab, REMOTE_62, answer(port, REMOTE_62))).toEqual(TAKEN);
    expect(sizeOf(bench)).toBe(before + 1);
    bench.lab.wait(6000);
    expect(sizeOf(bench)).toBe(before);
  });
});

function sizeOf({ lab }: EndpointBench): number {
  return lab.router.addresses.size;
}

describe("a connection to a server of IPv6", () => {
  const SYN = tcp6({
    source: "::1",
    destination: "::2",
    sourcePort: 0,
    destinationPort: 0,
    flags: "S",
    sequence: 7,
  }).slice(40);

  const send = (bench: EndpointBench, id: number, segment: Uint8Array) =>
    bench.lab.command((router: Router) => router.sendSegment6(id, concat(ip6(REMOTE_6), segment)));

  test("begins with a SYN, and its segments are control's", () => {
    const bench = new EndpointBench(SETTINGS_6);
    const blank = Uint8Array.from(SYN);
    blank.set([0, 0], 16);
    const sent = send(bench, 5, blank);
    const port = portOf(bench.lab);
    const ends = { source: OUTSIDE_6, destination: REMOTE_6, sourcePort: port, destinationPort: 53 };
    expect(sent).toEqual([shownTo6(REMOTE_6, tcp6({ ...ends, flags: "S", sequence: 7 }))]);
    const back = { source: REMOTE_6, destination: OUTSIDE_6, sourcePort: 53, destinationPort: port };
    const reply = tcp6({ ...back, flags: "S.", sequence: 99, acknowledgment: 8 });
    expect(from6(bench.lab, REMOTE_6, reply)).toEqual(TAKEN);
    expect(bench.answers).toEqual([[5, toHex(reply.slice(40))]]);
    expect(
      from6(bench.lab, REMOTE_62, tcp6({ ...back, source: REMOTE_62, flags: "S.", sequence: 1 })).verdict,
    ).not.toBe(TAKEN.verdict);
  });

  test("is given up when our address is another one, and control is told", () => {
    const bench = new EndpointBench(SETTINGS_6);
    send(bench, 5, SYN);
    const moved: Settings = {
      ...SETTINGS_6,
      uplink: {
        ...SETTINGS_6.uplink,
        ipv6: { ...SETTINGS_6.uplink.ipv6, address: ip6("2001:db8:ffff::3") } as Settings["uplink"]["ipv6"] & {},
      },
    };
    bench.lab.command((router) => router.apply(moved));
    expect(bench.answers).toEqual([[5, ""]]);
  });
});

test("questions of both families are under way side by side", () => {
  const bench = new EndpointBench(SETTINGS_6);
  ask6(bench);
  const port = portOf(bench.lab);
  const ipv4 = bench.command((router, id) => router.ask(id, 0xc6336407, QUESTION));
  expect(ipv4).toHaveLength(1);
  expect(from6(bench.lab, REMOTE_6, answer(port))).toEqual(TAKEN);
  expect(bench.answers.map(([id]) => id)).toEqual([1]);
});
