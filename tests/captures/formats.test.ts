// Reading and writing captures: pcap and pcapng of both byte orders, what is broken in them, and what editcap says of ours.
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Glob } from "bun";
import { type CapturedFrame, memorySource, readCapture, writeCapture } from "../../lab/captures.ts";
import { concat, fromHex, payload, toHex } from "../../lab/frames.ts";
import { CaptureError } from "../../src/captures/error.ts";
import { DIRECTION } from "../../src/captures/frame.ts";
import { CaptureReader } from "../../src/captures/reader.ts";
import { patched } from "../support/place.ts";

const FILE_HEADER = "0002 0004 00000000 00000000 0000ffff 00000001";

/** Turns the hex of big-endian words, each standing by itself, into bytes of either order. */
function words(hex: string, littleEndian: boolean): Uint8Array {
  const parts = hex.trim().split(/\s+/).map(fromHex);
  return concat(...parts.map((part) => (littleEndian ? part.toReversed() : part)));
}

/** A frame of `length` bytes, in a record of 1571000000.123456(789) s. */
function record(fraction: number, captured: number, original: number, littleEndian: boolean, bytes: Uint8Array) {
  const hex = [0x5da38ec0, fraction, captured, original].map((word) => word.toString(16).padStart(8, "0")).join(" ");
  return concat(words(hex, littleEndian), bytes);
}

async function refusal(file: Uint8Array): Promise<string> {
  try {
    await readCapture(file);
  } catch (error) {
    if (error instanceof CaptureError) return error.message;
    throw error;
  }
  return "read";
}

function shown(frames: readonly CapturedFrame[]) {
  return frames.map(({ bytes, ...rest }) => ({ ...rest, hex: toHex(bytes) }));
}

const CUT_SHORT = "the file is cut short: copy or capture it anew, or keep the whole records with `editcap FILE NEW`";
const DAMAGED = "the file is damaged: copy or capture it anew";

