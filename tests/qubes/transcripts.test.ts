// What Qubes OS's own daemons said is said again to QubesDB's client and to qrexec's agent, byte for byte: they answer as they
// did then. The doubles of the daemons, put in their place, say what the daemons said. Cut at any byte, all is whole again.
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { QrexecAgent } from "../../src/qubes/qrexec.ts";
import type { AgentChannels, Service } from "../../src/qubes/qrexec-calls.ts";
import {
  decodeQrexec,
  encodeNumber,
  QREXEC,
  QREXEC_HEADER_LENGTH,
  QREXEC_PORT,
  qrexecBodyLength,
  VERSIONS,
} from "../../src/qubes/qrexec-wire.ts";
import { QubesDb } from "../../src/qubes/qubesdb.ts";
import {
  decodeQdb,
  QDB,
  QDB_HEADER_LENGTH,
  QDB_VALUE_LENGTH,
  type QdbMessage,
  QUBESDB_PORT,
  qdbValueLength,
} from "../../src/qubes/qubesdb-wire.ts";
import type { PacedStream, StreamHandler } from "../../src/xen/byte-stream.ts";
import { Framer } from "../../src/xen/byte-stream.ts";
import { QrexecDouble } from "../support/qrexec-double.ts";
import { QubesDbDouble } from "../support/qubesdb-double.ts";
import { readTranscript, said, type TranscriptEvent } from "../support/transcripts.ts";

setDefaultTimeout(60_000);

const CONTROL = QREXEC_PORT;

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

async function until(what: () => string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`in vain: ${what()}`);
    await Bun.sleep(1);
  }
}

// QubesDB

/** One connection after the other. */
const DATABASE = [
  "database-at-connection",
  "rules-changed",
  "ten-rule-changes",
  "keys-written-and-removed-by-hand",
  "daemon-killed-and-filled-again-key-by-key",
  "daemon-ended-and-filled-again-key-by-key",
  "daemon-killed-while-it-fills",
] as const;

function ofDatabase(name: string): TranscriptEvent[] {
  return readTranscript(name).filter(({ port }) => port === QUBESDB_PORT);
}

function databaseMessages(bytes: Uint8Array): QdbMessage[] {
  const messages: QdbMessage[] = [];
  new Framer(QDB_HEADER_LENGTH, qdbValueLength, (header, data) => messages.push(decodeQdb(header, data))).push(bytes);
  return messages;
}

/** A client that does what the recorded one did, and the bytes that it sends. */
class DatabaseClient {
  readonly db: QubesDb;
  sent: Uint8Array[] = [];
  connections = 0;
  synchronisations = 0;
  private handler: StreamHandler | undefined;

  constructor(writesNothing = false) {
    this.db = new QubesDb(
      async (handler) => {
        this.handler = handler;
        this.connections++;
        return { send: (bytes) => this.sent.push(bytes), close: () => {} };
      },
      {
        synchronised: () => {
          this.synchronisations++;
          if (writesNothing) return;
          this.db.write("/features-request/qubes-firewall", "1");
          this.db.write("/qubes-iptables-error", "");
        },
        written: (path) => {
          if (!writesNothing) this.written(path);
        },
        removed: () => {},
        trouble: () => {},
      },
    );
  }

  private hasRemoved = false;

  private written(path: string): void {
    if (path === "/test/remove" && !this.hasRemoved) {
      this.hasRemoved = true;
      this.db.remove("/qubes-iptables-error");
    }
    if (!/^\/qubes-firewall\/[0-9.]+$/.test(path)) return;
    const counter = path.replace("firewall", "firewall-handled");
    this.db.write(counter, String(Number(this.db.get(counter) ?? 0) + 1));
  }

  hear(bytes: Uint8Array): void {
    this.handler?.received(bytes);
  }

  lose(): void {
    const { handler } = this;
    this.handler = undefined;
    handler?.closed("the peer closed the channel");
  }

  async connected(): Promise<void> {
    await until(
      () => "a connection",
      () => this.handler !== undefined,
    );
    await Promise.resolve(); // the stream is given, and the first message is sent on it
  }

  take(): Uint8Array {
    const bytes = Buffer.concat(this.sent);
    this.sent = [];
    return bytes;
  }
}

