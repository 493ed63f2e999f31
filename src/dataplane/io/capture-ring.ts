// The ring that a capture's frames go by from the dataplane's thread to control: memory of both, a record for each frame. The thread waits
// for nobody: what finds no room is lost, and counted. It publishes a batch at a time, and until then may still change what it wrote.
import { FLOW_WORDS } from "../tables/flow-records.ts";

// Words in front of the records, each in a cache line of its own: bytes published, and bytes given back, both of 32 bits that go round;
// frames that were lost.
const PUT = 0;
const TAKEN = 16;
const LOST = 32;
const RECORDS_AT = 256;

/** Offsets in a record, in words. */
const RECORD = {
  /** Bytes from this record to the next. */
  LENGTH: 0,
  /** verdict | WHAT << 8 | where the frame is behind the header << 16; or SKIP: there is nothing until the memory's end. */
  WHAT: 1,
  /** Interface | the batch's frame on whose account it is << 16. */
  PLACE: 2,
  /** Bytes that are here, and that it has. */
  CAPTURED: 3,
  ORIGINAL: 4,
  /** The same for a packet at all interfaces that it passes; 0: none. */
  PACKET: 5,
  /** Numbers: rule, client, and which settings these are of. */
  RULE: 6,
  CLIENT: 7,
  SETTINGS: 8,
  /** Number of the flow, or -1. */
  FLOW: 9,
  /** Two words: float64, ms of the monotonic clock. */
  TIME: 10,
  /** The flow's record, where there is one. */
  FLOW_RECORD: 12,
} as const;
const HEADER_LENGTH = 4 * (RECORD.FLOW_RECORD + FLOW_WORDS);
/** A frame lies as far beyond a multiple of 4 as where it comes from, so that it can be copied in words. */
export const offsetIn = (at: number): number => at & 3;
const SKIP = -1;

/** What a frame is, beside its verdict. */
export const WHAT = {
  /** It was sent: else it came in. */
  SENT: 1,
  /** It is the packet that came in, or a part of it: not the firewall's own. */
  PACKET: 2,
  /** Its checksum is left to the interface; and so is its being cut into segments. */
  UNSUMMED: 4,
  UNCUT: 8,
  /** What it was sent because of came in earlier: it has waited. */
  WAITED: 16,
  /** Of what came in: rules were asked about it, as about the first packet of a flow. */
  ASKED: 32,
} as const;

/** Bytes of memory for a ring whose records take so many. @param records a power of two, above twice what a frame takes at most */
export function captureLength(records: number): number {
  return RECORDS_AT + records;
}

/** What is said of a frame: one object serves all. */
export class CaptureFacts {
  verdict = 0;
  /** Of WHAT. */
  what = 0;
  iface = 0;
  account = 0;
  packet = 0;
  rule = -1;
  client = -1;
  settings = 0;
  flow = -1;
  time = 0;
}

/** Copies bytes of the frames' memory into a capture's. @param from, to words of the two @param bytes up to three more are copied */
export type CopyFrame = (from: number, to: number, bytes: number) => void;

class Memory {
  protected readonly words: Int32Array;
  protected readonly times: Float64Array;
  protected readonly mask: number;

  /** @param memory captureLength bytes, zero at first; both sides have an object over it */
  constructor(protected readonly memory: ArrayBufferLike) {
    this.words = new Int32Array(memory);
    this.times = new Float64Array(memory);
    this.mask = memory.byteLength - RECORDS_AT - 1;
  }

  /** Where the record is that so many bytes were before. */
  protected wordOf(position: number): number {
    return (RECORDS_AT + (position & this.mask)) >> 2;
  }
}

/** The dataplane's thread's side. */
export class CaptureProducer extends Memory {
  /** How far it has written: what is between PUT and this, nobody reads yet. */
  private head = this.words[PUT];

  /**
   * @param isRecorder the oldest records give way to new ones: nobody else takes any, who reads makes a snapshot
   * @param copy a faster way than word by word, of the memory that all frames are in
   */
  constructor(
    memory: ArrayBufferLike,
    private readonly isRecorder = false,
    private readonly copy?: CopyFrame,
  ) {
    super(memory);
  }

