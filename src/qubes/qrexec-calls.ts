// One call of qrexec's, on a channel of its own: a service of ours that another domain calls, or one of dom0's that we call. An
// answer of any length goes out in pieces, each made once the peer has room for it.
import type { Outlet } from "../channel/session.ts";
import { type ByteStream, Framer, type PacedStream, ProtocolError, type StreamHandler } from "../xen/byte-stream.ts";
import type { RunningCall } from "./call-places.ts";
import {
  chunkLength,
  decodeNumber,
  decodeQrexec,
  type ExecParams,
  encodeNumber,
  encodeQrexec,
  QREXEC,
  QREXEC_HEADER_LENGTH,
  type QrexecMessage,
  qrexecBodyLength,
  VERSIONS,
} from "./qrexec-wire.ts";

export interface Call {
  /** What stands behind the service's name and a plus sign, or nothing. */
  readonly argument: string;
  /** The domain that calls. */
  readonly caller: string;
  /** All that the caller writes to the service, once it has ended that. */
  readonly input: Promise<string>;
  /**
   * Goes on with the caller as long as it likes, instead of an input and an answer.
   * @param open is given the way to the caller, at once @returns once that is over
   */
  converse(open: (outlet: Outlet) => Conversation): Promise<void>;
}

/** What hears a caller who goes on. */
export interface Conversation {
  receive(bytes: Uint8Array): void;
  /** The caller writes nothing more, but may read on. */
  finish(): void;
  /** The caller is gone. */
  close(): void;
}

/** What a service of dom0's has answered. */
export interface Answer {
  readonly status: number;
  readonly output?: string;
  readonly error?: string;
}

/** What a service of ours answers. */
export interface Reply {
  readonly status: number;
  /** In pieces where it may be long: each is asked for when the caller has read what was before it. */
  readonly output?: string | Iterable<string>;
  readonly error?: string;
}

export type Service = (call: Call) => Promise<Reply>;

