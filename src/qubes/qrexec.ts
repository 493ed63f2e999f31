// Qrexec's agent: what dom0 calls in this domain, and what we call there. One control channel, on which dom0 asks, and for
// each call a channel of its own for the data. There is no shell here and no user: only the services that we are given.
// Nothing waits for ever: a call ends with its limit or with the control channel, and dom0 is told so that its port is free.
// It is long, since calls in both directions are one protocol, whose order of messages reads best in one file.
import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import { type ByteStream, Framer, ProtocolError, type StreamHandler } from "../xen/byte-stream.ts";
import {
  chunkLength,
  decodeExec,
  decodeNumber,
  decodeQrexec,
  type ExecParams,
  encodeNumber,
  encodeQrexec,
  encodeTerminated,
  encodeTrigger,
  QREXEC,
  QREXEC_HEADER_LENGTH,
  type QrexecMessage,
  qrexecBodyLength,
  textOf,
  VERSIONS,
} from "./qrexec-wire.ts";

export interface Call {
  /** What stands behind the service's name and a plus sign, or nothing. */
  readonly argument: string;
  /** The domain that calls. */
  readonly caller: string;
  /** All that the caller writes to the service, once it has ended that. */
  readonly input: Promise<string>;
}

export interface Answer {
  readonly status: number;
  readonly output?: string;
  readonly error?: string;
}

export type Service = (call: Call) => Promise<Answer>;