  /**
   * Writes a record.
   * @param frame, at memory that its bytes are in, and their offset there
   * @param captured, original bytes of it that are to be kept, and that it has
   * @param flowWords the flow table's records
   * @returns whether there was room; else the frame is lost
   */
  add(facts: CaptureFacts, frame: Int32Array, at: number, captured: number, original: number, flowWords: Int32Array) {
    const offset = offsetIn(at);
    const length = lengthOf(offset, captured);
    const word = this.room(length);
    if (word === SKIP) {
      Atomics.add(this.words, LOST, 1);
      return false;
    }
    const { words } = this;
    words[word + RECORD.LENGTH] = length;
    words[word + RECORD.WHAT] = facts.verdict | (facts.what << 8) | (offset << 16);
    words[word + RECORD.PLACE] = facts.iface | (facts.account << 16);
    words[word + RECORD.CAPTURED] = captured;
    words[word + RECORD.ORIGINAL] = original;
    words[word + RECORD.PACKET] = facts.packet;
    words[word + RECORD.RULE] = facts.rule;
    words[word + RECORD.CLIENT] = facts.client;
    words[word + RECORD.SETTINGS] = facts.settings;
    words[word + RECORD.FLOW] = facts.flow;
    this.times[(word + RECORD.TIME) >> 1] = facts.time;
    const flow = facts.flow * FLOW_WORDS;
    if (flow >= 0) for (let i = 0; i < FLOW_WORDS; i++) words[word + RECORD.FLOW_RECORD + i] = flowWords[flow + i];
    const from = (at - offset) >> 2;
    const to = word + (HEADER_LENGTH >> 2);
    const bytes = offset + captured;
    if (this.copy === undefined) copyWords(frame, from, words, to, bytes);
    else this.copy(from, to, bytes);
    this.head = (this.head + length) | 0;
    return true;
  }

  /**
   * Writes over the first bytes of the frame added last: as they were before they were changed.
   * @param head memory that they are in, at `offset` @param length how many, at most `captured` of that frame
   */
  mend(head: Int32Array, offset: number, captured: number, length: number): void {
    const word = this.wordOf((this.head - lengthOf(offset, captured)) | 0) + (HEADER_LENGTH >> 2);
    const { words } = this;
    const bytes = offset + length;
    const whole = bytes >> 2;
    for (let i = 0; i < whole; i++) words[word + i] = head[i];
    const rest = (1 << ((bytes & 3) << 3)) - 1; // the lowest bytes come first
    if (rest !== 0) words[word + whole] = (words[word + whole] & ~rest) | (head[whole] & rest);
  }

  /** Another verdict for what is on an account, and not published yet. */
  judge(account: number, verdict: number): void {
    const { words } = this;
    for (let position = words[PUT]; position !== this.head; ) {
      const word = this.wordOf(position);
      const isFrame = words[word + RECORD.WHAT] !== SKIP;
      if (isFrame && words[word + RECORD.PLACE] >>> 16 === account)
        words[word + RECORD.WHAT] = (words[word + RECORD.WHAT] & ~0xff) | verdict;
      position = (position + words[word + RECORD.LENGTH]) | 0;
    }
  }

  /** Lets control have what was written. */
  publish(): void {
    if (this.words[PUT] !== this.head) Atomics.store(this.words, PUT, this.head);
  }

  /** Gives up the oldest records until there is room for so many bytes, but for those of the batch in hand. */
  private giveWay(length: number): void {
    const { words } = this;
    let taken = words[TAKEN];
    while (((this.head - taken) | 0) + length > this.mask + 1 && taken !== words[PUT]) {
      taken = (taken + words[this.wordOf(taken) + RECORD.LENGTH]) | 0;
    }
    Atomics.store(words, TAKEN, taken);
  }

  /** @returns word of so many bytes side by side, or SKIP */
  private room(length: number): number {
    const { words, mask } = this;
    const size = mask + 1;
    const untilEnd = size - (this.head & mask);
    const skipped = untilEnd < length ? untilEnd : 0;
    if (this.isRecorder) this.giveWay(skipped + length);
    const used = (this.head - Atomics.load(words, TAKEN)) | 0;
    if (used + skipped + length > size) return SKIP;
    if (skipped > 0) {
      const word = this.wordOf(this.head);
      words[word + RECORD.LENGTH] = skipped;
      words[word + RECORD.WHAT] = SKIP;
      this.head = (this.head + skipped) | 0;
    }
    return this.wordOf(this.head);
  }
}