/** The vchans that calls need. The signal, whose reason is an Error, ends the wait for the peer, or the channel. */
export interface QrexecChannels {
  connect(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<ByteStream>;
  serve(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<ByteStream>;
}

/** What the agent needs beside: dom0's daemon and its doubles don't. */
export interface AgentChannels extends QrexecChannels {
  connect(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream>;
  serve(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<PacedStream>;
  /** @returns whether the domain has keys by which to reach a server of this port */
  isOffered(domain: number, port: number): Promise<boolean>;
}

/** Status of a call of something that is not there, as a shell has it. */
const NOT_FOUND = 127;
/** Of one that failed. */
const FAILED = 1;

/** Bytes of input that a service takes; a caller who has more is cut off. */
const MOST_INPUT = 65536;

const COMMAND = /^[^:]*:(?:nogui:)?(.*)$/s;
const RPC = /^QUBESRPC ([^ +]+)(?:\+([^ ]*))? +([^ ]+)/;

/** How both ends of any channel begin: each says which version it speaks, and the lower one counts. */
class Greeting {
  version = 0;

  get done(): boolean {
    return this.version !== 0;
  }

  /** @throws ProtocolError unless the message is a greeting of a version that we speak */
  hear({ type, body }: QrexecMessage): void {
    if (type !== QREXEC.HELLO) throw new ProtocolError(`qrexec: a message of type ${type} in place of a greeting`);
    const theirs = decodeNumber(body);
    if (theirs < VERSIONS.least) throw new ProtocolError(`qrexec: version ${theirs} is too old`);
    this.version = Math.min(theirs, VERSIONS.most);
  }
}

/**
 * A stream that carries qrexec's messages, greeting included.
 * @param hear takes each message behind the greeting, with the version agreed on
 * @param closed hears, once, that the stream has ended, by itself or through a message that can't be
 * @returns what to open the stream with, and then give the stream to
 */
export function conversation(
  hear: (message: QrexecMessage, version: number) => void,
  closed: (reason: string) => void,
  greeted: (version: number) => void,
): { handler: StreamHandler; begin: (stream: ByteStream) => void } {
  const greeting = new Greeting();
  let stream: ByteStream | undefined;
  /** What came before the stream was given: the peer may be quicker than whoever opened it. */
  const early: Uint8Array[] = [];
  let ended = false;
  const end = (reason: string) => {
    if (ended) return;
    ended = true;
    closed(reason);
  };
  const framer = new Framer(QREXEC_HEADER_LENGTH, qrexecBodyLength, (header, body) => {
    const message = decodeQrexec(header, body);
    if (greeting.done) return hear(message, greeting.version);
    greeting.hear(message);
    greeted(greeting.version);
  });
  const handler: StreamHandler = {
    received(bytes) {
      if (ended) return;
      if (stream === undefined) {
        early.push(bytes);
        return;
      }
      try {
        framer.push(bytes);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        stream?.close();
        end(error.message);
      }
    },
    closed: end,
  };
  const begin = (opened: ByteStream) => {
    stream = opened;
    opened.send(encodeNumber(QREXEC.HELLO, VERSIONS.most));
    for (const bytes of early.splice(0)) handler.received(bytes);
  };
  return { handler, begin };
}

/** Serves one call. @returns when its answer is sent */
export async function serveCall(
  { domain, port, text }: ExecParams,
  alone: boolean,
  services: ReadonlyMap<string, Service>,
  channels: AgentChannels,
  running: RunningCall,
): Promise<void> {
  const input = Promise.withResolvers<string>();
  const greeted = Promise.withResolvers<number>();
  const gone = Promise.withResolvers<never>();
  input.promise.catch(() => {}); // a service need not look at it
  const chunks: Uint8Array[] = [];
  let length = 0;
  let listener: Conversation | undefined;
  const tell = (hearer: Conversation, body: Uint8Array) => {
    if (body.length === 0) hearer.finish();
    else hearer.receive(body);
  };
  const { handler, begin } = conversation(
    ({ type, body }) => {
      if (type !== QREXEC.DATA_STDIN) throw new ProtocolError(`qrexec: a message of type ${type} to a service`);
      if (listener !== undefined) {
        tell(listener, body);
        return;
      }
      chunks.push(body);
      length += body.length;
      if (length > MOST_INPUT) throw new ProtocolError("qrexec: too much input");
      if (body.length === 0) input.resolve(new TextDecoder().decode(Buffer.concat(chunks)));
    },
    (reason) => {
      const error = new Error(`qrexec: ${reason}`);
      for (const { reject } of [input, greeted, gone]) reject(error);
      listener?.close();
    },
    (version) => greeted.resolve(version),
  );
  for (const { promise } of [greeted, gone]) promise.catch(() => {}); // where something else fails first
  const stream = await channels.connect(domain, port, handler, running.signal);
  begin(stream);
  const version = await greeted.promise;
  // A caller takes its keys away before it greets. Where they stand, it has died, its grant and its event channel have become
  // those of the next, and it is the next that has greeted.
  if (await channels.isOffered(domain, port)) {
    stream.close();
    throw new Error("qrexec: this is another call's caller");
  }
  try {
    running.met = true;
    const way: Way = { stream, version, ended: gone.promise, taken: () => running.prolong() };
    const converse = async (open: (outlet: Outlet) => Conversation) => {
      const outlet = new CallOutlet(way);
      listener = open(outlet);
      running.isIdle = () => outlet.waiting === 0;
      for (const chunk of chunks.splice(0)) tell(listener, chunk);
      try {
        await Promise.race([outlet.over, gone.promise]);
      } finally {
        running.isIdle = () => false;
        listener.close();
      }
    };
    const reply = alone
      ? replyAlone(text, services, input.promise)
      : await Promise.race([replyTo(text, services, input.promise, converse), gone.promise]);
    await sendReply(way, reply, alone);
  } finally {
    stream.close();
  }
}

/** A call whose caller doesn't wait for what becomes of it. */
function replyAlone(text: string, services: ReadonlyMap<string, Service>, input: Promise<string>): Reply {
  void replyTo(text, services, input, () => Promise.reject(new Error("nobody listens")));
  return { status: 0 };
}

async function replyTo(
  text: string,
  services: ReadonlyMap<string, Service>,
  input: Promise<string>,
  converse: Call["converse"],
): Promise<Reply> {
  const [, command = ""] = COMMAND.exec(text) ?? [];
  const [, name = "", argument = "", caller = ""] = RPC.exec(command) ?? [];
  const service = services.get(name);
  if (service === undefined) {
    const what = name === "" ? "commands: this is a firewall without a shell" : `the service ${name}`;
    const known = [...services.keys()].join(", ");
    return { status: NOT_FOUND, error: `firebreak does not have ${what} (services: ${known})\n` };
  }
  try {
    return await service({ argument, caller, input, converse });
  } catch (error) {
    return { status: FAILED, error: `${name}: ${error instanceof Error ? error.message : String(error)}\n` };
  }
}

/** A channel to a peer who reads at its own pace. */
interface Way {
  readonly stream: PacedStream;
  readonly version: number;
  /** Settles when the call is over: rejects where the channel ended. */
  readonly ended: Promise<unknown>;
  /** Hears of each piece that the peer has taken. */
  taken(): void;
}

/** @returns once the peer has all of it, but for what its ring holds */
async function sendReply(outlet: Way, { status, output = "", error = "" }: Reply, alone: boolean): Promise<void> {
  if (!alone) {
    await sendText(outlet, QREXEC.DATA_STDOUT, output);
    await sendText(outlet, QREXEC.DATA_STDERR, error);
  }
  await sendPaced(outlet, encodeNumber(QREXEC.DATA_EXIT_CODE, status));
}

/** A text in chunks, and its end. @param text if in pieces, then several go into a chunk */
async function sendText(outlet: Way, type: number, text: string | Iterable<string>): Promise<void> {
  const most = chunkLength(outlet.version);
  let gathered = "";
  const send = async () => {
    const bytes = new TextEncoder().encode(gathered);
    gathered = "";
    for (let at = 0; at < bytes.length; at += most) {
      await sendPaced(outlet, encodeQrexec(type, bytes.subarray(at, at + most)));
    }
  };
  for (const piece of typeof text === "string" ? [text] : text) {
    if (gathered.length + piece.length > most) await send();
    gathered += piece;
  }
  await send();
  await sendPaced(outlet, encodeQrexec(type));
}

/** Sends a message, and waits until the peer has room for it. In between others of this thread have their turn. */
async function sendPaced({ stream, ended, taken }: Way, message: Uint8Array): Promise<void> {
  stream.send(message);
  await Promise.race([ended, stream.flushed().then(() => new Promise(setImmediate))]);
  taken();
}

/** Bytes that may wait for a caller who does not read, whatever it asks for meanwhile: one that has more is cut off. */
const MOST_WAITING = 1024 * 1024;

/** The way to a caller who goes on: what is written is sent as it reads. */
class CallOutlet implements Outlet {
  waiting = 0;
  /** Settles at the end, once the caller has taken all; rejects where it does not. */
  readonly over: Promise<void>;
  private readonly ending = Promise.withResolvers<void>();
  private readonly queue: Uint8Array[] = [];
  private emptied = Promise.withResolvers<void>();
  private isSending = false;
  private isCutOff = false;
  private isEnding = false;

  constructor(private readonly way: Way) {
    this.over = this.ending.promise;
    this.over.catch(() => {}); // where the channel has ended first
  }

  write(bytes: Uint8Array): void {
    if (this.isCutOff) return;
    this.queue.push(bytes);
    this.waiting += bytes.length;
    if (this.waiting > MOST_WAITING) {
      this.isCutOff = true;
      this.queue.length = 0;
      this.ending.reject(new Error("the caller does not read what it asks for"));
    }
    if (!this.isSending) void this.send();
  }

  drained(): Promise<void> {
    return this.waiting === 0 ? Promise.resolve() : this.emptied.promise;
  }

  /** What comes meanwhile is taken all the same: a vchan can't be told to wait without its end. */
  pause(): void {}

  end(): void {
    this.isEnding = true;
    if (this.waiting === 0) this.ending.resolve();
  }

  private async send(): Promise<void> {
    this.isSending = true;
    const most = chunkLength(this.way.version);
    try {
      for (let bytes = this.queue.shift(); bytes !== undefined; bytes = this.queue.shift()) {
        for (let at = 0; at < bytes.length; at += most) {
          await sendPaced(this.way, encodeQrexec(QREXEC.DATA_STDOUT, bytes.subarray(at, at + most)));
        }
        this.waiting -= bytes.length;
      }
    } catch {
      this.waiting = 0; // the caller is gone: the call says so
    }
    this.isSending = false;
    this.emptied.resolve();
    this.emptied = Promise.withResolvers();
    if (this.isEnding) this.ending.resolve();
  }
}

/** Our side of a call of ours: we serve the channel, send the input, and wait for the status. */
export async function makeCall(
  { domain, port }: ExecParams,
  input: string,
  channels: AgentChannels,
  running: RunningCall,
): Promise<Answer> {
  const ended = Promise.withResolvers<Answer>();
  const greeted = Promise.withResolvers<number>();
  const texts = { output: "", error: "" };
  const { handler, begin } = conversation(
    ({ type, body }) => {
      if (type === QREXEC.DATA_STDOUT) texts.output += new TextDecoder().decode(body);
      else if (type === QREXEC.DATA_STDERR) texts.error += new TextDecoder().decode(body);
      else if (type === QREXEC.DATA_EXIT_CODE) ended.resolve({ status: decodeNumber(body), ...texts });
      else throw new ProtocolError(`qrexec: a message of type ${type} from a service`);
      if (texts.output.length + texts.error.length > MOST_INPUT) throw new ProtocolError("qrexec: too much output");
    },
    (reason) => {
      const error = new Error(`qrexec: ${reason}`);
      greeted.reject(error);
      ended.reject(error);
    },
    (version) => greeted.resolve(version),
  );
  for (const { promise } of [greeted, ended]) promise.catch(() => {}); // where something else fails first
  const stream = await channels.serve(domain, port, handler, running.signal);
  begin(stream);
  try {
    const version = await greeted.promise;
    running.met = true;
    // A service may end without all of its input: then nobody waits for what is left.
    void sendText({ stream, version, ended: ended.promise, taken: () => {} }, QREXEC.DATA_STDIN, input).catch(() => {});
    return await ended.promise;
  } finally {
    stream.close();
  }
}
