// Qrexec's agent over vchans in plain memory, against a double of dom0's daemon.

import { describe, expect, test } from "bun:test";
import { toHex } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import type { Outlet } from "../../src/channel/session.ts";
import { CALL_LIMIT } from "../../src/qubes/call-places.ts";
import { QrexecAgent } from "../../src/qubes/qrexec.ts";
import type { AgentChannels, Conversation, Service } from "../../src/qubes/qrexec-calls.ts";
import {
  decodeExec,
  encodeNumber,
  encodeQrexec,
  encodeTrigger,
  QREXEC,
  QREXEC_PORT,
} from "../../src/qubes/qrexec-wire.ts";
import { ProtocolError } from "../../src/xen/byte-stream.ts";
import { type CallResult, QrexecDouble } from "../support/qrexec-double.ts";
import { rejectionOf } from "../support/rejection.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { Switchboard } from "../support/vchans.ts";

const SERVICES = new Map<string, Service>([
  [
    "test.Echo",
    async ({ input, argument, caller }) => ({ status: 0, output: `${caller} ${argument}: ${await input}` }),
  ],
  ["test.Wait", async () => ({ status: 3, error: "not now\n" })],
  ["test.Fail", async () => Promise.reject(new Error("out of order"))],
  ["test.Long", async () => ({ status: 0, output: "x".repeat(150_000) })],
  ["test.Flows", async () => ({ status: 0, output: flowLines() })],
  [
    "test.Talk",
    async ({ converse, argument }) => {
      await converse((outlet) => talk(outlet, Number(argument || "1")));
      return { status: 7 };
    },
  ],
]);

/** Says each piece that it hears so many times; at the end of what it hears it ends. */
function talk(outlet: Outlet, times: number): Conversation {
  return {
    receive: (bytes) => {
      for (let i = 0; i < times; i++) outlet.write(bytes);
    },
    finish: () => outlet.end(),
    close: () => closed.push(times),
  };
}

const closed: number[] = [];

const FLOWS = 65_536;
/** Lines that have been made. */
let made = 0;

/** As firebreak.Status has them: all together are some eight times what a channel holds for a peer who doesn't read. */
function* flowLines(): Generator<string> {
  made = 0;
  for (let i = 0; i < FLOWS; i++) {
    made++;
    yield `${`flow: tcp 10.137.0.10:${i} to 192.0.2.1:80 as 192.0.2.254:${i}, ESTABLISHED, client`.padEnd(127)}\n`;
  }
}

/**
 * An agent and its dom0, greeted.
 * @param stale ports whose caller has died with its keys in place
 * @param change of what the agent gets of channels
 */
async function meet(
  version = 3,
  board = new Switchboard(),
  stale: ReadonlySet<number> = new Set(),
  change: (channels: AgentChannels) => AgentChannels = (channels) => channels,
) {
  const clock = new SimulatedClock();
  const channels: AgentChannels = {
    connect: (_, port, handler, signal) => board.connect(port, handler, signal),
    serve: (_, port, handler, signal) => board.serve(port, handler, signal),
    isOffered: async (_, port) => stale.has(port),
  };
  const dom0 = new QrexecDouble(5, channels, version);
  const greeted = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<string>();
  const agent = new QrexecAgent(SERVICES, change(channels), greeted.resolve, ended.resolve, clock);
  const [control] = await Promise.all([
    board.serve(QREXEC_PORT, agent.handler),
    board.connect(QREXEC_PORT, dom0.handler).then((stream) => dom0.attach(stream)),
  ]);
  agent.start(control);
  await greeted.promise;
  return { agent, dom0, ended: ended.promise, greeting: await dom0.greeted, board, clock };
}

function plain({ status, output, error }: CallResult): unknown[] {
  return [status, output, error];
}

