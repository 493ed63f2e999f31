// TCP connections followed by the router: handshakes, windows, FINs and RSTs, of the ends and of others.
import { describe, expect, test } from "bun:test";
import { fromHex, icmp, ip, payload, tcp } from "../../../lab/frames.ts";
import {
  dropped,
  forwarded,
  LAN_HOST,
  Lab,
  OUTSIDE,
  REMOTE,
  WORK_HOST,
  WORK_SETTINGS,
  withClient,
} from "../../../lab/router-lab.ts";
import { compileRuleset } from "../../../src/dataplane/rules/ruleset.ts";
import { Conversation, type Segment } from "../../support/conversation.ts";
import { expectToLive } from "../../support/expiry.ts";
import { sentPort } from "../../support/nat.ts";

const FORWARDED = "forwarded";
const WINDOW = "dropped: TCP outside the window";
const NO_CONNECTION = "dropped: TCP without a connection";

const SCALE_7 = { tcpOptions: fromHex("020405b4 01030307") };

/** Those of a Conversation, inside. */
const ENDS = { source: WORK_HOST, destination: REMOTE, sourcePort: 40_000, destinationPort: 443 };

const TRANSITORY = 240;
const ESTABLISHED = 7440;

/** An established connection. */
function established(segment: Partial<Segment> = {}): Conversation {
  const talk = new Conversation(new Lab());
  expect(talk.open(segment)).toEqual([FORWARDED, FORWARDED, FORWARDED]);
  return talk;
}

describe("a TCP handshake", () => {
  test("passes, and data both ways after it", () => {
    const talk = established();
    expect(talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(500))).toBe(FORWARDED);
    expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 1501 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1501 }, payload(1460))).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 1501, acknowledgment: 6461 })).toBe(FORWARDED);
  });

  test("passes over the end of the sequence numbers", () => {
    const talk = new Conversation(new Lab());
    expect(talk.client({ flags: "S", sequence: 0xffffffff })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 0xfffffff0, acknowledgment: 0 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 0, acknowledgment: 0xfffffff1 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 0xfffffff1, acknowledgment: 0 }, payload(100))).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 0, acknowledgment: 85 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 85, acknowledgment: 0 }, payload(100))).toBe(FORWARDED);
  });

  test("may be repeated in each of its segments", () => {
    const talk = new Conversation(new Lab());
    const syn: Segment = { flags: "S", sequence: 1000, ...SCALE_7 };
    const synAck: Segment = { flags: "S.", sequence: 5000, acknowledgment: 1001, ...SCALE_7 };
    const ack: Segment = { flags: ".", sequence: 1001, acknowledgment: 5001 };
    expect([talk.client(syn), talk.client(syn)]).toEqual([FORWARDED, FORWARDED]);
    expect([talk.remote(synAck), talk.remote(synAck)]).toEqual([FORWARDED, FORWARDED]);
    expect(talk.client(syn)).toBe(FORWARDED);
    expect(talk.remote(synAck)).toBe(FORWARDED);
    expect([talk.client(ack), talk.client(ack)]).toEqual([FORWARDED, FORWARDED]);
    expect(talk.remote(synAck)).toBe(FORWARDED);
    expect(talk.client(ack)).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  });

  test("may begin anew with another sequence number before it is answered", () => {
    const talk = new Conversation(new Lab());
    expect(talk.client({ flags: "S", sequence: 1000 })).toBe(FORWARDED);
    expect(talk.client({ flags: "S", sequence: 999_000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 999_001 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 999_001, acknowledgment: 5001 })).toBe(FORWARDED);
  });

  test("is not continued by a blind SYN-ACK, or by data before it", () => {
    const talk = new Conversation(new Lab());
    talk.client({ flags: "S", sequence: 1000 });
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1000 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1002 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 0x80000000 })).toBe(WINDOW);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1001 }, payload(5))).toBe(NO_CONNECTION);
    expect(talk.client({ flags: ".", sequence: 1001, acknowledgment: 5001 })).toBe(NO_CONNECTION);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 1001, acknowledgment: 5000 })).toBe(WINDOW);
    expect(talk.client({ flags: ".", sequence: 1001, acknowledgment: 5001 })).toBe(FORWARDED);
  });

  test("may open from both ends at once (RFC 5382 REQ-2)", () => {
    const talk = new Conversation(new Lab());
    expect(talk.client({ flags: "S", sequence: 1000, ...SCALE_7 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S", sequence: 5000, ...SCALE_7 })).toBe(FORWARDED);
    expect(talk.client({ flags: "S.", sequence: 1000, acknowledgment: 5001, ...SCALE_7 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001, ...SCALE_7 })).toBe(FORWARDED);
    expect(talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001, window: 500 }, payload(9))).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1010, window: 500 }, payload(9))).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  });

  test("may carry data in its SYN", () => {
    const talk = new Conversation(new Lab());
    expect(talk.client({ flags: "S", sequence: 1000 }, payload(100))).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1101 })).toBe(FORWARDED);
    expect(talk.client({ flags: "P.", sequence: 1101, acknowledgment: 5001 }, payload(100))).toBe(FORWARDED);
  });

  test("may carry data in its SYN that the other end does not want yet", () => {
    const talk = new Conversation(new Lab());
    expect(talk.client({ flags: "S", sequence: 1000 }, payload(100))).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 })).toBe(FORWARDED);
    expect(talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(100))).toBe(FORWARDED);
  });
});

