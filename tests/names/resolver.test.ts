// The addresses of names over time, in simulated time: what is asked when, what is in force, and what is believed.
import { beforeEach, describe, expect, test } from "bun:test";
import type { Answer } from "dns-packet";
import { formatAddress, parseAddress, parseAddress6 } from "../../src/base/address.ts";
import { formatIp } from "../../src/base/ip.ts";
import { NEXT_SERVER } from "../../src/names/dns-lookup.ts";
import { RETRY } from "../../src/names/name-server.ts";
import { BACK_OFF, CONFIRMATION, GRACE, PACE, Resolver, TTL } from "../../src/names/resolver.ts";
import {
  type Answerer,
  alias,
  FakeNameServers,
  hosts,
  PATIENCE,
  readQuestion,
  reply,
} from "../support/name-servers.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

/** How long one server is asked in vain. */
const SILENCE = 2 * RETRY + PATIENCE;
const FIRST = 0x0a8b0101;
const SECOND = 0x0a8b0102;
const SERVER6 = parseAddress6("2001:db8::53") ?? new Uint8Array(16);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

let clock: SimulatedClock;
let servers: FakeNameServers;
let resolver: Resolver;
let changes: string[][];
let lines: string[];

beforeEach(() => {
  clock = new SimulatedClock();
  servers = new FakeNameServers(clock, () => undefined);
  changes = [];
  lines = [];
  resolver = new Resolver(servers, clock, {
    changed: (names) => changes.push([...names].sort()),
    say: (line) => lines.push(line),
  });
  resolver.setServers([FIRST]);
});

/** Has the resolver know these names, all of them in the rules of "work". */
function use(...names: string[]): void {
  resolver.setNames(new Map(names.map((name) => [name, new Set(["work"])])));
}

function inForce(name: string): string[] {
  return (resolver.addressesOf(name) ?? []).map(formatAddress);
}

/** Every question is answered with these records. */
function always(...answers: Answer[]): Answerer {
  return (asked) => reply(asked, answers);
}

describe("a name that resolves", () => {
  test("has its addresses, once the answer is there", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.8", "192.0.2.7", "192.0.2.8"]));
    use("www.example");
    expect(inForce("www.example")).toEqual([]);
    await clock.advance(100);
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.8"]);
    expect(resolver.addressesOf("WWW.Example.")).toEqual([0xc0000207, 0xc0000208]);
    expect(changes).toEqual([["www.example"]]);
    expect(lines).toEqual([]);
  });

  test("is asked for once, however it is written and whoever uses it", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"]));
    const clients = new Set(["work", "personal", "untrusted"]);
    resolver.setNames(new Map([["www.Example", clients]]));
    resolver.setNames(new Map([["WWW.EXAMPLE", clients]]));
    resolver.setNames(new Map([["www.example.", new Set(["work"])]]));
    await clock.advance(1000);
    expect(servers.asked).toHaveLength(1);
  });

  test("is asked for again before its TTL ends, and no change is reported where there is none", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"], 100));
    use("www.example");
    await clock.advance(HOUR);
    const times = servers.times("www.example");
    for (let i = 1; i < times.length; i++) {
      expect(times[i] - times[i - 1]).toBeGreaterThanOrEqual(75_000);
      expect(times[i] - times[i - 1]).toBeLessThan(91_000);
    }
    expect(times.length).toBeGreaterThan(38);
    expect(changes).toEqual([["www.example"]]);
  });

  test.each([
    ["0 s", 0, TTL.least],
    ["1 s", 1, TTL.least],
    ["a week", 7 * 24 * 3600, TTL.most],
    ["a negative number of seconds", 0xfffffff0, TTL.least],
  ])("with a TTL of %s is asked for neither too often nor too rarely", async (_, ttl, used) => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"], ttl));
    use("www.example");
    await clock.advance(used * 100);
    expect(servers.asked.length).toBeGreaterThan(100);
    expect(servers.asked.length).toBeLessThan(135);
  });

  test("keeps an address for a time of grace after it was last seen, and no longer", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"], 60));
    use("www.example");
    await clock.advance(1000);
    servers.answer = always(...hosts("www.example", ["192.0.2.8"], 60));
    await clock.advance(MINUTE);
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.8"]);
    await clock.advance(GRACE.usual - 2000);
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.8"]);
    await clock.advance(2000);
    expect(inForce("www.example")).toEqual(["192.0.2.8"]);
    expect(changes).toEqual([["www.example"], ["www.example"], ["www.example"]]);
  });

  test("with a different one of 30 addresses in every answer (round robin) soon has them all, and then does not flap", async () => {
    const all = Array.from({ length: 30 }, (_, i) => `192.0.2.${i + 1}`);
    let turn = 0;
    servers.answer = (asked) => reply(asked, hosts("www.example", [all[turn++ % all.length]], 1));
    use("www.example");
    await clock.advance(31 * TTL.least);
    expect(inForce("www.example")).toEqual(all);
    changes.length = 0;
    await clock.advance(HOUR);
    expect(inForce("www.example")).toEqual(all);
    expect(changes).toEqual([]);
  });

  test("whose servers invent a new address for every answer has a bounded number of them", async () => {
    let next = 0x0b000000;
    servers.answer = (asked) => {
      const made = Array.from({ length: 60 }, () => formatAddress(next++));
      return reply(asked, hosts("www.example", made, 1));
    };
    use("www.example");
    await clock.advance(MINUTE);
    expect(inForce("www.example")).toHaveLength(256);
    expect(resolver.addressesOf("www.example")).toContain(next - 1);
  });

  test("is forgotten with its addresses when no rule has it any more, even while it is being asked for", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"]));
    use("www.example");
    await clock.advance(1000);
    use("other.example");
    use();
    expect(inForce("www.example")).toEqual([]);
    await clock.advance(DAY);
    expect(servers.asked.map(({ name }) => name)).toEqual(["www.example", "other.example"]);
    expect(clock.pending).toBe(0);
    expect(changes).toEqual([["www.example"]]);
  });

  test("changes together with others are reported together", async () => {
    const waiting: (() => void)[] = [];
    const held = new Resolver(
      {
        ask: (_, question) => new Promise((resolve) => waiting.push(() => resolve(answerTo(question)))),
        askByTcp: () => new Promise(() => {}),
      },
      clock,
      { changed: (names) => changes.push([...names].sort()), say() {} },
    );
    held.setServers([FIRST]);
    held.setNames(
      new Map([
        ["b.example", new Set()],
        ["a.example", new Set()],
      ]),
    );
    for (const resolve of waiting) resolve();
    await clock.advance(0);
    expect(changes).toEqual([["a.example", "b.example"]]);
  });
});

