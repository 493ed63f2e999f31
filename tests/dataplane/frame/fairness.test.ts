// Fair shares: who does not take more than its part of a table gets it, whatever others do, and keeps it.
import { describe, expect, test } from "bun:test";
import { ip } from "../../../lab/frames.ts";
import { GATEWAY } from "../../../lab/router-lab.ts";
import type { Settings } from "../../../src/dataplane/settings.ts";
import { ALICE, BOB, CAROL, Crowd, DAVE, ERIN, GROUPS, SERVER } from "../../support/crowd.ts";
import { sentPort } from "../../support/nat.ts";

const TABLE = 120;
const PART = TABLE / GROUPS;
/** Another server. */
const OTHER = "198.51.100.8";
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

describe("external ports", () => {
  const MAPPINGS = 5120;
  /** Half as many more, in equal parts for 256 hosts. */
  const OF_HOST = 10;

  test("of a network are for its other hosts, too, whatever one has, and however many flows use each", () => {
    const crowd = new Crowd({ maxFlows: 32_768, limits: { mappings: MAPPINGS } });
    for (let i = 0; i < MAPPINGS; i++) {
      for (const server of [SERVER, OTHER]) if (crowd.ask(DAVE, 1024 + i, server) === "forwarded") crowd.answer(server);
    }
    expect(crowd.lab.router.flows.size).toBe(2 * MAPPINGS);
    for (let i = 0; i < OF_HOST; i++) {
      expect([i, crowd.connect(ERIN, 1024 + i)]).toEqual([i, true]);
      for (let j = 0; j < 20; j++) crowd.ask(DAVE, 10_000 + 20 * i + j);
    }
    expect(crowd.syn(DAVE, 9999)).not.toBe("forwarded");
    for (let i = 0; i < OF_HOST; i++) expect(crowd.speak(ERIN, 1024 + i)).toBe(true);
  });

  test("of a network's host linger for it, though another lets as many linger as it can", () => {
    const crowd = new Crowd({ maxFlows: 32_768, limits: { mappings: MAPPINGS } });
    crowd.ask(DAVE, 5000);
    crowd.ask(ERIN, 5000); // gets another port than that
    const port = sentPort(crowd.lab);
    for (let i = 0; i < 3 * MAPPINGS; i++) {
      crowd.ask(DAVE, 6000 + i);
      if (i % MAPPINGS === MAPPINGS - 1) crowd.lab.wait(33_000);
    }
    crowd.ask(ERIN, 5000);
    expect(sentPort(crowd.lab)).toBe(port);
  });

  test("of one protocol are for a network's other hosts, though one has all that are left, and flows of others that go first", () => {
    // The ports from 30001 on are for clients: of TCP 35535.
    const forward = {
      protocol: 6,
      portLow: 1,
      portHigh: 30_000,
      client: 3,
      to: ip("192.168.1.99"),
      toPort: 1,
      from: [],
    };
    const crowd = new Crowd({ maxFlows: 65_536, change: (settings) => ({ ...settings, forwards: [forward] }) });
    for (let i = 0; i < 1000; i++) crowd.ask(DAVE, 1024 + i);
    for (let i = 0; i < 27_000; i++) crowd.connect(DAVE, 1024 + i);
    expect(crowd.syn(DAVE, 60_000)).toBe("dropped: no free port");
    // A quarter of them for four clients, half of that for its hosts: 1110 for 256.
    for (let i = 0; i < 4; i++) {
      expect([i, crowd.connect(ERIN, 1024 + i)]).toEqual([i, true]);
      for (let j = 0; j < 20; j++) crowd.ask(DAVE, 30_000 + 20 * i + j);
    }
    for (let i = 0; i < 4; i++) expect(crowd.speak(ERIN, 1024 + i)).toBe(true);
  });
});

