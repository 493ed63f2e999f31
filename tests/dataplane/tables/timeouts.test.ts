// How long flows live: without traffic, with it, and when the clock leaps.
import { describe, expect, test } from "bun:test";
import { icmp, payload, udp } from "../../../lab/frames.ts";
import { dropped, Lab, OUTSIDE, REMOTE, SETTINGS, WORK_HOST } from "../../../lab/router-lab.ts";
import { Conversation } from "../../support/conversation.ts";
import { expectToLive } from "../../support/expiry.ts";

const OUT = { source: WORK_HOST, destination: REMOTE, sourcePort: 4000, destinationPort: 5000 };
const BACK = { source: REMOTE, destination: OUTSIDE, sourcePort: 5000, destinationPort: 4000 };
const PING = { source: WORK_HOST, destination: REMOTE, type: 8, rest: 0x00070001 };
const PONG = { source: REMOTE, destination: OUTSIDE, type: 0, rest: 0x00070001 };

function asked(now?: number): Lab {
  const lab = new Lab(now === undefined ? {} : { now });
  lab.from(WORK_HOST, udp(OUT, payload(1)));
  return lab;
}

describe("a flow without traffic lives", () => {
  test("30 seconds as UDP that was not answered", () => expectToLive(asked(), 30));

  test("5 minutes as UDP that was answered (RFC 4787 REQ-5)", () => {
    const lab = asked();
    lab.from(REMOTE, udp(BACK, payload(1)));
    expectToLive(lab, 300);
  });

  test("60 seconds as an ICMP query, answered or not (RFC 5508 REQ-2)", () => {
    for (const isAnswered of [false, true]) {
      const lab = new Lab();
      lab.from(WORK_HOST, icmp(PING, payload(8)));
      if (isAnswered) lab.from(REMOTE, icmp(PONG, payload(8)));
      expectToLive(lab, 60);
    }
  });

  test("no less for having begun late in a second", () => {
    for (const start of [1_000_001, 1_000_500, 1_000_999]) {
      expectToLive(asked(start), 30);
      const pinged = new Lab({ now: start });
      pinged.from(WORK_HOST, icmp(PING, payload(8)));
      expectToLive(pinged, 60);
      const talk = new Conversation(new Lab({ now: start }));
      talk.open();
      expectToLive(talk.lab, 7440);
    }
  });

  test("5 days as an established connection, where the settings say so", () => {
    const nat = { ...SETTINGS.nat, timeouts: { ...SETTINGS.nat.timeouts, tcpEstablished: 432_000 } };
    const talk = new Conversation(new Lab({ settings: { ...SETTINGS, nat } }));
    talk.open();
    expectToLive(talk.lab, 432_000);
  });

  test("as long on a machine that has been up for years, or has just started", () => {
    for (const start of [0, 100, 8_192_000, 3.2e11]) expectToLive(asked(start), 30);
  });
});

describe("traffic", () => {
  test("from the client keeps a flow alive", () => {
    const lab = asked();
    for (let i = 0; i < 20; i++) {
      lab.leap(29_000);
      expect(lab.from(WORK_HOST, udp(OUT, payload(1))).verdict).toBe("forwarded");
      expect(lab.router.flows.size).toBe(1);
    }
    expectToLive(lab, 30);
  });

  test("that is dropped does not", () => {
    const lab = asked();
    lab.leap(20_000);
    expect(lab.from(REMOTE, udp({ ...BACK, sourcePort: 5001 }, payload(1)))).toEqual(dropped("unsolicited"));
    expect(lab.from(REMOTE, udp({ ...BACK, ttl: 1 }, payload(1))).verdict).toBe("dropped: TTL exceeded");
    expectToLive(lab, 10);
  });
});

test("after its flow has ended nothing comes in any more", () => {
  const lab = asked();
  lab.wait(35_000);
  expect(lab.from(REMOTE, udp(BACK, payload(1)))).toEqual(dropped("unsolicited"));
});

test("a clock that leaps over days ends all flows, and new ones live on as they should", () => {
  const lab = asked();
  for (let i = 0; i < 900; i++) lab.from(WORK_HOST, udp({ ...OUT, sourcePort: 5000 + i }, payload(1)));
  expect(lab.router.flows.size).toBe(901);
  lab.leap(200_000_000);
  // No batch waits for more than so many.
  expect(lab.router.flows.size).toBeGreaterThan(0);
  for (let i = 0; i < 10; i++) lab.router.advance(lab.now);
  expect(lab.router.flows.size).toBe(0);
  lab.from(WORK_HOST, udp(OUT, payload(1)));
  expectToLive(lab, 30);
});
