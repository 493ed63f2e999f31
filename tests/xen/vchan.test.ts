// The rings of a vchan: two ends on one buffer, and peers who lie.
import { describe, expect, test } from "bun:test";
import { payload, toHex } from "../../lab/frames.ts";
import { Random } from "../../lab/random.ts";
import { ProtocolError } from "../../src/xen/byte-stream.ts";
import { formatPage, layOut, PAGE, readOffer, VchanEnd, type VchanMemory } from "../../src/xen/vchan.ts";
import { DRAIN_LIMIT, VchanStream } from "../../src/xen/vchan-stream.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { streamPair, vchanMemory } from "../support/vchans.ts";

function ends(memory: VchanMemory) {
  const signals = { server: 0, client: 0 };
  const server = new VchanEnd(memory, "server", () => signals.server++);
  const client = new VchanEnd(memory, "client", () => signals.client++);
  return { server, client, signals };
}

/** Starts all free-running indices shortly before they wrap. */
function windForward(memory: VchanMemory, index: number): void {
  new Uint32Array(memory.page.buffer, memory.page.byteOffset, 4).fill(index);
}

test("the shared page of a server is as Xen's public header has it", () => {
  const page = new Uint8Array(PAGE);
  formatPage(page, 10, 11);
  expect(toHex(page.subarray(0, 32))).toBe(
    ["00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "0a 00 0b 00 02 01 01 00 00 00 00 00 00 00 00 00"].join("\n"),
  );
});

test("a client says that it is there and signals once", () => {
  const memory = vchanMemory(10, 11);
  const { server, signals } = ends(memory);
  expect(toHex(memory.page.subarray(16, 24))).toBe("0a 00 0b 00 01 01 01 01");
  expect(signals).toEqual({ server: 0, client: 1 });
  expect([server.expecting, server.abandoned]).toEqual([false, false]);
});

test("a ring of order 10 lies at 1024, one of order 11 at 2048, larger ones in pages of their own", () => {
  const memory = new Uint8Array(PAGE * 4);
  const page = memory.subarray(0, PAGE);
  const places = (left: number, right: number) => {
    const rings = layOut(page, left, right, memory.subarray(PAGE));
    return [rings.left, rings.right].map((ring) => [ring.byteOffset, ring.length]);
  };
  const [inOrder10, inOrder11] = [
    [1024, 1024],
    [2048, 2048],
  ];
  expect(places(10, 11)).toEqual([inOrder10, inOrder11]);
  expect(places(11, 10)).toEqual([inOrder11, inOrder10]);
  expect(places(12, 10)).toEqual([[PAGE, PAGE], inOrder10]);
  expect(places(10, 12)).toEqual([inOrder10, [PAGE, PAGE]]);
  expect(places(12, 13)).toEqual([
    [PAGE, PAGE],
    [2 * PAGE, 2 * PAGE],
  ]);
});

describe.each([
  [10, 11],
  [11, 10],
  [12, 12],
  [13, 16],
])("rings of order %d and %d", (left, right) => {
  test("carry every byte both ways in order, across the wrap of the indices", () => {
    const memory = vchanMemory(left, right);
    windForward(memory, 2 ** 32 - 1500);
    const { server, client } = ends(memory);
    const random = new Random(left * 100 + right);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      const sent = payload(200_000);
      const got: number[] = [];
      for (let at = 0; at < sent.length || got.length < sent.length; ) {
        at += from.write(sent.subarray(at, at + random.below(5000)));
        if (random.chance(0.6)) got.push(...to.read());
      }
      expect(Buffer.from(got).equals(Buffer.from(sent))).toBeTrue();
    }
  });
});

test("a full ring takes what fits and asks to be told of room; an empty one, of data", () => {
  const { server, client, signals } = ends(vchanMemory(10, 11));
  expect(client.write(payload(2000))).toBe(1024);
  expect(client.write(payload(5))).toBe(0);
  expect(signals).toEqual({ server: 0, client: 2 });
  expect(server.read()).toEqual(payload(1024));
  expect(signals.server).toBe(1);
  expect(server.read()).toEqual(new Uint8Array(0));
  expect(signals.server).toBe(1);
});

test("who was not asked to does not signal", () => {
  const memory = vchanMemory(10, 11);
  const { client, signals } = ends(memory);
  client.write(payload(10));
  client.write(payload(10));
  expect(signals.client).toBe(2); // that it is there, and the first data
});

test("a peer's index that can't be is a protocol error, wherever it stands", () => {
  for (const [word, act] of [
    [1, "read"],
    [2, "write"],
  ] as const) {
    for (const lie of [2049, 2 ** 31, 2 ** 32 - 2049]) {
      const memory = vchanMemory(10, 11);
      const { server } = ends(memory);
      new Uint32Array(memory.page.buffer, 0, 4)[word] = lie;
      expect(() => (act === "read" ? server.read() : server.write(payload(1)))).toThrow(ProtocolError);
    }
  }
});

