// The drop ring: what is alike counts in one record; whoever floods it takes only from those who have more; and another thread that
// reads it never gets half of one record and half of another.
import { describe, expect, test } from "bun:test";
import { Worker } from "node:worker_threads";
import { Random } from "../../../lab/random.ts";
import { drawHashKeys, KeyedHash } from "../../../src/dataplane/keyed-hash.ts";
import { DROP, DROP_RECORDS, DROPS, DropCopy, dropClock } from "../../../src/dataplane/tables/drop-records.ts";
import { Drop, Drops } from "../../../src/dataplane/tables/drops.ts";

/** Of two groups with one party each and one with three. */
const GROUP_OF = Int32Array.of(0, 1, 2, 2, 2);
const [WORK, UPLINK, HOST, NEIGHBOUR, THIRD] = [0, 1, 2, 3, 4];
const [RULES, SPOOFED, WINDOW] = [17, 12, 23];

function emptyRing(seed = 1): Drops {
  const random = new Random(seed);
  const drops = new Drops(new KeyedHash(drawHashKeys(() => random.next())));
  drops.reset(3, GROUP_OF, new Int32Array(0), () => WORK);
  return drops;
}

function dropOf(fields: Partial<Drop>): Drop {
  return Object.assign(new Drop(), { verdict: RULES, ...fields });
}

/** Notes frames that differ in their ports, from 0 on. */
function flood(drops: Drops, count: number, fields: Partial<Drop>): void {
  for (let ports = 0; ports < count; ports++) drops.note(dropOf({ ...fields, ports }));
}

function records(drops: Drops): { readonly count: number; readonly ports: number; readonly serial: number }[] {
  const copy = new DropCopy();
  return Array.from({ length: DROP_RECORDS }, (_, record) => record).flatMap((record) => {
    if (!copy.read(drops.words, record)) return [];
    return [{ count: copy.word(DROP.COUNT), ports: copy.word(DROP.PORTS), serial: copy.word(DROP.SERIAL) }];
  });
}

