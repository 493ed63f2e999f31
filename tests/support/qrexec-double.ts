// Dom0's qrexec daemon as far as one domain's agent sees it: greets, calls services there, and lets the domain call some.
// It shares with the agent only the codec, and is held against the real daemon (tests/qubes/transcripts).

import type { QrexecChannels } from "../../src/qubes/qrexec-calls.ts";
import {
  chunkLength,
  decodeNumber,
  decodeQrexec,
  encodeExec,
  encodeNumber,
  encodeQrexec,
  QREXEC,
  QREXEC_HEADER_LENGTH,
  type QrexecMessage,
  qrexecBodyLength,
  textOf,
  VERSIONS,
} from "../../src/qubes/qrexec-wire.ts";
import { type ByteStream, Framer, type StreamHandler } from "../../src/xen/byte-stream.ts";

export interface CallResult {
  readonly status: number;
  readonly output: string;
  readonly error: string;
  /** Lengths of the messages with output. */
  readonly chunks: readonly number[];
}

/** The first port for data that dom0 gives. */
const FIRST_PORT = 513;

/** Room for a call's name in an answer to it. */
const IDENT_ROOM = 32;

function messages(hear: (message: QrexecMessage) => void, closed: (reason: string) => void): StreamHandler {
  const framer = new Framer(QREXEC_HEADER_LENGTH, qrexecBodyLength, (header, body) => hear(decodeQrexec(header, body)));
  return { received: (bytes) => framer.push(bytes), closed };
}

export class QrexecDouble {
  readonly handler: StreamHandler;
  /** What the domain has called: `target service`. */
  readonly triggered: string[] = [];
  /** Ports whose connection the agent has reported as ended. */
  readonly terminated: number[] = [];
  /** What becomes of calls of the domain's. Ignored: not even refused; abandoned: announced, and then nobody comes. */
  onCall: "answered" | "refused" | "ignored" | "abandoned" = "answered";
  readonly greeted: Promise<number>;
  /** Callers whom the agent has greeted. */
  met = 0;
  /** Those that a call has: until the agent reports its end. */
  readonly ports = new Set<number>();
  private control: ByteStream | undefined;
  /** The version that the agent has greeted with, until it is greeted back. */
  private theirs: number | undefined;

  /**
   * @param channels from dom0's side
   * @param version of the protocol that this dom0 speaks
   */
  constructor(
    private readonly domain: number,
    private readonly channels: QrexecChannels,
    private readonly version = 4,
  ) {
    const greeted = Promise.withResolvers<number>();
    this.greeted = greeted.promise;
    this.handler = messages(
      (message) => {
        if (message.type !== QREXEC.HELLO) return void this.hear(message);
        const theirs = decodeNumber(message.body);
        if (theirs < VERSIONS.least) return this.detach();
        this.theirs = theirs;
        this.greetBack();
        greeted.resolve(theirs);
      },
      (reason) => greeted.reject(new Error(reason)),
    );
  }

  /** The agent, who serves the channel, greets first. */
  attach(control: ByteStream): void {
    this.control = control;
    this.greetBack(); // where the agent's greeting was here before its channel
  }

  private greetBack(): void {
    if (this.control === undefined || this.theirs === undefined) return;
    this.control.send(encodeNumber(QREXEC.HELLO, Math.min(this.theirs, this.version)));
    this.theirs = undefined;
  }

  /** The lowest port that no call has. */
  private takePort(): number {
    let port = FIRST_PORT;
    while (this.ports.has(port)) port++;
    this.ports.add(port);
    return port;
  }

  /** Announces a call, whose caller is gone before it serves the port. @param domain the caller's @returns the port */
  abandon(command: string, domain = 0): number {
    const port = this.takePort();
    this.control?.send(encodeExec(QREXEC.EXEC_CMDLINE, { domain, port, text: command }));
    return port;
  }

  /** Goes away, as the daemon does when it is restarted. */
  detach(): void {
    this.control?.close();
  }

  /** Runs a command line there, as qvm-run does. @param domain who runs it */
  async call(
    command: string,
    input: string | Promise<string> = "",
    type: number = QREXEC.EXEC_CMDLINE,
    domain = 0,
  ): Promise<CallResult> {
    const port = this.takePort();
    const greeted = Promise.withResolvers<number>();
    const done = Promise.withResolvers<CallResult>();
    const result = { output: "", error: "", chunks: [] as number[] };
    const handler = messages(
      ({ type: kind, body }) => {
        if (kind === QREXEC.HELLO) greeted.resolve(this.agreedOn(body));
        else if (kind === QREXEC.DATA_STDOUT) {
          result.output += textOf(body);
          result.chunks.push(body.length);
        } else if (kind === QREXEC.DATA_STDERR) result.error += textOf(body);
        else if (kind === QREXEC.DATA_EXIT_CODE) done.resolve({ status: decodeNumber(body), ...result });
      },
      (reason) => {
        for (const { reject } of [greeted, done]) reject(new Error(reason));
      },
    );
    for (const { promise } of [greeted, done]) promise.catch(() => {}); // where something else fails first
    const serving = this.channels.serve(this.domain, port, handler);
    this.control?.send(encodeExec(type, { domain, port, text: command }));
    const stream = await serving;
    stream.send(encodeNumber(QREXEC.HELLO, this.version));
    try {
      const version = await greeted.promise;
      this.met++;
      if (type === QREXEC.EXEC_CMDLINE) sendInput(stream, await input, version);
      return await done.promise;
    } finally {
      stream.close();
    }
  }

