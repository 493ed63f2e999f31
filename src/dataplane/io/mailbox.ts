// Messages between control and the dataplane's thread of which others decide how many there are: questions to name servers,
// their answers, and the rules that follow from these. One side puts them into memory that both share and the other takes them out; neither makes an object, for
// in a thread that never leaves its loop somebody would have to collect those, and no frame is handled meanwhile.

/** How many messages can wait, a power of two, and the bytes of each with its header. */
interface Size {
  readonly slots: number;
  readonly slotLength: number;
}

const MAIL_SIZE: Size = { slots: 64, slotLength: 2048 };
/** For rules: of a hundred matches or so. */
export const RULES_SIZE: Size = { slots: 16, slotLength: 16_384 };
/** Words of a slot: kind, id, number, bytes; then the bytes. */
const HEADER = 4;

/** Bytes that a message may have. */
export const LONGEST_MAIL = longestOf(MAIL_SIZE);
export const LONGEST_RULES = longestOf(RULES_SIZE);

// Words in front of the slots, each in a cache line of its own: messages put, and taken, both of 32 bits that go round; and
// whether the taker has been told.
const PUT = 0;
const TAKEN = 16;
const TOLD = 32;
const SLOTS_AT = 256;

export const MAILBOX_LENGTH = memoryOf(MAIL_SIZE);
export const RULES_MAILBOX_LENGTH = memoryOf(RULES_SIZE);

function longestOf({ slotLength }: Size): number {
  return slotLength - 4 * HEADER;
}

function memoryOf({ slots, slotLength }: Size): number {
  return SLOTS_AT + slots * slotLength;
}

export class Mailbox {
  /** Of the message taken last: its kind, two numbers of 32 bits, and where its bytes are in `bytes` until the next is taken. */
  kind = 0;
  id = 0;
  number = 0;
  at = 0;
  length = 0;
  readonly bytes: Uint8Array;
  /** The same memory. */
  readonly words: Int32Array<SharedArrayBuffer>;
  private readonly slots: number;
  private readonly slotLength: number;

  /** @param memory so many bytes as that size has, zero at first; both sides have a mailbox over it */
  constructor(memory: SharedArrayBuffer, size = MAIL_SIZE) {
    this.slots = size.slots;
    this.slotLength = size.slotLength;
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory);
  }

  /** @returns whether there was room, and for so many bytes */
  put(kind: number, id: number, number: number, from: Uint8Array, at: number, length: number): boolean {
    const { words, bytes, slots, slotLength } = this;
    const put = words[PUT];
    if (length > slotLength - 4 * HEADER || ((put - Atomics.load(words, TAKEN)) | 0) === slots) return false;
    const slot = SLOTS_AT + (put & (slots - 1)) * slotLength;
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
    const slot = SLOTS_AT + (taken & (this.slots - 1)) * this.slotLength;
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
