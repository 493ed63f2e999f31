// Name servers that don't know all of the protocol: what is asked of them when, in simulated time, and that it is remembered.
import { beforeEach, describe, expect, test } from "bun:test";
import type { Answer } from "dns-packet";
import { formatIp } from "../../src/base/ip.ts";
import { Lookup, type Outcome } from "../../src/names/dns-lookup.ts";
import { MEMORY, RETRY, SILENCE } from "../../src/names/name-server.ts";
import { type Answerer, type Asked, alias, FakeNameServers, hosts, PATIENCE, reply } from "../support/name-servers.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const SERVER = 0x0a8b0101;
const NAME = "www.example";
const LATENCY = 20;

let clock: SimulatedClock;
let servers: FakeNameServers;
let lookup: Lookup;

beforeEach(() => {
  clock = new SimulatedClock();
  servers = new FakeNameServers(clock, () => undefined);
  lookup = new Lookup(servers, clock);
  lookup.setServers([SERVER]);
});

/** @returns what comes of looking a name up, and after how many ms */
async function lookUp(name = NAME): Promise<readonly [string, number]> {
  let found: Outcome | undefined;
  const began = clock.now();
  let took = 0;
  lookup.resolve(name, 4).then((outcome) => {
    found = outcome;
    took = clock.now() - began;
  });
  for (let ms = 0; found === undefined && ms < 60_000; ms += 10) await clock.advance(10);
  if (found?.type !== "addresses") return [found?.reason ?? "nothing", took];
  return [found.addresses.map(formatIp).join(" ") + (found.truncated ? " and more" : ""), took];
}

/** @returns how each question was asked since the last call: with EDNS, with capitals, by TCP */
function ways(): string[] {
  return servers.asked.splice(0).map(({ payloadSize, written, byTcp }) => {
    const words = [payloadSize !== undefined && "edns", /[A-Z]/.test(written) && "capitals", byTcp && "tcp"];
    return words.filter(Boolean).join(" ") || "plain";
  });
}

function address(asked: Asked, records: Answer[] = hosts(asked.name, ["192.0.2.7"])): Uint8Array {
  return reply(asked, records);
}

/** The answer with the question's letters changed. */
function inLetters(change: (letters: string) => string): Answerer {
  return (asked) => address({ ...asked, written: change(asked.written) });
}

const swapped = (letters: string) =>
  Array.from(letters, (letter) => (letter < "a" ? letter.toLowerCase() : letter.toUpperCase())).join("");
const bare =
  (rcode: number): Answerer =>
  ({ id }) =>
    Uint8Array.of(id >> 8, id & 255, 0x81, 0x80 | rcode, 0, 0, 0, 0, 0, 0, 0, 0);
const unlessEdns =
  (odd: Answerer): Answerer =>
  (asked) =>
    asked.payloadSize === undefined ? address(asked) : odd(asked);

