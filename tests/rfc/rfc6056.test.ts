// RFC 6056, "Recommendations for Transport-Protocol Port Randomization": a test or more for each section that asks something of a
// NAT, by its name in docs/NAT.md.

import { describe, expect, test } from "bun:test";
import { ip } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import { GATEWAY, LAN_HOST, Lab, OUTSIDE, REMOTE, WORK_HOST } from "../../lab/router-lab.ts";
import { RESOLVER_PORTS, RESOLVER_TCP_PORTS } from "../../src/dataplane/ports/mappings.ts";
import { CHI_SQUARE_LIMIT, chiSquare } from "../support/chi-square.ts";
import { ALICE, BOB, CAROL, CLIENTS, Crowd, DAVE, ERIN } from "../support/crowd.ts";
import { datagram, natSettings, segment, sentPort } from "../support/nat.ts";

const ALL = Array.from({ length: 65_536 - 1024 }, (_, i) => 1024 + i);
const isResolvers = (port: number): boolean => port >= RESOLVER_PORTS.portLow && port <= RESOLVER_PORTS.portHigh;
const NO_LIMITS = "max_flows = 65536\nmax_mappings = 65536\nflows_per_second = 1000000";

/** A lab where "lan" is an attacker who may have all that there is. */
function attacked(limits = NO_LIMITS): Lab {
  return new Lab({ settings: natSettings({ lan: limits }), seed: 11, now: 1_000_000 });
}

/** The attacker sends from each of these ports, in this order. */
function fill(lab: Lab, ports: readonly number[]): void {
  for (const port of ports) lab.from(LAN_HOST, datagram(`${LAN_HOST}:${port} > ${REMOTE}:9000`));
}

/** Questions of another client's from ports that are taken, one after the other. @returns the ports that they leave from */
function victims(lab: Lab, ports: readonly number[]): number[] {
  return ports.map((port) => {
    const packet = datagram(`${WORK_HOST}:${port} > ${GATEWAY}:53`);
    expect(lab.from(WORK_HOST, packet).verdict).toBe("forwarded");
    return sentPort(lab);
  });
}

function shuffled(ports: readonly number[], seed: number): number[] {
  const random = new Random(seed);
  const left = [...ports];
  for (let i = left.length - 1; i > 0; i--) {
    const other = random.below(i + 1);
    [left[i], left[other]] = [left[other], left[i]];
  }
  return left;
}

/** A lab with few ports for clients: all others are forwarded, so that it takes little to fill them. */
const FIRST_OPEN = 60_001;
const OPEN = Array.from({ length: 65_536 - FIRST_OPEN }, (_, i) => FIRST_OPEN + i);

function fewPorts(): Crowd {
  const elsewhere = {
    portLow: 1,
    portHigh: FIRST_OPEN - 1,
    client: CLIENTS - 1,
    to: ip("192.168.1.99"),
    toPort: 1,
    from: [],
  };
  const forwards = [6, 17].map((protocol) => ({ protocol, ...elsewhere }));
  return new Crowd({ maxFlows: 32_768, change: (settings) => ({ ...settings, forwards }) });
}

/** One packet of a host's, from a port. @returns the port that it leaves from, or -1 */
type Draw = (crowd: Crowd, host: string, port: number) => number;
const sent = (crowd: Crowd, verdict: string) => (verdict === "forwarded" ? sentPort(crowd.lab) : -1);
const byUdp: Draw = (crowd, host, port) => sent(crowd, crowd.ask(host, port));
const byTcp: Draw = (crowd, host, port) => sent(crowd, crowd.syn(host, port));

/** Hosts take ports, by turns, until they have that part of all, or get no more. @returns these, in the order in which they got them */
function take(crowd: Crowd, hosts: readonly string[], fill: number, draw: Draw, seed: number): number[] {
  const got = new Set<number>();
  const wanted = shuffled(OPEN, seed);
  for (let i = 0; i < 2 * wanted.length && got.size < fill * OPEN.length; i++) {
    const port = draw(crowd, hosts[i % hosts.length], wanted[i % wanted.length]);
    if (port >= 0) got.add(port);
  }
  return [...got];
}

