// A client of the channel and the session that answers it, over memory: what each may send, how much of it, and what becomes of a
// client that is slow, greedy, gone, or mad.
import { describe, expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import { encodeItem, type Fields, ItemReader, type Value } from "../../src/channel/cbor.ts";
import { ChannelClient } from "../../src/channel/client.ts";
import { ChannelError, FIRST_CREDIT } from "../../src/channel/messages.ts";
import { type Operation, type Outlet, type Part, type Services, Session } from "../../src/channel/session.ts";

/** An outlet whose client takes bytes when the test says so. */
class Pipe implements Outlet {
  readonly taken: Uint8Array[] = [];
  isPaused = false;
  isEnded = false;
  waiting = 0;
  private readonly queue: Uint8Array[] = [];
  private wake = Promise.withResolvers<void>();

  constructor(private readonly isSlow = false) {}

  write(bytes: Uint8Array): void {
    this.queue.push(bytes);
    this.waiting += bytes.length;
    if (!this.isSlow) this.take();
  }

  take(): void {
    this.taken.push(...this.queue.splice(0));
    this.waiting = 0;
    this.wake.resolve();
    this.wake = Promise.withResolvers();
  }

  drained(): Promise<void> {
    return this.waiting === 0 ? Promise.resolve() : this.wake.promise;
  }

  pause(isPaused: boolean): void {
    this.isPaused = isPaused;
  }

  end(): void {
    this.isEnded = true;
  }

  get replies(): Value[] {
    const values: Value[] = [];
    const reader = new ItemReader((value) => values.push(value));
    for (const bytes of this.taken) reader.push(bytes);
    return values;
  }
}

let made = 0;

async function* count(args: Partial<Fields>): AsyncGenerator<Part> {
  for (let i = 0; i < Number(args.to); i++) {
    made++;
    yield { data: { i, text: "x".repeat(100) } };
  }
}

const services: Services = {
  greeting: { name: "test" },
  operations: new Map<string, Operation>([
    ["count", count],
    [
      "fail",
      async function* (): AsyncGenerator<Part> {
        yield { data: 1 };
        throw new ChannelError("arguments", "no such thing");
      },
    ],
    [
      "gaps",
      async function* (): AsyncGenerator<Part> {
        yield { data: 1 };
        yield { data: 2, lost: 5 };
      },
    ],
    [
      "wait",
      async function* (_, signal): AsyncGenerator<Part> {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      },
    ],
  ]),
};

const HELLO = { id: 0, op: "hello", args: { version: 1 } };

function open(pipe = new Pipe(), ...requests: readonly Fields[]): { session: Session; pipe: Pipe } {
  const session = new Session(services, pipe);
  for (const request of requests) session.receive(encodeItem(request));
  return { session, pipe };
}

const settle = async () => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate);
};

/** A client that is connected to a session. */
function connected(): { client: ChannelClient; session: Session } {
  const parts: { session?: Session } = {};
  const client = new ChannelClient({
    write: (bytes) => parts.session?.receive(Uint8Array.from(bytes)),
    close: () => parts.session?.close(),
  });
  const pipe = new Pipe();
  pipe.write = (bytes) => client.receive(Uint8Array.from(bytes));
  parts.session = new Session(services, pipe);
  return { client, session: parts.session };
}

/** @returns the code of the error that comes of it */
async function codeOf(answers: AsyncIterable<{ readonly data: Value }>): Promise<string> {
  try {
    await all(answers);
  } catch (error) {
    if (error instanceof ChannelError) return error.code;
    throw error;
  }
  throw new Error("it went well");
}

async function all(answers: AsyncIterable<{ readonly data: Value }>): Promise<Value[]> {
  const values: Value[] = [];
  for await (const { data } of answers) values.push(data);
  return values;
}