describe("of a server that", () => {
  test.each([
    ["repeats the question in small letters", inLetters((letters) => letters.toLowerCase())],
    ["repeats the question in large letters", inLetters((letters) => letters.toUpperCase())],
    ["repeats the question in other letters", inLetters(swapped)],
  ])("%s: the answer counts when it was asked in small ones, and from then on it is asked so", async (_, odd) => {
    servers.answer = odd;
    expect(await lookUp()).toEqual(["192.0.2.7", 2 * LATENCY]);
    expect(ways()).toEqual(["edns capitals", "edns"]);
    expect(await lookUp()).toEqual(["192.0.2.7", LATENCY]);
    expect(ways()).toEqual(["edns"]);
  });

  test.each([
    ["FORMERR", unlessEdns((asked) => reply(asked, [], { rcode: 1 }))],
    ["FORMERR without the question", unlessEdns(bare(1))],
    ["SERVFAIL", unlessEdns((asked) => reply(asked, [], { rcode: 2 }))],
    ["SERVFAIL without the question", unlessEdns(bare(2))],
    ["NOTIMP", unlessEdns((asked) => reply(asked, [], { rcode: 4 }))],
  ])("says %s to EDNS: it is asked without, from then on", async (_, odd) => {
    servers.answer = odd;
    expect(await lookUp()).toEqual(["192.0.2.7", 2 * LATENCY]);
    expect(ways()).toEqual(["edns capitals", "capitals"]);
    expect(await lookUp()).toEqual(["192.0.2.7", LATENCY]);
    expect(ways()).toEqual(["capitals"]);
  });

  test("says nothing to EDNS: it is asked without after a while, and from then on", async () => {
    servers.answer = unlessEdns(() => undefined);
    expect(await lookUp()).toEqual(["192.0.2.7", RETRY + LATENCY]);
    expect(ways()).toEqual(["edns capitals", "capitals"]);
    expect(await lookUp()).toEqual(["192.0.2.7", LATENCY]);
    expect(ways()).toEqual(["capitals"]);
  });

  test("knows neither EDNS nor capitals: both are left out", async () => {
    const small = inLetters((letters) => letters.toLowerCase());
    servers.answer = (asked) => (asked.payloadSize === undefined ? small(asked) : undefined);
    expect(await lookUp()).toEqual(["192.0.2.7", RETRY + 2 * LATENCY]);
    expect(await lookUp()).toEqual(["192.0.2.7", LATENCY]);
    expect(ways()).toEqual(["edns capitals", "capitals", "plain", "plain"]);
  });

  test("is tried anew after a quarter of an hour", async () => {
    servers.answer = unlessEdns(() => undefined);
    await lookUp();
    await clock.advance(MEMORY);
    servers.answer = address;
    ways();
    await lookUp();
    expect(ways()).toEqual(["edns capitals"]);
  });

  test("fails for other reasons: it is not taken for one that knows no EDNS", async () => {
    servers.answer = (asked) => reply(asked, [], { rcode: 2 });
    expect(await lookUp()).toEqual(["10.139.1.1: SERVFAIL", 2 * LATENCY]);
    ways();
    servers.answer = address;
    await lookUp();
    expect(ways()).toEqual(["edns capitals"]);
  });

  test("knows EDNS, and loses a question: it is asked again in the same way, and so from then on", async () => {
    servers.answer = address;
    await lookUp();
    let turn = 0;
    servers.answer = (asked) => (turn++ === 0 ? undefined : address(asked));
    expect(await lookUp("other.example")).toEqual(["192.0.2.7", RETRY + LATENCY]);
    await lookUp();
    expect(ways()).toEqual(["edns capitals", "edns capitals", "edns capitals", "edns capitals"]);
  });

  test("knows EDNS, but stands in front of one that does not: that name is asked for without in the end", async () => {
    servers.answer = address;
    await lookUp();
    ways();
    servers.answer = unlessEdns(() => undefined);
    expect(await lookUp("other.example")).toEqual(["192.0.2.7", 2 * RETRY + LATENCY]);
    expect(ways()).toEqual(["edns capitals", "edns capitals", "capitals"]);
  });

  test("takes 2.5 s, or nearly five: its answer is waited for", async () => {
    servers.answer = address;
    for (const latency of [2500, 4900]) {
      servers.latency = latency;
      expect(await lookUp()).toEqual(["192.0.2.7", latency]);
    }
  });

  test("appends bytes: they belong to nobody", async () => {
    servers.answer = (asked) => Uint8Array.from([...address(asked), 1, 2, 3]);
    expect(await lookUp()).toEqual(["192.0.2.7", LATENCY]);
  });

  test("has names in its chain that are no host names: they are followed, and asked for", async () => {
    const chain = [alias(NAME, "two words.example"), alias("two words.example", "*.star/slash.example")];
    const end = hosts("*.star/slash.example", ["192.0.2.7"]);
    servers.answer = (asked) => address(asked, [...chain, ...end]);
    expect(await lookUp()).toEqual(["192.0.2.7", LATENCY]);
    servers.answer = (asked) => address(asked, asked.name === NAME ? chain : end);
    expect(await lookUp()).toEqual(["192.0.2.7", 2 * LATENCY]);
    expect(servers.asked.at(-1)?.name).toBe("*.star/slash.example");
  });

  test("says nothing at all: it is asked three times, and given up", async () => {
    expect(await lookUp()).toEqual(["10.139.1.1: no answer", 2 * RETRY + PATIENCE]);
    expect(ways()).toEqual(["edns capitals", "capitals", "capitals"]);
  });
});

