// Lines to readers of all kinds: whoever prints never waits.

import { dlopen } from "bun:ffi";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LineOutput, openOutput } from "../../src/base/line-output.ts";
import { libc } from "../../src/linux/libc.ts";

const { socketpair } = dlopen("libc.so.6", {
  socketpair: { args: ["i32", "i32", "i32", "buffer"], returns: "i32" },
}).symbols;
// sys/socket.h
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const MSG_DONTWAIT = 0x40;

const LINE = "x".repeat(99);

let folder: string;
let open: number[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "firebreak-output-"));
  open = [];
});

afterEach(() => {
  for (const fd of open) closeSync(fd);
  rmSync(folder, { recursive: true });
});

/** A pipe: its reader, and its writer as a program has it that was started with it. */
function pipe(): { reader: number; writer: number } {
  const path = join(folder, "pipe");
  spawnSync("mkfifo", [path]);
  const both = openSync(path, "r+");
  const [reader, writer] = [openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), openSync(path, "w")];
  open.push(reader, writer);
  closeSync(both);
  return { reader, writer };
}

function output(fd: number): LineOutput {
  const opened = openOutput(fd);
  if (opened !== fd) open.push(opened);
  return new LineOutput(opened);
}

/** @returns what is there to read, maybe nothing */
function take(reader: number): string {
  const buffer = new Uint8Array(1 << 20);
  try {
    return Buffer.from(buffer.subarray(0, readSync(reader, buffer))).toString();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EAGAIN") return "";
    throw error;
  }
}

test("lines go to whoever reads, at once", () => {
  const { reader, writer } = pipe();
  output(writer).write("one");
  expect(take(reader)).toBe("one\n");
});

test("a reader who does not read keeps nobody waiting: a little is kept for it, and it is told how many lines are missing", async () => {
  const { reader, writer } = pipe();
  const lines = output(writer);
  for (let i = 0; i < 10_000; i++) lines.write(LINE);
  let text = "";
  for (let turn = 0; turn < 5; turn++) {
    text += take(reader);
    lines.flush();
  }
  const missing = text.match(/\((\d+) lines are missing here: the reader was too slow\)\n$/);
  const kept = 10_000 - Number(missing?.[1]);
  expect(text).toBe(`${LINE}\n`.repeat(kept) + missing?.[0]);
  expect(kept).toBeGreaterThan(1000);
  lines.write("after");
  expect(take(reader)).toBe("after\n");
});

test("nor does a socket, as systemd's journal has one, whose reader stalls", () => {
  const pair = new Int32Array(2);
  expect(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)).toBe(0);
  open.push(...pair);
  const [reader, writer] = pair;
  const lines = output(writer);
  for (let i = 0; i < 10_000; i++) lines.write(LINE);
  const receive = () => {
    const buffer = new Uint8Array(1 << 20);
    const length = libc.recv(reader, buffer, buffer.length, MSG_DONTWAIT);
    return Buffer.from(buffer.subarray(0, Math.max(length, 0))).toString();
  };
  let text = "";
  for (let turn = 0; turn < 10; turn++) {
    text += receive();
    lines.flush();
  }
  const missing = text.match(/\((\d+) lines are missing here: the reader was too slow\)\n$/);
  const kept = 10_000 - Number(missing?.[1]);
  expect(text).toBe(`${LINE}\n`.repeat(kept) + missing?.[0]);
  open.splice(open.indexOf(reader), 1);
  closeSync(reader);
  for (let i = 0; i < 3000; i++) lines.write(LINE); // nobody is there any more
});

test("who waits now and then loses nothing, and is woken when there is room", async () => {
  const { reader, writer } = pipe();
  const lines = output(writer);
  let isDone = false;
  const printing = (async () => {
    for (let i = 0; i < 10_000; i++) {
      lines.write(LINE);
      if (i % 100 === 99) await lines.flushed();
    }
    isDone = true;
  })();
  let text = "";
  while (!isDone) {
    text += take(reader);
    await Bun.sleep(0);
  }
  await printing;
  text += take(reader);
  expect(text).toBe(`${LINE}\n`.repeat(10_000));
});

test("with its reader gone, lines are thrown away", async () => {
  const { reader, writer } = pipe();
  const lines = output(writer);
  closeSync(reader);
  open.splice(open.indexOf(reader), 1);
  for (let i = 0; i < 3000; i++) lines.write(LINE);
  await lines.flushed();
});

test("a file gets everything, in order, where its writer stands", () => {
  const path = join(folder, "file");
  const fd = openSync(path, "a");
  open.push(fd);
  expect(openOutput(fd)).toBe(fd);
  const lines = output(fd);
  for (let i = 0; i < 3000; i++) lines.write(String(i));
  expect(readFileSync(path, "utf8")).toBe(Array.from({ length: 3000 }, (_, i) => `${i}\n`).join(""));
});