test("a client greets, asks, and gets all records and their end, however many there are", async () => {
  const { client } = connected();
  expect(await client.greet()).toEqual({ version: 1, name: "test" });
  const records = await all(client.ask("count", { to: 10 * FIRST_CREDIT + 1 }));
  expect(records.map((record) => (record as Fields).i)).toEqual(
    Array.from({ length: 10 * FIRST_CREDIT + 1 }, (_, i) => i),
  );
});

test("what is asked at the same time is answered at the same time, each by its id", async () => {
  const { client } = connected();
  await client.greet();
  const both = await Promise.all([all(client.ask("count", { to: 300 })), all(client.ask("count", { to: 2 }))]);
  expect(both.map((records) => records.length)).toEqual([300, 2]);
});

test("errors have a code, and end what they are about alone", async () => {
  const { client } = connected();
  await client.greet();
  expect(await codeOf(client.ask("fail"))).toBe("arguments");
  expect(await codeOf(client.ask("nothing"))).toBe("operation");
  expect((await all(client.ask("count", { to: 2 }))).length).toBe(2);
});

test("a client is told how many records it lost, where they are missing and at the end", async () => {
  const { client } = connected();
  await client.greet();
  const answers = [];
  for await (const answer of client.ask("gaps")) answers.push(answer);
  expect(answers).toEqual([
    { data: 1, lost: 0 },
    { data: 2, lost: 5 },
  ]);
  const { pipe } = open(new Pipe(), HELLO, { id: 1, op: "gaps" });
  await settle();
  expect(pipe.replies.slice(2)).toEqual([
    { id: 1, data: 1 },
    { id: 1, data: 2, lost: 5 },
    { id: 1, end: { records: 2, lost: 5 } },
  ]);
});

test("no more records are made than there is credit for", async () => {
  made = 0;
  const { session, pipe } = open(new Pipe(), HELLO, { id: 1, op: "count", args: { to: 1000 }, credit: 3 });
  await settle();
  expect(made).toBe(3);
  session.receive(encodeItem({ id: 1, op: "credit", credit: 2 }));
  session.receive(encodeItem({ id: 9, op: "credit", credit: 2 })); // of a stream that has ended
  await settle();
  expect(made).toBe(5);
  session.receive(encodeItem({ id: 1, op: "cancel" }));
  await settle();
  expect(pipe.replies.at(-1)).toEqual({ id: 1, end: { records: 5, lost: 0 } });
});

test("for a client that reads nothing, no more is made than a little, and nothing is read of it", async () => {
  made = 0;
  const pipe = new Pipe(true);
  const { session } = open(pipe, HELLO, { id: 1, op: "count", args: { to: 100_000 }, credit: 65_536 });
  await settle();
  expect(pipe.waiting).toBeGreaterThan(64 * 1024);
  expect(pipe.waiting).toBeLessThan(65 * 1024);
  session.receive(encodeItem({ id: 2, op: "count" }));
  expect(pipe.isPaused).toBe(true);
  const before = made;
  pipe.take();
  await settle();
  expect(made).toBeGreaterThan(before);
  session.close();
  await settle();
});

test("a client that is gone in the middle of records costs nothing any more", async () => {
  made = 0;
  const pipe = new Pipe(true);
  const { session } = open(
    pipe,
    HELLO,
    { id: 1, op: "count", args: { to: 100_000 }, credit: 65_536 },
    { id: 2, op: "wait" },
  );
  await settle();
  session.close();
  pipe.take();
  const before = made;
  await settle();
  expect(made).toBe(before);
});

test("sixteen requests may be open, and one more is refused alone", async () => {
  const requests = Array.from({ length: 17 }, (_, i) => ({ id: i + 1, op: "wait" }));
  const { session, pipe } = open(new Pipe(), HELLO, ...requests);
  await settle();
  expect(pipe.replies.slice(2)).toEqual([
    { id: 17, error: { code: "busy", text: "16 requests are not answered yet" } },
  ]);
  session.receive(encodeItem({ id: 3, op: "cancel" }));
  await settle();
  session.receive(encodeItem({ id: 17, op: "count", args: { to: 1 } }));
  await settle();
  expect(pipe.replies.at(-1)).toEqual({ id: 17, end: { records: 1, lost: 0 } });
  session.close();
  await settle();
});