test("messages are as qrexec.h has them", () => {
  expect(toHex(encodeNumber(QREXEC.HELLO, 3))).toBe("00 03 00 00 04 00 00 00 03 00 00 00");
  const trigger = encodeTrigger(3, "dom0", "qubes.FeaturesRequest", "firebreak-1");
  expect(trigger.length).toBe(8 + 64 + 32 + 22);
  expect(Buffer.from(trigger.subarray(104)).toString()).toBe("qubes.FeaturesRequest\0");
  const old = encodeTrigger(2, "dom0", "qubes.FeaturesRequest", "firebreak-1");
  expect([old.length, old[0], Buffer.from(old.subarray(72, 76)).toString()]).toEqual([8 + 128, 0x10, "dom0"]);
});

test.each([2, 3])("with version %d, a service gets its argument, caller and input, and answers", async (version) => {
  const { dom0, greeting } = await meet(version);
  expect(greeting).toBe(3);
  const result = await dom0.call("root:QUBESRPC test.Echo+one dom0", "hello");
  expect(plain(result)).toEqual([0, "dom0 one: hello", ""]);
  expect(plain(await dom0.call("DEFAULT:nogui:QUBESRPC test.Wait sys-usb"))).toEqual([3, "", "not now\n"]);
});

test("long output comes in pieces of the size that the version allows", async () => {
  const shape = async (version: number) => (await (await meet(version)).dom0.call("u:QUBESRPC test.Long dom0")).chunks;
  expect(await shape(3)).toEqual([65536, 65536, 18928, 0]);
  expect(Math.max(...(await shape(2)))).toBe(4096);
});

test("what is not there exits 127 and says what is", async () => {
  const { dom0 } = await meet();
  const known = "(services: test.Echo, test.Wait, test.Fail, test.Long, test.Flows, test.Talk)\n";
  expect(plain(await dom0.call("root:QUBESRPC qubes.VMShell dom0"))).toEqual([
    127,
    "",
    `firebreak does not have the service qubes.VMShell ${known}`,
  ]);
  expect(plain(await dom0.call("user:rm -rf /"))).toEqual([
    127,
    "",
    `firebreak does not have commands: this is a firewall without a shell ${known}`,
  ]);
});

test("a service that fails exits 1 with its reason", async () => {
  const { dom0 } = await meet();
  expect(plain(await dom0.call("root:QUBESRPC test.Fail dom0"))).toEqual([1, "", "test.Fail: out of order\n"]);
});

test("a call that nobody waits for is answered at once, without output", async () => {
  const { dom0 } = await meet();
  expect(await dom0.call("root:QUBESRPC test.Long dom0", "", QREXEC.JUST_EXEC)).toEqual({
    ...{ status: 0, output: "", error: "" },
    chunks: [],
  });
});

test("a caller that comes by the keys of one that died is not answered, and the port is free again", async () => {
  const stale = new Set([513]);
  const { dom0 } = await meet(3, new Switchboard(), stale);
  expect(await dom0.call("root:QUBESRPC test.Wait dom0").catch(String)).toContain("closed the channel");
  while (dom0.terminated.length === 0) await Bun.sleep(1);
  expect(dom0.terminated).toEqual([513]);
  stale.clear();
  expect(plain(await dom0.call("root:QUBESRPC test.Wait dom0"))).toEqual([3, "", "not now\n"]);
});

test("dom0 hears of each connection that ended", async () => {
  const { dom0 } = await meet();
  await Promise.all(Array.from({ length: 20 }, (_, i) => dom0.call(`root:QUBESRPC test.Echo+${i} dom0`, "x")));
  while (dom0.terminated.length < 20) await Bun.sleep(1);
  expect(dom0.terminated.sort()).toEqual(Array.from({ length: 20 }, (_, i) => 513 + i));
});

test.each([2, 3])("with version %d, we call a service of dom0's", async (version) => {
  const { agent, dom0 } = await meet(version);
  expect(await agent.call("dom0", "qubes.FeaturesRequest", "some input")).toEqual({
    status: 0,
    output: "some input",
    error: "",
  });
  dom0.onCall = "refused";
  const refused = agent.call("dom0", "qubes.Other");
  expect(await rejectionOf(refused)).toContain("qrexec: dom0 refused the call");
  expect(dom0.triggered).toEqual(["dom0 qubes.FeaturesRequest", "dom0 qubes.Other"]);
});

