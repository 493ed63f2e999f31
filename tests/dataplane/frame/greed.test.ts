// Two clients take all they can get, each of something, at random: a third gets what SECURITY.md's table promises, and keeps it.
import { expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { GATEWAY } from "../../../lab/router-lab.ts";
import { ALICE, BOB, CAROL, Crowd, GROUPS } from "../../support/crowd.ts";

/**
 * Flows in the table, and of what greedy clients do before the third comes: few and more than fill it, or as many as fill the neighbour
 * table too, which takes longer.
 */
const USUAL = { flows: 600, before: 900 };
const LARGE = { flows: 8192, before: 6000 };
/** Of what they do between any two things that the third does. */
const BETWEEN = 4;

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

const names = Object.keys(GREED);
for (const [i, first] of names.entries()) {
  test(`a third client has its part beside one that takes ${first}, whatever another takes`, () => {
    for (const second of names.slice(i)) {
      const random = new Random(100 * i + names.indexOf(second));
      expect({ second, denied: denied(first, second, random) }).toEqual({ second, denied: [] });
    }
  });
}