const clients: DatabaseClient[] = [];
function client(writesNothing = false): DatabaseClient {
  const made = new DatabaseClient(writesNothing);
  clients.push(made);
  return made;
}
afterEach(() => {
  for (const { db } of clients.splice(0)) db.close();
});

/** What is said on one connection after the other. */
function connections(events: readonly TranscriptEvent[]): TranscriptEvent[][] {
  const parts: TranscriptEvent[][] = [[]];
  for (const event of events) {
    if (event.what === "dom0 serves") parts.push([]);
    parts.at(-1)?.push(event);
  }
  return parts.filter(({ length }) => length > 0);
}

test("QubesDB's client answers the real daemon as it did, byte for byte", async () => {
  const ours = client();
  for (const name of DATABASE) {
    const parts = connections(ofDatabase(name));
    for (const [i, part] of parts.entries()) {
      if (part[0]?.what === "dom0 serves") ours.lose();
      await ours.connected();
      for (const { what, bytes } of part) if (what === "dom0") ours.hear(bytes);
      const expected = hex(said("domain", part));
      // A daemon that is killed does not read everything.
      const length = i < parts.length - 1 ? expected.length : undefined;
      expect([name, i, hex(ours.take()).slice(0, length)]).toEqual([name, i, expected]);
    }
  }
});

test("cut at any byte, QubesDB's client keeps what it had, connects again, and is whole again, without what is gone", async () => {
  const database = said("dom0", ofDatabase("database-at-connection"));
  const changes = said("dom0", ofDatabase("rules-changed"));
  const bytes = Buffer.concat([database, changes]);
  // The next daemon has one key less, and then a change more.
  const [first] = databaseMessages(database);
  if (first === undefined) throw new Error("an empty transcript");
  const later = Buffer.concat([bytes.subarray(QDB_HEADER_LENGTH + first.value.length), changes]);
  const expected = client(true);
  await expected.connected();
  expected.hear(later);
  const whole = expected.db.below("/");
  expect(whole.length).toBeGreaterThan(20);
  expect(expected.db.get(first.path)).toBeUndefined();
  const cut = await Promise.all(
    Array.from(bytes, async (_, at) => {
      const ours = client(true);
      await ours.connected();
      ours.hear(bytes.subarray(0, at));
      const had = JSON.stringify(ours.db.below("/"));
      ours.lose();
      await ours.connected();
      const half = at % Math.trunc(database.length / 2); // of what is read anew
      ours.hear(later.subarray(0, half));
      const kept = JSON.stringify(ours.db.below("/"));
      ours.hear(later.subarray(half));
      return { had, kept, now: ours.db.below("/") };
    }),
  );
  for (const [at, { had, kept, now }] of cut.entries()) {
    expect([at, kept]).toEqual([at, had]);
    expect([at, now]).toEqual([at, whole]);
  }
});

/** What is done to the database in dom0. */
type Deed = (double: QubesDbDouble) => void;
const write =
  (path: string, value = ""): Deed =>
  (double) =>
    double.write(path, value);
const remove =
  (path: string): Deed =>
  (double) =>
    double.remove(path);
const rules = (...texts: readonly string[]): Deed[] => [
  remove("/qubes-firewall/10.137.0.9/"),
  write("/qubes-firewall/10.137.0.9/policy", "drop"),
  ...texts.map((text, i) => write(`/qubes-firewall/10.137.0.9/${String(i).padStart(4, "0")}`, text)),
  write("/qubes-firewall/10.137.0.9"),
];