describe("TCP windows", () => {
  test("are scaled when both ends offer it", () => {
    const talk = established({ ...SCALE_7, window: 500 });
    talk.client({ flags: ".", sequence: 1001, acknowledgment: 5001, window: 1000 }); // 128 000 bytes
    expect(talk.remote({ flags: "P.", sequence: 5001 + 127_000, acknowledgment: 1001 }, payload(1000))).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 5001 + 128_002, acknowledgment: 1001 }, payload(1))).toBe(WINDOW);
  });

  test("are not scaled when one end does not offer it", () => {
    for (const [clients, remotes] of [
      [SCALE_7, {}],
      [{}, SCALE_7],
    ]) {
      const talk = new Conversation(new Lab());
      talk.client({ flags: "S", sequence: 1000, window: 1000, ...clients });
      talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001, window: 1000, ...remotes });
      talk.client({ flags: ".", sequence: 1001, acknowledgment: 5001, window: 1000 });
      expect(talk.remote({ flags: "P.", sequence: 5001 + 1026, acknowledgment: 1001 }, payload(1))).toBe(WINDOW);
      expect(talk.client({ flags: "P.", sequence: 1001 + 1026, acknowledgment: 5001 }, payload(1))).toBe(WINDOW);
      expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1001 }, payload(1000))).toBe(FORWARDED);
    }
  });

  test("of a SYN itself are never scaled", () => {
    const talk = new Conversation(new Lab());
    talk.client({ flags: "S", sequence: 1000, window: 500, ...SCALE_7 });
    talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001, window: 500, ...SCALE_7 });
    expect(talk.remote({ flags: "P.", sequence: 5001 + 514, acknowledgment: 1001 }, payload(1))).toBe(WINDOW);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1001 }, payload(500))).toBe(FORWARDED);
  });

  test("of zero let probes through, again and again", () => {
    const talk = established();
    talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(100));
    expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 1101, window: 0 })).toBe(FORWARDED);
    for (let i = 0; i < 5; i++) {
      expect(talk.client({ flags: ".", sequence: 1101, acknowledgment: 5001 }, payload(1))).toBe(FORWARDED);
      expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 1101, window: 0 })).toBe(FORWARDED);
      expect(talk.client({ flags: ".", sequence: 1100, acknowledgment: 5001 })).toBe(FORWARDED);
    }
    expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 1101, window: 8000 })).toBe(FORWARDED);
    expect(talk.client({ flags: "P.", sequence: 1101, acknowledgment: 5001 }, payload(1460))).toBe(FORWARDED);
  });

  test("let keep-alives through, with a byte of rubbish and without", () => {
    const talk = established();
    expect(talk.client({ flags: ".", sequence: 1000, acknowledgment: 5001 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 1000, acknowledgment: 5001 }, payload(1))).toBe(FORWARDED);
    expect(talk.remote({ flags: ".", sequence: 5000, acknowledgment: 1001 })).toBe(FORWARDED);
    expect(talk.remote({ flags: ".", sequence: 5000, acknowledgment: 1001 }, payload(1))).toBe(FORWARDED);
  });

  test("let repeated and reordered data through", () => {
    const talk = established();
    const data = (sequence: number) => talk.client({ flags: ".", sequence, acknowledgment: 5001 }, payload(1460));
    expect([data(1001), data(1001), data(5381), data(2461), data(3921), data(1001)]).toEqual(
      new Array(6).fill(FORWARDED),
    );
    expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 6841 })).toBe(FORWARDED);
    expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 2461 })).toBe(FORWARDED);
    expect(data(1001)).toBe(FORWARDED);
  });

  test("keep blind segments out, which then neither refresh nor close", () => {
    const talk = established();
    for (let second = 0; second < TRANSITORY; second += 60) {
      talk.lab.wait(60_000);
      for (const [sequence, acknowledgment] of [
        [5001 + 70_000, 1001],
        [5001 - 70_000, 1001],
        [0x85000000, 1001],
        [5001, 1002],
        [5001, 1001 - 132_000],
        [5001, 0x80000000],
      ]) {
        for (const flags of [".", "P.", "F."]) {
          const segment = { flags, sequence: sequence >>> 0, acknowledgment: acknowledgment >>> 0 };
          expect(talk.remote(segment, payload(10))).toBe(WINDOW);
        }
      }
    }
    expect(talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(10))).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1011 }, payload(10))).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  });

  test("count what blind segments did not refresh", () => {
    const talk = established();
    for (let minute = 0; minute < 120; minute++) {
      talk.lab.leap(60_000);
      expect(talk.remote({ flags: "P.", sequence: 900_000, acknowledgment: 1001 }, payload(10))).toBe(WINDOW);
    }
    expectToLive(talk.lab, ESTABLISHED - 7200);
  });
});

