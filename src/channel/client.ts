// The end of the channel that asks: connects to a running firewall, and gives the records of an operation as they come.
import { statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { printable } from "../base/quote.ts";
import { CborError, encodeItem, type Fields, ItemReader, type Value } from "./cbor.ts";
import type { Line } from "./line.ts";
import { CANCEL, ChannelError, CREDIT, FIRST_CREDIT, HELLO, type Reply, readReply, VERSION } from "./messages.ts";
import type { Privilege } from "./privileges.ts";
import { openQrexecLine, qubeIn } from "./qrexec-line.ts";

/** Records that have come, and nobody has asked for yet; and how many are asked for in advance. */
const IN_ADVANCE = FIRST_CREDIT;

export interface Answer {
  readonly data: Value;
  /** Records before it that were lost, since we took them too slowly. */
  readonly lost: number;
}

/** What a request waits for. */
interface Pending {
  readonly replies: Reply[];
  wake(): void;
}

export class ChannelClient {
  private readonly reader = new ItemReader((value) => this.hear(readReply(value)));
  private readonly pending = new Map<number, Pending>();
  private failure: Error | undefined;
  private nextId = 0;

  constructor(private readonly line: Line) {}

  /** Bytes came from the firewall. */
  receive(bytes: Uint8Array): void {
    try {
      this.reader.push(bytes);
    } catch (error) {
      if (!(error instanceof CborError || error instanceof ChannelError)) throw error;
      this.fail(new ChannelError("protocol", `the firewall's answer can't be understood: ${error.message}`));
    }
  }

  /** Nothing comes any more. */
  fail(error: Error): void {
    this.failure ??= error;
    this.line.close();
    for (const request of this.pending.values()) request.wake();
  }

  /** Whether nothing can be asked any more. */
  get hasEnded(): boolean {
    return this.failure !== undefined;
  }

  close(): void {
    this.fail(new Error("the connection was closed"));
  }

  /** @returns what the firewall says of itself. @throws ChannelError, Error */
  async greet(): Promise<Fields> {
    for await (const { data } of this.ask(HELLO, { version: VERSION })) return data as Fields;
    throw new ChannelError("protocol", "the firewall's answer can't be understood: an empty greeting");
  }

  /** The records of an operation. Who stops asking for them, ends it. @throws ChannelError, Error: it fails, or the connection does */
  async *ask(op: string, args: Fields = {}): AsyncGenerator<Answer, void> {
    const id = this.nextId++;
    const request: Pending = { replies: [], wake: () => {} };
    this.pending.set(id, request);
    this.send({ id, op, args, credit: IN_ADVANCE });
    let isOver = false;
    try {
      for (let taken = 0; ; ) {
        const reply = await this.nextOf(request);
        isOver = !("data" in reply);
        if ("error" in reply) throw new ChannelError(reply.error.code, reply.error.text);
        if ("end" in reply) return;
        yield { data: reply.data, lost: reply.lost ?? 0 };
        if (++taken < IN_ADVANCE / 2) continue;
        this.send({ id, op: CREDIT, credit: taken });
        taken = 0;
      }
    } finally {
      this.pending.delete(id);
      if (!isOver) this.send({ id, op: CANCEL });
    }
  }

  private async nextOf(request: Pending): Promise<Reply> {
    for (;;) {
      const reply = request.replies.shift();
      if (reply !== undefined) return reply;
      if (this.failure !== undefined) throw this.failure;
      await new Promise<void>((resolve) => {
        request.wake = resolve;
      });
    }
  }

  private hear(reply: Reply): void {
    if ("error" in reply && reply.id === null) {
      this.fail(new ChannelError(reply.error.code, reply.error.text));
      return;
    }
    const request = this.pending.get(reply.id ?? -1);
    if (request === undefined) return; // of one that nobody asks for any more
    if (request.replies.length > 2 * IN_ADVANCE) throw new ChannelError("protocol", "more records than were asked for");
    request.replies.push(reply);
    request.wake();
  }

  private send(request: Fields): void {
    if (this.failure === undefined) this.line.write(encodeItem(request));
  }
}

/**
 * @param path of a firewall's socket, or `qrexec:QUBE`
 * @param privilege what it is to be asked under, where that matters
 * @param signal when it is aborted, whatever waits for the firewall fails, and so does what is asked of it later
 * @throws Error with the remedy, where nobody answers there
 */
export async function connectTo(
  path: string,
  signal?: AbortSignal,
  privilege: Privilege = "Status",
): Promise<{ client: ChannelClient; greeting: Fields }> {
  const qube = qubeIn(path);
  const client = qube === undefined ? await overSocket(path) : overQrexec(qube, privilege);
  const giveUp = () => client.fail(new Error(`${printable(path)}: the firewall does not answer`));
  if (signal?.aborted) giveUp();
  else signal?.addEventListener("abort", giveUp);
  return { client, greeting: await client.greet() };
}

function overQrexec(qube: string, privilege: Privilege): ChannelClient {
  const client: ChannelClient = new ChannelClient(
    openQrexecLine(qube, privilege, {
      receive: (bytes) => client.receive(bytes),
      fail: (error) => client.fail(error),
    }),
  );
  return client;
}

async function overSocket(path: string): Promise<ChannelClient> {
  const socket = await open(path);
  const client = new ChannelClient({
    write: (bytes) => void socket.write(bytes),
    close: () => socket.destroy(),
  });
  socket.on("data", (bytes: Buffer) => client.receive(bytes));
  socket.on("error", (error) => client.fail(error));
  socket.on("close", () => client.fail(new Error(`${path}: the firewall has closed the connection`)));
  return client;
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", (error: Error & { readonly code?: string }) => reject(new Error(problemOf(path, error))));
  });
}

function problemOf(path: string, { code, message }: { readonly code?: string; readonly message: string }): string {
  if (code === "ENOENT") return `${printable(path)}: no firewall listens there`;
  if (code === "ECONNREFUSED" && !isSocket(path))
    return `${printable(path)}: is no socket (write a firewall's name, or its socket's path)`;
  if (code === "ECONNREFUSED") return `${printable(path)}: the firewall that listened there has ended`;
  if (code === "EACCES" || code === "EPERM") return `${printable(path)}: is not open to this user (be root)`;
  return `${printable(path)}: ${message}`;
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}