describe("new flows a second", () => {
  const RATE = 1000;

  test("of a network are for its other hosts, too, though one opens as many as it can, which are no fewer than before", () => {
    const crowd = new Crowd({ maxFlows: 65536, limits: { flowsPerSecond: RATE } });
    let opened = 0;
    for (const second of numbers(5)) {
      for (const i of numbers(2 * RATE)) if (crowd.ask(DAVE, 1000 + i, peer(second)) === "forwarded") opened++;
      expect(crowd.ask(ERIN, 1000 + second)).toBe("forwarded");
      crowd.lab.leap(1000);
    }
    expect(opened).toBeGreaterThan(4.4 * RATE);
  });

  test("of one host are all its own, also at once", () => {
    const crowd = new Crowd({ maxFlows: 65536, limits: { flowsPerSecond: RATE } });
    const verdicts = numbers(RATE + 1).map((i) => crowd.ask(ALICE, 1000 + i));
    expect(verdicts.slice(0, RATE).filter((verdict) => verdict !== "forwarded")).toEqual([]);
    expect(verdicts[RATE]).toBe("dropped: client opens flows too fast");
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

  test("that are not answered have half of the table: who is answered in time gets in, and stays", () => {
    const crowd = new Crowd({ maxFlows: TABLE });
    const guests = numbers(TABLE / 4);
    for (const i of guests) {
      crowd.knock("203.0.113.251", 1000 + i);
      for (const j of numbers(TABLE / 2 - 1)) crowd.knock(peer(j), 1000 + i * TABLE + j);
      expect(crowd.welcome("203.0.113.251", 1000 + i)).toBe(true);
    }
    for (const i of numbers(TABLE)) crowd.knock(peer(i), 9000 + i);
    expect(guests.filter((i) => !crowd.speakIn("203.0.113.251", 1000 + i))).toEqual([]);
    expect(crowd.lab.router.flows.size).toBeLessThanOrEqual(TABLE / 2 + guests.length);
  });

  test("to one forwarded port do not take the time to be answered from those to another", () => {
    const other = 8081;
    const crowd = new Crowd({
      maxFlows: TABLE,
      change: (settings) => {
        const [forward] = settings.forwards;
        return { ...settings, forwards: [forward, { ...forward, portLow: other, portHigh: other, toPort: 81 }] };
      },
    });
    crowd.knock("203.0.113.251", 1000, other);
    for (const i of numbers(10 * TABLE)) crowd.knock(peer(i), 2000 + i);
    expect(crowd.welcome("203.0.113.251", 1000, 81, other)).toBe(true);
  });

  test("have their part of a table that a client has filled, but what is not answered only a sixty-fourth of it", () => {
    const crowd = new Crowd({ maxFlows: TABLE });
    for (const i of numbers(TABLE)) expect(crowd.connect(BOB, 1000 + i)).toBe(true);
    for (const i of numbers(5 * TABLE)) crowd.knock(peer(i), 1000 + i);
    const lost = numbers(TABLE).filter((i) => !crowd.speak(BOB, 1000 + i));
    expect(lost).toHaveLength(Math.ceil(TABLE / 64));
    for (const i of numbers(PART)) {
      crowd.knock("203.0.113.251", 5000 + i);
      expect(crowd.welcome("203.0.113.251", 5000 + i)).toBe(true);
    }
    for (const i of numbers(TABLE)) crowd.connect(BOB, 3000 + i);
    expect(numbers(PART).filter((i) => !crowd.speakIn("203.0.113.251", 5000 + i))).toEqual([]);
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

const QUEUED = "queued for ARP";
const HELD = "held until the first fragment comes";
const ANSWER_HELD = "held until the rules know its names";
const FORWARDED = "forwarded";

describe("the queue of frames that wait for ARP", () => {
  const ALL = 128;

  test("has room for a client's frame, though another's wait for dead hosts", () => {
    const crowd = new Crowd();
    for (const i of numbers(ALL)) expect(crowd.ask(ALICE, 1000 + i, `192.0.2.${10 + (i >> 3)}`)).toBe(QUEUED);
    expect(crowd.ask(ALICE, 3000, "192.0.2.90")).toBe("dropped: ARP queue full");
    for (const i of numbers(ALL / 2)) expect(crowd.ask(BOB, 1000 + i, `192.0.2.${100 + (i >> 3)}`)).toBe(QUEUED);
    expect(crowd.ask(CAROL, 1000, "192.0.2.200")).toBe(QUEUED);
    expect(crowd.ask(DAVE, 1000, "192.0.2.201")).toBe(QUEUED);
    expect(crowd.ask(ALICE, 3001, "192.0.2.91")).toBe("dropped: ARP queue full");
  });

  test("loses nothing by a change of settings, and counts it for the same clients", () => {
    const crowd = new Crowd();
    for (const i of numbers(ALL)) crowd.ask(BOB, 1000 + i, `192.0.2.${10 + (i >> 3)}`);
    crowd.apply((settings) => ({ ...settings, clients: settings.clients.toSpliced(0, 1), forwards: [] }));
    expect(crowd.ask(BOB, 3000, "192.0.2.90")).toBe("dropped: ARP queue full");
    expect(crowd.ask(CAROL, 1000, "192.0.2.200")).toBe(QUEUED);
  });
});

describe("the neighbour table", () => {
  /** What is kept for each: half of the table. */
  const KEPT = Math.floor(4095 / 2 / GROUPS);
  const onLink = (i: number) => `203.9.${i >> 8}.${i & 255}`;

  /** Everybody on the uplink is reached without the gateway. */
  const wide = (settings: Settings): Settings => ({ ...settings, uplink: { ...settings.uplink, prefix: 1 } });
  const FULL = "dropped: neighbour table full";

  function crowded(): Crowd {
    const crowd = new Crowd({ maxFlows: 16384, change: wide });
    for (const i of numbers(3000)) {
      crowd.ask(ALICE, 1000, onLink(i));
      crowd.ask(BOB, 1000, onLink(10_000 + i));
    }
    expect([crowd.ask(ALICE, 1000, onLink(5000)), crowd.ask(BOB, 1000, onLink(5000))]).toEqual([FULL, FULL]);
    return crowd;
  }

  test("that two clients have filled has room for others: for so many of each, and no more", () => {
    const crowd = crowded();
    const verdicts = numbers(KEPT + 1).map((i) => crowd.ask(CAROL, 1000, onLink(20_000 + i)));
    expect(verdicts.slice(0, KEPT - 1)).not.toContain(FULL); // the client itself is one
    expect(verdicts.slice(KEPT - 1)).toEqual([FULL, FULL]);
    expect(crowd.ask(DAVE, 1000, onLink(30_000))).not.toBe(FULL);
    expect(crowd.knock("203.8.0.1", 1000)).toBe(FORWARDED);
    const asked = crowd.lab.command((router) => router.ask(1, 0xcb080002, new Uint8Array(12)));
    expect(asked).toHaveLength(1);
  });

  test("counts after a change of settings as before", () => {
    const crowd = crowded();
    crowd.apply((settings) => ({ ...settings, forwards: [] }));
    expect(crowd.ask(ALICE, 1000, onLink(5000))).toBe(FULL);
    expect(crowd.ask(CAROL, 1000, onLink(20_000))).not.toBe(FULL);
    crowd.lab.wait(400_000);
    for (const i of numbers(1000)) expect(crowd.ask(ALICE, 1000, onLink(i))).not.toBe(FULL);
  });

  test("has room for a network's host, though another has all that the network may have", () => {
    const crowd = crowded();
    for (const i of numbers(KEPT)) crowd.ask(DAVE, 1000, onLink(20_000 + i));
    expect(crowd.ask(DAVE, 1000, onLink(40_000))).toBe(FULL);
    for (const i of numbers(10)) expect(crowd.ask(ERIN, 1000, onLink(30_000 + i))).not.toBe(FULL);
  });
});

describe("fragments that wait for the first of their packet", () => {
  test("have room for a client and the uplink, though other clients hold as many as they can", () => {
    const crowd = new Crowd();
    for (const i of numbers(200)) {
      crowd.fragment(ALICE, i, "second");
      crowd.fragment(BOB, i, "second");
    }
    for (const host of [CAROL, DAVE]) {
      for (const i of numbers(20)) expect(crowd.fragment(host, i, "second")).toBe(HELD);
    }
    for (const i of numbers(200)) {
      crowd.fragment(ALICE, 1000 + i, "second");
      crowd.fragment("203.0.113.7", i, "second");
    }
    for (const host of [CAROL, DAVE]) {
      for (const i of numbers(20)) {
        expect(crowd.fragment(host, i, "first")).toBe(FORWARDED);
        expect(crowd.lab.last).toHaveLength(2);
      }
    }
  });

  test("go before packets whose first fragment has passed", () => {
    const crowd = new Crowd();
    for (const i of numbers(20)) expect(crowd.fragment(ALICE, i, "first")).toBe(FORWARDED);
    for (const i of numbers(300)) crowd.fragment(ALICE, 100 + i, "second");
    for (const i of numbers(20)) expect(crowd.fragment(ALICE, i, "second")).toBe(FORWARDED);
  });
});

describe("name servers' answers that are held", () => {
  const asked = (crowd: Crowd, host: string, port: number) => {
    crowd.ask(host, port, GATEWAY, 53);
    return crowd.answer(GATEWAY, 53);
  };

  test("are a client's for a moment at least, though others' take all places: theirs go on at once", () => {
    const crowd = new Crowd();
    for (const i of numbers(40)) asked(crowd, i % 2 === 0 ? ALICE : BOB, 1000 + i);
    expect(crowd.shown).toHaveLength(32);
    for (const i of numbers(5)) {
      expect(asked(crowd, CAROL, 2000 + i)).toBe(ANSWER_HELD);
      expect(crowd.lab.last).toHaveLength(1); // one of the others'
    }
    const carols = crowd.shown.slice(-5);
    for (const i of numbers(40)) asked(crowd, i % 2 === 0 ? ALICE : BOB, 4000 + i);
    expect(carols.map((id) => crowd.release(id))).toEqual([1, 1, 1, 1, 1]);
  });
});
