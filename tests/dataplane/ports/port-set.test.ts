// The set of ports against a plain one, at random: members, counts, and which member has which rank.
import { describe, expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import {
  highOf,
  type Kin,
  kinOf,
  markPorts,
  otherParity,
  PORT_WORDS,
  PortSet,
} from "../../../src/dataplane/ports/port-set.ts";

const PORTS = 65_536;
const KINS: readonly Kin[] = [0, 1, 2, 3];

/** Everything that a set tells must be what a plain one has. */
function compare(set: PortSet, members: ReadonlySet<number>, closed: ReadonlySet<number>): void {
  for (const kin of KINS) {
    const expected = [...members].filter((port) => kinOf(port) === kin && !closed.has(port)).sort((a, b) => a - b);
    expect(set.count(kin)).toBe(expected.length);
    expect(expected.map((_, rank) => set.draw(kin, rank))).toEqual(expected);
  }
}

describe("a set of ports", () => {
  test("is what a plain set is, through random changes and closings", () => {
    const random = new Random(5);
    for (const isFull of [true, false]) {
      const words = new Int32Array(PORT_WORDS);
      const set = new PortSet(words, isFull);
      const members = new Set(isFull ? Array.from({ length: PORTS }, (_, port) => port) : []);
      const closed = new Set<number>();
      for (let round = 0; round < 6; round++) {
        for (let i = 0; i < 20_000; i++) {
          const port = random.below(PORTS);
          if (members.delete(port)) {
            set.remove(port);
          } else {
            members.add(port);
            set.add(port);
          }
          if (set.has(port) !== (members.has(port) && !closed.has(port))) throw new Error(`port ${port}`);
        }
        compare(set, members, closed);
        closed.clear();
        words.fill(0);
        for (let i = 0; i < 100; i++) {
          const low = random.below(PORTS);
          const high = Math.min(low + random.below(i < 90 ? 4 : 2000), PORTS - 1);
          for (let port = low; port <= high; port++) closed.add(port);
          markPorts(words, low, high);
        }
        set.recount();
        compare(set, members, closed);
      }
    }
  });

  test("tells low ports from others, and even ones from odd ones", () => {
    const set = new PortSet(new Int32Array(PORT_WORDS), true);
    expect([0, 1, 1024, 1025].map((port) => set.count(kinOf(port)))).toEqual([512, 512, 32_256, 32_256]);
    for (const port of [0, 1, 1022, 1023, 1024, 1025, 65_534, 65_535]) {
      expect(kinOf(port ^ 1)).toBe(otherParity(kinOf(port)));
      expect(highOf(kinOf(port))).toBe(kinOf(1024 | (port & 1)));
    }
  });
});