describe("the connection ends, with a reason, where", () => {
  test.each<[string, Fields, string]>([
    ["another version is spoken", { ...HELLO, args: { version: 2 } }, "version"],
    ["nobody greets", { id: 1, op: "count", args: { to: 1 } }, "protocol"],
    ["a request has no id", { op: "hello" }, "protocol"],
    ["a request has an unknown key", { ...HELLO, more: 1 }, "protocol"],
    ["an id is no number", { ...HELLO, id: "0" }, "protocol"],
    ["arguments are no map", { ...HELLO, args: [] }, "protocol"],
  ])("%s", (_, request, code) => {
    const { pipe } = open(new Pipe(), request);
    expect(pipe.isEnded).toBe(true);
    expect(pipe.replies).toEqual([{ id: null, error: { code, text: expect.any(String) } }]);
  });

  test("an id is used twice", () => {
    const { pipe } = open(new Pipe(), HELLO, { id: 1, op: "wait" }, { id: 1, op: "wait" });
    expect(pipe.isEnded).toBe(true);
    expect(pipe.replies.at(-1)).toMatchObject({ id: null, error: { code: "protocol" } });
  });
});

/** Changes, drops, doubles and moves bytes. */
function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  const changed = Array.from(bytes);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(changed.length);
    const kind = random.below(4);
    if (kind === 0) changed[at] = random.below(256);
    else if (kind === 1) changed.splice(at, 1 + random.below(4));
    else if (kind === 2) changed.splice(at, 0, ...changed.slice(at, at + random.below(9)));
    else changed[at] ^= 1 << random.below(8);
  }
  return Uint8Array.from(changed);
}

/** A million by FIREBREAK_MUTANTS=1000000; the suite has fewer. */
const MUTANTS = Number(process.env.FIREBREAK_MUTANTS ?? 20_000);

test("whatever a client sends, the session answers or ends it, and holds nothing afterwards", async () => {
  const random = new Random(7);
  const good = [
    { id: 1, op: "count", args: { to: 3 }, credit: 2 },
    { id: 1, op: "credit", credit: 9 },
    { id: 2, op: "wait", args: {} },
    { id: 2, op: "cancel" },
    { id: 3, op: "fail", args: { a: [1, { b: null }] } },
  ].map((request) => encodeItem(request));
  let answered = 0;
  for (let round = 0; round < MUTANTS; round++) {
    const { session, pipe } = open(new Pipe(), HELLO);
    for (const bytes of good) session.receive(random.chance(0.4) ? mutate(bytes, random) : bytes);
    if (round % 64 === 0) await new Promise(setImmediate);
    session.close();
    if (pipe.taken.length > 2) answered++;
  }
  expect(answered).toBeGreaterThan(MUTANTS / 2);
}, 600_000);

test("whatever a firewall sends, the client reads records or an error, and never waits for ever", async () => {
  const random = new Random(8);
  const replies = [
    { id: 0, data: { version: 1 } },
    { id: 0, end: { records: 1, lost: 0 } },
    { id: 1, data: [1, "x"], lost: 2 },
    { id: 1, error: { code: "failed", text: "x" } },
  ].map((reply) => encodeItem(reply));
  for (let round = 0; round < MUTANTS / 4; round++) {
    const client = new ChannelClient({ write: () => {}, close: () => {} });
    const asked = Promise.allSettled([client.greet(), all(client.ask("count"))]);
    for (const bytes of replies) client.receive(random.chance(0.4) ? mutate(bytes, random) : bytes);
    client.fail(new Error("gone"));
    await asked;
  }
}, 600_000);