test("a name whose answer was cut is looked up again within a minute, however long its TTL is", async () => {
  servers.answer = (asked) =>
    asked.byTcp ? undefined : reply(asked, hosts(asked.name, ["192.0.2.7"], 3600), { truncated: true });
  use("www.example");
  await clock.advance(3 * PATIENCE);
  expect(resolver.addressesOf("www.example")).toHaveLength(1);
  servers.answer = (asked) =>
    reply(asked, hosts(asked.name, asked.byTcp ? ["192.0.2.7", "192.0.2.8"] : ["192.0.2.7"], 3600), {
      truncated: !asked.byTcp,
    });
  await clock.advance(2 * MINUTE);
  expect(resolver.addressesOf("www.example")).toHaveLength(2);
  const { length } = servers.asked;
  await clock.advance(30 * MINUTE);
  expect(servers.asked).toHaveLength(length);
});

describe("a name that does not resolve", () => {
  test("is said so once, asked for ever more slowly, and said so again when it does", async () => {
    servers.answer = (asked) => reply(asked, [], { rcode: 3 });
    use("www.example");
    await clock.advance(HOUR);
    const times = servers.times("www.example");
    for (const [i, time] of times.slice(1).entries()) {
      const usual = Math.min(BACK_OFF.first * 2 ** i, BACK_OFF.longest);
      expect(Math.abs(time - times[i] - 20 - usual)).toBeLessThanOrEqual(usual * BACK_OFF.jitter);
    }
    expect(times.length).toBeGreaterThan(16);
    expect(lines).toEqual([
      'name "www.example" does not resolve, its rules match nothing until it does: there is no such name (NXDOMAIN)',
    ]);
    servers.answer = always(...hosts("www.example", ["192.0.2.7"]));
    await clock.advance(BACK_OFF.longest * 1.25 + 1000);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    expect(lines.slice(1)).toEqual(['name "www.example" resolves now']);
  });

  test.each([
    ["has no address", always()],
    ["has other records", always({ type: "TXT", name: "www.example", data: "192.0.2.7" })],
  ] as [string, Answerer][])("because it %s: then that is known, and said", async (_, answer) => {
    servers.answer = answer;
    use("www.example");
    expect(resolver.addressesOf("www.example")).toBeUndefined();
    await clock.advance(5000);
    const effect = "its rules match nothing until it does";
    expect(lines).toEqual([`name "www.example" does not resolve, ${effect}: it has no IPv4 address`]);
    expect(resolver.addressesOf("www.example")).toEqual([]);
    expect(changes).toEqual([["www.example"]]);
  });

  test.each([
    ["is refused", (asked) => reply(asked, [], { rcode: 5 }), "10.139.1.1: REFUSED"],
    ["gets an unknown error", (asked) => reply(asked, [], { rcode: 11 }), "10.139.1.1: error 11"],
    ["gets no answer", () => undefined, "10.139.1.1: no answer"],
    [
      "gets an empty truncated answer",
      (asked) => reply(asked, [], { truncated: true }),
      "10.139.1.1: its answer is truncated",
    ],
  ] as [string, Answerer, string][])("because it %s: the reason is said", async (_, answer, reason) => {
    servers.answer = answer;
    use("www.example");
    await clock.advance(SILENCE);
    const effect = "until it does rules that accept it match nothing, and rules that drop it any address";
    expect(lines).toEqual([`name "www.example" does not resolve, ${effect}: ${reason}`]);
    expect(resolver.addressesOf("www.example")).toBeUndefined();
    expect(changes).toEqual([]);
  });

  test("is known to have no address as long as a server says so, and for a day more when none answers", async () => {
    servers.answer = always();
    use("www.example");
    await clock.advance(3 * DAY);
    expect(resolver.addressesOf("www.example")).toEqual([]);
    servers.answer = () => undefined;
    await clock.advance(DAY);
    expect(resolver.addressesOf("www.example")).toEqual([]);
    expect([changes.length, lines.length]).toEqual([1, 1]);
    await clock.advance(HOUR);
    expect(resolver.addressesOf("www.example")).toBeUndefined();
    expect(changes.slice(1)).toEqual([["www.example"]]);
    expect(lines.slice(1)).toEqual([
      'name "www.example" does not resolve, until it does rules that accept it match nothing, and rules that drop it any address: 10.139.1.1: no answer',
    ]);
    servers.answer = always(...hosts("www.example", ["192.0.2.7"]));
    await clock.advance(HOUR);
    expect(lines.slice(2)).toEqual(['name "www.example" resolves now']);
  });

  test.each([
    "a..example",
    ".",
    "",
    `${"x".repeat(64)}.example`,
    `${"x.".repeat(127)}example`,
    "a b.example",
    "ä.example",
  ])("because it can't be one (%s): nobody is asked", async (name) => {
    use(name);
    await clock.advance(MINUTE);
    expect(servers.asked).toEqual([]);
    expect(lines[0]).toEndWith("it is not a host name");
  });

  test("leaves the others alone", async () => {
    servers.answer = (asked) =>
      asked.name === "gone.example" ? reply(asked, [], { rcode: 3 }) : reply(asked, hosts(asked.name, ["192.0.2.7"]));
    use("gone.example", "www.example");
    await clock.advance(1000);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    expect(inForce("gone.example")).toEqual([]);
  });

  test("any more keeps its addresses for the time of grace if a server says so", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"], 60));
    use("www.example");
    await clock.advance(1000);
    servers.answer = (asked) => reply(asked, [], { rcode: 3 });
    await clock.advance(MINUTE + GRACE.usual - 2000);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    expect(lines).toEqual([]);
    await clock.advance(2000);
    expect(resolver.addressesOf("www.example")).toEqual([]);
    expect(lines).toHaveLength(1);
    expect(changes).toHaveLength(2);
  });

  test("any more because nobody answers keeps its addresses for a day longer", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"], 60));
    use("www.example");
    await clock.advance(1000);
    servers.answer = () => undefined;
    await clock.advance(DAY);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    await clock.advance(MINUTE + GRACE.usual);
    expect(resolver.addressesOf("www.example")).toBeUndefined();
    expect(lines).toHaveLength(1);
  });
});