describe("classic pcap", () => {
  const magics = [
    { magic: "a1b2c3d4", littleEndian: false, resolution: "us", fraction: 123456, nanoseconds: 123456000 },
    { magic: "a1b2c3d4", littleEndian: true, resolution: "us", fraction: 123456, nanoseconds: 123456000 },
    { magic: "a1b23c4d", littleEndian: false, resolution: "ns", fraction: 123456789, nanoseconds: 123456789 },
    { magic: "a1b23c4d", littleEndian: true, resolution: "ns", fraction: 123456789, nanoseconds: 123456789 },
  ] as const;
  for (const { magic, littleEndian, resolution, fraction, nanoseconds } of magics) {
    test(`is read with magic ${magic}, ${littleEndian ? "little" : "big"}-endian`, async () => {
      const file = concat(
        words(`${magic} ${FILE_HEADER}`, littleEndian),
        record(fraction, 60, 60, littleEndian, payload(60)),
        record(fraction, 20, 1514, littleEndian, payload(20)),
        record(fraction, 0, 0, littleEndian, payload(0)),
      );
      const capture = await readCapture(file);
      expect(capture.resolution).toBe(resolution);
      expect(shown(capture.frames)).toEqual([
        { seconds: 1571000000, nanoseconds, hex: toHex(payload(60)), originalLength: 60 },
        { seconds: 1571000000, nanoseconds, hex: toHex(payload(20)), originalLength: 1514 },
        { seconds: 1571000000, nanoseconds, hex: "", originalLength: 0 },
      ]);
    });
  }

  const header = words(`a1b2c3d4 ${FILE_HEADER}`, true);
  const whole = concat(header, record(1, 60, 60, true, payload(60)), record(2, 30, 30, true, payload(30)));

  test("is read from the middle of other memory", async () => {
    expect(shown((await readCapture(concat(payload(7), whole).subarray(7))).frames)).toEqual(
      shown((await readCapture(whole)).frames),
    );
  });

  test("may tell of frame check sequences beside the link type", async () => {
    expect((await readCapture(patched(whole, 23, 0x24))).frames.length).toBe(2);
  });

  test("cut short anywhere but between records says where and what to do", async () => {
    const [first, second] = [24, 24 + 16 + 60];
    const told = await Promise.all(
      Array.from({ length: whole.length }, (_, length) => refusal(whole.subarray(0, length))),
    );
    const expected = told.map((_, length) => {
      if (length < 4) return `byte 0: the file has ${length} bytes (${CUT_SHORT})`;
      if (length < first) return `byte 0: the file header has 24 bytes, the file ${length} (${CUT_SHORT})`;
      const at = length < second ? first : second;
      const left = length - at;
      if (left === 0) return "read";
      if (left < 16) return `byte ${at}: a record header has 16 bytes, the file ${left} more (${CUT_SHORT})`;
      const captured = at === first ? 60 : 30;
      return `byte ${at + 8}: a record announces ${captured} bytes, there are ${left - 16} (${CUT_SHORT})`;
    });
    expect(told).toEqual(expected);
  });

  test("with lying lengths says where and what to do", async () => {
    const broken = (fraction: number, captured: number, original: number) =>
      refusal(concat(header, record(fraction, captured, original, true, payload(60))));
    expect(await Promise.all([broken(0, 61, 61), broken(0, 0x7fffffff, 0x7fffffff)])).toEqual([
      `byte 32: a record announces 61 bytes, there are 60 (${CUT_SHORT})`,
      `byte 32: a frame of 2147483647 bytes is longer than any (262144) (${DAMAGED})`,
    ]);
  });

  test("of a version before 2.3 has its two lengths the other way round, as libpcap knows", async () => {
    const turned = concat(header, record(1, 1514, 60, true, payload(60)), record(2, 30, 30, true, payload(30)));
    const { frames } = await readCapture(patched(turned, 6, 2));
    expect(frames.map(({ bytes, originalLength }) => [bytes.length, originalLength])).toEqual([
      [60, 1514],
      [30, 30],
    ]);
    expect((await readCapture(patched(turned, 6, 3))).frames.length).toBe(2);
    expect(await refusal(turned)).toContain("a record announces 1514 bytes");
  });

  test("of another link type says which and what to do", async () => {
    const remedy = "is not Ethernet (1) (capture on one Ethernet interface, by its name)";
    expect(await Promise.all([105, 9].map((type) => refusal(patched(whole, 20, type))))).toEqual([
      `byte 20: link type 105 (IEEE 802.11) ${remedy}`,
      `byte 20: link type 9 ${remedy}`,
    ]);
  });

  test("is told from what is no capture", async () => {
    expect(await refusal(fromHex("1f8b0800 00000000"))).toBe(
      "byte 0: neither pcap nor pcapng begins with 1f8b0800 (decompress it, or save it as pcap or pcapng)",
    );
  });
});