/** Draws of another client's: as many as its part of the ports. */
const DRAWS = 320;

/** What is wrong with the ports that another client gets, from which those who took theirs in this order might tell it. */
function faultOf(crowd: Crowd, draw: Draw, taken: readonly number[], linger: boolean): string | undefined {
  const isEven = (port: number) => port % 2 === 0;
  const open = OPEN.filter(isEven);
  const free = open.filter((port) => !taken.includes(port));
  // Where few are free, all that may go are drawn from.
  const set = linger && free.length * 8 < open.length ? open : free;
  const asked = linger && set === open ? shuffled(open, 7) : taken.filter(isEven);
  const drawn: number[] = [];
  for (const port of asked) {
    if (drawn.length === DRAWS) break;
    const got = draw(crowd, CAROL, port);
    if (got < 0) return `none after ${drawn.length}`;
    if (got !== port) drawn.push(got);
  }
  if (drawn.length < DRAWS) return `only ${drawn.length} were changed`;
  const statistic = chiSquare(drawn, set);
  if (statistic >= CHI_SQUARE_LIMIT) return `chi-square ${statistic}`;
  const inOrder = [...taken.filter((port) => set.includes(port)), ...set.filter((port) => !taken.includes(port))];
  for (const guess of [inOrder, inOrder.toReversed(), set, set.toReversed()]) {
    const one = drawn.filter((port, i) => port === guess[i]).length;
    if (one > 6) return `${one} of ${DRAWS} foretold`; // two by chance, where the fewest are free
    const first = new Set(guess.slice(0, DRAWS));
    const mean = (DRAWS * first.size) / set.length;
    const some = drawn.filter((port) => first.has(port)).length;
    if (some > mean + 5 * Math.sqrt(mean)) return `${some} among the ${DRAWS} that were bet on, instead of ${mean}`;
  }
  return undefined;
}

const USED = [0.3, 0.6, 0.75].flatMap((fill) => [
  { fill, linger: false, draw: byUdp },
  { fill, linger: false, draw: byTcp },
]);
const LINGERING = [0.3, 0.7, 1].map((fill) => ({ fill, linger: true, draw: byUdp }));
/** ms after which unanswered flows are over. */
const UNANSWERED = 33_000;

/** Has hosts take ports, as many as each of these says, and looks at what another client gets then. */
function expectUntold(hosts: readonly string[]): void {
  for (const [i, { fill, linger, draw }] of [...USED, ...LINGERING].entries()) {
    const crowd = fewPorts();
    let taken = take(crowd, hosts, fill, draw, i);
    if (linger) {
      crowd.lab.wait(UNANSWERED);
      // What is kept for others, too, now that all of theirs may go.
      taken = [...taken, ...take(crowd, hosts, fill, draw, 100 + i).filter((port) => !taken.includes(port))];
      crowd.lab.wait(UNANSWERED);
    }
    expect({ fill, linger, fault: faultOf(crowd, draw, taken, linger) }).toEqual({ fill, linger, fault: undefined });
  }
}

