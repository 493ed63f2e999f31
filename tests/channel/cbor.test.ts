// CBOR on the channel: both ways against another implementation, and bounds that hold whatever comes.
import { describe, expect, test } from "bun:test";
import { Random } from "../../lab/random.ts";
import {
  CborError,
  encodeItem,
  encodePieces,
  type Fields,
  ItemReader,
  MOST_DEPTH,
  MOST_ITEM,
  type Value,
} from "../../src/channel/cbor.ts";

const SAMPLE: Fields = {
  id: 7,
  op: "flows",
  args: {
    words: ["client=work", "dst=192.0.2.0/24", "é \u202e \u{1f525}"],
    ...{ none: null, yes: true, no: false, whole: -70000, large: 2 ** 40, part: 0.25, bytes: Uint8Array.of(0, 255) },
    ...{ empty: {}, list: [], nested: [[[{ a: [1] }]]] },
  },
};

function readAll(bytes: Uint8Array, piece = bytes.length): Value[] {
  const values: Value[] = [];
  const reader = new ItemReader((value) => values.push(value));
  for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
  return values;
}

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

/** Has Debian's cbor2 do something with the bytes in its standard input. */
function python(program: string, input: Uint8Array): Uint8Array {
  const run = Bun.spawnSync(["/usr/bin/python3", "-c", program], { stdin: input });
  if (run.exitCode !== 0) throw new Error(run.stderr.toString());
  return run.stdout;
}

test("a sequence of items is read as it was written, in pieces of any length", () => {
  const bytes = Buffer.concat([encodeItem(SAMPLE), encodeItem([]), encodeItem(SAMPLE)]);
  for (const piece of [1, 2, 3, 7, bytes.length]) expect(readAll(bytes, piece)).toEqual([SAMPLE, [], SAMPLE]);
});

test("items that end with a text or bytes are read in pieces of any length too", () => {
  const items: Fields[] = Array.from({ length: 40 }, (_, i) =>
    i % 2 === 0 ? { id: i, text: "t".repeat(i) } : { id: i, data: { n: i, bytes: new Uint8Array(30 * i * i).fill(i) } },
  );
  const bytes = Buffer.concat(items.map(encodeItem));
  for (const piece of [1, 2, 3, 5, 8, 64, 1000, 4096, 65536, bytes.length])
    expect(readAll(bytes, piece)).toEqual(items);
});

test("in pieces an item is as in one, and bytes at its end are not copied", () => {
  const random = new Random(4);
  for (const length of [0, 1, 4095, 4096, 65535, 65536, 200_000]) {
    const bytes = Uint8Array.from({ length }, () => random.next() & 0xff);
    for (const value of [bytes, { bytes }, { id: 1, data: { lost: 0, frames: 3, bytes } }] satisfies Value[]) {
      const pieces = encodePieces(value);
      expect(readAll(Buffer.concat(pieces))).toEqual([value]);
      expect(pieces.at(-1) === bytes).toBe(length >= 4096);
    }
    const other = { data: { bytes, frames: 3 } };
    expect(encodePieces(other)).toEqual([encodeItem(other)]);
  }
  const long = { id: 1, data: { bytes: new Uint8Array(MOST_ITEM - 10) } };
  expect(() => encodePieces(long)).toThrow(CborError);
});

test("another implementation reads what we write, to the end of the sequence", () => {
  const program =
    "import sys, json, cbor2\nwhile True:\n  try: print(json.dumps(cbor2.load(sys.stdin.buffer)))\n  except EOFError: break";
  const { args, ...rest } = SAMPLE;
  const plain = { ...rest, args: { ...(args as Fields), bytes: null } };
  const lines = new TextDecoder().decode(python(program, Buffer.concat([encodeItem(plain), encodeItem(plain)])));
  expect(
    lines
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual([plain, plain]);
});

test("we read what another implementation writes", () => {
  const program = `import sys, cbor2
for value in [{"id": 2**40, "half": 1.5, "third": 1/3, "b": b"\\0\\xff", "t": "é", "l": list(range(300)), "n": None}, "x" * 70000]:
  cbor2.dump(value, sys.stdout.buffer, canonical=True)`;
  const list = Array.from({ length: 300 }, (_, i) => i);
  const first = { id: 2 ** 40, half: 1.5, third: 1 / 3, b: Buffer.from([0, 255]), t: "é", l: list, n: null };
  expect(readAll(python(program, new Uint8Array()))).toEqual([
    { ...first, b: Uint8Array.of(0, 255) },
    "x".repeat(70000),
  ]);
});

describe("what docs/CONTROL.md does not allow is an error", () => {
  test.each([
    ["a tag", "c0 60"],
    ["a date", "c1 1a 514b67b0"],
    ["an array without a length", "9f 01 ff"],
    ["a text without a length", "7f 61 61 ff"],
    ["a break", "ff"],
    ["a key that is a number", "a1 01 02"],
    ["a key that is bytes", "a1 41 00 02"],
    ["undefined", "f7"],
    ["a simple value of one's own", "f8 ff"],
    ["a reserved length", "1c"],
    ["a tag inside", "a1 61 61 81 c0 60"],
  ])("%s", (_, text) => {
    expect(() => readAll(hex(text))).toThrow(CborError);
  });

  test("an item that is too long, as soon as its header says so", () => {
    expect(() => readAll(hex("5b 0000000100000000"))).toThrow("longer");
    expect(() => readAll(hex("9b 00ffffffffffffff"))).toThrow("longer");
    expect(() => readAll(hex(`7a ${MOST_ITEM.toString(16).padStart(8, "0")}`))).toThrow("longer");
    expect(() => encodeItem("x".repeat(MOST_ITEM))).toThrow(CborError);
  });

  test("arrays in arrays beyond a depth, by the byte that goes too deep", () => {
    expect(readAll(hex(`${"81".repeat(MOST_DEPTH)}00`)).length).toBe(1);
    expect(() => readAll(hex("81".repeat(MOST_DEPTH + 1)))).toThrow("in each other");
  });
});

test("a key that is special to JavaScript is a key like others, and changes no object", () => {
  const [value] = readAll(hex("a1 69 5f5f70726f746f5f5f a1 61 78 01")); // {"__proto__": {"x": 1}}
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  expect(({} as { readonly x?: number }).x).toBeUndefined();
});

test("an item in single bytes is looked at once each: a quarter of a million take no time", () => {
  const bytes = encodeItem(Array.from({ length: 200_000 }, () => 1));
  let items = 0;
  const reader = new ItemReader(() => items++);
  for (let at = 0; at < bytes.length; at++) reader.push(bytes.subarray(at, at + 1));
  expect(items).toBe(1);
});

test("whatever bytes come, values of this kind or an error come of it, and what is kept is bounded", () => {
  const random = new Random(19);
  const good = Buffer.concat([encodeItem(SAMPLE), encodeItem({ id: 1, end: { records: 3, lost: 0 } })]);
  let errors = 0;
  for (let round = 0; round < 30_000; round++) {
    const bytes = Uint8Array.from(good);
    for (let changes = 1 + random.below(4); changes > 0; changes--)
      bytes[random.below(bytes.length)] = random.below(256);
    const reader = new ItemReader((value) => expect(() => encodeItem(value)).not.toThrow());
    try {
      reader.push(bytes.subarray(0, random.below(bytes.length + 1)));
      expect(reader.waiting).toBeLessThanOrEqual(bytes.length);
    } catch (error) {
      if (!(error instanceof CborError)) throw error;
      errors++;
    }
  }
  expect(errors).toBeGreaterThan(1000);
});
