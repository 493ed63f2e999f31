// Captures that are damaged: files of all formats with bytes changed, cut out, repeated and cut off are read or refused, with the place of
// the fault and the remedy, in bounded time and memory. Nothing else comes out, whatever the bytes are.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { memorySource } from "../../lab/captures.ts";
import { configuration } from "../../lab/places.ts";
import { Random } from "../../lab/random.ts";
import { CaptureError } from "../../src/captures/error.ts";
import { LONGEST_FRAME } from "../../src/captures/format.ts";
import { type Ends, toEthernet } from "../../src/captures/link-types.ts";
import { CaptureReader } from "../../src/captures/reader.ts";
import { CaptureSource } from "../../src/captures/source.ts";
import type { ByteSource } from "../../src/captures/window.ts";
import { parseConfig } from "../../src/config/config.ts";
import { configuredDevices, makeSettings } from "../../src/control/settings.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { VERDICT_NAMES } from "../../src/dataplane/verdict.ts";
import { NextHops } from "../../src/replay/next-hops.ts";
import { OwnFrames } from "../../src/replay/own-frames.ts";
import { Player } from "../../src/replay/player.ts";
import { sound } from "../support/sound.ts";

const FOLDER = import.meta.dir;
const SEED = 20_240_817;
const FILES = 100_000;
const COMPRESSED = 2000;
/** A file of so few bytes has to be read in less; the slowest took 20 ms. */
const LONGEST_MS = 5000;

const ENDS: Ends = { ours: Uint8Array.of(2, 0, 0, 0, 0, 1), peer: () => Uint8Array.of(2, 0, 0, 0, 0, 2) };

const read = (name: string) => new Uint8Array(readFileSync(join(FOLDER, name)));

function withLinkType(file: Uint8Array, type: number): Uint8Array {
  const changed = file.slice();
  new DataView(changed.buffer).setUint32(20, type, true);
  return changed;
}

/** A record's header says nothing of byte order: the words of the two headers that are read as numbers, turned round. */
function bigEndian(file: Uint8Array): Uint8Array {
  const changed = file.slice();
  const turn = (at: number, length: number) => changed.subarray(at, at + length).reverse();
  for (const [at, length] of [
    [0, 4],
    [4, 2],
    [6, 2],
    [8, 4],
    [12, 4],
    [16, 4],
    [20, 4],
  ] as const)
    turn(at, length);
  const view = new DataView(changed.buffer);
  for (let at = 24; at < changed.length; ) {
    const captured = view.getUint32(at + 8, true);
    for (let word = 0; word < 16; word += 4) turn(at + word, 4);
    at += 16 + captured;
  }
  return changed;
}

function converted(name: string, format: string): Uint8Array {
  const { stdout, exitCode } = Bun.spawnSync(["editcap", "-F", format, join(FOLDER, name), "-"]);
  expect(exitCode).toBe(0);
  return new Uint8Array(stdout);
}

const PING = read("ping-client.pcap");
const WHOLE: readonly Uint8Array[] = [
  PING,
  bigEndian(PING),
  converted("ping-client.pcap", "pcap"),
  converted("ping-client.pcap", "pcapng"),
  read("odd/obsolete-pb.pcapng"),
  read("odd/mixed.pcapng"),
  read("odd/both.pcapng"),
  ...[101, 113, 276].map((type) => withLinkType(PING, type)),
];

/** Numbers that lengths, types and times go wrong at. */
const WORDS = [
  0, 1, 2, 3, 4, 6, 12, 27, 28, 31, 32, 65535, 65536, 262144, 262145, 0x01000000, 0x7fffffff, 0x80000000, 0xffffffff,
];

function mutate(file: Uint8Array, random: Random): Uint8Array {
  const changed = file.slice();
  const view = new DataView(changed.buffer);
  for (let i = random.below(4); i >= 0; i--) {
    const at = random.below(changed.length);
    const word = Math.min(at & ~3, changed.length - 4);
    switch (random.below(6)) {
      case 0:
        changed[at] = random.below(256);
        break;
      case 1:
        changed[at] ^= 1 << random.below(8);
        break;
      case 2:
        view.setUint32(word, random.pick(WORDS), random.chance(0.5));
        break;
      case 3:
        return changed.slice(0, at);
      case 4:
        return Uint8Array.from(
          Buffer.concat([changed.subarray(0, at), changed.subarray(random.below(changed.length))]),
        );
      default:
        view.setUint32(word, view.getUint32(word, true) + random.below(9) - 4, true);
    }
  }
  return changed;
}