/** Lets all messages and answers to them pass. */
async function settle(clock: SimulatedClock): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await clock.advance(0);
}

const ECHO = "root:QUBESRPC test.Echo+";

/** So many calls at once. @returns the answers that are not those of their callers */
async function misdirected(dom0: QrexecDouble, count: number, tag: string): Promise<string[]> {
  const calls = Array.from({ length: count }, async (_, i) => {
    const { output } = await dom0.call(`${ECHO}${tag}${i} dom0`, `input ${i}`);
    return output === `dom0 ${tag}${i}: input ${i}` ? [] : [output];
  });
  return (await Promise.all(calls)).flat();
}

test("calls whose callers are gone make room for others, and end after their limit; dom0 hears of each", async () => {
  const { dom0, clock, board } = await meet();
  const abandoned = Array.from({ length: 70 }, () => dom0.abandon(`${ECHO}gone dom0`));
  expect(await misdirected(dom0, 50, "one")).toEqual([]);
  await clock.advance(CALL_LIMIT - 1);
  expect(board.awaited.length).toBeGreaterThan(0);
  expect(board.awaited.length).toBeLessThan(64);
  await clock.advance(1);
  expect(board.awaited).toEqual([]);
  await settle(clock);
  expect([dom0.terminated.length, [...dom0.ports]]).toEqual([120, []]);
  expect(abandoned.length).toBe(70);
  expect(clock.pending).toBe(0);
});

test("calls end with their control channel: the next daemon's have the same ports, and their own answers", async () => {
  const board = new Switchboard();
  const first = await meet(3, board);
  for (let i = 0; i < 30; i++) first.dom0.abandon(`${ECHO}old dom0`);
  await settle(first.clock);
  const unanswered = first.agent.call("dom0", "qubes.FeaturesRequest").catch(String);
  first.dom0.detach();
  expect(await first.ended).toBe("the peer closed the channel");
  expect(board.awaited).toEqual([]);
  expect(await unanswered).toBe("Error: qrexec: the peer closed the channel");
  const second = await meet(3, board);
  expect(await misdirected(second.dom0, 50, "new")).toEqual([]);
});

test("a call whose caller has come outlives its control channel, and gets its answer", async () => {
  const { dom0, ended, clock } = await meet();
  const answer = dom0.call(`${ECHO}one dom0`, new Promise((resolve) => setTimeout(resolve, 50, "late input")));
  while (dom0.met === 0) await Bun.sleep(1);
  await settle(clock); // the agent has looked whether it is the right one
  dom0.detach();
  await ended;
  expect((await answer).output).toBe("dom0 one: late input");
});

test.each([
  ["does not answer", "ignored", "Error: qrexec: dom0 did not answer within 120 s", []],
  ["announces and then gives up", "abandoned", "Error: qrexec: no answer within 120 s", [513]],
] as const)(
  "a call of ours that dom0 %s ends after its limit, and nothing is left of it",
  async (_, fate, error, ports) => {
    const { agent, dom0, clock, board } = await meet();
    dom0.onCall = fate;
    const outcome = agent.call("dom0", "qubes.FeaturesRequest").then(() => "answered", String);
    await settle(clock);
    expect(board.offered).toEqual([...ports]);
    await clock.advance(CALL_LIMIT);
    expect([await outcome, board.offered]).toEqual([error, []]);
    await settle(clock);
    expect([dom0.terminated, clock.pending]).toEqual([[...ports], 0]);
    dom0.onCall = "answered";
    expect((await agent.call("dom0", "qubes.FeaturesRequest")).status).toBe(0);
  },
);

test("a caller who comes but never ends its input is cut off after the limit", async () => {
  const { clock, dom0, board } = await meet();
  const port = dom0.abandon(`${ECHO}slow dom0`);
  const reasons: string[] = [];
  const stream = await board.serve(port, { received: () => {}, closed: (reason) => reasons.push(reason) });
  stream.send(encodeNumber(QREXEC.HELLO, 3));
  await clock.advance(CALL_LIMIT + 1);
  await settle(clock);
  expect([reasons, dom0.terminated]).toEqual([["the peer closed the channel"], [port]]);
});

