// Captures of the running firewall: each has a ring of its own, which the dataplane's thread fills and nobody empties but the one who
// captures, so that whoever is slow loses his own frames and keeps nobody else's.
import { toArrayBuffer } from "bun:ffi";
import { totalmem } from "node:os";
import type { CaptureMatch } from "../../dataplane/io/capture-match.ts";
import { CaptureConsumer, captureLength, snapshotOf } from "../../dataplane/io/capture-ring.ts";
import type { CaptureOrder } from "../../dataplane/io/tap.ts";
import type { Settings } from "../../dataplane/settings.ts";
import { FlowRecords } from "../../dataplane/tables/flow-records.ts";
import { monotonicTime } from "../../linux/clock.ts";
import { mapMemory, pointer, releaseAddresses, reserveAddresses } from "../../linux/libc.ts";
import type { Address } from "../../wire/ipv4.ts";
import type { Meaning } from "../views/flow-filter.ts";
import { readCaptureFilter, rereadCaptureFilter } from "./capture-filter.ts";
import { LiveCapture } from "./live-capture.ts";

/** Captures at a time. */
export const MOST_CAPTURES = 4;

/** Bytes of records of one: a power of two; of the machine's memory so much at most. */
const MOST_RECORDS = 32 * 1024 * 1024;
const LEAST_RECORDS = 512 * 1024;
const MEMORY_PART = 128;
/** Of what is kept of the past: all of it is copied for who asks for it. */
const MOST_RECORDED = 8 * 1024 * 1024;

/** @param memory of the machine, in bytes */
function recordBytes(memory: number): number {
  const part = 2 ** Math.floor(Math.log2(memory / MEMORY_PART));
  return Math.min(Math.max(part, LEAST_RECORDS), MOST_RECORDS);
}

/** Settings kept by number: frames that were captured under older ones wait to be read. */
const SETTINGS_KEPT = 16;

/** What a capture is read by. */
export interface OpenRing {
  readonly consumer: CaptureConsumer;
  /** The flow's record that the consumer has read last. */
  readonly flow: FlowRecords;
  /** In force when it began. */
  readonly settings: Settings;
  /** @param number that records have; settings that were in force before any others have none */
  settingsOf(number: number): Settings | undefined;
  /** Whose frames are meant, if it is one's: numbers of clients may change. */
  readonly client: string | undefined;
  /** Ends it: nothing is read any more. */
  end(): Promise<void>;
}

/** As many captures run as may. */
export class TooManyCaptures extends Error {}

interface Running {
  readonly words: readonly string[];
  readonly order: CaptureOrder;
}

/** How the dataplane's thread is told (dataplane-thread.ts): settles when it has done so. */
export type TellCaptures = (captures: readonly CaptureOrder[]) => Promise<void>;

export class Captures {
  private running: readonly Running[] = [];
  private nextId = 1;
  /** The order of what is recorded. */
  private recorder: CaptureOrder | undefined;
  /** One change of it at a time: settles when the last is over, however it went. Two at once would leave one that nobody ends. */
  private turn: Promise<unknown> = Promise.resolve();
  /** Copies of what was recorded that somebody reads. */
  private copies = 0;
  private readonly settings = new Map<number, Settings>();

  constructor(
    private readonly tell: TellCaptures,
    private readonly meaning: () => Meaning,
    private readonly memory = totalmem(),
  ) {}

  /** Settings have just been put in force, which records call by this number. */
  follow(number: number, settings: Settings): void {
    this.settings.set(number, settings);
    const [oldest] = this.settings.keys();
    if (this.settings.size > SETTINGS_KEPT && oldest !== undefined) this.settings.delete(oldest);
    if (this.running.length === 0) return;
    const meaning = this.meaning();
    const { recorder } = this;
    this.running = this.running.map(({ words, order }) => ({
      words,
      order: { ...order, match: rereadCaptureFilter(words, meaning) },
    }));
    this.recorder = this.running.find(({ order }) => order.id === recorder?.id)?.order;
    this.tell(this.orders).catch(() => {}); // a thread that died is reported by itself
  }

  /**
   * Begins a capture.
   * @param words of capture-filter.ts
   * @param snap bytes of a frame that are kept
   * @returns the capture, which must be closed
   * @throws FilterError, TooManyCaptures, Error
   */
  async open(words: readonly string[], snap: number): Promise<LiveCapture> {
    const ring = await this.openRing(words, snap, recordBytes(this.memory));
    return new LiveCapture(ring.consumer, ring.flow, ring.settings, ring.settingsOf, ring.client, ring.end);
  }

