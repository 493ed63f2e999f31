// CBOR (RFC 8949) as the channel has it: a sequence of items (RFC 8742), each looked at before it is decoded. What docs/CONTROL.md does
// not allow is an error: tags, items without a length, keys that are no texts, more bytes or a greater depth than there may be. So the
// decoder, which is somebody else's, only ever sees what is whole and small.
import { Encoder, type Options } from "cbor-x/index-no-eval";

/** Bytes that one item may have. */
export const MOST_ITEM = 256 * 1024;
/** Arrays and maps that may be open at once: one in another in another. */
export const MOST_DEPTH = 8;

export type Value = null | boolean | number | string | Uint8Array | readonly Value[] | Fields;
/** A map; its keys are texts. */
export interface Fields {
  readonly [key: string]: Value;
}

/** Bytes that are not what docs/CONTROL.md allows. */
export class CborError extends Error {}

// Whole numbers up to 2^32 are CBOR integers, others floats: both read back as JavaScript's numbers.
const OPTIONS: Options & { readonly int64AsNumber: boolean } = {
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  tagUint8Array: false,
  copyBuffers: false, // what is decoded is nobody else's
  int64AsNumber: true,
};
const codec = new Encoder(OPTIONS);

/** @returns one item of a sequence. @throws CborError where the other end would not take it */
export function encodeItem(value: Value): Uint8Array {
  const bytes = codec.encode(value);
  if (bytes.length > MOST_ITEM) throw new CborError(`an item of ${bytes.length} bytes is longer than ${MOST_ITEM}`);
  return bytes;
}

/** Bytes from which on a copy costs more than a piece. */
const LARGE = 4096;
const EMPTY = new Uint8Array(0);

/**
 * The same, of a value that may end with many bytes: with a map whose last member ends so.
 * @returns the item in pieces; those bytes are not copied
 */
export function encodePieces(value: Value): readonly Uint8Array[] {
  const bytes = lastBytes(value);
  if (bytes === undefined || bytes.length < LARGE) return [encodeItem(value)];
  const start = encodeItem(withLastBytes(value, EMPTY));
  // In place of the header of no bytes, which is one byte, that of so many.
  const first = new Uint8Array(start.length + 4);
  first.set(start);
  first[start.length - 1] = (MAJOR.BYTES << 5) | FOUR_BYTES;
  new DataView(first.buffer).setUint32(start.length, bytes.length);
  const length = first.length + bytes.length;
  if (length > MOST_ITEM) throw new CborError(`an item of ${length} bytes is longer than ${MOST_ITEM}`);
  return [first, bytes];
}

function lastBytes(value: Value): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value;
  return isMap(value) ? lastBytes(Object.values(value).at(-1) ?? null) : undefined;
}

/** @param value that `lastBytes` finds some in */
function withLastBytes(value: Value, bytes: Uint8Array): Value {
  if (!isMap(value)) return bytes;
  const key = Object.keys(value).at(-1) ?? "";
  return { ...value, [key]: withLastBytes(value[key], bytes) };
}

function isMap(value: Value): value is Fields {
  return value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Uint8Array);
}

// Major types (RFC 8949 section 3.1): the upper three bits of an item's first byte. The lower five say how long what follows is.
const MAJOR = { UNSIGNED: 0, NEGATIVE: 1, BYTES: 2, TEXT: 3, ARRAY: 4, MAP: 5, TAG: 6, SIMPLE: 7 } as const;
const ONE_BYTE = 24;
const FOUR_BYTES = 26;
const EIGHT_BYTES = 27;
const NULL = 22;
const FALSE = 20;
const HALF_FLOAT = 25;

/** An array or a map that is not at its end. */
interface Open {
  /** Items still to come in it: of a map, keys and values. */
  left: number;
  readonly isMap: boolean;
}

/** Takes bytes as they come, and gives the items. */
export class ItemReader {
  /** Bytes of the item that is not whole yet; how many of these are taken up; where in them the next header begins. */
  private held: Uint8Array = new Uint8Array(256);
  private length = 0;
  private next = 0;
  private readonly open: Open[] = [];