describe("name servers", () => {
  test("are asked one after the other until one answers, and that one first from then on", async () => {
    resolver.setServers([FIRST, SECOND]);
    servers.answer = (asked) => (asked.server === FIRST ? undefined : reply(asked, hosts(asked.name, ["192.0.2.7"])));
    use("www.example");
    await clock.advance(NEXT_SERVER + 20);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    use("www.example", "other.example");
    await clock.advance(SILENCE);
    expect(servers.asked.map(({ server, at }) => [server, at])).toEqual([
      [FIRST, 0],
      [FIRST, RETRY],
      [SECOND, NEXT_SERVER],
      [SECOND, NEXT_SERVER + 20],
      [FIRST, 2 * RETRY],
    ]);
  });

  test("that take longer than it takes to ask the next one too are waited for", async () => {
    resolver.setServers([FIRST, SECOND]);
    servers.latency = 2500;
    servers.answer = (asked) => (asked.server === SECOND ? undefined : reply(asked, hosts(asked.name, ["192.0.2.7"])));
    use("www.example");
    await clock.advance(2500);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    expect(lines).toEqual([]);
  });

  test("that say that there is no such name are believed: no other is asked", async () => {
    resolver.setServers([FIRST, SECOND]);
    servers.answer = (asked) => reply(asked, [], { rcode: 3 });
    use("www.example");
    await clock.advance(500);
    expect(servers.asked).toHaveLength(1);
  });

  test("that all fail are named with what is wrong with each", async () => {
    resolver.setServers([FIRST, SECOND]);
    servers.answer = (asked) => (asked.server === SECOND ? undefined : reply(asked, [], { rcode: 2 }));
    use("www.example");
    await clock.advance(2 * SILENCE);
    expect(lines[0]).toEndWith(": 10.139.1.1: SERVFAIL; 10.139.1.2: no answer");
  });

  test("that are new are asked at once for what does not resolve, and not for what does", async () => {
    servers.answer = (asked) =>
      asked.name === "good.example" ? reply(asked, hosts(asked.name, ["192.0.2.7"], 9000)) : undefined;
    use("good.example", "bad.example");
    await clock.advance(10 * MINUTE);
    const before = servers.asked.length;
    servers.answer = (asked) => reply(asked, hosts(asked.name, ["192.0.2.8"]));
    resolver.setServers([FIRST]);
    await clock.advance(100);
    expect(servers.asked).toHaveLength(before);
    resolver.setServers([SECOND]);
    await clock.advance(100);
    expect(servers.asked.slice(before).map(({ name, server }) => [name, server])).toEqual([["bad.example", SECOND]]);
    expect(inForce("bad.example")).toEqual(["192.0.2.8"]);
  });

  test("that there are none of: said", async () => {
    resolver.setServers([]);
    use("www.example");
    await clock.advance(100);
    expect(lines[0]).toEndWith(": there is no name server");
  });
});