describe("a RST", () => {
  test("with the expected sequence number closes the connection", () => {
    for (const end of ["client", "remote"] as const) {
      const talk = established();
      const rst = end === "client" ? { sequence: 1001 } : { sequence: 5001 };
      expect(talk[end]({ flags: "R", ...rst })).toBe(FORWARDED);
      expectToLive(talk.lab, TRANSITORY);
    }
  });

  test("with ACK closes too", () => {
    const talk = established();
    expect(talk.remote({ flags: "R.", sequence: 5001, acknowledgment: 1001 })).toBe(FORWARDED);
    expectToLive(talk.lab, TRANSITORY);
  });

  test("elsewhere in the window passes for the other end to challenge, and does not close (RFC 5961)", () => {
    const talk = established();
    expect(talk.remote({ flags: "R", sequence: 5002 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "R", sequence: 5001 + 60_000 })).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  });

  test("outside the window is dropped", () => {
    const talk = established();
    for (const sequence of [5000, 5001 + 70_000, 0, 0xf0000000]) {
      expect(talk.remote({ flags: "R", sequence })).toBe(WINDOW);
    }
    expectToLive(talk.lab, ESTABLISHED);
  });

  test("in answer to a SYN refuses it, when it acknowledges it", () => {
    const talk = new Conversation(new Lab());
    talk.client({ flags: "S", sequence: 1000 });
    expect(talk.remote({ flags: "R", sequence: 0 })).toBe(WINDOW);
    expect(talk.remote({ flags: "R.", sequence: 0, acknowledgment: 1000 })).toBe(WINDOW);
    expect(talk.remote({ flags: "R.", sequence: 0, acknowledgment: 1002 })).toBe(WINDOW);
    expect(talk.remote({ flags: "R.", sequence: 0, acknowledgment: 1001 })).toBe(FORWARDED);
    expectToLive(talk.lab, TRANSITORY);
  });

  test("after a refusal leaves the ports to a new connection", () => {
    const talk = new Conversation(new Lab());
    talk.client({ flags: "S", sequence: 1000 });
    talk.remote({ flags: "R.", sequence: 0, acknowledgment: 1001 });
    expect(talk.open({ sequence: 70_000, acknowledgment: 70_001 })[0]).toBe(FORWARDED);
  });

  test("after a refusal lets the same SYN try again, and the connection is as good as others", () => {
    const talk = new Conversation(new Lab());
    talk.client({ flags: "S", sequence: 1000 });
    talk.remote({ flags: "R.", sequence: 0, acknowledgment: 1001 });
    expect(talk.open()).toEqual([FORWARDED, FORWARDED, FORWARDED]);
    expectToLive(talk.lab, ESTABLISHED);
  });

  test("of a client that forgot a connection ends it, and its next SYN opens the new one", () => {
    const talk = established();
    expect(talk.client({ flags: "S", sequence: 77_000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 1001 })).toBe(FORWARDED);
    expect(talk.client({ flags: "R", sequence: 1001 })).toBe(FORWARDED);
    expect(talk.client({ flags: "S", sequence: 77_000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment: 77_001 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 77_001, acknowledgment: 901 })).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  });
});