/**
 * What a recorder's ring has now, copied, for a CaptureConsumer. Meanwhile the dataplane's thread goes on: what it overwrites it has given
 * up before, and that is looked at last.
 */
export function snapshotOf(memory: ArrayBufferLike): ArrayBuffer {
  const words = new Int32Array(memory);
  const copy = new ArrayBuffer(memory.byteLength);
  const copied = new Int32Array(copy);
  const put = Atomics.load(words, PUT);
  copied.set(words);
  const taken = Atomics.load(words, TAKEN);
  copied[LOST] = 0;
  // All of it may have been overwritten.
  copied[TAKEN] = copied[PUT] = put;
  if (((put - taken) | 0) > 0) copied[TAKEN] = taken;
  return copy;
}

/** @returns bytes of a record */
const lengthOf = (offset: number, captured: number): number => (HEADER_LENGTH + offset + captured + 7) & ~7;

/** In words, up to three bytes more than asked for: `set` would need an object for each frame, in a thread that never leaves its loop. */
function copyWords(from: Int32Array, at: number, to: Int32Array, place: number, bytes: number): void {
  const count = (bytes + 3) >> 2;
  for (let i = 0; i < count; i++) to[place + i] = from[at + i];
}

/** Control's side: the frame in hand is `facts`, and where its bytes are. */
export class CaptureConsumer extends Memory {
  readonly facts = new CaptureFacts();
  readonly bytes: Buffer<ArrayBufferLike> = Buffer.from(this.memory);
  /** The frame's bytes, and how many there are, and were. */
  at = 0;
  captured = 0;
  original = 0;
  /** The flow's record, where it has one. */
  readonly flowRecord = new Int32Array(FLOW_WORDS);
  private tail = this.words[TAKEN];
  private told = 0;

  /** Takes the next frame; the one before is gone. @returns whether there is one */
  next(): boolean {
    const { words } = this;
    Atomics.store(words, TAKEN, this.tail);
    for (const put = Atomics.load(words, PUT); this.tail !== put; ) {
      const word = this.wordOf(this.tail);
      this.tail = (this.tail + words[word + RECORD.LENGTH]) | 0;
      if (words[word + RECORD.WHAT] === SKIP) continue;
      this.read(word);
      return true;
    }
    return false;
  }

  /** Passes over frames of before a moment. @param time ms of the monotonic clock */
  seek(time: number): void {
    const { words, times } = this;
    for (const put = Atomics.load(words, PUT); this.tail !== put; ) {
      const word = this.wordOf(this.tail);
      if (words[word + RECORD.WHAT] !== SKIP && times[(word + RECORD.TIME) >> 1] >= time) return;
      this.tail = (this.tail + words[word + RECORD.LENGTH]) | 0;
    }
  }

  /** @returns how many were lost since it was asked last */
  lost(): number {
    const lost = Atomics.load(this.words, LOST);
    const more = (lost - this.told) | 0;
    this.told = lost;
    return more;
  }

  private read(word: number): void {
    const { words, facts } = this;
    const what = words[word + RECORD.WHAT];
    facts.verdict = what & 0xff;
    facts.what = (what >>> 8) & 0xff;
    facts.iface = words[word + RECORD.PLACE] & 0xffff;
    facts.account = words[word + RECORD.PLACE] >>> 16;
    facts.packet = words[word + RECORD.PACKET] >>> 0;
    facts.rule = words[word + RECORD.RULE];
    facts.client = words[word + RECORD.CLIENT];
    facts.settings = words[word + RECORD.SETTINGS];
    facts.flow = words[word + RECORD.FLOW];
    facts.time = this.times[(word + RECORD.TIME) >> 1];
    this.captured = words[word + RECORD.CAPTURED];
    this.original = words[word + RECORD.ORIGINAL];
    this.at = 4 * word + HEADER_LENGTH + ((what >>> 16) & 3);
    for (let i = 0; i < FLOW_WORDS; i++) this.flowRecord[i] = words[word + RECORD.FLOW_RECORD + i];
  }
}