describe("questions", () => {
  test("have random numbers and random capitals, and ask for recursion and EDNS0 of 1232 bytes", async () => {
    servers.answer = always(...hosts("www.example-of-a-longer-name.example", ["192.0.2.7"], 1));
    use("www.example-of-a-longer-name.example");
    await clock.advance(200 * TTL.least);
    const { asked } = servers;
    expect(new Set(asked.map(({ id }) => id)).size).toBeGreaterThan(asked.length * 0.95);
    expect(new Set(asked.map(({ written }) => written)).size).toBe(asked.length);
    expect(new Set(asked.map(({ payloadSize }) => payloadSize))).toEqual(new Set([1232]));
    const [{ id, written, message }] = asked;
    const labels = written.split(".").map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
    expect(Buffer.from(message).toString("hex")).toBe(
      Buffer.concat([
        Buffer.of(id >> 8, id & 255),
        Buffer.from("01000001000000000001", "hex"),
        ...labels,
        Buffer.from("0000010001", "hex"),
        Buffer.from("00002904d0000000000000", "hex"),
      ]).toString("hex"),
    );
  });

  test.each([
    ["FORMERR with the question", (asked) => reply(asked, [], { rcode: 1 })],
    ["FORMERR without it", (asked) => Uint8Array.of(asked.id >> 8, asked.id, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0)],
    ["NOTIMP", (asked) => reply(asked, [], { rcode: 4 })],
  ] as [string, Answerer][])(
    "are asked without EDNS0 from a server that says %s to it, from then on",
    async (_, refuse) => {
      servers.answer = (asked) =>
        asked.payloadSize === undefined
          ? reply(asked, hosts(asked.name, ["192.0.2.7"]))
          : (refuse(asked) ?? new Uint8Array());
      use("www.example");
      await clock.advance(1000);
      use("www.example", "other.example");
      await clock.advance(1000);
      expect(inForce("other.example")).toEqual(["192.0.2.7"]);
      expect(servers.asked.map(({ payloadSize }) => payloadSize)).toEqual([1232, undefined, undefined]);
    },
  );
});

describe("aliases", () => {
  const chain = Array.from({ length: 20 }, (_, i) => alias(`n${i}.example`, `n${i + 1}.example`));

  test("are followed within the answer, whatever the order and the case", async () => {
    servers.answer = always(
      ...hosts("N3.example", ["192.0.2.7"]),
      chain[2],
      alias("N0.Example", "N1.EXAMPLE"),
      chain[1],
    );
    use("n0.example");
    await clock.advance(100);
    expect(inForce("n0.example")).toEqual(["192.0.2.7"]);
    expect(servers.asked).toHaveLength(1);
  });

  test("give the smallest TTL of the chain", async () => {
    servers.answer = always(alias("n0.example", "n1.example", 20), ...hosts("n1.example", ["192.0.2.7"], 3000));
    use("n0.example");
    await clock.advance(MINUTE);
    expect(servers.asked.length).toBeGreaterThanOrEqual(3);
  });

  test("whose end the answer does not have are followed by asking", async () => {
    servers.answer = (asked) => {
      if (asked.name === "n0.example") return reply(asked, [chain[0], chain[1]]);
      return asked.name === "n2.example" ? reply(asked, [chain[2], ...hosts("n3.example", ["192.0.2.7"])]) : undefined;
    };
    use("n0.example");
    await clock.advance(100);
    expect(inForce("n0.example")).toEqual(["192.0.2.7"]);
    expect(servers.asked.map(({ name }) => name)).toEqual(["n0.example", "n2.example"]);
  });

  test.each([
    ["eight", 8, ["192.0.2.7"]],
    ["nine", 9, []],
  ])("of %s links: the bound", async (_, length, addresses) => {
    servers.answer = always(...chain.slice(0, length), ...hosts(`n${length}.example`, ["192.0.2.7"]));
    use("n0.example");
    await clock.advance(100);
    expect(inForce("n0.example")).toEqual(addresses);
    servers.answer = (asked) => {
      const link = chain.slice(0, length).find(({ name }) => name === asked.name);
      return reply(asked, link ? [link] : hosts(asked.name, ["192.0.2.7"]));
    };
    use("other.example");
    use("n0.example");
    await clock.advance(500);
    expect(inForce("n0.example")).toEqual(addresses);
  });

  test.each([
    ["in one answer", always(alias("n0.example", "n1.example"), alias("n1.example", "n0.example"))],
    ["to itself", always(alias("n0.example", "n0.example"))],
    [
      "over several answers",
      (asked) => reply(asked, [asked.name === "n0.example" ? chain[0] : alias("n1.example", "n0.example")]),
    ],
  ] as [string, Answerer][])("in circles, %s, end", async (_, answer) => {
    servers.answer = answer;
    use("n0.example");
    await clock.advance(500);
    expect(servers.asked.length).toBeLessThanOrEqual(2);
    expect(lines[0]).toEndWith("its aliases (CNAME) go in circles, or on and on");
  });

  test("to where there is no such name: it does not resolve", async () => {
    servers.answer = (asked) => reply(asked, [chain[0]], { rcode: 3 });
    use("n0.example");
    await clock.advance(100);
    expect(lines[0]).toEndWith("there is no such name (NXDOMAIN)");
  });
});