test("data after a RST leaves the ports to a new connection all the same: it may only have been under way", () => {
  const talk = established();
  expect(talk.remote({ flags: "R.", sequence: 5001, acknowledgment: 1001 })).toBe(FORWARDED);
  expect(talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(100))).toBe(FORWARDED);
  expect(talk.client({ flags: "S", sequence: 77_000 })).toBe(FORWARDED);
  expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment: 77_001 })).toBe(FORWARDED);
  expect(talk.client({ flags: ".", sequence: 77_001, acknowledgment: 901 })).toBe(FORWARDED);
  expectToLive(talk.lab, ESTABLISHED);
});

test("a segment that reaches beyond the window does not lock the ends out", () => {
  for (const [culprit, victim] of [
    ["remote", "client"],
    ["client", "remote"],
  ] as const) {
    const talk = established();
    const own = culprit === "remote" ? 5001 : 1001;
    const others = culprit === "remote" ? 1001 : 5001;
    const injected = { flags: ".", sequence: own + 65_535, acknowledgment: others };
    expect(talk[culprit](injected, payload(1400))).toBe(FORWARDED);
    expect(talk[victim]({ flags: ".", sequence: others, acknowledgment: own })).toBe(FORWARDED);
    expect(talk[culprit]({ flags: "P.", sequence: own, acknowledgment: others }, payload(100))).toBe(FORWARDED);
    expect(talk[victim]({ flags: ".", sequence: others, acknowledgment: own + 100 })).toBe(FORWARDED);
    expect(talk[culprit]({ flags: "F.", sequence: own + 100, acknowledgment: others })).toBe(FORWARDED);
    expect(talk[victim]({ flags: "F.", sequence: others, acknowledgment: own + 101 })).toBe(FORWARDED);
    expect(talk[culprit]({ flags: ".", sequence: own + 101, acknowledgment: others + 1 })).toBe(FORWARDED);
    expect(talk.open({ sequence: 70_000, acknowledgment: 70_001 })[1]).toBe(FORWARDED);
  }
});

describe("a FIN", () => {
  test("from each end closes the connection; until both are acknowledged data passes", () => {
    const talk = established();
    expect(talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 })).toBe(FORWARDED);
    expect(talk.remote({ flags: ".", sequence: 5001, acknowledgment: 1002 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1002 }, payload(1000))).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 1002, acknowledgment: 6001 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "F.", sequence: 6001, acknowledgment: 1002 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 1002, acknowledgment: 6002 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "F.", sequence: 6001, acknowledgment: 1002 })).toBe(FORWARDED); // its last ACK was lost
    expect(talk.client({ flags: ".", sequence: 1002, acknowledgment: 6002 })).toBe(FORWARDED);
    expectToLive(talk.lab, TRANSITORY);
  });

  test("of both ends at once closes as well", () => {
    const talk = established();
    expect(talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1001 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 1002, acknowledgment: 5002 })).toBe(FORWARDED);
    expect(talk.remote({ flags: ".", sequence: 5002, acknowledgment: 1002 })).toBe(FORWARDED);
    expectToLive(talk.lab, TRANSITORY);
  });

  test("leaves the ports to a new connection of the client's once both are acknowledged", () => {
    const talk = established();
    talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 });
    talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1002 });
    talk.client({ flags: ".", sequence: 1002, acknowledgment: 5002 });
    expect(talk.remote({ flags: "S", sequence: 99 })).toBe(WINDOW);
    const syn = { flags: "S", sequence: 0x70000000, ...SCALE_7 };
    expect(talk.client(syn)).toBe(FORWARDED);
    expect(talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1002 })).toBe(FORWARDED); // the old one's, again
    expect(talk.remote({ flags: "S.", sequence: 0x10000000, acknowledgment: 0x70000002 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 0x10000000, acknowledgment: 0x70000001 })).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 0x70000001, acknowledgment: 0x10000001 })).toBe(FORWARDED);
    expect(talk.client({ flags: "P.", sequence: 0x70000001, acknowledgment: 0x10000001 }, payload(9))).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  });
});

