// Messages between control and the dataplane's thread of which others decide how many there are: questions to name servers and
// their answers. One side puts them into memory that both share and the other takes them out; neither makes an object, for
// in a thread that never leaves its loop somebody would have to collect those, and no frame is handled meanwhile.

/** Messages that can wait: a power of two. */
const SLOTS = 64;
/** Words of a slot: kind, id, number, bytes; then the bytes. */
const HEADER = 4;
const SLOT_LENGTH = 2048;

/** Bytes that a message may have. */
export const LONGEST_MAIL = SLOT_LENGTH - 4 * HEADER;

// Words in front of the slots, each in a cache line of its own: messages put, and taken, both of 32 bits that go round; and
// whether the taker has been told.
const PUT = 0;
const TAKEN = 16;
const TOLD = 32;
const SLOTS_AT = 256;

export const MAILBOX_LENGTH = SLOTS_AT + SLOTS * SLOT_LENGTH;

export class Mailbox {
  /** Of the message taken last: its kind, two numbers of 32 bits, and where its bytes are in `bytes` until the next is taken. */
  kind = 0;
  id = 0;
  number = 0;
  at = 0;
  length = 0;
  readonly bytes: Uint8Array;
  private readonly words: Int32Array;

  /** @param memory MAILBOX_LENGTH bytes, zero at first; both sides have a mailbox over it */
  constructor(memory: SharedArrayBuffer) {
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory);
  }

  /** @returns whether there was room, and for so many bytes */
  put(kind: number, id: number, number: number, from: Uint8Array, at: number, length: number): boolean {
    const { words, bytes } = this;
    const put = words[PUT];
    if (length > LONGEST_MAIL || ((put - Atomics.load(words, TAKEN)) | 0) === SLOTS) return false;
    const slot = SLOTS_AT + (put & (SLOTS - 1)) * SLOT_LENGTH;
    const word = slot >> 2;
    words[word] = kind;
    words[word + 1] = id;
    words[word + 2] = number;
    words[word + 3] = length;
    const start = slot + 4 * HEADER;
    for (let i = 0; i < length; i++) bytes[start + i] = from[at + i];
    Atomics.store(words, PUT, put + 1);
    return true;
  }

  /** How many have been put so far: what `take` takes up to. */
  get count(): number {
    return Atomics.load(this.words, PUT);
  }

  /** Frees the message taken before, and takes the next one. @param until what `count` was @returns whether there is one */
  take(until: number): boolean {
    const { words } = this;
    if (this.at !== 0) Atomics.store(words, TAKEN, words[TAKEN] + 1);
    this.at = 0;
    const taken = words[TAKEN];
    if (taken === until) return false;
    const slot = SLOTS_AT + (taken & (SLOTS - 1)) * SLOT_LENGTH;
    const word = slot >> 2;
    this.kind = words[word];
    this.id = words[word + 1];
    this.number = words[word + 2];
    this.length = words[word + 3];
    this.at = slot + 4 * HEADER;
    return true;
  }

  /** @returns whether the taker is to be told that there is something: he has not been, since he looked last */
  mustTell(): boolean {
    return Atomics.exchange(this.words, TOLD, 1) === 0;
  }

  /** The taker looks now: who puts something after this tells him again. */
  looks(): void {
    Atomics.store(this.words, TOLD, 0);
  }
}