describe("an answer is not believed", () => {
  const [good] = hosts("www.example", ["192.0.2.7"]);

  async function expectRefused(answer: Answerer, reason?: string): Promise<void> {
    servers.answer = answer;
    use("www.example");
    await clock.advance(5000);
    // What is no answer says nothing; one without addresses of the name's says that it has none.
    expect(resolver.addressesOf("www.example")).toEqual(reason === undefined ? [] : undefined);
    expect(changes).toEqual(reason === undefined ? [["www.example"]] : []);
    if (reason !== undefined) expect(lines[0]).toEndWith(`: 10.139.1.1: its answer is not accepted: ${reason}`);
  }

  /** A good answer with one of its bytes changed. */
  function spoiled(at: number, change: (byte: number) => number): Answerer {
    return (asked) => {
      const message = Uint8Array.from(reply(asked, [good]));
      message[at] = change(message[at]);
      return message;
    };
  }

  test.each([
    ["with another number", spoiled(0, (byte) => byte ^ 1), "it has another number than the question"],
    [
      "with a number that differs in the second byte",
      spoiled(1, (byte) => byte ^ 128),
      "it has another number than the question",
    ],
    ["that is a question", spoiled(2, (byte) => byte & 0x7f), "it is a question itself"],
    ["to an inverse query", spoiled(2, (byte) => byte | 0x08), "it is none to a standard query"],
    ["about another name", spoiled(13, () => 0x78), "it repeats another question"],
    ["about another type", spoiled(26, () => 16), "it is not about addresses"],
    ["about IPv6 addresses", spoiled(26, () => 28), "it repeats another question"],
    ["about another class", spoiled(28, () => 3), "it is not about addresses"],
    ["without a question", spoiled(5, () => 0), "there is not one question"],
    ["with two questions", spoiled(5, () => 2), "there is not one question"],
    ["with fewer records than it says", spoiled(7, () => 2), "a record is malformed"],
    ["whose address is longer than four bytes", spoiled(51, () => 5), "a record is truncated"],
    ["whose address is shorter than four bytes", spoiled(51, () => 3), "a record's data is malformed"],
  ] as [string, Answerer, string][])("%s", (_, answer, reason) => expectRefused(answer, reason));

  test("with more records than it says, as far as these go", () => expectRefused(spoiled(7, () => 0)));

  test("whose records are another's", () => expectRefused(always(...hosts("bad.example", ["192.0.2.7"]))));

  test("whose records are of another class", () => expectRefused(always({ ...good, class: "CH" } as Answer)));

  test("whose records are of a class with multicast DNS's bit", () =>
    expectRefused(always({ ...good, flush: true } as Answer)));

  test("with addresses only in other sections", () =>
    expectRefused((asked) => reply(asked, [], { authorities: [good], additionals: [good] })));

  test("with addresses of names that the chain has left behind", () =>
    expectRefused((asked) =>
      asked.name === "www.example" ? reply(asked, [alias("www.example", "end.example"), good]) : reply(asked, [good]),
    ));

  test("with addresses, and the error that there is no such name", () =>
    expectRefused((asked) => reply(asked, [good], { rcode: 3 })));

  test("of nothing", () => expectRefused(() => new Uint8Array(0), "the header is truncated"));
});

/** An answer to a question, with one address. */
function answerTo(message: Uint8Array): Uint8Array {
  const asked = readQuestion(FIRST, 0, message);
  return reply(asked, hosts(asked.name, ["192.0.2.7"]));
}

/** An answer to a client: as it asked, in its own capitals, with any number. */
function passingBy(name: string, addresses: string[], ttl = 60, records = hosts(name, addresses, ttl)): Uint8Array {
  const message = new Uint8Array();
  const type = addresses.some((address) => address.includes(":")) ? "AAAA" : "A";
  return reply(
    { server: FIRST, type, at: 0, id: 4711, written: name, name, payloadSize: undefined, byTcp: false, message },
    records,
  );
}