  /**
   * Has heads of frames kept from now on, the newest, in place of what was kept before.
   * @param words, snap as `open` has them @throws FilterError, Error
   */
  record(words: readonly string[], snap: number): Promise<void> {
    return this.inTurn(() => this.beginRecording(words, snap));
  }

  stopRecording(): Promise<void> {
    return this.inTurn(() => this.endRecording());
  }

  private inTurn(change: () => Promise<void>): Promise<void> {
    const changed = this.turn.then(change);
    this.turn = changed.catch(() => {}); // whoever asked is told
    return changed;
  }

  private async beginRecording(words: readonly string[], snap: number): Promise<void> {
    const match = readCaptureFilter(words, this.meaning());
    await this.endRecording();
    const order = this.makeOrder(match, snap, Math.min(recordBytes(this.memory), MOST_RECORDED));
    this.recorder = { ...order, isRecorder: true };
    this.running = [...this.running, { words, order: this.recorder }];
    await this.tell(this.orders);
  }

  private async endRecording(): Promise<void> {
    const { recorder } = this;
    this.recorder = undefined;
    if (recorder !== undefined) await this.close(recorder.id);
  }

  /**
   * What was recorded last, to be taken until there is no more.
   * @param seconds of it
   * @returns undefined where nothing is recorded; else a copy, which must be closed
   * @throws TooManyCaptures
   */
  last(seconds: number): LiveCapture | undefined {
    const { recorder } = this;
    if (recorder === undefined) return undefined;
    if (this.copies >= MOST_CAPTURES) throw new TooManyCaptures(`${MOST_CAPTURES} read already what was recorded`);
    const memory = toArrayBuffer(pointer(recorder.address), 0, recorder.length);
    const consumer = new CaptureConsumer(snapshotOf(memory));
    consumer.seek(monotonicTime() / 1e6 - 1000 * seconds);
    const { settings, addresses } = this.meaning();
    const flow = new FlowRecords(consumer.flowRecord, 0 as Address, undefined, addresses);
    const settingsOf = (number: number) => this.settings.get(number);
    this.copies++; // now that nothing can fail any more
    let isOpen = true;
    const end = async () => {
      if (isOpen) this.copies--;
      isOpen = false;
    };
    return new LiveCapture(consumer, flow, settings, settingsOf, undefined, end);
  }

  /** Begins one for somebody else to read. @param records bytes of them: a power of two. As `open` */
  async openRing(words: readonly string[], snap: number, records = LEAST_RECORDS): Promise<OpenRing> {
    const meaning = this.meaning();
    const match = readCaptureFilter(words, meaning);
    if (this.running.filter(({ order }) => order !== this.recorder).length >= MOST_CAPTURES) {
      throw new TooManyCaptures(`${MOST_CAPTURES} captures run already (end one of them)`);
    }
    const order = this.makeOrder(match, snap, records);
    this.running = [...this.running, { words, order }];
    const consumer = new CaptureConsumer(toArrayBuffer(pointer(order.address), 0, order.length));
    const client = match.client === undefined ? undefined : meaning.settings.clients[match.client].name;
    const flow = new FlowRecords(consumer.flowRecord, 0 as Address, undefined, meaning.addresses);
    const settingsOf = (number: number) => this.settings.get(number);
    const end = () => this.close(order.id);
    try {
      await this.tell(this.orders);
      return { consumer, flow, settings: meaning.settings, settingsOf, client, end };
    } catch (error) {
      await end();
      throw error;
    }
  }

  private makeOrder(match: CaptureMatch, snap: number, records: number): CaptureOrder {
    const length = captureLength(records);
    const address = reserveAddresses(length);
    mapMemory(address, length);
    return { id: this.nextId++, address, length, snap, match };
  }

  private get orders(): readonly CaptureOrder[] {
    return this.running.map(({ order }) => order);
  }

  /** Where the thread does not say that it is done with it, the memory stays. */
  private async close(id: number): Promise<void> {
    const ended = this.running.find(({ order }) => order.id === id);
    if (ended === undefined) return;
    this.running = this.running.filter((running) => running !== ended);
    try {
      await this.tell(this.orders);
      releaseAddresses(ended.order.address, ended.order.length);
    } catch {} // a thread that died is reported by itself
  }
}