describe("pcapng", () => {
  /** @param body words and bytes behind type and length, padded to 4 bytes */
  function block(littleEndian: boolean, type: string, ...body: readonly Uint8Array[]): Uint8Array {
    const content = concat(...body);
    const padded = concat(content, new Uint8Array(-content.length & 3));
    const length = (padded.length + 12).toString(16).padStart(8, "0");
    return concat(words(`${type} ${length}`, littleEndian), padded, words(length, littleEndian));
  }
  const section = (little: boolean) =>
    block(little, "0a0d0d0a", words("1a2b3c4d 0001 0000", little), new Uint8Array(8).fill(0xff));
  const describeInterface = (little: boolean, options: Uint8Array, linkType = "0001", snapLength = "00040000") =>
    block(little, "00000001", words(`${linkType} 0000 ${snapLength}`, little), options);
  const enhanced = (little: boolean, iface: number, time: string, captured: number, original: number) =>
    block(
      little,
      "00000006",
      words(`0000000${iface} ${time} ${captured.toString(16).padStart(8, "0")}`, little),
      words(original.toString(16).padStart(8, "0"), little),
      payload(captured),
    );
  const statistics = (little: boolean) => block(little, "00000005", words("00000000 00000000 00000000", little));
  const none = new Uint8Array(0);
  /** if_tsresol, padded, and the end of options. */
  const resolution = (little: boolean, exponent: number) =>
    concat(words("0009 0001", little), Uint8Array.of(exponent, 0, 0, 0), words("0000 0000", little));

  for (const little of [false, true]) {
    test(`is read ${little ? "little" : "big"}-endian, skipping what holds no frame`, async () => {
      // 1571000000.123456 s in µs is 0x594c41e6_c8a40 … in words; in ns 0x15cd3d5d_….
      const us = 1571000000123456n.toString(16).padStart(16, "0");
      const ns = 1571000000123456789n.toString(16).padStart(16, "0");
      const binary = ((1571000000n << 10n) + 256n).toString(16).padStart(16, "0");
      const split = (time: string) => `${time.slice(0, 8)} ${time.slice(8)}`;
      const offset = concat(words("000e 0008", little), words((1571000000).toString(16).padStart(16, "0"), little));
      const file = concat(
        section(little),
        describeInterface(little, none),
        describeInterface(little, resolution(little, 9)),
        describeInterface(little, resolution(little, 0x80 + 10)),
        describeInterface(little, offset),
        enhanced(little, 0, split(us), 61, 61),
        statistics(little),
        enhanced(little, 1, split(ns), 60, 1514),
        enhanced(little, 2, split(binary), 3, 3),
        enhanced(little, 3, "00000000 00000007", 1, 1),
      );
      const capture = await readCapture(file);
      expect(capture.resolution).toBe("ns");
      expect(shown(capture.frames)).toEqual([
        { seconds: 1571000000, nanoseconds: 123456000, hex: toHex(payload(61)), originalLength: 61 },
        { seconds: 1571000000, nanoseconds: 123456789, hex: toHex(payload(60)), originalLength: 1514 },
        { seconds: 1571000000, nanoseconds: 250000000, hex: toHex(payload(3)), originalLength: 3 },
        { seconds: 1571000000, nanoseconds: 7000, hex: toHex(payload(1)), originalLength: 1 },
      ]);
    });
  }

  test("is read across sections of different byte order, each with its own interfaces", async () => {
    const part = (little: boolean) =>
      concat(section(little), describeInterface(little, none), enhanced(little, 0, "00000000 000f4240", 60, 60));
    const capture = await readCapture(concat(part(true), part(false)));
    expect(capture.resolution).toBe("us");
    expect(shown(capture.frames)).toEqual(
      new Array(2).fill({ seconds: 1, nanoseconds: 0, hex: toHex(payload(60)), originalLength: 60 }),
    );
    expect(await refusal(concat(part(true), section(false), enhanced(false, 0, "00000000 00000000", 1, 1)))).toContain(
      "no block before describes interface 0",
    );
  });

  test("of simple packets gives them the time before, and cuts them at the snapshot length", async () => {
    const simple = (original: string, bytes: Uint8Array) => block(true, "00000003", words(original, true), bytes);
    const file = concat(
      section(true),
      describeInterface(true, none, "0001", "00000010"),
      enhanced(true, 0, "00000000 000f4240", 5, 5),
      simple("0000000a", payload(10)),
      simple("0000003c", payload(16)),
    );
    expect(shown((await readCapture(file)).frames)).toEqual([
      { seconds: 1, nanoseconds: 0, hex: toHex(payload(5)), originalLength: 5 },
      { seconds: 1, nanoseconds: 0, hex: toHex(payload(10)), originalLength: 10 },
      { seconds: 1, nanoseconds: 0, hex: toHex(payload(16)), originalLength: 60 },
    ]);
  });

  const little = concat(
    section(true),
    describeInterface(true, resolution(true, 9)),
    enhanced(true, 0, "00000000 00000000", 60, 60),
  );

  test("cut short anywhere but between blocks says where", async () => {
    const told = await Promise.all(
      Array.from({ length: little.length }, (_, length) => refusal(little.subarray(0, length))),
    );
    const whole = told.flatMap((message, length) => (message === "read" ? [length] : []));
    expect(whole).toEqual([28, 28 + 32]);
    for (const message of told.filter((message) => message !== "read")) {
      expect(message).toMatch(/^byte \d+: .* \(the file is (cut short|damaged): .*\)$/);
    }
    expect(told.at(-1)).toBe(`byte 64: a block announces 92 bytes, there are 91 (${CUT_SHORT})`);
  });

  test("that lies says where", async () => {
    const [description, packet] = [28, 60];
    const lies = [
      patched(little, 8, 0), // byte order
      patched(little, 4, 24), // section length below its own header
      patched(little, description + 4, 16), // too short for its type
      patched(little, packet - 4, 28), // the second length
      patched(little, description + 8, 105), // link type
      patched(little, description + 18, 200), // option length
      patched(little, packet + 8, 1), // interface
      patched(little, packet + 20, 200, 0, 0, 0, 200), // captured length above the block
      patched(little, packet + 4, 28), // too short for its type
    ];
    expect(await Promise.all(lies.map(refusal))).toEqual([
      `byte 8: a section's byte order is neither (${DAMAGED})`,
      `byte 4: a block of type ${0x0a0d0d0a} can't have 24 bytes (${DAMAGED})`,
      `byte 32: a block of type 1 can't have 16 bytes (${DAMAGED})`,
      `byte 56: a block's two lengths differ (${DAMAGED})`,
      "byte 0: link type 105 (IEEE 802.11) is not Ethernet (1) (capture on one Ethernet interface, by its name)",
      `byte 44: an option is longer than its block (${DAMAGED})`,
      `byte 68: no block before describes interface 1 (${DAMAGED})`,
      `byte 80: a record announces 200 bytes, there are 60 (${CUT_SHORT})`,
      `byte 64: a block of type 6 can't have 28 bytes (${DAMAGED})`,
    ]);
  });

  test("is read through blocks of any length up to 16 MiB, and frames up to the longest", async () => {
    const big = (length: number) => {
      const bytes = Buffer.alloc(length + 12);
      for (const [at, word] of [0x0bad, length + 12].entries()) bytes.writeUInt32LE(word, 4 * at);
      bytes.writeUInt32LE(length + 12, length + 8);
      return bytes;
    };
    const packet = enhanced(true, 0, "00000000 00000000", 262144, 262144);
    const parts = [
      section(true),
      describeInterface(true, none),
      packet,
      big(1_000_000),
      packet,
      big(2 ** 24 - 12),
      packet,
    ];
    const file = Buffer.concat(parts);
    for (const atOnce of [100_000, 1 << 20]) {
      const { frames } = await readCapture(file, atOnce);
      expect(frames.map(({ bytes }) => bytes.length)).toEqual([262144, 262144, 262144]);
      for (const { bytes } of frames) expect(Buffer.from(bytes).equals(packet.subarray(28, 28 + 262144))).toBe(true);
    }
    const longer = Buffer.concat([...parts.slice(0, 2), big(2 ** 24)]);
    expect(await refusal(longer)).toBe(`byte 52: a block of 16777228 bytes is longer than any (16777216) (${DAMAGED})`);
  });

  test("tells who sent a frame, where its flags do", async () => {
    const flags = (code: string, value: string) =>
      concat(words(`0001 0003`, true), payload(3), Uint8Array.of(0), words(`${code} 0004 ${value} 0000 0000`, true));
    const packet = (options: Uint8Array) =>
      block(
        true,
        "00000006",
        words("00000000 00000000 00000000 00000003 00000003", true),
        concat(payload(3), Uint8Array.of(0)),
        options,
      );
    const file = concat(
      section(true),
      describeInterface(true, none),
      packet(flags("0002", "00000001")),
      packet(flags("0002", "00000002")),
      packet(flags("0002", "000000ff")),
      packet(flags("0005", "00000002")),
      packet(none),
      packet(words("0002 00ff 00000002", true)),
    );
    const reader = new CaptureReader(memorySource(file));
    const directions: number[] = [];
    while (reader.next() || (await reader.more())) directions.push(reader.frame.direction);
    const { UNKNOWN, INBOUND, OUTBOUND } = DIRECTION;
    expect(directions).toEqual([INBOUND, OUTBOUND, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]);
  });

  test("whose blocks tell of their lengths without padding is read as Wireshark reads it", async () => {
    const unpadded = concat(
      section(true),
      describeInterface(true, none),
      patched(patched(enhanced(true, 0, "00000000 00000000", 61, 61), 4, 93), 92, 93),
      patched(enhanced(true, 0, "00000000 00000000", 60, 60), 4, 90),
    );
    const { frames } = await readCapture(unpadded);
    expect(frames.map(({ bytes }) => bytes.length)).toEqual([61, 60]);
    const editcap = Bun.spawnSync(["editcap", "-F", "pcap", "-", "-"], { stdin: unpadded });
    expect((await readCapture(editcap.stdout)).frames.length).toBe(2);
  });

  test("with any single byte changed is read or refused, never a crash", async () => {
    for (let i = 0; i < little.length; i++) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff])
        expect(typeof (await refusal(patched(little, i, value)))).toBe("string");
    }
  });
});

