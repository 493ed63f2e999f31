// Two clients take all they can get, each of something, at random: a third gets what SECURITY.md's table promises, and keeps it.
import { expect, test } from "bun:test";
import { ip } from "../../../lab/frames.ts";
import { Random } from "../../../lab/random.ts";
import { GATEWAY } from "../../../lab/router-lab.ts";
import { ALICE, BOB, CAROL, CLIENTS, Crowd, GROUPS } from "../../support/crowd.ts";

/**
 * Flows in the table, and of what greedy clients do before the third comes: few and more than fill it, or as many as fill the neighbour
 * table too, which takes longer.
 */
const USUAL = { flows: 600, before: 900 };
const LARGE = { flows: 8192, before: 6000 };
/** Of what they do between any two things that the third does. */
const BETWEEN = 4;

/** Hosts that the third reaches without the gateway: half of 4095 in equal parts, less one that its frames waited for. */
const REACHED = Math.floor(4095 / 2 / GROUPS) - 32;

const onLink = (i: number) => `192.9.${i >> 8}.${i & 255}`;

/** What a client does to have as much as it can of something. */
const GREED: Readonly<Record<string, (crowd: Crowd, host: string, random: Random, turn: number) => void>> = {
  connections: (crowd, host, _random, turn) => void crowd.connect(host, 1024 + turn),
  "questions that are answered": (crowd, host, _random, turn) => {
    if (crowd.ask(host, 1024 + turn) === "forwarded") crowd.answer();
  },
  ports: (crowd, host, random) => void crowd.ask(host, 1024 + random.below(60_000)),
  neighbours: (crowd, host, random) => void crowd.ask(host, 1000, onLink(256 + random.below(40_000))),
  fragments: (crowd, host, random, turn) => {
    crowd.fragment(host, turn, random.chance(0.2) ? "first" : "second");
  },
  "name servers' answers": (crowd, host, _random, turn) => {
    if (crowd.ask(host, 1024 + turn, GATEWAY, 53) === "forwarded") crowd.answer(GATEWAY, 53);
  },
  "the queue for ARP": (crowd, host, random) => {
    crowd.ask(host, 1024 + random.below(60_000), onLink(random.below(16)));
  },
};

/** The third client's parts. */
const PART = {
  connections: 60,
  waiting: Math.floor(128 / GROUPS),
  fragments: Math.floor(128 / GROUPS),
  answers: Math.floor(32 / GROUPS),
};
const DEAD = "192.9.250.";

/** @returns what of its part the third did not get, or lost again */
function denied(first: string, second: string, random: Random): string[] {
  const { flows, before } = [first, second].includes("neighbours") ? LARGE : USUAL;
  const crowd = new Crowd({
    maxFlows: flows,
    change: (settings) => ({ ...settings, uplink: { ...settings.uplink, prefix: 8 } }),
  });
  let turn = 0;
  const greed = (times: number) => {
    for (let i = 0; i < times; i++, turn++) {
      const [name, host] = random.chance(0.5) ? [first, ALICE] : [second, BOB];
      GREED[name]?.(crowd, host, random, turn);
    }
  };
  const missing: string[] = [];
  const times = (what: string, count: number, has: (i: number) => boolean) => {
    for (let i = 0; i < count; i++) {
      if (!has(i)) missing.push(`${what} ${i}`);
      greed(BETWEEN);
    }
  };
  greed(before);
  times("connection", PART.connections, (i) => crowd.connect(CAROL, 5000 + i));
  times("frame that waits for ARP", PART.waiting, (i) => crowd.ask(CAROL, 6000, DEAD + i) === "queued for ARP");
  times("fragment", PART.fragments, (i) => crowd.fragment(CAROL, 9000 + i, "second").startsWith("held"));
  const isFull = flows === LARGE.flows;
  times("neighbour", isFull ? REACHED : 0, (i) => {
    return crowd.ask(CAROL, 6001, `192.9.${240 + (i >> 8)}.${i & 255}`) !== "dropped: neighbour table full";
  });
  const shown: number[] = [];
  times("answer", PART.answers, (i) => {
    if (crowd.ask(CAROL, 7000 + i, GATEWAY, 53) !== "forwarded") return false;
    if (!crowd.answer(GATEWAY, 53).startsWith("held")) return false;
    shown.push(crowd.shown.at(-1) ?? 0);
    return true;
  });
  greed(before);
  times("connection afterwards", PART.connections, (i) => crowd.speak(CAROL, 5000 + i));
  times("frame that waited", PART.waiting, (i) => crowd.arrives(DEAD + i) === 1);
  times("packet in fragments", PART.fragments, (i) => {
    return crowd.fragment(CAROL, 9000 + i, "first") === "forwarded" && crowd.lab.last.length === 2;
  });
  for (const id of shown) if (crowd.release(id) !== 1) missing.push(`answer ${id} afterwards`);
  return missing;
}