describe("a SYN", () => {
  test("from outside into a living connection is dropped", () => {
    const talk = established();
    expect(talk.remote({ flags: "S", sequence: 5001 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 5001, acknowledgment: 1001 })).toBe(WINDOW);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1001 }, payload(3))).toBe(FORWARDED);
  });

  test("from the client into a living connection passes for the remote to challenge, and refreshes nothing", () => {
    const talk = established();
    talk.lab.wait(60_000);
    expect(talk.client({ flags: "S", sequence: 123_456 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1001 }, payload(3))).toBe(FORWARDED);
  });
});

describe("a connection that its ends have lost", () => {
  /** Far from where the old one was. */
  const AGAIN = 0x70000000;

  /** The client begins anew, the remote answers from 900; what the old connection had is over then. */
  function expectAnew(talk: Conversation): void {
    const syn: Segment = { flags: "S", sequence: AGAIN, ...SCALE_7, window: 500 };
    expect(talk.client(syn)).toBe(FORWARDED);
    for (const acknowledgment of [0, 1002, AGAIN, AGAIN + 2]) {
      expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment })).toBe(WINDOW); // whoever did not see the SYN
      expect(talk.remote({ flags: "R.", sequence: 0, acknowledgment })).toBe(WINDOW);
    }
    const synAck: Segment = { flags: "S.", sequence: 900, acknowledgment: AGAIN + 1, ...SCALE_7, window: 500 };
    expect([talk.remote(synAck), talk.remote(synAck)]).toEqual([FORWARDED, FORWARDED]);
    expect(talk.client({ flags: ".", sequence: AGAIN + 1, acknowledgment: 901, window: 1000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 901 + 127_000, acknowledgment: AGAIN + 1 }, payload(1000))).toBe(
      FORWARDED,
    );
    expect(talk.remote({ flags: "P.", sequence: 901 + 128_002, acknowledgment: AGAIN + 1 }, payload(1))).toBe(WINDOW);
    expect(talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(1))).toBe(WINDOW);
    expect(talk.client({ flags: "P.", sequence: AGAIN + 1, acknowledgment: 901 }, payload(9))).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  }

  test("opens anew by the SYN-ACK that acknowledges the SYN that passed, in whatever state it is", () => {
    const lost: readonly ((talk: Conversation) => void)[] = [
      () => {},
      (talk) => talk.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(500)),
      (talk) => talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1001 }), // never answered
      (talk) => talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 }),
      (talk) => {
        talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 });
        talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1002 });
      },
      (talk) => {
        talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1001 });
        talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 }); // both at once
        talk.client({ flags: ".", sequence: 1002, acknowledgment: 5002 });
        talk.remote({ flags: ".", sequence: 5002, acknowledgment: 1002 });
      },
      (talk) => talk.remote({ flags: "R", sequence: 5001 }),
      (talk) => talk.remote({ flags: "R", sequence: 5002 }), // not believed
    ];
    for (const lose of lost) {
      const talk = established();
      lose(talk);
      expectAnew(talk);
    }
    const opening = new Conversation(new Lab());
    opening.client({ flags: "S", sequence: 1000 });
    opening.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 });
    expectAnew(opening);
  });

  test("opens anew after an hour as well", () => {
    const talk = established();
    talk.lab.leap(3_600_000);
    expectAnew(talk);
  });

  test("is only asked after until then: nothing of it is refused, and nothing refreshed", () => {
    const talk = established();
    talk.lab.leap(60_000);
    expect(talk.client({ flags: "S", sequence: 77_000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1001 }, payload(10))).toBe(FORWARDED);
    expect(talk.client({ flags: ".", sequence: 1001, acknowledgment: 5011 })).toBe(FORWARDED);
    talk.lab.leap(60_000);
    expect(talk.client({ flags: "S", sequence: 77_000 })).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED - 60);
  });

  test("is over when the new one is refused, and begins again", () => {
    const talk = established();
    expect(talk.client({ flags: "S", sequence: 77_000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "R.", sequence: 0, acknowledgment: 77_001 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "R.", sequence: 0, acknowledgment: 77_001 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment: 77_001 })).toBe(WINDOW);
    expectToLive(talk.lab, TRANSITORY);
    const again = established();
    again.client({ flags: "S", sequence: 60_000 });
    again.remote({ flags: "R.", sequence: 0, acknowledgment: 60_001 });
    expectAnew(again);
  });

  test("does not leave its SYN to the next flow with its number", () => {
    const talk = established();
    talk.client({ flags: "S", sequence: 77_000 });
    talk.lab.leap(8_000_000);
    const next = new Conversation(talk.lab, 40_001);
    expect(next.client({ flags: "S", sequence: 1000 })).toBe(FORWARDED);
    expect(next.remote({ flags: "S.", sequence: 5000, acknowledgment: 77_001 })).toBe(WINDOW);
    expect(next.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 })).toBe(FORWARDED);
  });

  test("opens anew with the data of the SYN, all of which the answer may acknowledge, or nothing", () => {
    for (const acknowledged of [0, 60, 100]) {
      const talk = established();
      expect(talk.client({ flags: "S", sequence: 77_000 }, payload(100))).toBe(FORWARDED);
      expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment: 77_102 })).toBe(WINDOW);
      expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment: 77_001 + acknowledged })).toBe(FORWARDED);
      const next = { flags: "P.", sequence: 77_001 + acknowledged, acknowledgment: 901 };
      expect(talk.client(next, payload(200))).toBe(FORWARDED);
      expect(talk.remote({ flags: ".", sequence: 901, acknowledgment: 77_201 + acknowledged })).toBe(FORWARDED);
    }
  });
});

