// RFC 7857, "Updates to NAT Behavioral Requirements": a test or more for each requirement, by its name in docs/NAT.md.

import { describe, expect, test } from "bun:test";
import { ipv4, payload } from "../../lab/frames.ts";
import { UDP } from "../../lab/protocols.ts";
import {
  answered,
  dropped,
  forwarded,
  LAN_HOST,
  Lab,
  OUTSIDE,
  REMOTE,
  REMOTE_2,
  refused,
  WORK_GATEWAY,
  WORK_HOST,
} from "../../lab/router-lab.ts";
import { Conversation, follow, HANDSHAKE, type Step } from "../support/conversation.ts";
import {
  configErrors,
  cut,
  datagram,
  HOP,
  icmpError,
  type NatOptions,
  natLab,
  natSettings,
  query,
  segment,
  sentPort,
  TWO_HOPS,
} from "../support/nat.ts";

const OPEN = { work: 'filtering = "endpoint-independent"' };
const ECHO_REPLY = { type: 0 };

function connect(steps = HANDSHAKE, options: NatOptions = {}): Conversation {
  const conversation = new Conversation(natLab(options));
  follow(conversation, steps);
  return conversation;
}

/** The connection, or what is left of it, lasts so many seconds without traffic, and not much longer. */
function expectToLast(steps: readonly Step[], seconds: number, next: Step): void {
  const alive = connect(steps);
  alive.lab.wait(seconds * 1000 - 1);
  follow(alive, [next]);
  const ended = connect(steps);
  ended.lab.wait(seconds * 1000 + 2000);
  const [, flags, sequence, acknowledgment] = next;
  expect(
    ended.lab.from(REMOTE, segment(`${REMOTE}:443 > ${OUTSIDE}:40000`, flags, { sequence, acknowledgment })),
  ).toEqual(dropped("unsolicited"));
}

/** A lab in which all ports but these of TCP and UDP are kept for other uses. */
function scarce(low: number): Lab {
  const forward = (proto: string) => `[[forward]]\nproto = "${proto}"\nport = "1-${low - 1}"\nto = "192.168.1.99"\n`;
  return natLab({ sections: forward("tcp") + forward("udp") });
}

/** The external port that "lan"'s host gets for 40000 when "work" has that one. @param seed of the router's randomness */
function contendedPort(seed: number, port = 40000): number {
  const lab = new Lab({ settings: natSettings({}), seed });
  for (const host of [WORK_HOST, LAN_HOST]) lab.from(host, datagram(`${host}:${port} > ${REMOTE}:9000`));
  return sentPort(lab);
}

