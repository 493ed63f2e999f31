// The real libxenvchan as the other end of a vchan: its code, over plain memory (libxenvchan.c), beside ends of ours in the
// same memory. One channel at a time.
import { dlopen, FFIType, type Pointer, toArrayBuffer } from "bun:ffi";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatPage, GRANTS, layOut, PAGE, type Role, readOffer, ringPages, VchanEnd } from "../../src/xen/vchan.ts";

const { ptr, i32, u32, u64 } = FFIType;
const PAGES = 1024;
const PATH = Buffer.from("data/vchan\0");

function build(): string {
  const folder = mkdtempSync(join(tmpdir(), "libxenvchan-"));
  const library = join(folder, "plain.so");
  const source = join(import.meta.dir, "libxenvchan.c");
  const flags = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library];
  const { success, stderr } = Bun.spawnSync(["gcc", ...flags, source, "-l:libxenvchan.a", "-lpthread"]);
  if (!success)
    throw new Error(`libxenvchan.c does not compile (build/appliance.sh setup installs libxen-dev):\n${stderr}`);
  process.on("exit", () => rmSync(folder, { recursive: true }));
  return library;
}

const { symbols: C } = dlopen(build(), {
  plain_reset: { returns: ptr },
  plain_grant: { args: [u32], returns: u32 },
  plain_bind: { args: [u32], returns: u32 },
  plain_notify: { args: [u32] },
  plain_sent: { args: [u32], returns: u32 },
  plain_take: { args: [u32], returns: u32 },
  plain_publish: { args: [ptr, u32, u32] },
  plain_serve: { args: [ptr, u64, u64], returns: ptr },
  plain_connect: { args: [ptr], returns: ptr },
  plain_port: { args: [ptr], returns: u32 },
  plain_read_all: { args: [ptr, ptr], returns: i32 },
  plain_echo: { args: [ptr] },
  plain_echoes: { returns: i32 },
  libxenvchan_write: { args: [ptr, ptr, u64], returns: i32 },
  libxenvchan_send: { args: [ptr, ptr, u64], returns: i32 },
  libxenvchan_read: { args: [ptr, ptr, u64], returns: i32 },
  libxenvchan_recv: { args: [ptr, ptr, u64], returns: i32 },
  libxenvchan_data_ready: { args: [ptr], returns: i32 },
  libxenvchan_buffer_space: { args: [ptr], returns: i32 },
  libxenvchan_is_open: { args: [ptr], returns: i32 },
  libxenvchan_close: { args: [ptr] },
});

/** One end, of either make, as the test works it. */
export interface End {
  /** Reads all that is there. @returns the bytes, valid until the next call */
  readAll(): Uint8Array;
  /** @returns how many bytes fitted */
  write(bytes: Uint8Array): number;
  readonly isOpen: boolean;
  close(): void;
  /** Signals sent so far. */
  readonly sent: number;
  /** @returns how many signals have come since the last call */
  take(): number;
}

/** It can do more than ours, which reads and writes in one way only. */
export class LibraryEnd implements End {
  readonly port: number;
  private readonly buffer = new Uint8Array(1 << 16);

  constructor(private readonly end: Pointer) {
    this.port = C.plain_port(end);
  }

  readAll(): Uint8Array {
    return this.got(C.plain_read_all(this.end, this.buffer));
  }

  write(bytes: Uint8Array): number {
    return bytes.length === 0 ? 0 : Math.max(0, C.libxenvchan_write(this.end, bytes, bytes.length));
  }

  /** @returns up to so many bytes */
  readSome(most: number): Uint8Array {
    return this.got(C.libxenvchan_read(this.end, this.buffer, most));
  }

  /** @returns exactly so many, or none */
  receive(length: number): Uint8Array {
    return this.got(C.libxenvchan_recv(this.end, this.buffer, length));
  }

  /** All or nothing. */
  sendWhole(bytes: Uint8Array): number {
    return Math.max(0, C.libxenvchan_send(this.end, bytes, bytes.length));
  }

  get ready(): number {
    return C.libxenvchan_data_ready(this.end);
  }

  get space(): number {
    return C.libxenvchan_buffer_space(this.end);
  }

  get isOpen(): boolean {
    return C.libxenvchan_is_open(this.end) !== 0;
  }

  close(): void {
    C.libxenvchan_close(this.end);
  }