test("our own index in shared memory is only published, never read back", () => {
  const memory = vchanMemory(10, 11);
  const { server, client } = ends(memory);
  client.write(payload(100));
  server.read();
  const words = new Uint32Array(memory.page.buffer, 0, 4);
  words[0] = 77; // what the server has consumed
  words[3] = 99; // what it has produced
  expect(server.write(payload(10))).toBe(10);
  expect(words[3]).toBe(10);
});

test("an offer of rings that can't be is refused", () => {
  const offers: [number, number, string][] = [
    [10, 10, "vchan: both rings of order 10 in one page"],
    [11, 11, "vchan: both rings of order 11 in one page"],
    [9, 12, "vchan: a ring of order 9"],
    [12, 17, "vchan: a ring of order 17"],
    [65535, 12, "vchan: a ring of order 65535"],
  ];
  for (const [left, right, error] of offers) {
    const page = new Uint8Array(PAGE);
    formatPage(page, left, right);
    expect(() => readOffer(page)).toThrow(error);
  }
});

test("a stream hands everything over, more than the ring holds, before it closes", async () => {
  const got: Uint8Array[] = [];
  const ended = Promise.withResolvers<string>();
  const { client, released } = streamPair(
    { received: (bytes) => got.push(bytes), closed: ended.resolve },
    { received: () => {}, closed: () => {} },
  );
  client.send(payload(300_000));
  client.close();
  client.send(payload(10)); // too late
  expect(await ended.promise).toBe("the peer closed the channel");
  expect(Buffer.concat(got).equals(Buffer.from(payload(300_000)))).toBeTrue();
  expect(released()).toBe(2);
});

test("who sends can wait until the peer has room for it, or is gone", async () => {
  const memory = vchanMemory(10, 11);
  const end = new VchanEnd(memory, "server", () => {});
  const stream = new VchanStream(end, { received: () => {}, closed: () => {} }, () => {}, new SimulatedClock());
  const peer = new VchanEnd(memory, "client", () => {});
  const settled: string[] = [];
  const wait = (name: string) => void stream.flushed().then(() => settled.push(name));
  wait("nothing sent");
  stream.send(payload(2048));
  wait("what fits the ring");
  await Bun.sleep(0);
  expect(settled).toEqual(["nothing sent", "what fits the ring"]);
  stream.send(payload(3000));
  wait("more");
  peer.read();
  stream.look();
  await Bun.sleep(0);
  expect(settled.length).toBe(2);
  peer.read();
  stream.look();
  await Bun.sleep(0);
  expect(settled.slice(2)).toEqual(["more"]);
  stream.send(payload(3000));
  wait("to a peer who goes");
  peer.leave();
  stream.look();
  await Bun.sleep(0);
  expect(settled.slice(3)).toEqual(["to a peer who goes"]);
});

test("a stream gives up a peer who does not read", () => {
  const reasons: string[] = [];
  const { server } = streamPair(
    { received: () => {}, closed: (reason) => reasons.push(reason) },
    { received: () => {}, closed: () => {} },
  );
  for (let i = 0; i < 20; i++) server.send(new Uint8Array(60_000));
  expect(reasons).toEqual(["vchan: the peer does not read"]);
});

test("a closed stream waits so long for a peer who does not read the rest, and no longer", async () => {
  const clock = new SimulatedClock();
  let released = 0;
  const memory = vchanMemory(10, 11);
  const end = new VchanEnd(memory, "server", () => {});
  const stream = new VchanStream(end, { received: () => {}, closed: () => {} }, () => released++, clock);
  stream.send(payload(5000));
  stream.close();
  await clock.advance(DRAIN_LIMIT - 1);
  expect(released).toBe(0);
  await clock.advance(1);
  expect([released, memory.page[21]]).toEqual([1, 0]);
});

test("a stream survives a peer who writes at random into all of the memory: it closes, once", async () => {
  const random = new Random(7);
  for (let round = 0; round < 300; round++) {
    const reasons: string[] = [];
    const { server, memory } = streamPair(
      { received: () => {}, closed: (reason) => reasons.push(reason) },
      { received: () => {}, closed: () => {} },
    );
    for (let i = 0; i < 20; i++) {
      memory.page[random.below(32)] = random.below(256);
      server.send(payload(random.below(300)));
      server.look();
    }
    memory.page[20] = 0; // at last it goes
    server.look();
    server.look();
    expect(reasons.length).toBe(1);
  }
});