describe("an answer that passes by", () => {
  beforeEach(async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7"], 3000));
    resolver.setNames(
      new Map([
        ["www.example", new Set(["work", "personal"])],
        ["other.example", new Set(["personal"])],
      ]),
    );
    await clock.advance(100);
    changes = [];
    servers.asked.length = 0;
  });

  /** @returns how many ms it is until what has passed by may go on, or undefined where it must wait longer than a minute */
  async function observe(client: string, message: Uint8Array): Promise<number | undefined> {
    let settled: number | undefined;
    const began = clock.now();
    resolver.observe(client, message).then(() => {
      settled = clock.now() - began;
    });
    for (let ms = 0; settled === undefined && ms < MINUTE; ms++) await clock.advance(1);
    return settled;
  }

  test("with an address that we don't know has us ask, and goes on when we know: then it is in force for all clients", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.8"], 60));
    expect(await observe("work", passingBy("WWW.example", ["192.0.2.8"]))).toBe(20);
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.8"]);
    expect(changes).toEqual([["www.example"]]);
    expect(servers.asked).toHaveLength(1);
  });

  test("is not believed: only what we are told counts", async () => {
    servers.answer = always(...hosts("www.example", ["192.0.2.7", "192.0.2.9"], 60));
    await observe("work", passingBy("www.example", ["192.0.2.66"]));
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.9"]);
    servers.answer = () => undefined;
    expect(await observe("work", passingBy("www.example", ["192.0.2.66"]))).toBe(SILENCE);
    servers.answer = (asked) => reply(asked, [], { rcode: 3 });
    expect(await observe("work", passingBy("www.example", ["192.0.2.66"]))).toBe(20);
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.9"]);
  });

  test("with addresses that are known, or without any, goes on at once, and nobody is asked", async () => {
    expect(await observe("work", passingBy("www.example", ["192.0.2.7"]))).toBe(0);
    expect(await observe("work", passingBy("www.example", []))).toBe(0);
    expect(servers.asked).toEqual([]);
  });

  test("from a server that gives out one address of 30 at a time has us ask until we are told that one", async () => {
    let turn = 0;
    servers.answer = (asked) => reply(asked, hosts("www.example", [`192.0.2.${100 + (turn++ % 30)}`], 1));
    expect(await observe("work", passingBy("www.example", ["192.0.2.129"]))).toBe(6 * 20);
    expect(inForce("www.example")).toContain("192.0.2.129");
  });

  test("is followed along the aliases in it", async () => {
    const records = [alias("www.example", "cdn.example"), ...hosts("cdn.example", ["192.0.2.9"])];
    servers.answer = always(...records);
    await observe("work", passingBy("www.example", [], 60, records));
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.9"]);
  });

  test("about a name that is not in the client's rules means nothing, even if it is in another's", async () => {
    expect(await observe("work", passingBy("other.example", ["192.0.2.8"]))).toBe(0);
    expect(await observe("work", passingBy("no.example", ["192.0.2.8"]))).toBe(0);
    expect(servers.asked).toEqual([]);
  });

  test("is read with the same care as one to us", async () => {
    const good = passingBy("www.example", ["192.0.2.8"]);
    const refused = [
      good.subarray(0, 20),
      good.with(2, good[2] & 0x7f),
      good.with(3, (good[3] & 0xf0) | 3),
      good.with(26, 28),
      passingBy("www.example", [], 60, hosts("bad.example", ["192.0.2.8"])),
      passingBy("www.example", [], 60, [alias("www.example", "www.example")]),
      new Uint8Array(),
    ];
    for (const message of refused) expect(await observe("work", message)).toBe(0);
    expect(servers.asked).toEqual([]);
  });

  test("finds its part of the questions at a time free, however many others' answers cause", async () => {
    const greedy = ["one", "two", "three"];
    resolver.setNames(
      new Map([
        ["www.example", new Set(greedy)],
        ["other.example", new Set(["personal"])],
      ]),
    );
    await clock.advance(100);
    const before = servers.asked.length;
    servers.answer = (asked) =>
      asked.name === "www.example" ? undefined : reply(asked, hosts(asked.name, ["192.0.2.8"]));
    for (let i = 0; i < 64; i++)
      for (const client of greedy) void resolver.observe(client, passingBy("www.example", [`198.51.100.${i}`]));
    await clock.advance(10);
    expect(servers.asked.length - before).toBe(CONFIRMATION.atOnce);
    expect(await observe("personal", passingBy("other.example", ["192.0.2.8"]))).toBe(20);
    expect(inForce("other.example")).toContain("192.0.2.8");
  });

  test("may go on when the name has left the rules meanwhile", async () => {
    const going = observe("work", passingBy("www.example", ["192.0.2.8"]));
    await clock.advance(10);
    resolver.setNames(new Map());
    expect(await going).toBe(20);
    expect(resolver.addressesOf("www.example")).toBeUndefined();
  });

  test("by the thousand causes no more questions than its client's budget, and leaves another client's alone", async () => {
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 100; i++) void resolver.observe("work", passingBy("www.example", [`198.51.${second}.${i}`]));
      await clock.advance(1000);
    }
    const caused = servers.asked.length;
    expect(caused).toBeGreaterThan(CONFIRMATION.burst);
    expect(caused).toBeLessThanOrEqual(CONFIRMATION.burst + 60 * CONFIRMATION.aSecond);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    servers.answer = always(...hosts("www.example", ["192.0.2.8"]));
    await observe("personal", passingBy("www.example", ["192.0.2.8"]));
    expect(inForce("www.example")).toEqual(["192.0.2.7", "192.0.2.8"]);
  });
});