test("a late SYN of a connection, and late answers to it, do not undo what has begun", () => {
  const opening = new Conversation(new Lab());
  opening.client({ flags: "S", sequence: 1000 });
  opening.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 });
  opening.client({ flags: "S", sequence: 1000 });
  const late = established();
  for (const talk of [opening, late]) {
    talk.client({ flags: ".", sequence: 1001, acknowledgment: 5001 });
    expect(talk.client({ flags: "S", sequence: 1000 })).toBe(FORWARDED);
    for (const sequence of [4000, 7000]) {
      expect(talk.remote({ flags: "S.", sequence, acknowledgment: 1001 })).toBe(WINDOW);
    }
    expect(talk.remote({ flags: "P.", sequence: 5001, acknowledgment: 1001 }, payload(10))).toBe(FORWARDED);
  }
});

describe("an answer to a SYN that comes again with another sequence number", () => {
  test("is the one that counts until the client has acknowledged one", () => {
    for (const repeats of [false, true]) {
      const talk = new Conversation(new Lab());
      talk.client({ flags: "S", sequence: 1000, ...SCALE_7 });
      expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001, ...SCALE_7 })).toBe(FORWARDED);
      if (repeats) talk.client({ flags: "S", sequence: 1000, ...SCALE_7 });
      for (const acknowledgment of [1000, 1002, 0x80000000]) {
        expect(talk.remote({ flags: "S.", sequence: 0x90000000, acknowledgment })).toBe(WINDOW);
      }
      expect(talk.remote({ flags: "S.", sequence: 0x90000000, acknowledgment: 1001, ...SCALE_7 })).toBe(FORWARDED);
      expect(talk.client({ flags: ".", sequence: 1001, acknowledgment: 5001 })).toBe(WINDOW);
      expect(talk.client({ flags: ".", sequence: 1001, acknowledgment: 0x90000001 })).toBe(FORWARDED);
      expect(talk.remote({ flags: "P.", sequence: 0x90000001, acknowledgment: 1001 }, payload(700))).toBe(FORWARDED);
      // A late answer does not undo what has begun.
      expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 })).toBe(WINDOW);
      expect(talk.client({ flags: ".", sequence: 1001, acknowledgment: 0x90000001 + 700 })).toBe(FORWARDED);
      expectToLive(talk.lab, ESTABLISHED);
    }
  });
});