describe("of a server that truncates its answers", () => {
  const many = Array.from({ length: 300 }, (_, i) => `198.51.${100 + (i >> 8)}.${i & 255}`);
  const some = many.slice(0, 20);
  const cut: Answerer = (asked) => reply(asked, hosts(asked.name, some), { truncated: true });

  test("the whole answer is had over TCP, each time", async () => {
    servers.answer = (asked) => (asked.byTcp ? address(asked, hosts(asked.name, many)) : cut(asked));
    for (let i = 0; i < 2; i++) {
      expect(await lookUp()).toEqual([many.join(" "), 2 * LATENCY]);
      expect(ways()).toEqual(["edns capitals", "capitals tcp"]);
    }
  });

  test("and does not keep capitals: over TCP neither", async () => {
    servers.answer = (asked) =>
      asked.byTcp
        ? address({ ...asked, written: asked.name }, hosts(asked.name, many))
        : reply({ ...asked, written: asked.name }, [], { truncated: true });
    expect(await lookUp()).toEqual([many.join(" "), 3 * LATENCY]);
    expect(ways()).toEqual(["edns capitals", "edns", "tcp"]);
  });

  test.each([
    ["does not answer over TCP", () => undefined, 2 * PATIENCE],
    ["answers with an error over TCP", (asked) => reply(asked, [], { rcode: 5 }), LATENCY],
    ["answers another question over TCP", (asked) => address({ ...asked, written: "other.example" }), LATENCY],
  ] as [string, Answerer, number][])("and %s: what there is counts, and TCP is left out", async (_, odd, took) => {
    servers.answer = (asked) => (asked.byTcp ? odd(asked) : cut(asked));
    expect(await lookUp()).toEqual([`${some.join(" ")} and more`, LATENCY + took]);
    ways();
    expect(await lookUp()).toEqual([`${some.join(" ")} and more`, LATENCY]);
    expect(ways()).toEqual(["edns capitals"]);
  });

  test("to nothing, and does not answer over TCP: it fails, and the next one is asked", async () => {
    servers.answer = (asked) => (asked.byTcp ? undefined : reply(asked, [], { truncated: true }));
    expect(await lookUp()).toEqual(["10.139.1.1: its answer is truncated", LATENCY + 2 * PATIENCE]);
  });

  /** @param silent TCP connections that get no answer, before those that do */
  function silentFor(silent: number): void {
    let connections = 0;
    servers.answer = (asked) => {
      if (!asked.byTcp) return cut(asked);
      return connections++ < silent ? undefined : address(asked, hosts(asked.name, many));
    };
  }

  test("one connection of which nothing comes says nothing of the server: another is opened at once", async () => {
    silentFor(1);
    expect(await lookUp()).toEqual([many.join(" "), 2 * LATENCY + PATIENCE]);
    expect(await lookUp()).toEqual([many.join(" "), 2 * LATENCY]);
  });

  test("two of which nothing comes leave TCP out for a minute, then two; and as before once it has worked", async () => {
    silentFor(4);
    for (const silence of [SILENCE, 2 * SILENCE]) {
      expect(await lookUp()).toEqual([`${some.join(" ")} and more`, LATENCY + 2 * PATIENCE]);
      await clock.advance(silence - 100);
      expect(await lookUp()).toEqual([`${some.join(" ")} and more`, LATENCY]);
      await clock.advance(200);
    }
    expect(await lookUp()).toEqual([many.join(" "), 2 * LATENCY]);
    silentFor(2);
    expect(await lookUp()).toEqual([`${some.join(" ")} and more`, LATENCY + 2 * PATIENCE]);
    await clock.advance(SILENCE + 100);
    expect(await lookUp()).toEqual([many.join(" "), 2 * LATENCY]);
  });

  test("one that refuses TCP is not asked that way for a quarter of an hour", async () => {
    servers.refusesTcp = true;
    servers.answer = cut;
    expect(await lookUp()).toEqual([`${some.join(" ")} and more`, 2 * LATENCY]);
    await clock.advance(MEMORY - 100);
    ways();
    expect(await lookUp()).toEqual([`${some.join(" ")} and more`, LATENCY]);
    expect(ways()).toEqual(["edns capitals"]);
    await clock.advance(200);
    expect(await lookUp()).toEqual([`${some.join(" ")} and more`, 2 * LATENCY]);
  });
});

describe("refused is, from whatever server,", () => {
  const wrong = (change: (asked: Asked) => Uint8Array): Answerer => change;

  test.each([
    ["another number", wrong((asked) => address({ ...asked, id: asked.id ^ 1 }))],
    ["another question", wrong((asked) => address({ ...asked, written: "xxx.example" }))],
    [
      "an answer about another name",
      wrong((asked) => address({ ...asked, written: "xxx.example" }, hosts(NAME, ["192.0.2.7"]))),
    ],
    [
      "an answer to another question in the right letters' sizes",
      wrong((asked) => address({ ...asked, written: asked.written.replace(/w/i, "V") })),
    ],
  ])("%s, and asking in other ways makes it no better", async (_, answer) => {
    servers.answer = answer;
    const [reason] = await lookUp();
    expect(reason).toStartWith("10.139.1.1: its answer is not accepted: it ");
    expect(ways()).toEqual(["edns capitals", "capitals", "capitals"]);
  });
});