describe("storms", () => {
  const NAMES = Array.from({ length: 2000 }, (_, i) => `n${i}.example`);

  test("of new names are spread over time, and all are asked for", async () => {
    servers.answer = (asked) => reply(asked, hosts(asked.name, ["192.0.2.7"], 3600));
    use(...NAMES);
    for (let second = 0; second < 10; second++) {
      const before = servers.asked.length;
      await clock.advance(1000);
      expect(servers.asked.length - before).toBeLessThanOrEqual(PACE.atOnce + 1000 / PACE.spacing);
    }
    expect(servers.asked).toHaveLength(NAMES.length);
    expect(servers.mostUnderWay).toBeLessThanOrEqual(PACE.atOnce);
    expect(NAMES.flatMap((name) => inForce(name))).toHaveLength(NAMES.length);
  });

  test("of names whose servers are dead keep few questions under way, and slow down", async () => {
    resolver.setServers([FIRST, SECOND]);
    use(...NAMES.slice(0, 200));
    await clock.advance(HOUR);
    // Two servers, each asked three times.
    expect(servers.mostUnderWay).toBeLessThanOrEqual(6 * PACE.atOnce);
    const before = servers.asked.length;
    await clock.advance(HOUR);
    expect((servers.asked.length - before) / 200).toBeLessThan(6 * 17);
  });

  test("of refreshes don't come together: what was asked at once is asked apart later", async () => {
    servers.answer = (asked) => reply(asked, hosts(asked.name, ["192.0.2.7"], 3600));
    use(...NAMES.slice(0, 32));
    await clock.advance(6 * HOUR);
    const late = servers.asked.slice(-32).map(({ at }) => at);
    expect(Math.max(...late) - Math.min(...late)).toBeGreaterThan(5 * MINUTE);
  });

  test("end with stop: nothing is asked and no timer goes on", async () => {
    servers.answer = (asked) => reply(asked, hosts(asked.name, ["192.0.2.7"], 1));
    use(...NAMES);
    await clock.advance(1000);
    resolver.stop();
    await clock.advance(PATIENCE);
    const before = servers.asked.length;
    await clock.advance(HOUR);
    expect(servers.asked).toHaveLength(before);
    expect(clock.pending).toBe(0);
  });
});

test("it is told how many names there are, which of them fail, and how often that was tried", async () => {
  servers.answer = (asked) =>
    reply(asked, asked.name === "www.example" ? hosts(asked.name, ["192.0.2.7", "192.0.2.8"]) : []);
  use("www.example", "none.example");
  expect(resolver.status).toEqual({ names: 2, unknown: 2, failing: 0, addresses: 0, lookups: 0, failures: 0 });
  await clock.advance(100);
  // That a name has no address is known, when a name server has said so.
  expect(resolver.status).toEqual({ names: 2, unknown: 0, failing: 1, addresses: 2, lookups: 2, failures: 1 });
  await clock.advance(BACK_OFF.first * (1 + BACK_OFF.jitter));
  expect(resolver.status).toMatchObject({ lookups: 3, failures: 2 });
});

test("addresses are numbers as the dataplane has them", async () => {
  servers.answer = always(...hosts("www.example", ["255.255.255.255", "0.0.0.1", "128.0.0.0"]));
  use("www.example");
  await clock.advance(100);
  expect(resolver.addressesOf("www.example")).toEqual([1, 0x80000000, 0xffffffff]);
  expect(parseAddress("128.0.0.0")).toBe(0x80000000);
});

/** Has the resolver know the addresses of both families of some names, all in the rules of "work". */
function useBoth(...names: string[]): void {
  const work = new Map(names.map((name) => [name, new Set(["work"])]));
  resolver.setNames(work, work);
}

function inForce6(name: string): string[] | undefined {
  return resolver.addresses6Of(name)?.map(formatIp);
}

/** Each name has these addresses, of either family. */
function having(addresses: readonly string[], ttl = 60): Answerer {
  return (asked) => {
    const ofType = addresses.filter((address) => address.includes(":") === (asked.type === "AAAA"));
    return reply(asked, hosts(asked.name, ofType, ttl));
  };
}

