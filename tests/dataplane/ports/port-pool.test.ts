// Which external port a new mapping gets: at any fill one of many, each as likely as the others, and none that who filled the ports can
// tell in advance.
import { describe, expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import { NO_PORT, PortPool } from "../../../src/dataplane/ports/port-pool.ts";
import { RandomPool } from "../../../src/dataplane/random.ts";
import { CHI_SQUARE_LIMIT, chiSquare } from "../../support/chi-square.ts";

const DRAWS = 6400;
/** All ports but 0; those from 1024 on of a parity. */
const ALL = Array.from({ length: 65_535 }, (_, i) => i + 1);
const HIGH_EVEN = ALL.filter((port) => port >= 1024 && port % 2 === 0);
const LOW_EVEN = ALL.filter((port) => port < 1024 && port % 2 === 0);

/** A pool, and what it should know. */
class Bench {
  readonly random: Random;
  readonly pool: PortPool;
  readonly free = new Set(ALL);
  readonly lingering = new Set<number>();

  constructor(seed: number) {
    this.random = new Random(seed);
    const random = new Random(seed + 1000);
    this.pool = new PortPool(
      new RandomPool((words) => {
        for (let i = 0; i < words.length; i++) words[i] = random.next();
      }),
    );
  }

  use(ports: Iterable<number>): void {
    for (const port of ports) if (this.free.delete(port)) this.pool.use(port);
  }

  linger(ports: Iterable<number>): void {
    for (const port of ports) {
      this.use([port]);
      this.lingering.add(port);
      this.pool.linger(port);
    }
  }

  release(ports: Iterable<number>): void {
    for (const port of ports) {
      this.free.add(port);
      this.pool.release(port);
    }
  }

  /** @returns so many of the ports, by chance */
  some(ports: readonly number[], count: number): number[] {
    const left = [...ports];
    return Array.from({ length: count }, () => left.splice(this.random.below(left.length), 1)[0]);
  }

  /** What would be chosen for a port, again and again as things are. */
  draws(port: number, count = DRAWS): number[] {
    return Array.from({ length: count }, () => this.pool.choose(port));
  }

  freeOf(ports: readonly number[]): number[] {
    return ports.filter((port) => this.free.has(port));
  }

  mayGoOf(ports: readonly number[]): number[] {
    return ports.filter((port) => this.free.has(port) || this.lingering.has(port));
  }
}

describe("the port that a mapping gets in place of its own is drawn from", () => {
  test("all of its range and parity, when most are free", () => {
    const bench = new Bench(1);
    bench.use([5000, 500]);
    expect(chiSquare(bench.draws(5000), bench.freeOf(HIGH_EVEN))).toBeLessThan(CHI_SQUARE_LIMIT);
    expect(chiSquare(bench.draws(500), bench.freeOf(LOW_EVEN))).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("the free ones of these, when half are used and some linger", () => {
    const bench = new Bench(2);
    bench.use(bench.some(ALL, 32_768));
    bench.linger(bench.some([...bench.free], 8000));
    bench.use([5000]);
    bench.lingering.delete(5000);
    expect(chiSquare(bench.draws(5000), bench.freeOf(HIGH_EVEN))).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("all that linger, when none are free", () => {
    const bench = new Bench(3);
    bench.use(bench.some(ALL, 32_768));
    bench.linger([...bench.free]);
    const taken = HIGH_EVEN.find((port) => !bench.lingering.has(port)) ?? 0;
    expect(chiSquare(bench.draws(taken), bench.mayGoOf(HIGH_EVEN))).toBeLessThan(CHI_SQUARE_LIMIT);
    expect(chiSquare(bench.draws(5000), bench.mayGoOf(HIGH_EVEN))).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("all that may go, when somebody has let go only a few", () => {
    const bench = new Bench(4);
    bench.linger(ALL);
    const few = bench.some(HIGH_EVEN, 16);
    for (const port of few) {
      bench.lingering.delete(port);
      bench.pool.unlinger(port);
    }
    bench.release(few);
    const drawn = bench.draws(5000);
    expect(chiSquare(drawn, bench.mayGoOf(HIGH_EVEN))).toBeLessThan(CHI_SQUARE_LIMIT);
    const guessed = drawn.filter((port) => few.includes(port)).length;
    expect(guessed).toBeLessThan(16); // by chance 3.2
  });

  test("both parities, when few of one may go", () => {
    const bench = new Bench(5);
    bench.use(bench.some(HIGH_EVEN, HIGH_EVEN.length - 100));
    const taken = HIGH_EVEN.find((port) => !bench.free.has(port)) ?? 0;
    const high = ALL.filter((port) => port >= 1024);
    expect(chiSquare(bench.draws(taken), bench.freeOf(high))).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("ports from 1024 on, when few below may go", () => {
    const bench = new Bench(6);
    bench.use(ALL.filter((port) => port < 1000));
    expect(chiSquare(bench.draws(500), bench.freeOf(HIGH_EVEN))).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("whatever is left, when few may go anywhere; and it is none when there is none", () => {
    const bench = new Bench(7);
    bench.use(ALL);
    expect(bench.pool.choose(5000)).toBe(NO_PORT);
    bench.release([7, 40_001, 40_003]);
    expect(new Set(bench.draws(5000, 100))).toEqual(new Set([40_001, 40_003]));
    expect(new Set(bench.draws(600, 100))).toEqual(new Set([40_001, 40_003]));
    bench.use([40_001, 40_003]);
    expect([bench.pool.choose(600), bench.pool.choose(5000)]).toEqual([7, NO_PORT]);
  });

  test("no port that is closed", () => {
    const bench = new Bench(8);
    bench.pool.close([{ portLow: 2000, portHigh: 60_000 }]);
    bench.linger(ALL.filter((port) => port >= 30_000 && port < 62_000));
    const open = HIGH_EVEN.filter((port) => port < 2000 || port > 60_000);
    expect(chiSquare(bench.draws(5000), bench.freeOf(open))).toBeLessThan(CHI_SQUARE_LIMIT);
    bench.pool.close([]);
    expect(bench.pool.choose(5000)).toBe(5000);
  });
});

test("a port that is free is kept; one that only lingers is not, since its client may come back", () => {
  const bench = new Bench(9);
  bench.linger([5000]);
  expect(bench.pool.choose(5002)).toBe(5002);
  expect(bench.pool.choose(5000)).not.toBe(5000);
});

test("a look at draws in the order in which ports were let go finds that they are no random ones", () => {
  const order = new Bench(10).some(HIGH_EVEN, HIGH_EVEN.length);
  expect(chiSquare(order.slice(0, DRAWS), HIGH_EVEN)).toBeLessThan(CHI_SQUARE_LIMIT);
  expect(chiSquare(HIGH_EVEN.slice(0, DRAWS), HIGH_EVEN)).toBeGreaterThan(CHI_SQUARE_LIMIT);
});

test("what lingers can be drawn from as a whole, low ports and odd ones too", () => {
  const bench = new Bench(11);
  expect(bench.pool.anyLingering()).toBe(NO_PORT);
  const lingering = bench.some(ALL, 6400);
  bench.linger(lingering);
  const drawn = Array.from({ length: DRAWS }, () => bench.pool.anyLingering());
  expect(chiSquare(drawn, lingering)).toBeLessThan(CHI_SQUARE_LIMIT);
});
