// The ring of a capture, both sides of it: frames come out as they went in, in order; what has no room is lost and counted, and never
// overwrites what nobody has taken.
import { expect, test } from "bun:test";
import { Random } from "../../../lab/random.ts";
import {
  CaptureConsumer,
  CaptureFacts,
  CaptureProducer,
  captureLength,
  snapshotOf,
} from "../../../src/dataplane/io/capture-ring.ts";
import { FLOW_WORDS } from "../../../src/dataplane/tables/flow-records.ts";

const SIZE = 4096;
const FLOWS = Int32Array.from({ length: 4 * FLOW_WORDS }, (_, i) => i * 3 + 1);

function twoSides() {
  const memory = new SharedArrayBuffer(captureLength(SIZE));
  return { producer: new CaptureProducer(memory), consumer: new CaptureConsumer(memory) };
}

/** Memory with a frame in it. */
function frameAt(at: number, length: number, random: Random): { words: Int32Array; bytes: Uint8Array<ArrayBuffer> } {
  const words = new Int32Array(512);
  const bytes = new Uint8Array(words.buffer);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.next() & 0xff;
  return { words, bytes: bytes.slice(at, at + length) };
}

function facts(fields: Partial<CaptureFacts>): CaptureFacts {
  return Object.assign(new CaptureFacts(), fields);
}

const bytesOf = ({ bytes, at, captured }: CaptureConsumer) => Uint8Array.from(bytes.subarray(at, at + captured));

test("frames of all lengths and places come as they went, with what is said of them, round and round", () => {
  const { producer, consumer } = twoSides();
  const random = new Random(1);
  const put: { facts: CaptureFacts; bytes: Uint8Array<ArrayBuffer>; original: number }[] = [];
  let taken = 0;
  for (let i = 0; i < 2000; i++) {
    const at = 100 + (random.next() & 7);
    const length = random.next() % 900;
    const { words, bytes } = frameAt(at, length, random);
    const said = facts({
      ...{ verdict: i % 50, what: i & 31, iface: i % 60, account: i & 0xff, packet: i, rule: (i % 5) - 1 },
      ...{ client: (i % 7) - 1, settings: i, flow: (i % 5) - 1, time: i * 1.5 },
    });
    expect(producer.add(said, words, at, length, length + i, FLOWS)).toBeTrue();
    put.push({ facts: said, bytes, original: length + i });
    producer.publish();
    if (random.next() & 1 && put.length - taken < 3) continue;
    for (; consumer.next(); taken++) {
      const { facts: expected, bytes: frame, original } = put[taken];
      expect({ ...consumer.facts }).toEqual({ ...expected });
      expect(bytesOf(consumer)).toEqual(frame);
      expect(consumer.original).toBe(original);
      if (expected.flow >= 0) {
        const record = FLOWS.slice(expected.flow * FLOW_WORDS, (expected.flow + 1) * FLOW_WORDS);
        expect(consumer.flowRecord).toEqual(record);
      }
    }
    expect(taken).toBe(put.length);
  }
  expect(consumer.lost()).toBe(0);
});

test("what finds no room is lost and counted, and the rest is as it was", () => {
  const { producer, consumer } = twoSides();
  const random = new Random(2);
  const kept: Uint8Array<ArrayBuffer>[] = [];
  for (let i = 0; i < 20; i++) {
    const { words, bytes } = frameAt(2, 500, random);
    if (producer.add(facts({ packet: i }), words, 2, 500, 500, FLOWS)) kept.push(bytes);
  }
  producer.publish();
  expect(kept.length).toBeGreaterThan(4);
  expect(consumer.lost()).toBe(20 - kept.length);
  expect(consumer.lost()).toBe(0);
  for (const bytes of kept) {
    expect(consumer.next()).toBeTrue();
    expect([bytesOf(consumer)]).toEqual([bytes]);
  }
  expect(consumer.next()).toBeFalse();
  expect(producer.add(facts({}), new Int32Array(200), 2, 500, 500, FLOWS)).toBeTrue();
});

test("nobody sees what is not published, and until then its head and its verdict may be changed, of just that frame", () => {
  const { producer, consumer } = twoSides();
  for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 64, 65]) {
    for (const at of [4, 5, 6, 7]) {
      const { words, bytes } = frameAt(at, 80, new Random(at));
      producer.add(facts({ account: 1, verdict: 3 }), words, at, 80, 80, FLOWS);
      producer.add(facts({ account: 2, verdict: 3 }), words, at, 80, 80, FLOWS);
      const head = new Int32Array(32).fill(0x55555555);
      producer.mend(head, at & 3, 80, length);
      producer.judge(2, 9);
      expect(consumer.next()).toBeFalse();
      producer.publish();
      expect(consumer.next()).toBeTrue();
      expect([consumer.facts.verdict, bytesOf(consumer)]).toEqual([3, bytes]);
      expect(consumer.next()).toBeTrue();
      expect([consumer.facts.verdict, bytesOf(consumer)]).toEqual([9, bytes.fill(0x55, 0, length)]);
      expect(consumer.next()).toBeFalse();
    }
  }
});

test("a recorder keeps the newest, loses none, and a snapshot has them whole, from a moment on", () => {
  const memory = new SharedArrayBuffer(captureLength(SIZE));
  const producer = new CaptureProducer(memory, true);
  const random = new Random(3);
  const put: Uint8Array<ArrayBuffer>[] = [];
  const taken = (time?: number) => {
    const consumer = new CaptureConsumer(snapshotOf(memory));
    if (time !== undefined) consumer.seek(time);
    const frames: [number, Uint8Array][] = [];
    while (consumer.next()) frames.push([consumer.facts.packet, bytesOf(consumer)]);
    expect(consumer.lost()).toBe(0);
    return frames;
  };
  expect(taken()).toEqual([]);
  for (let i = 0; i < 500; i++) {
    const { words, bytes } = frameAt(i & 7, random.next() % 700, random);
    expect(producer.add(facts({ packet: i, time: i }), words, i & 7, bytes.length, bytes.length, FLOWS)).toBeTrue();
    put.push(bytes);
    if (i % 3 !== 0) continue;
    producer.publish();
    const frames = taken();
    expect(frames.at(-1)?.[0]).toBe(i);
    expect(frames).toEqual(frames.map((_, k) => [i - frames.length + 1 + k, put[i - frames.length + 1 + k]]));
    expect(frames.reduce((sum, [, { length }]) => sum + length + 130, 0)).toBeGreaterThan(i < 30 ? 0 : SIZE - 2400);
    expect(taken(i - 1).length).toBe(Math.min(2, i + 1));
    expect(taken(i + 1)).toEqual([]);
  }
});