describe("writing", () => {
  const frames: CapturedFrame[] = [
    { seconds: 1571000000, nanoseconds: 123456789, bytes: payload(60), originalLength: 60 },
    { seconds: 1571000000, nanoseconds: 999999999, bytes: payload(20), originalLength: 1514 },
    { seconds: 0xffffffff, nanoseconds: 0, bytes: payload(1), originalLength: 1 },
  ];

  test("is read back as it was, to the nanosecond", async () => {
    const capture = await readCapture(writeCapture(frames, "ns"));
    expect(capture.resolution).toBe("ns");
    expect(shown(capture.frames)).toEqual(shown(frames));
  });

  test("in microseconds loses what is below them", async () => {
    const capture = await readCapture(writeCapture(frames, "us"));
    expect(capture.resolution).toBe("us");
    expect(capture.frames.map((frame) => frame.nanoseconds)).toEqual([123456000, 999999000, 0]);
  });

  test("gives the bytes that the format has", async () => {
    const file = writeCapture([{ seconds: 1, nanoseconds: 2000, bytes: payload(2), originalLength: 3 }], "us");
    const header = words("a1b2c3d4 0002 0004 00000000 00000000 00040000 00000001", true);
    expect(toHex(file)).toBe(toHex(concat(header, words("00000001 00000002 00000002 00000003", true), payload(2))));
  });

  test("of no frames is a header alone", async () => {
    expect(writeCapture([], "us").length).toBe(24);
    expect((await readCapture(writeCapture([], "us"))).frames).toEqual([]);
  });
});

test("Wireshark's editcap reads what is written here, and its pcapng is read here, frame for frame", async () => {
  const directory = await mkdtemp(join(tmpdir(), "firebreak-pcap-"));
  try {
    for (const path of new Glob("*.pcap").scanSync({ cwd: join(import.meta.dir, "../captures"), absolute: true })) {
      const original = await readCapture(await Bun.file(path).bytes());
      const [written, converted] = [join(directory, "written.pcap"), join(directory, "converted.pcapng")];
      await Bun.write(written, writeCapture(original.frames, original.resolution));
      const editcap = Bun.spawnSync(["editcap", "-F", "pcapng", written, converted]);
      expect(editcap.stderr.toString()).toBe("");
      const { frames, resolution } = await readCapture(await Bun.file(converted).bytes());
      expect([resolution, shown(frames)]).toEqual([original.resolution, shown(original.frames)]);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});