describe("a SYN with data that is sent again without (RFC 7413)", () => {
  test("does not take back what the first one sent", () => {
    const talk = new Conversation(new Lab());
    expect(talk.client({ flags: "S", sequence: 1000 }, payload(100))).toBe(FORWARDED);
    expect(talk.client({ flags: "S", sequence: 1000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1102 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1101 })).toBe(FORWARDED);
    expect(talk.client({ flags: "P.", sequence: 1101, acknowledgment: 5001 }, payload(100))).toBe(FORWARDED);
  });

  test("does not do so into a known connection either", () => {
    const talk = established();
    talk.client({ flags: "S", sequence: 77_000 }, payload(100));
    talk.client({ flags: "S", sequence: 77_000 });
    expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment: 77_102 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 900, acknowledgment: 77_101 })).toBe(FORWARDED);
  });

  test("is answered with or without it, before and after the first answer", () => {
    for (const acknowledgment of [1001, 1101]) {
      const talk = new Conversation(new Lab());
      talk.client({ flags: "S", sequence: 1000 }, payload(100));
      talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1101 });
      expect(talk.client({ flags: "S", sequence: 1000 })).toBe(FORWARDED);
      expect(talk.remote({ flags: "S.", sequence: 7000, acknowledgment })).toBe(FORWARDED);
      expect(talk.client({ flags: ".", sequence: 1101, acknowledgment: 7001 })).toBe(FORWARDED);
    }
  });

  test("with another sequence number takes the place of the first", () => {
    const talk = new Conversation(new Lab());
    talk.client({ flags: "S", sequence: 1000 }, payload(100));
    talk.client({ flags: "S", sequence: 1050 });
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1101 })).toBe(WINDOW);
    expect(talk.remote({ flags: "S.", sequence: 5000, acknowledgment: 1051 })).toBe(FORWARDED);
  });
});

