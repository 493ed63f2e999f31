// The cheapest sets that together have all of some things (set cover). It is found by trying, where that ends soon: a thing that few sets
// have is decided first, and what costs more than the best so far is left. Else it is what the greedy way finds, less what is in it twice.

/** Looks at one thing or set that a search may take in all: some ten milliseconds. */
const MOST_WORK = 200_000;

export interface Cover {
  /** Numbers of sets, ascending. */
  readonly chosen: readonly number[];
  /** Things that no set has. */
  readonly uncovered: readonly number[];
}

/**
 * @param things how many, numbered from 0
 * @param sets each the things that it has, every one once
 * @param costs of each set, above 0
 * @param rest is waited for now and then, so that others of the thread have their turn
 */
export async function cover(
  things: number,
  sets: readonly (readonly number[])[],
  costs: readonly number[],
  rest: () => Promise<void> = async () => {},
): Promise<Cover> {
  const havers: number[][] = Array.from({ length: things }, () => []);
  for (const [set, members] of sets.entries()) for (const thing of members) havers[thing].push(set);
  const coverable = havers.flatMap((list, thing) => (list.length > 0 ? [thing] : []));
  const uncovered = havers.flatMap((list, thing) => (list.length === 0 ? [thing] : []));
  const search = new Search(sets, costs, havers);
  for (const part of partsOf(coverable, sets, havers)) {
    search.solve(part);
    await rest();
  }
  return { chosen: search.chosen.sort((one, other) => one - other), uncovered };
}

/** Things that have no set in common are decided apart. */
function partsOf(
  things: readonly number[],
  sets: readonly (readonly number[])[],
  havers: readonly (readonly number[])[],
): number[][] {
  const seen = new Set<number>();
  const parts: number[][] = [];
  for (const first of things) {
    if (seen.has(first)) continue;
    const part = [first];
    seen.add(first);
    const known = new Set<number>();
    for (let i = 0; i < part.length; i++) {
      for (const set of havers[part[i]]) {
        if (known.has(set)) continue;
        known.add(set);
        for (const thing of sets[set]) {
          if (seen.has(thing)) continue;
          seen.add(thing);
          part.push(thing);
        }
      }
    }
    parts.push(part);
  }
  return parts;
}

class Search {
  readonly chosen: number[] = [];
  private work = 0;
  private best: readonly number[] = [];
  private bestCost = Number.POSITIVE_INFINITY;

  constructor(
    private readonly sets: readonly (readonly number[])[],
    private readonly costs: readonly number[],
    private readonly havers: readonly (readonly number[])[],
  ) {}

  /** @param things that are to be had: sets that have one of them have no others */
  solve(things: readonly number[]): void {
    this.best = this.greedy(things);
    this.bestCost = this.costOf(this.best);
    if (this.best.length > 1 || this.havers[things[0]].length > 1) this.descend(new Set(things), [], 0);
    this.chosen.push(...this.best);
  }

  private descend(left: ReadonlySet<number>, taken: readonly number[], cost: number): void {
    if (left.size === 0) {
      this.best = taken;
      this.bestCost = cost;
      return;
    }
    this.work += left.size;
    if (this.work > MOST_WORK) return;
    let hardest = -1;
    for (const thing of left) {
      if (hardest < 0 || this.havers[thing].length < this.havers[hardest].length) hardest = thing;
    }
    for (const set of this.byUse(this.havers[hardest], left)) {
      const next = cost + this.costs[set];
      if (next >= this.bestCost) continue;
      const rest = new Set(left);
      for (const thing of this.sets[set]) rest.delete(thing);
      this.descend(rest, [...taken, set], next);
    }
  }

  /** The one that has most for its cost first. */
  private byUse(candidates: readonly number[], left: ReadonlySet<number>): number[] {
    const uses = candidates.map((set) => {
      this.work += this.sets[set].length;
      return { set, use: this.sets[set].filter((thing) => left.has(thing)).length / this.costs[set] };
    });
    return uses.sort((one, other) => other.use - one.use).map(({ set }) => set);
  }

  private greedy(things: readonly number[]): number[] {
    const left = new Set(things);
    /** By set: how many of those that are left it has. */
    const uses = new Map<number, number>();
    for (const thing of things) for (const set of this.havers[thing]) uses.set(set, (uses.get(set) ?? 0) + 1);
    const taken: number[] = [];
    while (left.size > 0) {
      let best = -1;
      let most = 0;
      for (const [set, use] of uses) {
        if (use / this.costs[set] <= most) continue;
        best = set;
        most = use / this.costs[set];
      }
      taken.push(best);
      for (const thing of this.sets[best]) {
        if (!left.delete(thing)) continue;
        for (const set of this.havers[thing]) uses.set(set, (uses.get(set) ?? 0) - 1);
      }
    }
    return this.withoutSpare(taken);
  }

  /** Leaves out sets all of whose things others have. */
  private withoutSpare(taken: readonly number[]): number[] {
    const times = new Map<number, number>();
    for (const set of taken) for (const thing of this.sets[set]) times.set(thing, (times.get(thing) ?? 0) + 1);
    return taken.filter((set) => {
      if (this.sets[set].some((thing) => times.get(thing) === 1)) return true;
      for (const thing of this.sets[set]) times.set(thing, (times.get(thing) ?? 0) - 1);
      return false;
    });
  }

  private costOf(taken: readonly number[]): number {
    return taken.reduce((sum, set) => sum + this.costs[set], 0);
  }
}