const SEED = "/qubes-random-seed";
/** How qubes-core-admin fills it: the qube's own keys, what it is told of clients, services. */
const OWN = {
  ...{ "/name": "fw", "/type": "VM", "/default-user": "user", "/qubes-vm-updateable": "False" },
  ...{ "/qubes-vm-persistence": "rw-only", "/qubes-debug-mode": "0", "/qubes-base-template": "debian-12", [SEED]: "" },
  ...{ "/qubes-netvm-network": "10.137.0.1", "/qubes-netvm-gateway": "10.137.0.1" },
  ...{ "/qubes-netvm-netmask": "255.255.255.255", "/qubes-netvm-primary-dns": "10.139.1.1" },
  ...{ "/qubes-netvm-secondary-dns": "10.139.1.2", "/qubes-mac": "00:16:3e:00:00:05", "/qubes-ip": "10.137.0.5" },
  ...{ "/qubes-netmask": "255.255.255.255", "/qubes-gateway": "10.138.0.1", "/qubes-primary-dns": "10.139.1.1" },
  ...{ "/qubes-secondary-dns": "10.139.1.2", "/qubes-timezone": "Etc/UTC" },
  ...{ "/qubes-block-devices": "", "/qubes-usb-devices": "" },
};
const CONNECTED = { "/connected-ips": "10.137.0.9 10.137.0.10", "/connected-ips6": "" };
const MAPPED = {
  "/mapped-ip/10.137.0.9/visible-ip": "10.137.0.9",
  "/mapped-ip/10.137.0.9/visible-gateway": "10.137.0.1",
};
const SERVICE = { "/qubes-service/meminfo-writer": "0" };
const web = (port: number): Deed[] => rules(`action=accept proto=tcp dstports=${port}-${port}`, "action=drop");

const all = (entries: Readonly<Record<string, string>>): Deed[] =>
  Object.entries(entries).map(([path, value]) => write(path, value));

/** @param port that the client may reach. @param seed is another one each time */
function filled(port: number, seed: string): Deed[] {
  return [...all({ ...OWN, [SEED]: seed }), ...all(CONNECTED), ...all(MAPPED), ...web(port), ...all(SERVICE)];
}

/** What was done in dom0 while each was recorded: while its first connection lasted, and so on. */
const DEEDS: Readonly<Record<(typeof DATABASE)[number], (seeds: readonly string[]) => Deed[][]>> = {
  "database-at-connection": ([seed = ""]) => [
    [...all({ ...OWN, ...SERVICE, [SEED]: seed }), ...all({ ...CONNECTED, ...MAPPED }), ...rules("action=accept")],
  ],
  "rules-changed": () => [web(80)],
  "ten-rule-changes": () => [Array.from({ length: 10 }, (_, i) => web(80 + (i % 2))).flat()],
  "keys-written-and-removed-by-hand": () => [
    [
      ...[write("/test/long", "x".repeat(QDB_VALUE_LENGTH)), write("/test/empty"), remove("/test/long")],
      ...[remove("/test/nothing"), write("/test/remove", "1"), remove("/test/")],
    ],
  ],
  "daemon-killed-and-filled-again-key-by-key": ([seed = ""]) => [filled(81, seed)],
  "daemon-ended-and-filled-again-key-by-key": ([seed = ""]) => [
    [...filled(81, seed), ...all({ ...CONNECTED, ...MAPPED }), ...web(81)],
  ],
  "daemon-killed-while-it-fills": ([first = "", second = ""]) => [
    filled(81, first).slice(0, 19), // it was killed behind /qubes-secondary-dns
    filled(81, second),
  ],
};

/** The double where the daemon was. */
class DatabaseStandIn {
  private readonly double = new QubesDbDouble();
  private readonly hears = this.double.handler();
  private sent: QdbMessage[] = [];

  constructor() {
    const framer = new Framer(QDB_HEADER_LENGTH, qdbValueLength, (...parts) => this.sent.push(decodeQdb(...parts)));
    this.double.attach({ send: (bytes) => framer.push(bytes), close: () => {} });
  }

  /** Says to it what the domain said, and does to it what was done, as soon as the daemon spoke of it. @returns what it says */
  replay(part: readonly TranscriptEvent[], deeds: Deed[]): QdbMessage[] {
    this.sent = [];
    let told = 0; // of deeds, by the daemon
    const framer = new Framer(QDB_HEADER_LENGTH, qdbValueLength, (...parts) => {
      if (isChange(decodeQdb(...parts))) told++;
    });
    for (const { what, bytes } of part) {
      if (what === "domain") this.hears.received(bytes);
      if (what !== "dom0") continue;
      framer.push(bytes);
      while (this.sent.filter(isChange).length < told && deeds.length > 0) deeds.shift()?.(this.double);
    }
    for (const deed of deeds) deed(this.double);
    expect(this.double.mistakes).toEqual([]);
    return this.sent;
  }

