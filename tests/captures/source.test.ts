// Compressed files come out as gzip and zstd themselves give them, also as far as a file goes that is cut short.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../lab/random.ts";
import { CaptureSource } from "../../src/captures/source.ts";

const LENGTH = 300_000;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "firebreak-source-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** @returns all bytes that come out of a file, and how it ends */
async function readAll(file: string): Promise<{ readonly bytes: Buffer; readonly end: string }> {
  const source = await CaptureSource.open(file);
  const parts: Buffer[] = [];
  const part = Buffer.alloc(5000);
  try {
    for (;;) {
      const count = await source.read(part, 0);
      if (count === 0) return { bytes: Buffer.concat(parts), end: "the end" };
      parts.push(Buffer.from(part.subarray(0, count)));
    }
  } catch (error) {
    return { bytes: Buffer.concat(parts), end: error instanceof Error ? error.message : "" };
  } finally {
    source.close();
  }
}

/** Data that compresses a little. */
function someData(): Buffer {
  const random = new Random(1);
  return Buffer.from(Uint8Array.from({ length: LENGTH }, () => random.below(100)));
}

for (const program of ["gzip", "zstd"]) {
  test(`what ${program} compressed comes out whole, and cut anywhere at least as far as ${program} reads it`, async () => {
    const file = join(folder, "file");
    const data = someData();
    await Bun.write(file, data);
    const { stdout: whole } = Bun.spawnSync([program, "-q", "-c", file]);
    for (const length of [whole.length, whole.length - 1, Math.floor(whole.length * 0.7), 5000, 50]) {
      await Bun.write(file, whole.subarray(0, length));
      const { bytes, end } = await readAll(file);
      const expected = Bun.spawnSync([program, "-q", "-d", "-c"], { stdin: Bun.file(file) }).stdout;
      expect(bytes.length).toBeGreaterThanOrEqual(expected.length);
      expect(bytes.equals(data.subarray(0, bytes.length))).toBe(true);
      const cut = `byte ${length}: can't be decompressed: unexpected end of file (the file is damaged or cut short: copy it anew)`;
      expect(end).toBe(length === whole.length ? "the end" : cut);
    }
  });
}

test("zstd's frames are followed whatever they have: no checksum, sizes of all widths, blocks that repeat a byte", async () => {
  const file = join(folder, "file");
  for (const length of [0, 1, 255, 256, 70_000, LENGTH]) {
    for (const options of [["--no-check"], ["--check"], ["--no-content-size"]]) {
      await Bun.write(file, new Uint8Array(length).fill(7));
      const fromFile = Bun.spawnSync(["zstd", "-q", "-c", ...options, file]).stdout;
      const fromPipe = Bun.spawnSync(["zstd", "-q", "-c", ...options], { stdin: Bun.file(file) }).stdout;
      for (const compressed of [fromFile, fromPipe, Buffer.concat([fromFile, fromPipe])]) {
        await Bun.write(file, compressed);
        const { bytes, end } = await readAll(file);
        expect([bytes.length % (length || 1), end]).toEqual([0, "the end"]);
        await Bun.write(file, compressed.subarray(0, -1));
        expect((await readAll(file)).end).toContain("unexpected end of file");
      }
    }
  }
});