  /**
   * A call whose input goes on, as qrexec-client-vm makes it.
   * @param received hears of output
   * @returns how to write to it, nothing at its end; and its status and what it complains of
   */
  async open(
    command: string,
    received: (bytes: Uint8Array) => void,
    domain = 0,
  ): Promise<{ write(bytes: Uint8Array): void; close(): void; done: Promise<{ status: number; error: string }> }> {
    const port = this.takePort();
    const greeted = Promise.withResolvers<number>();
    const done = Promise.withResolvers<{ status: number; error: string }>();
    let error = "";
    const handler = messages(
      ({ type, body }) => {
        if (type === QREXEC.HELLO) greeted.resolve(this.agreedOn(body));
        else if (type === QREXEC.DATA_STDOUT && body.length > 0) received(Uint8Array.from(body));
        else if (type === QREXEC.DATA_STDERR) error += textOf(body);
        else if (type === QREXEC.DATA_EXIT_CODE) done.resolve({ status: decodeNumber(body), error });
      },
      (reason) => {
        for (const { reject } of [greeted, done]) reject(new Error(reason));
      },
    );
    for (const { promise } of [greeted, done]) promise.catch(() => {});
    const serving = this.channels.serve(this.domain, port, handler);
    this.control?.send(encodeExec(QREXEC.EXEC_CMDLINE, { domain, port, text: command }));
    const stream = await serving;
    stream.send(encodeNumber(QREXEC.HELLO, this.version));
    const most = chunkLength(await greeted.promise);
    return {
      write: (bytes) => {
        for (let at = 0; at === 0 || at < bytes.length; at += most)
          stream.send(encodeQrexec(QREXEC.DATA_STDIN, bytes.subarray(at, at + most)));
      },
      close: () => stream.close(),
      done: done.promise,
    };
  }

  private agreedOn(greeting: Uint8Array): number {
    return Math.min(decodeNumber(greeting), this.version);
  }

  private async hear({ type, body }: QrexecMessage): Promise<void> {
    if (type === QREXEC.CONNECTION_TERMINATED) {
      const port = new DataView(body.buffer, body.byteOffset).getUint32(4, true);
      this.terminated.push(port);
      this.ports.delete(port);
    } else if (type === QREXEC.TRIGGER_SERVICE3) {
      await this.answer(textOf(body.subarray(0, 64)), textOf(body.subarray(96)), body.slice(64, 96));
    } else if (type === QREXEC.TRIGGER_SERVICE) {
      await this.answer(textOf(body.subarray(64, 96)), textOf(body.subarray(0, 64)), body.slice(96, 128));
    }
  }

  /** Lets the domain's call succeed, with its input as output. */
  private async answer(target: string, service: string, ident: Uint8Array): Promise<void> {
    this.triggered.push(`${target} ${service}`);
    await new Promise(setImmediate); // its policy is asked first: meanwhile other messages are heard
    if (this.onCall === "ignored") return;
    if (this.onCall === "refused") {
      this.control?.send(encodeQrexec(QREXEC.SERVICE_REFUSED, ident));
      return;
    }
    const port = this.takePort();
    const text = textOf(ident).padEnd(IDENT_ROOM - 1, "\0");
    this.control?.send(encodeExec(QREXEC.SERVICE_CONNECT, { domain: 0, port, text }));
    if (this.onCall === "abandoned") return;
    const opened = Promise.withResolvers<ByteStream>();
    const handler = messages(
      async ({ type, body }) => {
        const stream = await opened.promise;
        if (type === QREXEC.HELLO) {
          stream.send(encodeNumber(QREXEC.HELLO, this.version));
          stream.send(encodeQrexec(QREXEC.DATA_STDERR)); // a service of dom0's has its own way to complain
        } else if (type === QREXEC.DATA_STDIN) {
          stream.send(encodeQrexec(QREXEC.DATA_STDOUT, body));
          if (body.length > 0) return;
          stream.send(encodeNumber(QREXEC.DATA_EXIT_CODE, 0));
          stream.close();
        }
      },
      () => {},
    );
    opened.resolve(await this.channels.connect(this.domain, port, handler));
  }
}

function sendInput(stream: ByteStream, input: string, version: number): void {
  const bytes = new TextEncoder().encode(input);
  const most = chunkLength(version);
  for (let at = 0; at < bytes.length; at += most)
    stream.send(encodeQrexec(QREXEC.DATA_STDIN, bytes.subarray(at, at + most)));
  stream.send(encodeQrexec(QREXEC.DATA_STDIN));
}