  /** Before anybody reads. */
  fill(deeds: readonly Deed[]): void {
    for (const deed of deeds) deed(this.double);
  }
}

function isChange({ type }: QdbMessage): boolean {
  return type === QDB.WRITE || type === QDB.RM;
}

test("QubesDB's double, in the real daemon's place, says what that said", () => {
  let standIn = new DatabaseStandIn();
  for (const name of DATABASE) {
    const events = ofDatabase(name);
    const seeds = databaseMessages(said("dom0", events)).filter(({ path }) => path === SEED);
    const deeds = DEEDS[name](seeds.map(({ value }) => value));
    for (const [i, part] of connections(events).entries()) {
      if (part[0]?.what === "dom0 serves") standIn = new DatabaseStandIn();
      if (name === "database-at-connection") standIn.fill(deeds.splice(0, 1).flat());
      const expected = databaseMessages(said("dom0", part));
      expect(expected.length).toBeGreaterThan(3);
      expect([name, i, standIn.replay(part, deeds[i] ?? [])]).toEqual([name, i, expected]);
    }
  }
});

// Qrexec

const CALLS = [
  ...["exec-cmdline-with-input", "exec-cmdline-with-default-user-and-nogui", "exec-cmdline-that-fails"],
  ...["exec-cmdline-of-what-is-not-there", "long-output", "long-input", "just-exec", "service-connect"],
  ...["service-connect-with-input", "service-connect-with-long-output-and-stderr"],
  ...["service-connect-of-what-is-not-there", "service-refused"],
] as const;

/** The recorded guest's services; with what its calls of dom0's came to. */
class Guest {
  readonly outcomes: string[] = [];
  agent: QrexecAgent | undefined;

  readonly services = new Map<string, Service>([
    [
      "test.Echo",
      async ({ input, argument, caller }) => ({ status: 0, output: `${caller} ${argument}: ${await input}` }),
    ],
    ["test.Wait", async () => ({ status: 3, error: "not now\n" })],
    ["test.Fail", async () => Promise.reject(new Error("out of order"))],
    ["test.Long", async () => ({ status: 0, output: "x".repeat(150_000) })],
    ["test.Never", () => new Promise(() => {})],
    [
      "test.Call",
      async ({ argument, input }) => {
        void this.call(argument, await input);
        return { status: 0 };
      },
    ],
    ["test.Offer", async () => ({ status: 0 })],
  ]);

  private async call(service: string, input: string): Promise<void> {
    const outcome = await this.agent
      ?.call("dom0", service, input)
      .then(
        ({ status, output = "", error = "" }) => [status, output.length, output.slice(0, 8), error].join(" "),
        String,
      );
    this.outcomes.push(`${service}: ${outcome}`);
  }
}

/** One use of a port: what our side has sent, and, while it is open, who hears. */
interface Use {
  readonly port: number;
  sent: Uint8Array[];
  handler: StreamHandler | undefined;
  /** Bytes that our side had sent by now when it was recorded. */
  due: number;
}

/** Channels whose other ends are the test's. */
class Channels implements AgentChannels {
  readonly uses: Use[] = [];