/** The vchans that the agent's calls need. The signal, whose reason is an Error, ends the wait for the peer, or the channel. */
export interface QrexecChannels {
  connect(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<ByteStream>;
  serve(domain: number, port: number, handler: StreamHandler, signal?: AbortSignal): Promise<ByteStream>;
}

/** What the agent needs beside: dom0's daemon and its doubles don't. */
export interface AgentChannels extends QrexecChannels {
  /** @returns whether the domain has keys by which to reach a server of this port */
  isOffered(domain: number, port: number): Promise<boolean>;
}

/** Status of a call of something that is not there, as a shell has it. */
const NOT_FOUND = 127;
/** Of one that failed. */
const FAILED = 1;

/** Bytes of input that a service takes; a caller who has more is cut off. */
const MOST_INPUT = 65536;
/** Calls at a time. XenStore allows a domain 128 watches, and each call that waits for its partner has one. */
const MOST_CALLS = 64;
/** How long a call may take from its announcement to its answer, in ms. The Linux agent waits as long for the partner. */
export const CALL_LIMIT = 120_000;

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
function conversation(
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

/** A call of ours that dom0 has not answered yet. */
interface Outgoing {
  readonly input: string;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** What a call has of the agent: its signal ends it. */
class Running {
  private readonly controller = new AbortController();
  private readonly callOff: () => void;
  /** Whether its partner has come. */
  met = false;

  constructor(clock: Clock) {
    this.callOff = clock.after(CALL_LIMIT, () => this.abort(`no answer within ${CALL_LIMIT / 1000} s`));
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  abort(reason: string): void {
    this.callOff();
    this.controller.abort(new Error(`qrexec: ${reason}`));
  }

  /** Its answer is on its way, or it has failed. */
  end(): void {
    this.callOff();
  }
}

export class QrexecAgent {
  /** Bytes from dom0 on the control channel go here. */
  readonly handler: StreamHandler;
  private readonly begin: (stream: ByteStream) => void;
  private control: ByteStream | undefined;
  private version = 0;
  private readonly outgoing = new Map<string, Outgoing>();
  private lastIdent = 0;
  /** Oldest first. */
  private readonly running = new Set<Running>();

  /**
   * For one control channel: when that ends, so does the agent.
   * @param greeted hears that dom0 is there, and calls can be made
   * @param closed hears that the channel has ended
   */
  constructor(
    private readonly services: ReadonlyMap<string, Service>,
    private readonly channels: AgentChannels,
    greeted: () => void,
    closed: (reason: string) => void,
    private readonly clock: Clock = MACHINE_CLOCK,
  ) {
    const { handler, begin } = conversation(
      (message) => this.hear(message),
      (reason) => {
        for (const call of this.outgoing.values()) call.reject(new Error(`qrexec: ${reason}`));
        this.outgoing.clear();
        // The next daemon gives its calls the same ports: whoever still waits there would get another's.
        for (const call of this.running) call.abort(reason);
        closed(reason);
      },
      (version) => {
        this.version = version;
        greeted();
      },
    );
    this.handler = handler;
    this.begin = begin;
  }

  /** @param control the channel that was opened with `handler` */
  start(control: ByteStream): void {
    this.control = control;
    this.begin(control);
  }

  /** Calls a service of another domain. @returns its answer; rejects when dom0 refuses, goes, or takes too long */
  call(target: string, service: string, input = ""): Promise<Answer> {
    const ident = `firebreak-${++this.lastIdent}`;
    const trigger = encodeTrigger(this.version, target, service, ident);
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.outgoing.set(ident, { input, resolve, reject });
    this.control?.send(trigger);
    const callOff = this.clock.after(CALL_LIMIT, () => {
      this.take(ident)?.reject(new Error(`qrexec: dom0 did not answer within ${CALL_LIMIT / 1000} s`));
    });
    return promise.finally(callOff);
  }

  private hear({ type, body }: QrexecMessage): void {
    switch (type) {
      case QREXEC.EXEC_CMDLINE:
      case QREXEC.JUST_EXEC:
        void this.execute(decodeExec(body), type === QREXEC.JUST_EXEC);
        return;
      case QREXEC.SERVICE_CONNECT:
        void this.converse(decodeExec(body));
        return;
      case QREXEC.SERVICE_REFUSED:
        this.take(textOf(body))?.reject(new Error("qrexec: dom0 refused the call"));
        return;
      default:
        throw new ProtocolError(`qrexec: a message of type ${type} from dom0`);
    }
  }

  /** Runs what dom0 asks for, on a channel of the call's own. A call that can't be talked about just ends. */
  private execute(params: ExecParams, alone: boolean): Promise<void> {
    return this.run(params, (running) => serveCall(params, alone, this.services, this.channels, running));
  }

  /** Dom0 has found whom we called. */
  private async converse(params: ExecParams): Promise<void> {
    const call = this.take(params.text);
    await this.run(params, async (running) => {
      try {
        if (call !== undefined) call.resolve(await makeCall(params, call.input, this.channels, running));
      } catch (error) {
        call?.reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  /** Does a call's part, and tells dom0 that its port is free. */
  private async run({ domain, port }: ExecParams, act: (running: Running) => Promise<void>): Promise<void> {
    try {
      if (!this.hasRoom()) return;
      const running = new Running(this.clock);
      this.running.add(running);
      await act(running).finally(() => {
        running.end();
        this.running.delete(running);
      });
    } catch {
      // The partner went away, or never came: nobody is left to be told.
    } finally {
      this.control?.send(encodeTerminated(domain, port));
    }
  }

  /** @returns whether another call may begin: where there are too many, the one goes that has waited longest for its partner */
  private hasRoom(): boolean {
    if (this.running.size < MOST_CALLS) return true;
    for (const call of this.running) {
      if (call.met) continue;
      this.running.delete(call);
      call.abort("too many calls");
      return true;
    }
    return false;
  }

  private take(ident: string): Outgoing | undefined {
    const call = this.outgoing.get(ident);
    this.outgoing.delete(ident);
    return call;
  }
}

/** Serves one call. @returns when its answer is sent */
async function serveCall(
  { domain, port, text }: ExecParams,
  alone: boolean,
  services: ReadonlyMap<string, Service>,
  channels: AgentChannels,
  running: Running,
): Promise<void> {
  const input = Promise.withResolvers<string>();
  const greeted = Promise.withResolvers<number>();
  const gone = Promise.withResolvers<never>();
  input.promise.catch(() => {}); // a service need not look at it
  const chunks: Uint8Array[] = [];
  let length = 0;
  const { handler, begin } = conversation(
    ({ type, body }) => {
      if (type !== QREXEC.DATA_STDIN) throw new ProtocolError(`qrexec: a message of type ${type} to a service`);
      chunks.push(body);
      length += body.length;
      if (length > MOST_INPUT) throw new ProtocolError("qrexec: too much input");
      if (body.length === 0) input.resolve(new TextDecoder().decode(Buffer.concat(chunks)));
    },
    (reason) => {
      const error = new Error(`qrexec: ${reason}`);
      for (const { reject } of [input, greeted, gone]) reject(error);
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
  running.met = true;
  const answer = alone
    ? answerAlone(text, services, input.promise)
    : await Promise.race([answerTo(text, services, input.promise), gone.promise]);
  sendAnswer(stream, answer, version, alone);
  stream.close();
}

/** A call whose caller doesn't wait for what becomes of it. */
function answerAlone(text: string, services: ReadonlyMap<string, Service>, input: Promise<string>): Answer {
  void answerTo(text, services, input);
  return { status: 0 };
}

async function answerTo(text: string, services: ReadonlyMap<string, Service>, input: Promise<string>): Promise<Answer> {
  const [, command = ""] = COMMAND.exec(text) ?? [];
  const [, name = "", argument = "", caller = ""] = RPC.exec(command) ?? [];
  const service = services.get(name);
  if (service === undefined) {
    const what = name === "" ? "commands: this is a firewall without a shell" : `the service ${name}`;
    const known = [...services.keys()].join(", ");
    return { status: NOT_FOUND, error: `firebreak does not have ${what} (services: ${known})\n` };
  }
  try {
    return await service({ argument, caller, input });
  } catch (error) {
    return { status: FAILED, error: `${name}: ${error instanceof Error ? error.message : String(error)}\n` };
  }
}

function sendAnswer(
  stream: ByteStream,
  { status, output = "", error = "" }: Answer,
  version: number,
  alone: boolean,
): void {
  if (!alone) {
    sendText(stream, QREXEC.DATA_STDOUT, output, version);
    sendText(stream, QREXEC.DATA_STDERR, error, version);
  }
  stream.send(encodeNumber(QREXEC.DATA_EXIT_CODE, status));
}

/** A text in chunks, and its end. */
function sendText(stream: ByteStream, type: number, text: string, version: number): void {
  const bytes = new TextEncoder().encode(text);
  const most = chunkLength(version);
  for (let at = 0; at < bytes.length; at += most) stream.send(encodeQrexec(type, bytes.subarray(at, at + most)));
  stream.send(encodeQrexec(type));
}

/** Our side of a call of ours: we serve the channel, send the input, and wait for the status. */
async function makeCall(
  { domain, port }: ExecParams,
  input: string,
  channels: QrexecChannels,
  running: Running,
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
    sendText(stream, QREXEC.DATA_STDIN, input, version);
    return await ended.promise;
  } finally {
    stream.close();
  }
}