/** All but so many ports are forwarded, so that clients can take the others. */
const LAST_FORWARDED = 60_000;
const MOST_PORTS = 65_535 - LAST_FORWARDED;
/** A quarter of them in equal parts. */
const PORTS = Math.floor(Math.floor(MOST_PORTS / 4) / CLIENTS);

/** @returns which of its part of UDP's and TCP's ports the third did not get, or lost again */
function deniedPorts(first: string, second: string, random: Random): string[] {
  const forward = {
    portLow: 1,
    portHigh: LAST_FORWARDED,
    client: CLIENTS - 1,
    to: ip("192.168.1.99"),
    toPort: 1,
    from: [],
  };
  const crowd = new Crowd({
    maxFlows: 32_768,
    change: (settings) => ({ ...settings, forwards: [6, 17].map((protocol) => ({ protocol, ...forward })) }),
  });
  let turn = 0;
  let refused = 0;
  const greed = (times: number) => {
    for (let i = 0; i < times; i++, turn++) {
      const [name, host] = random.chance(0.5) ? [first, ALICE] : [second, BOB];
      GREED[name]?.(crowd, host, random, turn);
      if (crowd.verdict === "dropped: no free port") refused++;
    }
  };
  const missing: string[] = [];
  const times = (what: string, has: (i: number) => boolean) => {
    for (let i = 0; i < PORTS; i++) {
      if (!has(i)) missing.push(`${what} ${i}`);
      greed(BETWEEN);
    }
  };
  greed(1.5 * MOST_PORTS);
  // Whose own flows give way is not refused.
  if (refused === 0 && crowd.lab.router.flows.size < MOST_PORTS * 0.7) missing.push("those two did not take all ports");
  times("port of UDP", (i) => crowd.ask(CAROL, 5000 + i) === "forwarded" && crowd.answer() === "forwarded");
  times("port of TCP", (i) => crowd.connect(CAROL, 5000 + i));
  greed(MOST_PORTS / 2);
  times("port of UDP afterwards", (i) => crowd.ask(CAROL, 5000 + i) === "forwarded");
  times("port of TCP afterwards", (i) => crowd.speak(CAROL, 5000 + i));
  return missing;
}

const names = Object.keys(GREED);
const OF_PORTS = ["connections", "questions that are answered", "ports"];
for (const [i, first] of OF_PORTS.entries()) {
  for (const second of OF_PORTS.slice(i)) {
    test(`a third client has its part of the ports beside ${first} and ${second}`, () => {
      expect(deniedPorts(first, second, new Random(i))).toEqual([]);
    });
  }
}

for (const [i, first] of names.entries()) {
  test(`a third client has its part beside one that takes ${first}, whatever another takes`, () => {
    for (const second of names.slice(i)) {
      const random = new Random(100 * i + names.indexOf(second));
      expect({ second, denied: denied(first, second, random) }).toEqual({ second, denied: [] });
    }
  });
}