describe("RFC 7857", () => {
  test("2: a connection opens with both SYNs, is established until both FINs, and closes four minutes later", () => {
    expectToLast([["client", "S", 1000, 0]], 240, ["remote", "S.", 5000, 1001]);
    expectToLast(HANDSHAKE, 7440, ["remote", ".", 5001, 1001]);
    expectToLast([...HANDSHAKE, ["client", "F.", 1001, 5001]], 7440, ["remote", ".", 5001, 1002]);
    expectToLast([...HANDSHAKE, ["remote", "F.", 5001, 1001]], 7440, ["remote", "F.", 5001, 1001]);
    const closed: readonly Step[] = [...HANDSHAKE, ["client", "F.", 1001, 5001], ["remote", "F.", 5001, 1002]];
    expectToLast(closed, 240, ["remote", "F.", 5001, 1002]);
  });

  test("2: a connection that goes on after a RST is established again", () => {
    for (const rst of [
      ["client", "R.", 1001, 5001],
      ["remote", "R.", 5001, 1001],
    ] as const) {
      expectToLast([...HANDSHAKE, rst], 240, ["remote", ".", 5001, 1001]);
      expectToLast([...HANDSHAKE, rst, ["remote", "P.", 5001, 1001, 100]], 7440, ["remote", ".", 5101, 1001]);
      expectToLast([...HANDSHAKE, rst, ["client", "P.", 1001, 5001, 100]], 7440, ["remote", ".", 5001, 1101]);
    }
  });

  test("2.1: opening and closing have timeouts of their own", () => {
    const sections = '[nat.timeouts]\ntcp_opening = "5m"\ntcp_closing = "6m"';
    const opening = connect([["client", "S", 1000, 0]], { sections });
    opening.lab.wait(299_999);
    follow(opening, [["remote", "S.", 5000, 1001]]);
    const closing = connect([...HANDSHAKE, ["remote", "R.", 5001, 1001]], { sections });
    closing.lab.wait(359_999);
    follow(closing, [["remote", ".", 5001, 1001]]);
  });

  test("2.1a: the timeout of opening may be less than four minutes, that of closing may not", () => {
    const opening = connect([["client", "S", 1000, 0]], { sections: '[nat.timeouts]\ntcp_opening = "30s"' });
    opening.lab.wait(32_000);
    const answer = segment(`${REMOTE}:443 > ${OUTSIDE}:40000`, "S.", { sequence: 5000, acknowledgment: 1001 });
    expect(opening.lab.from(REMOTE, answer)).toEqual(dropped("unsolicited"));
    expect(configErrors({ sections: "[nat.timeouts]\ntcp_closing = 239" })).toEqual([
      'nat.timeouts: tcp_closing 239 is shorter than 4m, the least by RFC 5382 REQ-5 (write tcp_closing = "4m")',
    ]);
  });

  test("2.1b: both are four minutes by default", () => {
    const { timeouts } = natSettings({}).nat;
    expect([timeouts.tcpOpening, timeouts.tcpClosing]).toEqual([240, 240]);
  });

  test("2.2: a RST of the connection is translated, in every state; one that can't be its is dropped", () => {
    connect([
      ["client", "S", 1000, 0],
      ["remote", "R.", 0, 1001],
    ]);
    connect([...HANDSHAKE, ["client", "R", 1001, 0]]);
    connect([...HANDSHAKE, ["remote", "R", 5001, 0], ["remote", "R", 5001, 0]]);
    connect([...HANDSHAKE, ["remote", "F.", 5001, 1001], ["client", "R.", 1001, 5002]]);
    const blind = connect();
    for (const sequence of [5000, 4000, 5001 + 65536, 5001 + 0x40000000, 5001 - 0x40000000]) {
      const rst = segment(`${REMOTE}:443 > ${OUTSIDE}:40000`, "R", { sequence });
      expect(blind.lab.from(REMOTE, rst)).toEqual(dropped("TCP outside the window"));
    }
    blind.lab.wait(7_439_999);
    follow(blind, [["remote", ".", 5001, 1001]]);
  });

  test("2.2a: a connection that was reset is kept for four minutes, so that a RST may be lost and sent again", () => {
    for (const rst of [
      ["client", "R", 1001, 0],
      ["remote", "R", 5001, 0],
    ] as const) {
      const conversation = connect([...HANDSHAKE, rst]);
      conversation.lab.wait(239_999);
      follow(conversation, [["remote", ".", 5001, 1001], rst]);
    }
  });

  test("3: two hosts do not share an external port, wherever they send to", () => {
    const lab = natLab();
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`));
    lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${REMOTE_2}:9000`));
    expect(sentPort(lab)).not.toBe(5000);
  });

  test("4: when no external port is left, new sessions are dropped", () => {
    const lab = scarce(65534);
    for (const port of [6000, 6001]) {
      lab.from(LAN_HOST, datagram(`${LAN_HOST}:${port} > ${REMOTE}:9000`));
      expect(sentPort(lab)).toBe(65534 + (port % 2));
    }
    const packet = datagram(`${WORK_HOST}:6002 > ${REMOTE}:9000`);
    expect(lab.from(WORK_HOST, packet)).toEqual(
      refused("no free port", WORK_HOST, icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 3, 13, packet)),
    );
    expect(lab.from(REMOTE, datagram(`${REMOTE}:9000 > ${OUTSIDE}:65534`))).toEqual(
      forwarded(LAN_HOST, datagram(`${REMOTE}:9000 > ${LAN_HOST}:6000`, HOP)),
    );
  });

  test("4a: there is no other external address to turn to", () => {
    expect(configErrors({ sections: "[nat]\naddresses = 2" })).toEqual([
      expect.stringMatching(/^nat: unknown key "addresses" /),
    ]);
  });

  test("4b: the same holds for TCP", () => {
    const lab = scarce(65535);
    lab.from(LAN_HOST, segment(`${LAN_HOST}:6001 > ${REMOTE}:443`, "S"));
    expect(sentPort(lab)).toBe(65535);
    const packet = segment(`${WORK_HOST}:6003 > ${REMOTE}:443`, "S");
    expect(lab.from(WORK_HOST, packet)).toEqual(
      refused("no free port", WORK_HOST, icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 3, 13, packet)),
    );
  });

  test("5: a port of TCP and the same port of UDP are mapped apart", () => {
    const lab = natLab();
    lab.from(WORK_HOST, segment(`${WORK_HOST}:5000 > ${REMOTE}:9000`, "S"));
    expect(lab.from(LAN_HOST, datagram(`${LAN_HOST}:5000 > ${REMOTE}:9000`))).toEqual(
      forwarded(REMOTE, datagram(`${OUTSIDE}:5000 > ${REMOTE}:9000`, HOP)),
    );
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`));
    expect(sentPort(lab)).not.toBe(5000);
    lab.from(WORK_HOST, segment(`${WORK_HOST}:5000 > ${REMOTE_2}:9000`, "S"));
    expect(sentPort(lab)).toBe(5000);
  });

  test("5a: there is no way to have one mapping for both", () => {
    expect(configErrors({ work: 'mapping = "protocol-independent"' })).toEqual([
      expect.stringMatching(/^client "work": unknown key "mapping" /),
    ]);
  });

  test("6: a mapping of TCP that is open to anyone lets no UDP in, and the other way round", () => {
    const lab = natLab(OPEN);
    lab.from(WORK_HOST, segment(`${WORK_HOST}:5000 > ${REMOTE}:9000`, "S"));
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:6000 > ${REMOTE}:9000`));
    expect(lab.from(REMOTE_2, datagram(`${REMOTE_2}:1 > ${OUTSIDE}:5000`))).toEqual(dropped("unsolicited"));
    expect(lab.from(REMOTE_2, segment(`${REMOTE_2}:1 > ${OUTSIDE}:6000`, "S"))).toEqual(dropped("unsolicited"));
    expect(lab.from(REMOTE_2, datagram(`${REMOTE_2}:1 > ${OUTSIDE}:6000`)).verdict).toBe("forwarded");
    expect(lab.from(REMOTE_2, segment(`${REMOTE_2}:1 > ${OUTSIDE}:5000`, "S")).verdict).toBe("forwarded");
  });

  test("6a: there is no filtering that is the same for both", () => {
    expect(configErrors({ work: 'filtering = "protocol-independent"' })).toEqual([
      expect.stringMatching(/^client "work": filtering "protocol-independent" is neither /),
    ]);
  });

  test("7: packets to an open mapping that make no session do not refresh it", () => {
    const lab = natLab(OPEN);
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`));
    for (let i = 0; i < 8; i++) {
      lab.wait(20_000);
      lab.from(REMOTE_2, datagram(`${REMOTE_2}:${i + 1} > ${OUTSIDE}:5000`, { ttl: 1 }));
    }
    expect(lab.from(REMOTE_2, datagram(`${REMOTE_2}:9 > ${OUTSIDE}:5000`))).toEqual(dropped("unsolicited"));
  });

  test("7a: the same holds for TCP", () => {
    const lab = natLab(OPEN);
    lab.from(WORK_HOST, segment(`${WORK_HOST}:5000 > ${REMOTE}:9000`, "S"));
    for (let i = 0; i < 9; i++) {
      lab.wait(27_000);
      lab.from(REMOTE_2, segment(`${REMOTE_2}:${i + 1} > ${OUTSIDE}:5000`, "S", { ttl: 1 }));
    }
    expect(lab.from(REMOTE_2, segment(`${REMOTE_2}:99 > ${OUTSIDE}:5000`, "S"))).toEqual(dropped("unsolicited"));
  });

  test("7.1: ICMP errors of the client in answer to what comes in do not refresh its mapping", () => {
    const lab = natLab();
    const incoming = datagram(`${REMOTE}:9000 > ${OUTSIDE}:5000`);
    const delivered = datagram(`${REMOTE}:9000 > ${WORK_HOST}:5000`, HOP);
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:9000`));
    expect(lab.from(REMOTE, incoming)).toEqual(forwarded(WORK_HOST, delivered));
    for (let i = 0; i < 2; i++) {
      lab.wait(149_000);
      expect(lab.from(REMOTE, incoming)).toEqual(forwarded(WORK_HOST, delivered));
      expect(lab.from(WORK_HOST, icmpError(`${WORK_HOST} > ${REMOTE}`, 3, 3, delivered)).verdict).toBe("forwarded");
    }
    lab.wait(4_000);
    expect(lab.from(REMOTE, incoming)).toEqual(dropped("unsolicited"));
  });

  test("7.1: a RST of the client in answer to what comes in does not refresh its mapping", () => {
    const refusal = connect(
      [
        ["client", "S", 1000, 0],
        ["remote", "S.", 5000, 1001],
      ],
      OPEN,
    );
    refusal.lab.wait(200_000);
    follow(refusal, [["client", "R", 1001, 0]]);
    refusal.lab.wait(42_000);
    expect(refusal.lab.from(REMOTE_2, segment(`${REMOTE_2}:1 > ${OUTSIDE}:40000`, "S"))).toEqual(
      dropped("unsolicited"),
    );

    const again = connect([...HANDSHAKE, ["client", "R", 1001, 0]], OPEN);
    again.lab.wait(200_000);
    follow(again, [["client", "R", 1001, 0]]);
    again.lab.wait(42_000);
    expect(again.lab.from(REMOTE_2, segment(`${REMOTE_2}:1 > ${OUTSIDE}:40000`, "S"))).toEqual(dropped("unsolicited"));
  });

  test("7.1a: no other packets of a client's are told apart: all refresh its mapping", () => {
    const lab = natLab();
    const incoming = datagram(`${REMOTE}:3478 > ${OUTSIDE}:5000`);
    const stunError = Uint8Array.of(0x01, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:3478`));
    expect(lab.from(REMOTE, incoming).verdict).toBe("forwarded");
    for (let i = 0; i < 3; i++) {
      lab.wait(200_000);
      lab.from(WORK_HOST, datagram(`${WORK_HOST}:5000 > ${REMOTE}:3478`, {}, stunError));
    }
    expect(lab.from(REMOTE, incoming).verdict).toBe("forwarded");
  });

  test("8: parity is kept for all dynamic mappings, so that nobody need ask for it", () => {
    for (const port of [5004, 5005]) {
      const lab = natLab();
      for (const host of [WORK_HOST, LAN_HOST]) lab.from(host, segment(`${host}:${port} > ${REMOTE}:443`, "S"));
      expect(sentPort(lab)).not.toBe(port);
      expect(sentPort(lab) % 2).toBe(port % 2);
    }
  });

  test("8a: there is no protocol to ask for parity with: nothing answers PCP", () => {
    const lab = natLab();
    const map = datagram(`${WORK_HOST}:5000 > ${WORK_GATEWAY}:5351`, {}, payload(60));
    expect(lab.from(WORK_HOST, map)).toEqual(
      refused("to the firewall itself", WORK_HOST, icmpError(`${WORK_GATEWAY} > ${WORK_HOST}`, 3, 10, map)),
    );
  });

  test("9: a port that is free is kept; only one that is taken is replaced by a random one", () => {
    const lab = natLab();
    for (const port of [1024, 5000, 40000, 65535]) {
      lab.from(WORK_HOST, datagram(`${WORK_HOST}:${port} > ${REMOTE}:9000`));
      expect(sentPort(lab)).toBe(port);
    }
    const ports = Array.from({ length: 128 }, (_, seed) => contendedPort(seed + 1));
    expect(new Set(ports).size).toBeGreaterThan(120);
    for (const quarter of [0, 1, 2, 3]) {
      const inside = ports.filter((port) => Math.floor(((port - 1024) / 64512) * 4) === quarter);
      expect([quarter, inside.length > 4]).toEqual([quarter, true]);
    }
  });

  test("9a: the random port has the parity of the one that it replaces, and is as random", () => {
    for (const port of [40000, 40001]) {
      const ports = Array.from({ length: 64 }, (_, seed) => contendedPort(seed + 1, port));
      expect(ports.filter((external) => external % 2 !== port % 2)).toEqual([]);
      expect(new Set(ports).size).toBeGreaterThan(60);
    }
  });

  test("10: the identification arrives as sent", () => {
    const lab = natLab();
    const ends = [`${WORK_HOST}:5000 > ${REMOTE}:9000`, `${OUTSIDE}:5000 > ${REMOTE}:9000`];
    for (const identification of [0, 1, 0x1234, 0xffff]) {
      for (const fragment of [0x4000, 0]) {
        expect(lab.from(WORK_HOST, datagram(ends[0], { identification, fragment }))).toEqual(
          forwarded(REMOTE, datagram(ends[1], { identification, fragment, ...HOP })),
        );
      }
      const fragmentsOf = (end: string, source: string, fields: { ttl?: number }) =>
        cut(datagram(end, {}, payload(100)), 56, (fragment, content) =>
          ipv4({ source, destination: REMOTE, identification, fragment, ...fields }, UDP, content),
        );
      expect(fragmentsOf(ends[0], WORK_HOST, {}).map((packet) => lab.from(WORK_HOST, packet))).toEqual(
        fragmentsOf(ends[1], OUTSIDE, HOP).map((packet) => forwarded(REMOTE, packet)),
      );
    }
  });

  test("11: the mapping of a query ends with its last session", () => {
    const lab = natLab();
    lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 77));
    lab.wait(40_000);
    lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE_2}`, 77));
    lab.wait(40_000);
    lab.from(LAN_HOST, query(`${LAN_HOST} > ${REMOTE}`, 77));
    expect(sentPort(lab)).not.toBe(77); // one session is there still
    lab.wait(62_000);
    expect(lab.from(WORK_HOST, query(`${WORK_HOST} > ${REMOTE}`, 77)).verdict).toBe("forwarded");
    lab.wait(62_000);
    expect(lab.from(LAN_HOST, query(`${LAN_HOST} > ${REMOTE}`, 77))).toEqual(
      forwarded(REMOTE, query(`${OUTSIDE} > ${REMOTE}`, 77, HOP)),
    );
  });

  test("12: a client's query to the external address is answered by the firewall, whose address it is", () => {
    const lab = natLab();
    for (const identifier of [8, 77]) {
      lab.from(LAN_HOST, query(`${LAN_HOST} > ${REMOTE}`, identifier));
      expect(lab.from(WORK_HOST, query(`${WORK_HOST} > ${OUTSIDE}`, identifier))).toEqual(
        answered(WORK_HOST, query(`${OUTSIDE} > ${WORK_HOST}`, identifier, ECHO_REPLY)),
      );
    }
  });

  test("12a: errors about hairpinned packets find their way back by the mappings of both clients", () => {
    const lab = natLab(OPEN);
    follow(new Conversation(lab), HANDSHAKE);
    lab.from(LAN_HOST, segment(`${LAN_HOST}:6000 > ${OUTSIDE}:40000`, "S", { sequence: 100 }));
    const delivered = segment(`${OUTSIDE}:6000 > ${WORK_HOST}:40000`, "S", { sequence: 100, ...TWO_HOPS });
    const sent = segment(`${LAN_HOST}:6000 > ${OUTSIDE}:40000`, "S", { sequence: 100, ...TWO_HOPS });
    expect(lab.from(WORK_HOST, icmpError(`${WORK_HOST} > ${OUTSIDE}`, 3, 13, delivered))).toEqual(
      forwarded(LAN_HOST, icmpError(`${OUTSIDE} > ${LAN_HOST}`, 3, 13, sent, TWO_HOPS)),
    );
  });
});