test.each([2, 3])("with version %d, 8 MiB of answer come whole and in order", async (version) => {
  const { dom0 } = await meet(version);
  const { status, output, chunks } = await dom0.call("u:QUBESRPC test.Flows dom0");
  expect([status, output.length, output === [...flowLines()].join("")]).toEqual([0, FLOWS * 128, true]);
  expect(Math.max(...chunks)).toBeLessThanOrEqual(version === 2 ? 4096 : 65536);
});

/** Callers who read only when the test lets them. */
class SlowCallers {
  readonly channels: AgentChannels;
  readonly sent: number[] = [];
  closed = 0;
  private room = Promise.withResolvers<void>();

  constructor(control: AgentChannels) {
    this.channels = {
      ...control,
      connect: async (_, __, handler, signal) => {
        signal?.addEventListener("abort", () => handler.closed("called off"));
        queueMicrotask(() => handler.received(encodeNumber(QREXEC.HELLO, 3)));
        return {
          send: (bytes) => this.sent.push(bytes.length),
          flushed: () => this.room.promise,
          close: () => void this.closed++,
        };
      },
    };
  }

  read(): void {
    this.room.resolve();
    this.room = Promise.withResolvers<void>();
  }
}

test("an answer is made piece by piece, as its caller reads; who stops reading is cut off after the limit", async () => {
  let callers: SlowCallers | undefined;
  const { dom0, clock } = await meet(3, new Switchboard(), new Set(), (channels) => {
    callers = new SlowCallers(channels);
    return callers.channels;
  });
  const port = dom0.abandon("u:QUBESRPC test.Flows sys-usb", 7);
  await settle(clock);
  for (let piece = 1; piece <= 5; piece++) {
    expect(callers?.sent.slice(1)).toEqual(Array<number>(piece).fill(65536 + 8));
    expect(made).toBe((piece * 65536) / 128 + 1);
    await clock.advance(CALL_LIMIT - 1);
    callers?.read();
    await settle(clock);
  }
  await clock.advance(CALL_LIMIT);
  await settle(clock);
  expect([dom0.terminated, callers?.closed, callers?.sent.length, clock.pending]).toEqual([[port], 1, 7, 0]);
});

test("one domain's calls, however many, and however long they last, leave others their places", async () => {
  const { clock, dom0, board } = await meet();
  const greedy = Array.from({ length: 200 }, () => dom0.abandon(`${ECHO}slow sys-usb`, 7));
  await settle(clock);
  for (const port of board.awaited) {
    const stream = await board.serve(port, { received: () => {}, closed: () => {} });
    stream.send(encodeNumber(QREXEC.HELLO, 3)); // and never an end of input
  }
  await settle(clock);
  expect(dom0.terminated.length).toBe(greedy.length - 64);
  const answers = [0, 8, 0, 8, 9].map((domain) => dom0.call(`${ECHO}x other`, "hello", QREXEC.EXEC_CMDLINE, domain));
  expect((await Promise.all(answers)).map(({ output }) => output)).toEqual(Array<string>(5).fill("other x: hello"));
});

/** An agent with its control channel in the test's hands. */
function alone() {
  const sent: number[] = [];
  const ended: string[] = [];
  const never = () => new Promise<never>(() => {});
  const agent = new QrexecAgent(
    SERVICES,
    { connect: never, serve: never, isOffered: never },
    () => {},
    (reason) => ended.push(reason),
    new SimulatedClock(), // no timers are left behind
  );
  agent.start({ send: (bytes) => sent.push(bytes.length), close: () => ended.push("closed") });
  return { agent, ended };
}

