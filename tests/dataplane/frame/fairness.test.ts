// Fair shares: who does not take more than its part of a table gets it, whatever others do, and keeps it.
import { describe, expect, test } from "bun:test";
import { ALICE, BOB, CAROL, Crowd, DAVE, ERIN, GROUPS } from "../../support/crowd.ts";

const TABLE = 120;
const PART = TABLE / GROUPS;
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Somebody on the internet. */
const peer = (i: number) => `203.0.113.${1 + (i % 250)}`;

describe("the flow table", () => {
  test("that two clients have filled with open connections has a part for a third, which nobody takes back", () => {
    const crowd = new Crowd({ maxFlows: TABLE });
    for (const i of numbers(TABLE)) crowd.connect(i % 2 === 0 ? ALICE : BOB, 1000 + i);
    expect(crowd.lab.router.flows.size).toBe(TABLE);
    for (const i of numbers(PART)) {
      expect(crowd.connect(CAROL, 5000 + i)).toBe(true);
      crowd.connect(ALICE, 6000 + i);
      crowd.syn(BOB, 6000 + i);
    }
    expect(numbers(PART).filter((i) => !crowd.speak(CAROL, 5000 + i))).toEqual([]);
  });

  test("ends no open connection for a client that has its part: that one's own expendable flows go", () => {
    const crowd = new Crowd({ maxFlows: TABLE });
    for (const i of numbers(TABLE - PART)) expect(crowd.connect(ALICE, 1000 + i)).toBe(true);
    for (const i of numbers(2 * TABLE)) crowd.syn(BOB, 1000 + i);
    expect(numbers(TABLE - PART).filter((i) => !crowd.speak(ALICE, 1000 + i))).toEqual([]);
  });

  test("takes what is not answered before what is, and the oldest first", () => {
    const crowd = new Crowd({ maxFlows: TABLE });
    for (const i of numbers(TABLE)) {
      expect(crowd.ask(ALICE, 1000 + i)).toBe("forwarded");
      if (i % 2 === 0) expect(crowd.answer()).toBe("forwarded");
    }
    for (const i of numbers(PART)) crowd.ask(BOB, 1000 + i);
    const names = new Set<number>();
    crowd.lab.router.flows.forEachFlow((flow) => {
      const { flows } = crowd.lab.router;
      if (flows.client(flow) === 0) names.add((flows.ports(flow, 0) >>> 16) - 1000);
    });
    expect(numbers(TABLE).filter((i) => !names.has(i))).toEqual(numbers(PART).map((i) => 2 * i + 1));
  });

  test("of a network one host can't take from the others", () => {
    const crowd = new Crowd({ maxFlows: 10 * TABLE, limits: { flows: TABLE } });
    for (const i of numbers(2 * TABLE)) crowd.connect(DAVE, 1000 + i);
    for (const i of numbers(3)) {
      crowd.syn(DAVE, 4000 + i);
      expect(crowd.connect(ERIN, 5000 + i)).toBe(true);
    }
    for (const i of numbers(TABLE)) crowd.syn(DAVE, 6000 + i);
    expect(numbers(3).map((i) => crowd.speak(ERIN, 5000 + i))).toEqual([true, true, true]);
  });
});

describe("connections from the uplink", () => {
  test("spend none of the client's flows, nor of its new flows a second", () => {
    const crowd = new Crowd({ maxFlows: 1000, limits: { flows: 10, flowsPerSecond: 10 } });
    crowd.syn(ALICE, 1000);
    for (const i of numbers(200)) expect(crowd.knock(peer(i), 1000 + i)).toBe("forwarded");
    expect(numbers(9).filter((i) => !crowd.connect(ALICE, 2000 + i))).toEqual([]);
    expect(crowd.connect(ALICE, 1000)).toBe(true);
  });

  test("that are not answered have a quarter of the table: who is answered in time gets in, and stays", () => {
    const crowd = new Crowd({ maxFlows: TABLE });
    const guests = numbers(TABLE / 4);
    for (const i of guests) {
      crowd.knock("203.0.113.251", 1000 + i);
      for (const j of numbers(TABLE / 4 - 1)) crowd.knock(peer(j), 1000 + i * TABLE + j);
      expect(crowd.welcome("203.0.113.251", 1000 + i)).toBe(true);
    }
    for (const i of numbers(TABLE)) crowd.knock(peer(i), 9000 + i);
    expect(guests.filter((i) => !crowd.speakIn("203.0.113.251", 1000 + i))).toEqual([]);
    expect(crowd.lab.router.flows.size).toBeLessThanOrEqual(TABLE / 2);
  });

  test("give way to clients that have less than their part", () => {
    const crowd = new Crowd({ maxFlows: TABLE });
    for (const i of numbers(TABLE)) {
      crowd.knock(peer(i), 1000 + i);
      crowd.welcome(peer(i), 1000 + i);
    }
    for (const i of numbers(PART)) expect(crowd.connect(ALICE, 1000 + i)).toBe(true);
    for (const i of numbers(TABLE)) {
      crowd.knock(peer(i), 4000 + i);
      crowd.welcome(peer(i), 4000 + i);
    }
    expect(numbers(PART).filter((i) => !crowd.speak(ALICE, 1000 + i))).toEqual([]);
  });
});