  /** @param hear takes each item, in order */
  constructor(private readonly hear: (value: Value) => void) {}

  /** Bytes of an unfinished item that are kept. */
  get waiting(): number {
    return this.length;
  }

  /** @throws CborError where the bytes are not allowed: what comes after them can't be understood either */
  push(bytes: Uint8Array): void {
    this.keep(bytes);
    for (let end = this.findEnd(); end !== undefined; end = this.findEnd()) {
      const value = decode(this.take(end));
      this.next = 0;
      this.hear(value);
    }
  }

  /** Takes the first item out. @returns its bytes, which nobody writes to any more */
  private take(end: number): Uint8Array {
    const { held } = this;
    const isLarge = end >= LARGE;
    const item = isLarge ? held.subarray(0, end) : held.slice(0, end);
    if (isLarge) {
      // What follows moves, not the item.
      this.held = memoryOf(Math.max(held.length, this.length - end));
      this.held.set(held.subarray(end, this.length));
    } else {
      held.copyWithin(0, end, this.length);
    }
    this.length -= end;
    return item;
  }

  private keep(bytes: Uint8Array): void {
    const wanted = this.length + bytes.length;
    if (wanted > this.held.length) {
      const larger = memoryOf(Math.max(wanted, 2 * this.held.length));
      larger.set(this.held.subarray(0, this.length));
      this.held = larger;
    }
    this.held.set(bytes, this.length);
    this.length = wanted;
  }

  /** Goes on where it stopped, so that bytes that come one by one are looked at once. @returns where the first item ends, if it does */
  private findEnd(): number | undefined {
    // What an item ends with may be known before it is there: behind that begins another one.
    const isKnown = () => this.next > 0 && this.open.length === 0;
    while (this.next < this.length && !isKnown()) {
      if (!this.readHeader()) return undefined;
      if (this.next > MOST_ITEM) throw new CborError(`an item is longer than ${MOST_ITEM} bytes`);
    }
    return isKnown() && this.next <= this.length ? this.next : undefined;
  }

  /** Goes past one header, and what a text or bytes are made of. @returns whether all of the header is there */
  private readHeader(): boolean {
    const first = this.held[this.next];
    const [major, short] = [first >>> 5, first & 31];
    if (short > EIGHT_BYTES) throw new CborError("an item without a length");
    const width = short < ONE_BYTE ? 0 : 1 << (short - ONE_BYTE);
    if (this.next + 1 + width > this.length) return false;
    if (major === MAJOR.TAG) throw new CborError("a tag");
    if (major === MAJOR.SIMPLE && (short < FALSE || (short > NULL && short < HALF_FLOAT))) {
      throw new CborError(`the simple value ${short}`);
    }
    const top = this.open.at(-1);
    if (top?.isMap && top.left % 2 === 0 && major !== MAJOR.TEXT) throw new CborError("a key that is no text");
    const count = width === 0 ? short : this.number(this.next + 1, width);
    this.next += 1 + width;
    if (top !== undefined) top.left--;
    if (major === MAJOR.BYTES || major === MAJOR.TEXT) this.next += count;
    else if (major === MAJOR.ARRAY) this.begin(count, false);
    else if (major === MAJOR.MAP) this.begin(2 * count, true);
    while (this.open.at(-1)?.left === 0) this.open.pop();
    return true;
  }

  private begin(left: number, isMap: boolean): void {
    if (left > MOST_ITEM) throw new CborError(`an item is longer than ${MOST_ITEM} bytes`);
    if (this.open.length === MOST_DEPTH) throw new CborError(`more than ${MOST_DEPTH} arrays and maps in each other`);
    this.open.push({ left, isMap });
  }

  /** @param width 1, 2, 4 or 8 bytes @returns what is beyond 2^53 only about */
  private number(at: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 256 + this.held[at + i];
    return value;
  }
}

/** @returns so many bytes, which are whatever was there */
function memoryOf(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
}

/** @param bytes one whole item */
function decode(bytes: Uint8Array): Value {
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw new CborError(error instanceof Error ? error.message : String(error));
  }
}