  /** From here on a thread sends back what comes, and closes the end when the peer is gone. */
  echo(): void {
    C.plain_echo(this.end);
  }

  get echoes(): boolean {
    return C.plain_echoes() !== 0;
  }

  get sent(): number {
    return C.plain_sent(this.port);
  }

  take(): number {
    return C.plain_take(this.port);
  }

  private got(length: number): Uint8Array {
    return this.buffer.subarray(0, Math.max(0, length));
  }
}

export class OurEnd implements End {
  readonly end: VchanEnd;

  constructor(
    { page, left, right }: Memory,
    role: Role,
    readonly port: number,
  ) {
    this.end = new VchanEnd({ page, left, right }, role, () => C.plain_notify(port));
  }

  readAll(): Uint8Array {
    return this.end.read();
  }

  write(bytes: Uint8Array): number {
    return this.end.abandoned ? 0 : this.end.write(bytes); // as the stream over it does
  }

  get isOpen(): boolean {
    return !this.end.abandoned;
  }

  close(): void {
    this.end.leave();
  }

  get sent(): number {
    return C.plain_sent(this.port);
  }

  take(): number {
    return C.plain_take(this.port);
  }
}

interface Memory {
  readonly page: Uint8Array;
  readonly left: Uint8Array;
  readonly right: Uint8Array;
}

export interface Channel<Server extends End = End, Client extends End = End> {
  readonly server: Server;
  readonly client: Client;
  readonly memory: Memory;
}

export interface Shape {
  readonly orders: readonly [left: number, right: number];
  /** Where the free-running indices of both rings begin. */
  readonly start: number;
}

/** Both ends of the library's. */
export function libraryChannel(shape: Shape): Channel<LibraryEnd, LibraryEnd> {
  const { server, memory } = libraryServer(shape);
  return { server, client: libraryClient(), memory };
}

export function libraryServes(shape: Shape): Channel<LibraryEnd, OurEnd> {
  const { server, memory } = libraryServer(shape);
  return { server, client: new OurEnd(memory, "client", C.plain_bind(server.port)), memory };
}

export function weServe(shape: Shape): Channel<OurEnd, LibraryEnd> {
  const all = reset();
  const [left, right] = shape.orders;
  const rings = ringPages(left) + ringPages(right);
  const first = C.plain_grant(1 + rings);
  const page = all.subarray(first * PAGE, (first + 1) * PAGE);
  formatPage(page, left, right);
  const view = new DataView(page.buffer, page.byteOffset);
  for (let i = 0; i < rings; i++) view.setUint32(GRANTS + i * 4, first + 1 + i, true);
  wind(page, shape.start);
  const memory = memoryOf(all, first);
  const server = new OurEnd(memory, "server", C.plain_bind(0));
  C.plain_publish(PATH, first, server.port);
  return { server, client: libraryClient(), memory };
}

function libraryServer({ orders: [left, right], start }: Shape) {
  const all = reset();
  const end = C.plain_serve(PATH, 1 << left, 1 << right);
  if (!isPointer(end)) throw new Error("libxenvchan can't serve");
  const memory = memoryOf(all, 1);
  wind(memory.page, start);
  return { server: new LibraryEnd(end), memory };
}

function libraryClient(): LibraryEnd {
  const end = C.plain_connect(PATH);
  if (!isPointer(end)) throw new Error("libxenvchan can't connect");
  return new LibraryEnd(end);
}

function isPointer(value: unknown): value is Pointer {
  return typeof value === "number";
}

function reset(): Uint8Array {
  const whole = C.plain_reset();
  if (!isPointer(whole)) throw new Error("no memory");
  return new Uint8Array(toArrayBuffer(whole, 0, PAGES * PAGE));
}

/** @param first the shared page's number; those of the rings are in it */
function memoryOf(all: Uint8Array, first: number): Memory {
  const page = all.subarray(first * PAGE, (first + 1) * PAGE);
  const { leftOrder, rightOrder, grants } = readOffer(page);
  const [begin = 0] = grants;
  return layOut(page, leftOrder, rightOrder, all.subarray(begin * PAGE, (begin + grants.length) * PAGE));
}

function wind(page: Uint8Array, start: number): void {
  new Uint32Array(page.buffer, page.byteOffset, 4).fill(start);
}