  async connect(_: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream> {
    return this.open(port, handler, signal);
  }

  async serve(_: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream> {
    return this.open(port, handler, signal);
  }

  async isOffered(): Promise<boolean> {
    return false;
  }

  open(port: number, handler: StreamHandler, signal?: AbortSignal): PacedStream {
    const use: Use = { port, sent: [], handler, due: 0 };
    this.uses.push(use);
    signal?.addEventListener("abort", () => end(use, "called off"));
    return {
      send: (bytes) => use.sent.push(bytes.slice()),
      flushed: () => Promise.resolve(),
      close: () => {
        use.handler = undefined;
      },
    };
  }

  get first(): Use {
    const [use] = this.uses;
    if (use === undefined) throw new Error("no channel");
    return use;
  }

  /** The partner goes away. */
  cut(port: number): void {
    for (const use of this.uses) if (use.port === port) end(use, "cut");
  }

  /** The newest use of a port that no other event was for, once there is one. */
  async next(port: number, known: ReadonlySet<Use>): Promise<Use> {
    let found: Use | undefined;
    await until(
      () => `a channel on port ${port}`,
      () => {
        found = this.uses.findLast((use) => use.port === port && !known.has(use));
        return found !== undefined;
      },
    );
    if (found === undefined) throw new Error("gone again");
    return found;
  }
}

function end(use: Use, reason: string): void {
  const { handler } = use;
  use.handler = undefined;
  handler?.closed(reason);
}

function greeting(version: number): Uint8Array {
  return encodeNumber(QREXEC.HELLO, version);
}

/** An agent that is greeted, and served by transcripts. */
class AgentReplay {
  readonly guest = new Guest();
  readonly channels = new Channels();
  readonly agent: QrexecAgent;
  readonly ended: string[] = [];
  private readonly control: Use;

  /** @param calls of its own that it has made */
  constructor(version: number, calls = 0) {
    VERSIONS.most = version;
    this.agent = new QrexecAgent(
      this.guest.services,
      this.channels,
      () => {},
      (reason) => this.ended.push(reason),
    );
    this.guest.agent = this.agent;
    this.agent.start(this.channels.open(CONTROL, this.agent.handler));
    this.control = this.channels.first;
    this.agent.handler.received(greeting(version));
    for (let i = 0; i < calls; i++) void this.agent.call("dom0", "none").catch(() => {});
    expect(this.control.sent[0]).toEqual(greeting(version));
    this.forget();
  }

  /** What was said on the control channel. */
  forget(): void {
    this.control.sent = [];
  }

  /** Whether dom0 has been told of the end of each call. */
  get isIdle(): boolean {
    const told = qrexecMessages(Buffer.concat(this.control.sent)).filter((message) => message.startsWith("211 "));
    return told.length >= this.channels.uses.filter(({ port }) => port !== CONTROL).length;
  }

  /** Says what dom0 said, when the domain has said what came before. @returns what the agent says, channel for channel */
  async replay(events: readonly TranscriptEvent[]): Promise<string[][]> {
    this.forget();
    return replayThrough(this.channels, this.control, "dom0", events);
  }
}

/**
 * Says what one side said to the other, when that has said what came before.
 * @param who speaks
 * @returns what the other says, channel for channel, each message as text
 */
async function replayThrough(
  channels: Channels,
  control: Use,
  who: "dom0" | "domain",
  events: readonly TranscriptEvent[],
): Promise<string[][]> {
  const known = new Set(channels.uses);
  const open = new Map([[CONTROL, control]]);
  const used = [control];
  control.due = 0;
  for (const { port, what, bytes } of events) {
    if (what === "dom0 serves" || what === "dom0 connected") open.delete(port);
    const use = open.get(port);
    // That the domain is gone, dom0 notices before it has read all.
    if (who === "dom0" && what === "dom0 closed" && use !== undefined) end(use, "the peer closed the channel");
    if (what !== "dom0" && what !== "domain") continue;
    const of = use ?? (await channels.next(port, known));
    if (!known.has(of)) used.push(of);
    known.add(of);
    open.set(port, of);
    if (what === who) of.handler?.received(bytes);
    else await arrive(of, bytes.length);
  }
  return used.map(({ sent }) => qrexecMessages(Buffer.concat(sent)));
}

/** Waits until our side has sent so many bytes more. */
async function arrive(use: Use, length: number): Promise<void> {
  use.due += length;
  const sent = () => use.sent.reduce((sum, bytes) => sum + bytes.length, 0);
  await until(
    () => `${use.due} bytes on port ${use.port}, of which ${sent()} have come`,
    () => sent() >= use.due,
  );
}

/** @returns each message: its type, how much it carries, and that in hex */
function qrexecMessages(bytes: Uint8Array): string[] {
  const messages: string[] = [];
  new Framer(QREXEC_HEADER_LENGTH, qrexecBodyLength, (header, body) => {
    const { type } = decodeQrexec(header, body);
    messages.push(`${type.toString(16)} ${body.length} ${hex(body)}`);
  }).push(bytes);
  return messages;
}

/** @returns what one side said, channel for channel in their order */
function recorded(who: "dom0" | "domain", events: readonly TranscriptEvent[]): string[][] {
  const channels: { port: number; parts: Uint8Array[] }[] = [];
  const open = new Map<number, { port: number; parts: Uint8Array[] }>();
  for (const { port, what, bytes } of events) {
    if (port === CONTROL) continue;
    if (what === "dom0 serves" || what === "dom0 connected") open.delete(port);
    if (what !== "dom0" && what !== "domain") continue;
    let channel = open.get(port);
    if (channel === undefined) {
      channel = { port, parts: [] };
      channels.push(channel);
      open.set(port, channel);
    }
    if (what === who) channel.parts.push(bytes);
  }
  const ofData = channels.map(({ parts }) => qrexecMessages(Buffer.concat(parts)));
  return [qrexecMessages(said(who, events, CONTROL)), ...ofData];
}

/** What the guest's calls of dom0's services come to, in the order of CALLS. */
const OUTCOMES = [
  "lab.Echo: 0 0  ",
  "lab.Echo: 0 8 to dom0\n ",
  "lab.Long: 7 60000 zzzzzzzz ",
  "lab.None: 127 0  ",
  "lab.Denied: Error: qrexec: dom0 refused the call",
];

const OFFERED = VERSIONS.most;
afterEach(() => {
  VERSIONS.most = OFFERED;
});

test.each([2, 3, 4])(
  "qrexec's agent that offers version %d answers the real daemon as it did, byte for byte",
  async (version) => {
    const replay = new AgentReplay(version);
    for (const call of CALLS) {
      const events = readTranscript(`version-${version}-${call}`);
      const expected = recorded("domain", events);
      const answers = await replay.replay(events);
      // Where dom0 has nothing to run, it leaves before it reads that there is no input.
      if (call === "service-connect-of-what-is-not-there") expect(answers.at(-1)?.pop()).toBe("190 0 ");
      expect([call, answers]).toEqual([call, expected]);
    }
    await until(
      () => "the outcome of the last call",
      () => replay.guest.outcomes.length === OUTCOMES.length,
    );
    expect(replay.guest.outcomes).toEqual(OUTCOMES);
    expect(replay.ended).toEqual([]);
  },
);

/** Those that are short enough to be cut at every byte. */
const SHORT = CALLS.filter((call) => !call.includes("long"));
const [PROBE] = CALLS;

test.each(SHORT)(
  "cut at any byte of what dom0 says, %s ends, dom0 hears of it, and the next call is whole",
  async (call) => {
    const events = readTranscript(`version-3-${call}`);
    for (const [end, { what, port, bytes }] of events.entries()) {
      if (what !== "dom0") continue;
      for (let at = 0; at < bytes.length; at++) {
        const replay = new AgentReplay(3, CALLS.slice(0, CALLS.indexOf(call)).filter(isOurs).length);
        await replay.replay([...events.slice(0, end), { ms: 0, port, what, bytes: bytes.subarray(0, at) }]);
        if (port === CONTROL) replay.agent.handler.closed("cut");
        else replay.channels.cut(port);
        await until(
          () => `the end of all channels of ${call}, cut at ${at} of event ${end}`,
          () => replay.channels.uses.every((use) => use.port === CONTROL || use.handler === undefined),
        );
        expect([at, replay.ended]).toEqual([at, port === CONTROL ? ["cut"] : []]);
        const next = port === CONTROL ? new AgentReplay(3) : replay;
        await until(
          () => "the ends that dom0 is told of",
          () => next.isIdle,
        );
        const probe = readTranscript(`version-3-${PROBE}`);
        expect([at, await next.replay(probe)]).toEqual([at, recorded("domain", probe)]);
      }
    }
  },
);

/** Whether it makes the guest call dom0. */
function isOurs(call: string): boolean {
  return call.startsWith("service");
}

test("calls whose caller is killed, or gone before it serves, end; the next daemon's calls have their own answers", async () => {
  const first = new AgentReplay(3);
  const inMidCall = readTranscript("caller-killed-in-mid-call");
  const [said512, ...ofData] = await first.replay(inMidCall);
  expect([said512, ...ofData]).toEqual(recorded("domain", inMidCall));
  first.channels.cut(513);
  await until(
    () => "the end of the call",
    () => first.isIdle,
  );
  await first.replay(readTranscript("caller-gone-before-it-serves"));
  first.agent.handler.closed("cut");
  await until(
    () => "the end of all channels",
    () => first.channels.uses.every((use) => use.port === CONTROL || use.handler === undefined),
  );
  const next = readTranscript("qrexec-daemon-killed");
  const events = next.slice(next.findIndex(({ what, port }) => what === "dom0" && port === CONTROL));
  const [[, ...answers] = [], ...channels] = recorded("domain", next);
  const second = new AgentReplay(3);
  expect(await second.replay(withoutGreeting(events))).toEqual([answers, ...channels]);
});

/** What dom0 said behind its greeting, with which the first bytes of a call may have come. */
function withoutGreeting([first, ...others]: readonly TranscriptEvent[]): TranscriptEvent[] {
  if (first === undefined) return [];
  return [{ ...first, bytes: first.bytes.subarray(greeting(0).length) }, ...others];
}

/** Qrexec's double where the daemon was. */
class QrexecStandIn {
  readonly channels = new Channels();
  readonly double: QrexecDouble;
  private readonly control: Use;

  constructor(version: number) {
    this.double = new QrexecDouble(1, this.channels, 4);
    this.double.attach(this.channels.open(CONTROL, this.double.handler));
    this.control = this.channels.first;
    this.double.handler.received(greeting(version));
  }

  /** @returns what the double says when it is used so, channel for channel */
  async replay(
    events: readonly TranscriptEvent[],
    use: (double: QrexecDouble) => Promise<unknown>,
  ): Promise<string[][]> {
    this.control.sent = [];
    const replayed = replayThrough(this.channels, this.control, "domain", events);
    await use(this.double);
    return replayed;
  }
}

/** What dom0's user does, for those of CALLS that the double can do: of dom0's services it has only one that echoes. */
const USED: Readonly<Record<string, (double: QrexecDouble) => Promise<unknown>>> = {
  "exec-cmdline-with-input": (double) => double.call("root:QUBESRPC test.Echo+one dom0", "hello\n"),
  "exec-cmdline-with-default-user-and-nogui": (double) => double.call("root:nogui:QUBESRPC test.Wait dom0"),
  "exec-cmdline-that-fails": (double) => double.call("root:QUBESRPC test.Fail dom0"),
  "exec-cmdline-of-what-is-not-there": (double) => double.call("user:rm -rf /"),
  "long-output": (double) => double.call("root:QUBESRPC test.Long dom0"),
  "long-input": (double) => double.call("root:QUBESRPC test.Echo dom0", "y".repeat(60_000)),
  "just-exec": (double) => double.call("root:QUBESRPC test.Wait dom0", "", QREXEC.JUST_EXEC),
  "service-connect": (double) => double.call("root:QUBESRPC test.Call+lab.Echo dom0"),
  "service-connect-with-input": (double) => double.call("root:QUBESRPC test.Call+lab.Echo dom0", "to dom0\n"),
  "service-refused": (double) => {
    double.onCall = "refused";
    return double.call("root:QUBESRPC test.Call+lab.Denied dom0");
  },
};

test.each([2, 3, 4])(
  "qrexec's double, in the real daemon's place, says what that said to version %d",
  async (version) => {
    const standIn = new QrexecStandIn(version);
    expect(qrexecMessages(Buffer.concat(standIn.channels.first.sent.splice(0)))).toEqual([`300 4 0${version}000000`]);
    for (const [call, use] of Object.entries(USED)) {
      const events = readTranscript(`version-${version}-${call}`);
      expect([call, await standIn.replay(events, use)]).toEqual([call, recorded("dom0", events)]);
    }
  },
);

test("a version that is too old, the double refuses as the real daemon does", () => {
  const events = readTranscript("offer-1");
  const last = events.findLastIndex(({ what }) => what === "dom0 connected");
  expect(events.slice(last + 1).map(({ what, bytes }) => [what, hex(bytes)])).toEqual([
    ["domain", hex(greeting(1))],
    ["dom0 closed", ""],
  ]);
  const { channels } = new QrexecStandIn(1);
  expect([channels.first.sent, channels.first.handler]).toEqual([[], undefined]);
});