describe("a connection from the other end, between the ports of one that is over,", () => {
  const OPEN = { settings: withClient({ ...WORK_SETTINGS, openFilter: true }) };
  const CLOSES: Readonly<Record<string, (talk: Conversation) => unknown>> = {
    "by FINs": (talk) => [
      talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 }),
      talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1002 }),
      talk.client({ flags: ".", sequence: 1002, acknowledgment: 5002 }),
    ],
    "by FINs at once": (talk) => [
      talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 }),
      talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1001 }),
      talk.client({ flags: ".", sequence: 1002, acknowledgment: 5002 }),
      talk.remote({ flags: ".", sequence: 5002, acknowledgment: 1002 }),
    ],
    "by a RST": (talk) => talk.remote({ flags: "R.", sequence: 5001, acknowledgment: 1001 }),
  };

  for (const [how, close] of Object.entries(CLOSES)) {
    test(`${how}, is let in where the filter is open, with the mapping as it was`, () => {
      const lab = new Lab(OPEN);
      new Conversation(lab, 40_000, 80, 40_000, LAN_HOST).open(); // has the client's port, which gets another one
      const before = lab.router.flows.size;
      lab.from(WORK_HOST, tcp({ ...ENDS, flags: "S", sequence: 1 }));
      const port = sentPort(lab);
      const talk = new Conversation(lab, 40_000, 443, port);
      talk.open();
      close(talk);
      expect(talk.remote({ flags: "S", sequence: 600_000 })).toBe(FORWARDED);
      expect(talk.client({ flags: "S.", sequence: 300, acknowledgment: 600_001 })).toBe(FORWARDED);
      expect(talk.remote({ flags: ".", sequence: 600_001, acknowledgment: 301 })).toBe(FORWARDED);
      expect(talk.client({ flags: "P.", sequence: 301, acknowledgment: 600_001 }, payload(30))).toBe(FORWARDED);
      expect(lab.router.flows.size).toBe(before + 1);
      // And back again, once that is over too.
      talk.remote({ flags: "R", sequence: 600_001 });
      expect(talk.open({ sequence: 9000, acknowledgment: 9001 }).slice(0, 2)).toEqual([FORWARDED, FORWARDED]);
    });

    test(`${how}, is refused elsewhere, and changes nothing`, () => {
      const talk = established();
      close(talk);
      expect(talk.remote({ flags: "S", sequence: 600_000 })).toBe(WINDOW);
      expect(talk.client({ flags: ".", sequence: 1002, acknowledgment: 5001 })).toBe(FORWARDED);
      expect(talk.lab.router.flows.size).toBe(1);
    });
  }

  test("is refused while it is not over: after one FIN, or one that is not acknowledged", () => {
    const talk = new Conversation(new Lab(OPEN));
    talk.open();
    expect(talk.remote({ flags: "S", sequence: 600_000 })).toBe(WINDOW);
    talk.client({ flags: "F.", sequence: 1001, acknowledgment: 5001 });
    expect(talk.remote({ flags: "S", sequence: 600_000 })).toBe(WINDOW);
    talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1001 });
    expect(talk.remote({ flags: "S", sequence: 600_000 })).toBe(WINDOW);
    expect(talk.remote({ flags: "F.", sequence: 5001, acknowledgment: 1002 })).toBe(FORWARDED);
    const doubted = new Conversation(new Lab(OPEN));
    doubted.open();
    doubted.remote({ flags: "R.", sequence: 5001, acknowledgment: 1001 });
    doubted.client({ flags: "P.", sequence: 1001, acknowledgment: 5001 }, payload(1));
    expect(doubted.remote({ flags: "S", sequence: 600_000 })).toBe(WINDOW);
  });

  test("may be opened from both ends at once, where the filter is closed too", () => {
    const talk = established();
    CLOSES["by a RST"]?.(talk);
    expect(talk.client({ flags: "S", sequence: 77_000 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S", sequence: 600_000 })).toBe(FORWARDED);
    expect(talk.client({ flags: "S.", sequence: 77_000, acknowledgment: 600_001 })).toBe(FORWARDED);
    expect(talk.remote({ flags: "S.", sequence: 600_000, acknowledgment: 77_001 })).toBe(FORWARDED);
    expectToLive(talk.lab, ESTABLISHED);
  });

  test("from a client is judged by its rules", () => {
    const forwards = [
      { protocol: 6, portLow: 40_000, portHigh: 40_000, client: 0, to: ip(WORK_HOST), toPort: 40_000, from: [] },
    ];
    for (const [accept, verdict] of [
      [true, FORWARDED],
      [false, "dropped: refused by rules"],
    ] as const) {
      const ruleset = compileRuleset([], accept);
      const lab = new Lab({ settings: { ...withClient({ ...WORK_SETTINGS, ruleset }), forwards } });
      const talk = new Conversation(lab);
      const syn = { source: REMOTE, destination: OUTSIDE, sourcePort: 443, destinationPort: 40_000, flags: "S" };
      expect(lab.from(REMOTE, tcp({ ...syn, sequence: 5000 })).verdict).toBe("queued for ARP");
      talk.client({ flags: "S.", sequence: 1000, acknowledgment: 5001 });
      talk.remote({ flags: ".", sequence: 5001, acknowledgment: 1001 });
      expect(talk.remote({ flags: "R", sequence: 5001 })).toBe(FORWARDED);
      expect(lab.from(WORK_HOST, tcp({ ...ENDS, flags: "S", sequence: 77_000 })).verdict).toBe(verdict);
    }
  });
});

test("an ICMP error about a SYN into a known connection reaches the client that waits for its answer", () => {
  const talk = established();
  talk.client({ flags: "S", sequence: 77_000 });
  const error = (sequence: number, source: string, destination: string, quotedSource: string, ttl = 64) =>
    icmp({ source, destination, type: 3, code: 1, ttl }, tcp({ ...ENDS, source: quotedSource, flags: "S", sequence }));
  expect(talk.lab.from(REMOTE, error(77_000, REMOTE, OUTSIDE, OUTSIDE))).toEqual(
    forwarded(WORK_HOST, error(77_000, REMOTE, WORK_HOST, WORK_HOST, 63)),
  );
  expect(talk.lab.from(REMOTE, error(77_001, REMOTE, OUTSIDE, OUTSIDE))).toEqual(
    dropped("ICMP error that belongs to no flow"),
  );
});

test("a connection that is only half open lives four minutes", () => {
  const asked = new Conversation(new Lab());
  asked.client({ flags: "S", sequence: 1000 });
  expectToLive(asked.lab, TRANSITORY);
  const answered = new Conversation(new Lab());
  answered.client({ flags: "S", sequence: 1000 });
  answered.remote({ flags: "S.", sequence: 5000, acknowledgment: 1001 });
  expectToLive(answered.lab, TRANSITORY);
});

test("an established connection lives two hours and four minutes after its last segment", () => {
  const talk = established();
  for (let hour = 0; hour < 5; hour++) {
    talk.lab.leap(3_600_000);
    expect(talk.client({ flags: ".", sequence: 1000, acknowledgment: 5001 })).toBe(FORWARDED);
  }
  expectToLive(talk.lab, ESTABLISHED);
});