describe("the drop ring", () => {
  test("counts what is alike in one record, with when the first came and the last", () => {
    const drops = emptyRing();
    const fields = { party: WORK, source: 1, destination: 2, ports: 3, protocol: 6 };
    for (const [i, now] of [1000, 1500, 2250].entries()) {
      drops.setTime(now);
      drops.note(dropOf({ ...fields, rule: i }));
    }
    const copy = new DropCopy();
    expect(copy.read(drops.words, 0)).toBe(true);
    expect([DROP.COUNT, DROP.RULE, DROP.SERIAL].map((field) => copy.word(field))).toEqual([3, 2, 1]);
    expect([copy.time(DROP.FIRST), copy.time(DROP.LAST), dropClock(drops.words)]).toEqual([1000, 2250, 2250]);
    expect(copy.read(drops.words, 1)).toBe(false);
  });

  test("has a record of its own for whatever differs in sender, reason, addresses, ports or protocol", () => {
    const drops = emptyRing();
    const same = { party: WORK, source: 1, destination: 2, ports: 3, protocol: 6 };
    const others = [{ party: UPLINK }, { verdict: SPOOFED }, { source: 9 }, { destination: 9 }, { ports: 9 }];
    for (const other of [{}, ...others, { protocol: 17 }]) {
      for (let i = 0; i < 2; i++) drops.note(dropOf({ ...same, ...other }));
    }
    expect(records(drops).map(({ count }) => count)).toEqual(Array(7).fill(2));
  });

  test("gives all records to one that is alone, and keeps its newest", () => {
    const drops = emptyRing();
    flood(drops, DROP_RECORDS + 3, { party: WORK });
    const ports = records(drops).map((record) => record.ports);
    expect(ports.sort((one, other) => one - other)).toEqual(Array.from({ length: DROP_RECORDS }, (_, i) => i + 3));
    drops.note(dropOf({ party: WORK, ports: 3 })); // no longer the oldest
    drops.note(dropOf({ party: WORK, ports: 1e6 }));
    const left = new Set(records(drops).map((record) => record.ports));
    expect([left.has(3), left.has(4), left.has(1e6)]).toEqual([true, false, true]);
  });

  test("leaves to others what they have, whatever is flooded: by another client, for another reason, by a neighbour", () => {
    const drops = emptyRing();
    flood(drops, 20, { party: WORK });
    flood(drops, 20, { party: HOST });
    flood(drops, 20, { party: UPLINK, verdict: WINDOW });
    flood(drops, 100_000, { party: UPLINK, verdict: SPOOFED, source: 7 });
    flood(drops, 100_000, { party: NEIGHBOUR });
    const kept = [drops.has(WORK, RULES), drops.has(HOST, RULES), drops.has(UPLINK, WINDOW)];
    expect(kept).toEqual([20, 20, 20]);
    expect(records(drops)).toHaveLength(DROP_RECORDS);
  });

  test("is shared by groups in equal parts, in these by parties, in these by reasons, when all flood it at once", () => {
    const drops = emptyRing();
    const random = new Random(5);
    const floods = [
      { party: WORK, verdict: RULES },
      { party: UPLINK, verdict: SPOOFED },
      { party: UPLINK, verdict: WINDOW },
      { party: HOST, verdict: RULES },
      { party: NEIGHBOUR, verdict: RULES },
      { party: THIRD, verdict: RULES },
      { party: THIRD, verdict: SPOOFED },
    ];
    for (let i = 0; i < 200_000; i++) drops.note(dropOf({ ...random.pick(floods), ports: random.below(1e6) }));
    const third = DROP_RECORDS / 3;
    const shares = floods.map(({ party, verdict }) => drops.has(party, verdict));
    const parts = [third, third / 2, third / 2, third / 3, third / 3, third / 6, third / 6];
    for (const [i, part] of parts.entries()) expect(Math.abs(shares[i] - part)).toBeLessThanOrEqual(3);
    expect(shares.reduce((sum, share) => sum + share)).toBe(DROP_RECORDS);
  });

  for (const [who, late] of [
    ["another reason", { party: HOST, verdict: SPOOFED }],
    ["a neighbour", { party: NEIGHBOUR, verdict: RULES }],
    ["another group", { party: WORK, verdict: RULES }],
  ] as const) {
    test(`gives an equal part to ${who} that comes when one has all of it`, () => {
      const drops = emptyRing();
      flood(drops, 2 * DROP_RECORDS, { party: HOST });
      flood(drops, 2 * DROP_RECORDS, late);
      expect(drops.has(late.party, late.verdict)).toBe(DROP_RECORDS / 2);
      flood(drops, 2 * DROP_RECORDS, { party: HOST });
      expect(drops.has(HOST, RULES)).toBe(DROP_RECORDS / 2);
    });
  }

  test("has a place for who comes late, of all the parties that there can be", () => {
    const parties = 3 * DROP_RECORDS;
    const drops = emptyRing();
    drops.reset(
      parties,
      Int32Array.from({ length: parties }, (_, party) => party),
      new Int32Array(0),
      () => WORK,
    );
    for (let party = 0; party < parties; party++) drops.note(dropOf({ party, ports: party }));
    expect(drops.has(parties - 1, RULES)).toBe(1);
    expect(records(drops)).toHaveLength(DROP_RECORDS);
  });

  test("keeps its records, and their order, when interfaces and parties are numbered anew", () => {
    const drops = emptyRing();
    for (const [i, source] of [30, 10, 20].entries()) {
      drops.setTime(1000 + i);
      drops.note(dropOf({ party: WORK, iface: 1, source }));
    }
    drops.note(dropOf({ party: UPLINK, iface: 0, source: 5 }));
    // The interface 1 is 4 now, 0 is gone.
    const asked: [number, number][] = [];
    drops.reset(3, GROUP_OF, Int32Array.of(-1, 4), (iface, source) => {
      asked.push([iface, source]);
      return iface < 0 ? UPLINK : HOST;
    });
    expect(asked).toEqual([
      [4, 30],
      [4, 10],
      [4, 20],
      [-1, 5],
    ]);
    drops.note(dropOf({ party: HOST, iface: 4, source: 10 }));
    expect([drops.has(HOST, RULES), drops.has(UPLINK, RULES), drops.has(WORK, RULES)]).toEqual([3, 1, 0]);
    expect(records(drops).map(({ count }) => count)).toEqual([1, 2, 1, 1]);
    flood(drops, DROP_RECORDS - 2, { party: HOST, iface: 4, source: 1 });
    const [, , newest] = records(drops).filter(({ serial }) => serial <= 3);
    expect(newest).toBeUndefined(); // 30, and 20: 10 was the youngest of the three
  });

  test("counts settings, and what was refused for the log, of records that are gone too", () => {
    const drops = emptyRing();
    drops.countSettings();
    flood(drops, 3000, { party: WORK, isLogged: true });
    flood(drops, 10, { party: UPLINK });
    expect([drops.words[DROPS.SETTINGS], drops.words[DROPS.LOGGED]]).toEqual([1, 3000]);
    const copy = new DropCopy();
    copy.read(drops.words, 0);
    expect(copy.word(DROP.SETTINGS)).toBe(1);
  });
});

test("a thread that reads while another writes gets whole records only", async () => {
  const writer = new Worker(new URL("../../support/drop-writer.ts", import.meta.url));
  const { promise, resolve } = Promise.withResolvers<Int32Array>();
  writer.once("message", resolve);
  const words = await promise;
  const copy = new DropCopy();
  const fields = [DROP.DESTINATION, DROP.PORTS, DROP.CLIENT, DROP.RULE];
  let [changed, torn, before] = [0, 0, -1];
  while (changed < 5000) {
    if (!copy.read(words, 0)) continue;
    // The writer writes one number into all fields.
    const number = copy.word(DROP.SOURCE);
    const isWhole =
      fields.every((field) => copy.word(field) === number) &&
      copy.time(DROP.FIRST) === number &&
      copy.time(DROP.LAST) === number;
    if (!isWhole) torn++;
    if (number !== before) changed++;
    before = number;
  }
  expect(torn).toBe(0);
  await writer.terminate();
}, 60_000);
