// A virtual machine's port: several clients over one line of bytes, which may begin and end anywhere. The port's own double is a Unix
// socket, as QEMU has it; at the host's end is the product's own verb.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { firebreak } from "../../lab/firewall-lab.ts";
import { Random } from "../../lab/random.ts";
import { MACHINE_CLOCK } from "../../src/base/clock.ts";
import type { Fields } from "../../src/channel/cbor.ts";
import { connectTo } from "../../src/channel/client.ts";
import { type Port, PortServer } from "../../src/channel/port.ts";
import { encodeFrame, encodeFrames, FrameReader, MOST_FRAME } from "../../src/channel/port-frames.ts";
import type { Operation, Part } from "../../src/channel/session.ts";

test("bytes of all kinds come out of frames as they went in, in pieces of any length, behind whatever came before", () => {
  const random = new Random(5);
  const long = Uint8Array.from({ length: 2 * MOST_FRAME }, () => random.pick([0xc0, 0xdb, 0xdc, 0xdd, 0, 1]));
  const frames = [Uint8Array.of(0xdb, 1, 2, 0xc0), encodeFrame(3, Uint8Array.of()), ...encodeFrames(7, long)];
  for (const piece of [1, 3, 4096, 1 << 20]) {
    const heard: [number, number[]][] = [];
    const reader = new FrameReader((client, bytes) => heard.push([client, [...bytes]]));
    const bytes = Buffer.concat(frames);
    for (let at = 0; at < bytes.length; at += piece) reader.push(bytes.subarray(at, at + piece));
    expect(heard[0]).toEqual([3, []]);
    expect(heard.slice(1).every(([client]) => client === 7)).toBe(true);
    expect(Uint8Array.from(heard.slice(1).flatMap(([, content]) => content))).toEqual(long);
  }
});

test("what is no frame is left out: too long, wrongly escaped, of a client that can't be; the next is heard", () => {
  const heard: number[] = [];
  const reader = new FrameReader((client) => heard.push(client));
  for (const bad of [new Uint8Array(MOST_FRAME + 1).fill(5), Uint8Array.of(5, 0xdb, 5), Uint8Array.of(200, 1)]) {
    reader.push(Uint8Array.of(0xc0, ...bad, 0xc0));
    reader.push(encodeFrame(9, Uint8Array.of(1)));
  }
  expect(heard).toEqual([9, 9, 9]);
});

/** What a port is to QEMU: a socket that one client may have. */
class PortDouble implements Port {
  private readonly came: Uint8Array[] = [];
  private socket: Socket | undefined;
  readonly server: Server;

  constructor(path: string) {
    this.server = createServer((socket) => {
      if (this.socket !== undefined) {
        socket.destroy();
        return;
      }
      this.socket = socket;
      socket.on("data", (bytes: Buffer) => this.came.push(Uint8Array.from(bytes)));
      socket.on("error", () => {});
      socket.on("close", () => {
        this.socket = undefined;
      });
    });
    this.server.listen(path);
  }

  read(): Uint8Array | undefined | "away" {
    return this.came.shift() ?? (this.socket === undefined ? "away" : undefined);
  }

  /** Takes little at a time, as a ring of few buffers does. */
  write(bytes: Uint8Array): number {
    if (this.socket === undefined || this.socket.writableLength > 4096) return 0;
    const taken = bytes.subarray(0, 1500);
    this.socket.write(Uint8Array.from(taken));
    return taken.length;
  }

  hangUp(): void {
    this.socket?.destroy();
  }
}

const OPERATIONS = new Map<string, Operation>([
  [
    "count",
    async function* (args): AsyncGenerator<Part> {
      for (let i = 0; i < Number(args.to); i++) yield { data: { i, text: "x".repeat(200) } };
    },
  ],
]);

let folder: string;
let port: PortDouble;
let attached: Subprocess<"ignore", "pipe", "pipe"> | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
  port = new PortDouble(join(folder, "port"));
  new PortServer(port, { greeting: { name: "machine" }, operations: OPERATIONS }, MACHINE_CLOCK).start();
});

afterEach(async () => {
  attached?.kill();
  await attached?.exited;
  attached = undefined;
  port.server.close();
  port.hangUp();
  rmSync(folder, { recursive: true });
});

const environment = () => ({ ...process.env, RUNTIME_DIRECTORY: join(folder, "run") });
const socketPath = () => join(folder, "run", "vm.sock");

async function attach(): Promise<Subprocess<"ignore", "pipe", "pipe">> {
  const command = firebreak("attach", join(folder, "port"), "--name", "vm");
  const started = Bun.spawn(command, { env: environment(), stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  attached = started;
  const { value } = await started.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe(`attached: ${socketPath()}\n`);
  return started;
}

async function count(to: number): Promise<number[]> {
  const { client, greeting } = await connectTo(socketPath());
  expect(greeting).toEqual({ version: 1, name: "machine" });
  const numbers: number[] = [];
  for await (const { data } of client.ask("count", { to })) numbers.push(Number((data as Fields).i));
  client.close();
  return numbers;
}

const upTo = (to: number) => Array.from({ length: to }, (_, i) => i);

test("several clients at a time get their own answers, whole; and others after them by the same numbers", async () => {
  await attach();
  for (let round = 0; round < 4; round++) {
    const lengths = [500, 1, 0, 77, 1200, 3];
    expect(await Promise.all(lengths.map(count))).toEqual(lengths.map(upTo));
  }
});

test("clients that go in the middle of records leave their numbers, all of them, to others", async () => {
  await attach();
  for (let round = 0; round < 80; round++) {
    const { client } = await connectTo(socketPath());
    for await (const _ of client.ask("count", { to: 1000 })) break;
    client.close();
  }
  expect(await count(10)).toEqual(upTo(10));
});

test("who attaches after somebody else hears nothing of what was meant for that one", async () => {
  const first = await attach();
  const { client } = await connectTo(socketPath());
  for await (const _ of client.ask("count", { to: 1000 })) break;
  first.kill("SIGKILL"); // in the middle of everything
  await first.exited;
  client.close();
  await attach();
  expect(await count(300)).toEqual(upTo(300));
});

test("a machine that is gone ends it, and takes the socket away", async () => {
  const running = await attach();
  port.hangUp();
  expect(await running.exited).toBe(1);
  expect(await running.stderr.text()).toContain("the machine is gone");
  expect(await Bun.file(socketPath()).exists()).toBe(false);
});