describe("IPv6 addresses of a name", () => {
  test("are asked for where rules need them, once for a name, and are ascending and each there once", async () => {
    servers.answer = having(["192.0.2.7", "2001:db8::10", "2001:DB8::9", "2001:db8:0:0:0:0:0:9"]);
    useBoth("www.example");
    await clock.advance(100);
    expect(servers.asked.map(({ type }) => type).sort()).toEqual(["A", "AAAA"]);
    expect(inForce("www.example")).toEqual(["192.0.2.7"]);
    expect(inForce6("WWW.example.")).toEqual(["2001:db8::9", "2001:db8::10"]);
    expect(new Set(changes.flat())).toEqual(new Set(["www.example"]));
    expect(resolver.status).toMatchObject({ names: 1, unknown: 0, failing: 0, addresses: 3, lookups: 2, failures: 0 });
  });

  test("are not asked for where no rule needs them, and forgotten when none does any more", async () => {
    servers.answer = having(["192.0.2.7", "2001:db8::9"]);
    use("www.example");
    await clock.advance(100);
    expect(servers.asked.map(({ type }) => type)).toEqual(["A"]);
    expect(inForce6("www.example")).toBeUndefined();
    useBoth("www.example");
    await clock.advance(100);
    expect([inForce6("www.example"), servers.asked.map(({ type }) => type)]).toEqual([["2001:db8::9"], ["A", "AAAA"]]);
    resolver.setNames(new Map(), new Map([["www.example", new Set(["work"])]]));
    expect([resolver.addressesOf("www.example"), inForce6("www.example")]).toEqual([undefined, ["2001:db8::9"]]);
    resolver.setNames(new Map());
    expect(inForce6("www.example")).toBeUndefined();
  });

  test("are known to be none where a name server says so, which is said once and is no failure beside IPv4 ones", async () => {
    servers.answer = having(["192.0.2.7"], 3600);
    useBoth("www.example");
    await clock.advance(MINUTE);
    expect([inForce("www.example"), inForce6("www.example")]).toEqual([["192.0.2.7"], []]);
    expect(lines).toEqual([
      'name "www.example" does not resolve to IPv6 addresses, its rules match nothing until it does: it has no IPv6 address',
    ]);
    expect(resolver.status).toMatchObject({ names: 1, unknown: 0, failing: 0 });
    servers.answer = having(["192.0.2.7", "2001:db8::9"], 3600);
    await clock.advance(5 * MINUTE);
    expect(inForce6("www.example")).toEqual(["2001:db8::9"]);
    expect(lines.at(-1)).toBe('name "www.example" resolves to IPv6 addresses now');
  });

  test("stay unknown while servers fail at AAAA alone, whatever is known of IPv4", async () => {
    servers.answer = (asked) =>
      asked.type === "A" ? reply(asked, hosts(asked.name, ["192.0.2.7"])) : reply(asked, [], { rcode: 2 });
    useBoth("www.example");
    await clock.advance(10_000);
    expect([inForce("www.example"), inForce6("www.example")]).toEqual([["192.0.2.7"], undefined]);
    expect(resolver.status).toMatchObject({ names: 1, unknown: 1, failing: 1 });
    expect(lines[0]).toStartWith(
      'name "www.example" does not resolve to IPv6 addresses, until it does rules that accept',
    );
  });

  test("follow aliases, and an answer's IPv4 addresses are no part of it", async () => {
    const v4 = hosts("end.example", ["192.0.2.7"]);
    servers.answer = (asked) =>
      reply(asked, [alias(asked.name, "end.example"), ...hosts("end.example", ["2001:db8::9"]), ...v4]);
    resolver.setNames(new Map(), new Map([["www.example", new Set(["work"])]]));
    await clock.advance(100);
    expect(inForce6("www.example")).toEqual(["2001:db8::9"]);
  });

  test("of more than are kept are always the same ones", async () => {
    const made = (turn: number) => Array.from({ length: 600 }, (_, i) => `2001:db8::${((i * 7 + turn) % 600) + 1}`);
    let turn = 0;
    servers.answer = (asked) => reply(asked, hosts(asked.name, made(turn++), 5));
    resolver.setNames(new Map(), new Map([["www.example", new Set(["work"])]]));
    await clock.advance(100);
    const first = inForce6("www.example");
    await clock.advance(MINUTE);
    expect(inForce6("www.example")).toEqual(first);
    expect(first).toHaveLength(256);
    expect(lines).toEqual(['name "www.example" has more IPv6 addresses than are kept: its rules know of 256']);
  });

  test("in an answer to a client that we don't know of have us ask, and nothing that it says is believed", async () => {
    servers.answer = having(["192.0.2.7", "2001:db8::9"], 3600);
    useBoth("www.example");
    await clock.advance(100);
    servers.asked.length = 0;
    await resolver.observe("work", passingBy("www.example", ["2001:db8::9"]));
    expect(servers.asked).toHaveLength(0);
    servers.answer = having(["192.0.2.7", "2001:db8::a"], 3600);
    const settled = resolver.observe("work", passingBy("www.example", ["2001:db8::a"]));
    await clock.advance(100);
    await settled;
    expect(servers.asked.map(({ type }) => type)).toEqual(["AAAA"]);
    expect(inForce6("www.example")).toEqual(["2001:db8::9", "2001:db8::a"]);
    const lied = resolver.observe("work", passingBy("www.example", ["2001:db8::bad"]));
    await clock.advance(10_000);
    await lied;
    expect(inForce6("www.example")).toEqual(["2001:db8::9", "2001:db8::a"]);
  });

  test("are asked of servers of either family", async () => {
    servers.answer = (asked) => (asked.server === FIRST ? undefined : having(["2001:db8::9"])(asked));
    resolver.setServers([FIRST, SERVER6]);
    resolver.setNames(new Map(), new Map([["www.example", new Set(["work"])]]));
    await clock.advance(NEXT_SERVER + 100);
    expect(inForce6("www.example")).toEqual(["2001:db8::9"]);
    const before = servers.asked.length;
    resolver.setServers([FIRST, Uint8Array.from(SERVER6)]); // the same ones
    await clock.advance(100);
    expect(servers.asked.length).toBe(before);
  });
});