function settings(): Settings {
  const parsed = sound(parseConfig(configuration([], "accept"), "firebreak.toml"));
  return sound(makeSettings(parsed.config, configuredDevices(parsed.config), { anyMac: true, now: 0 })).settings;
}

const SETTINGS = settings();
const OWN = new OwnFrames(SETTINGS);
/** One router for all files: so it has seen all that came before, too. */
const PLAYER = new Player(SETTINGS, SEED, new NextHops(SETTINGS.interfaces.length, OWN), { sent }, 0, 0);
const CLIENT = SETTINGS.clients[0].iface;
let sentInAll = 0;

function sent(
  _: number,
  seconds: number,
  nanoseconds: number,
  bytes: Buffer,
  at: number,
  captured: number,
  length: number,
) {
  sentInAll++;
  const isSound = captured >= 14 && captured <= length && at + length <= bytes.length && nanoseconds < 1e9;
  if (!isSound || Number.isNaN(seconds)) throw new Error(`sent ${captured} of ${length} bytes at ${at}`);
}

/** Has the router receive the frame in hand, on the client's interface. */
function play({ frame, window }: CaptureReader, hasMacs: boolean): void {
  const { seconds, nanoseconds, at, captured, original, direction } = frame;
  PLAYER.advance(seconds, nanoseconds);
  if (OWN.has(CLIENT, hasMacs, direction, window.view, at, captured)) return;
  const verdict = PLAYER.receive(CLIENT, window.bytes, at, captured, original);
  if (VERDICT_NAMES[verdict] === undefined) throw new Error(`verdict ${verdict}`);
  PLAYER.rule(CLIENT, window.bytes, at, captured);
  PLAYER.flow();
}

/** Reads a file to its end. @returns what became of it */
async function outcome(source: ByteSource, chosen: string | undefined): Promise<"read" | "refused"> {
  const reader = new CaptureReader(source, chosen);
  const { frame, window } = reader;
  while (reader.next() || (await reader.more())) {
    const hasMacs = toEthernet(window, frame, ENDS);
    const { at, captured, original, nanoseconds, seconds } = frame;
    const isSound = at >= 0 && captured >= 0 && at + captured <= window.end && captured <= LONGEST_FRAME + 14;
    if (!isSound || original < captured || !(nanoseconds >= 0 && nanoseconds < 1e9) || Number.isNaN(seconds)) {
      throw new Error(`a frame that can't be: ${JSON.stringify(frame)} of ${window.end}`);
    }
    play(reader, hasMacs);
  }
  if (reader.error === undefined) return "read";
  if (!(reader.error instanceof CaptureError)) throw reader.error;
  expect(reader.error.message).toMatch(/^byte \d+: .+ \(.+\)$/);
  return "refused";
}

test(`${FILES} damaged captures of all formats are read or refused with the place of the fault`, async () => {
  const random = new Random(SEED);
  const counts = { read: 0, refused: 0 };
  let slowest = 0;
  const before = process.memoryUsage.rss();
  for (let i = 0; i < FILES; i++) {
    const file = mutate(random.pick(WHOLE), random);
    const began = performance.now();
    const source = memorySource(file, 1 + random.below(2 * file.length));
    counts[await outcome(source, random.pick([undefined, undefined, "0", "1", "eth1"]))]++;
    slowest = Math.max(slowest, performance.now() - began);
  }
  console.log(`${counts.read} read, ${counts.refused} refused, slowest ${slowest.toFixed(0)} ms`);
  expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(FILES / 10);
  expect(sentInAll).toBeGreaterThan(FILES / 2);
  expect(slowest).toBeLessThan(LONGEST_MS);
  expect((process.memoryUsage.rss() - before) / 1e6).toBeLessThan(400);
}, 120_000);

test(`${COMPRESSED} damaged compressed captures are read or refused too`, async () => {
  const random = new Random(SEED);
  const folder = await mkdtemp(join(tmpdir(), "firebreak-fuzz-"));
  const counts = { read: 0, refused: 0 };
  try {
    const files = WHOLE.flatMap((file) => [gzipSync(file), zstdCompressSync(file)]);
    for (let i = 0; i < COMPRESSED; i++) {
      const file = join(folder, "damaged");
      await Bun.write(file, mutate(new Uint8Array(random.pick(files)), random));
      const source = await CaptureSource.open(file);
      counts[await outcome(source, undefined)]++;
      source.close();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  console.log(`${counts.read} read, ${counts.refused} refused`);
  expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(COMPRESSED / 50);
}, 120_000);