describe("RFC 6056", () => {
  test("3.3: however many ports a client takes, or lets linger, it can't tell another's next one", () => {
    expectUntold([ALICE]);
  });

  test("3.3: nor can two clients together", () => {
    expectUntold([ALICE, BOB]);
  });

  test("3.3: nor can hosts of a network", () => {
    expectUntold([DAVE, ERIN]);
  });

  test("3.2: ports are drawn from all of 1024-65535 that are not kept for something", () => {
    const lab = attacked();
    fill(lab, ALL.slice(0, 13_000));
    const taken = ALL.slice(0, 6400);
    const ports = victims(lab, taken);
    const used = new Set([...ALL.slice(0, 13_000), ...ports]);
    for (const parity of [0, 1]) {
      const rest = ALL.filter((port) => port >= 14_024 && !isResolvers(port) && port % 2 === parity);
      expect(rest.length).toBeGreaterThan(20_000);
      const drawn = ports.filter((port) => port % 2 === parity);
      expect(drawn).toHaveLength(3200);
      expect(new Set(drawn).size).toBe(3200); // without replacement, so they lie even more evenly
      expect(chiSquare(drawn, rest)).toBeLessThan(CHI_SQUARE_LIMIT);
    }
    expect(used.size).toBe(13_000 + 6400);
  });

  test("3.3: who fills all ports and lets them linger can't tell which one another client gets next", () => {
    const lab = attacked();
    const order = shuffled(ALL, 5);
    fill(lab, order);
    lab.wait(62_000); // its flows are over, 256 at a time
    expect(lab.router.flows.size).toBe(0);
    const asked = shuffled(ALL, 6).slice(0, 640);
    const ports = victims(lab, asked);
    // Whether it bets on the first that it let go, or the last, or any other so many: 640 of 56 000 or fewer ports have 7 hits by chance.
    for (const guess of [
      order.slice(0, 640),
      order.slice(-640),
      order.filter((port) => !isResolvers(port)).slice(0, 640),
    ]) {
      expect(ports.filter((port) => guess.includes(port)).length).toBeLessThan(25);
      expect(ports.slice(0, 16).filter((port, i) => guess[i] === port)).toEqual([]);
    }
    const others = ALL.filter((port) => !isResolvers(port));
    expect(chiSquare(ports, others)).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("3.3: who holds all ports it can get leaves others many to draw from, whichever it lets go", () => {
    const lab = attacked();
    fill(lab, shuffled(ALL, 5));
    const asked = shuffled(ALL, 6).slice(0, 640);
    const ports = victims(lab, asked);
    expect(new Set(ports).size).toBe(640);
    expect(
      chiSquare(
        ports,
        ALL.filter((port) => !isResolvers(port)),
      ),
    ).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("3.3: the firewall's own questions leave from ports that no client can fill", () => {
    const lab = attacked();
    fill(lab, ALL);
    const ports = Array.from({ length: 6400 }, (_, i) => {
      if (i % 200 === 199) lab.wait(6000); // those before it are given up
      lab.command((router) => router.ask(i, ip(GATEWAY), new Uint8Array(30)));
      return sentPort(lab);
    });
    expect(
      chiSquare(
        ports,
        Array.from({ length: 8192 }, (_, i) => RESOLVER_PORTS.portLow + i),
      ),
    ).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("3.3: over TCP they do so too", () => {
    const lab = attacked();
    for (const port of ALL) lab.from(LAN_HOST, segment(`${LAN_HOST}:${port} > ${REMOTE}:80`, "S"));
    const syn = new Uint8Array(20);
    syn.set([0x50, 2], 12);
    const ports = Array.from({ length: 1600 }, (_, i) => {
      lab.command((router) => router.sendSegment(i, ip(GATEWAY), syn));
      const port = sentPort(lab);
      lab.command((router) => router.hangUp(i));
      return port;
    });
    const { portLow, portHigh } = RESOLVER_TCP_PORTS;
    const own = Array.from({ length: portHigh - portLow + 1 }, (_, i) => portLow + i);
    expect(chiSquare(ports, own)).toBeLessThan(CHI_SQUARE_LIMIT);
  });

  test("4: a port is changed only if it is taken, and then at random; its parity is kept", () => {
    const lab = attacked();
    expect(victims(lab, [5000, 5001])).toEqual([5000, 5001]);
    fill(lab, [7000, 7001]);
    const ports = Array.from({ length: 100 }, (_, seed) => {
      const other = new Lab({ settings: natSettings({}), seed: seed + 1 });
      fill(other, [7000]);
      return victims(other, [7000])[0];
    });
    expect(new Set(ports).size).toBeGreaterThan(95);
    expect(ports.filter((port) => port % 2 === 1 || port === 7000)).toEqual([]);
    expect(lab.from(REMOTE, datagram(`${REMOTE}:9000 > ${OUTSIDE}:7001`)).verdict).toBe("forwarded");
  });
});