test("who does not greet, or speaks too old a version, is left", () => {
  for (const [message, reason] of [
    [encodeQrexec(QREXEC.EXEC_CMDLINE), "qrexec: a message of type 512 in place of a greeting"],
    [encodeNumber(QREXEC.HELLO, 1), "qrexec: version 1 is too old"],
    [encodeQrexec(QREXEC.HELLO, new Uint8Array(5)), "qrexec: a number of 5 bytes"],
  ] as const) {
    const { agent, ended } = alone();
    agent.handler.received(message);
    expect(ended).toEqual(["closed", reason]);
  }
});

test("mutated messages never do more than end the channel", () => {
  const random = new Random(9);
  for (let round = 0; round < 20_000; round++) {
    const { agent, ended } = alone();
    agent.handler.received(encodeNumber(QREXEC.HELLO, 3));
    const body = Uint8Array.from({ length: random.below(60) }, () => random.below(256));
    const bytes = encodeQrexec(random.pick(Object.values(QREXEC)), body);
    for (let i = random.below(4); i > 0; i--) bytes[random.below(bytes.length)] = random.below(256);
    agent.handler.received(bytes);
    expect(ended.length).toBeLessThanOrEqual(2);
  }
});

test("a command shorter than its numbers is a protocol error", () => {
  expect(() => decodeExec(new Uint8Array(8))).toThrow(ProtocolError);
});

test("a dom0 that greets before the agent has its channel is greeted back, and what is called then is not lost", () => {
  const sent: string[] = [];
  const channels: AgentChannels = {
    connect: () => Promise.reject(),
    serve: () => Promise.reject(),
    isOffered: async () => false,
  };
  const agent = new QrexecAgent(
    SERVICES,
    channels,
    () => void agent.call("dom0", "qubes.FeaturesRequest").catch(() => {}),
    () => {},
    new SimulatedClock(),
  );
  agent.handler.received(encodeNumber(QREXEC.HELLO, 3));
  expect(sent).toEqual([]);
  agent.start({ send: (bytes) => sent.push(toHex(bytes)), close: () => {} });
  const trigger = encodeTrigger(3, "dom0", "qubes.FeaturesRequest", "firebreak-1");
  expect(sent).toEqual([toHex(encodeNumber(QREXEC.HELLO, 3)), toHex(trigger)]);
});

describe("a service that goes on", () => {
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

  test.each([2, 3])(
    "with version %d answers while it is written to, and ends with its caller's end",
    async (version) => {
      const { dom0 } = await meet(version);
      const heard: string[] = [];
      const call = await dom0.open("root:QUBESRPC test.Talk dom0", (bytes) => heard.push(text(bytes)));
      for (const word of ["one", "two"]) {
        call.write(Buffer.from(word));
        while (heard.at(-1) !== word) await new Promise(setImmediate);
      }
      call.write(new Uint8Array(0));
      expect(await call.done).toEqual({ status: 7, error: "" });
      expect(heard).toEqual(["one", "two"]);
    },
  );

  test("says nothing for hours, and goes on", async () => {
    const { dom0, clock } = await meet();
    const heard: string[] = [];
    const call = await dom0.open("root:QUBESRPC test.Talk dom0", (bytes) => heard.push(text(bytes)));
    await clock.advance(100 * CALL_LIMIT);
    call.write(Buffer.from("still there"));
    while (heard.length === 0) await new Promise(setImmediate);
    expect(heard).toEqual(["still there"]);
    expect(dom0.terminated).toEqual([]);
  });

  test("is cut off where more waits for its caller than may, and hears of it", async () => {
    const { dom0 } = await meet();
    closed.length = 0;
    const call = await dom0.open("root:QUBESRPC test.Talk+4000 dom0", () => {});
    call.write(new Uint8Array(1000));
    expect(await call.done).toEqual({ status: 1, error: "test.Talk: the caller does not read what it asks for\n" });
    expect(closed).toEqual([4000]);
  });

  test("whose caller goes away hears of it", async () => {
    const { dom0 } = await meet();
    closed.length = 0;
    const call = await dom0.open("root:QUBESRPC test.Talk dom0", () => {});
    call.close();
    while (closed.length === 0 || dom0.terminated.length === 0) await new Promise(setImmediate);
    expect(dom0.terminated).toHaveLength(1);
  });
});
