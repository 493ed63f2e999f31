// The cheapest cover: as cheap as trying all of them finds, nothing missing, and never long.
import { expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { cover } from "../../src/why/cover.ts";

/** The least cost of all choices there are. */
function leastCost(things: readonly number[], sets: readonly (readonly number[])[], costs: readonly number[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (let choice = 0; choice < 1 << sets.length; choice++) {
    const chosen = sets.filter((_, set) => (choice >> set) & 1);
    if (!things.every((thing) => chosen.some((members) => members.includes(thing)))) continue;
    least = Math.min(
      least,
      costs.reduce((sum, cost, set) => sum + ((choice >> set) & 1) * cost, 0),
    );
  }
  return least;
}

test("no choice is cheaper", async () => {
  const random = new Random(7);
  for (let round = 0; round < 500; round++) {
    const count = 1 + random.below(9);
    const sets = Array.from({ length: random.below(10) }, () =>
      Array.from({ length: count }, (_, thing) => thing).filter(() => random.chance(0.4)),
    );
    const costs = sets.map(() => 1 + random.below(3));
    const { chosen, uncovered } = await cover(count, sets, costs);
    const things = Array.from({ length: count }, (_, thing) => thing);
    expect(uncovered).toEqual(things.filter((thing) => !sets.some((members) => members.includes(thing))));
    const had = new Set(chosen.flatMap((set) => sets[set]));
    const coverable = things.filter((thing) => !uncovered.includes(thing));
    expect(coverable.every((thing) => had.has(thing))).toBe(true);
    const cost = chosen.reduce((sum, set) => sum + costs[set], 0);
    expect(cost).toBe(coverable.length === 0 ? 0 : leastCost(coverable, sets, costs));
  }
});

test("of a thousand things and thousands of sets, still a cover without anything to spare", async () => {
  const random = new Random(8);
  const sets = Array.from({ length: 4000 }, () => [
    ...new Set(Array.from({ length: 1 + random.below(20) }, () => random.below(1000))),
  ]);
  const { chosen, uncovered } = await cover(
    1000,
    sets,
    sets.map(() => 1000 + random.below(2)),
  );
  const had = new Set(chosen.flatMap((set) => sets[set]));
  expect(had.size + uncovered.length).toBe(1000);
  for (const spare of chosen) {
    const others = new Set(chosen.filter((set) => set !== spare).flatMap((set) => sets[set]));
    expect(sets[spare].every((thing) => others.has(thing))).toBe(false);
  }
});
