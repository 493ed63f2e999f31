// One client of the channel, whatever it comes by: takes requests, runs their operations, sends records. It is bounded in all that the
// client decides: bytes of a request, requests at a time, records that it has not asked for. A client that reads slowly, or not at all,
// keeps nobody but itself: nothing is made for it that it has no credit for, or that it has not taken what is before it.
import { CborError, encodePieces, type Fields, ItemReader, type Value } from "./cbor.ts";
import {
  CANCEL,
  ChannelError,
  CREDIT,
  HELLO,
  MOST_CREDIT,
  type Reply,
  type Request,
  readRequest,
  VERSION,
} from "./messages.ts";

/** Requests at a time. */
const MOST_STREAMS = 16;
/** Bytes that wait for the client; beyond, nothing is made or read for it. */
const MOST_WAITING = 64 * 1024;
/** ms that records are made for in one go, before others of the thread have their turn. */
const SLICE = 2;

/** A record, and how many before it were lost. */
export interface Part {
  readonly data: Value;
  readonly lost?: number;
}

/**
 * What a client can ask for.
 * @param args of the request, unchecked
 * @param signal is aborted when nobody waits for records any more
 * @throws ChannelError, here or while records are asked for
 */
export type Operation = ((args: Partial<Fields>, signal: AbortSignal) => AsyncIterator<Part>) & {
  /** Bytes that may wait for the client before records of it are not made, where these come fast; MOST_WAITING without it. */
  readonly mostWaiting?: number;
};

export interface Services {
  /** What HELLO answers beside the version. */
  readonly greeting: Fields;
  readonly operations: ReadonlyMap<string, Operation>;
}

/** The way to the client. */
export interface Outlet {
  /** Never waits. @param bytes which nobody changes any more */
  write(bytes: Uint8Array): void;
  /** Bytes that the client has not taken. */
  readonly waiting: number;
  /** Settles when it has taken them, or is gone. */
  drained(): Promise<void>;
  /** Takes nothing from the client until told otherwise. */
  pause(isPaused: boolean): void;
  /** Once the client has taken what was written. */
  end(): void;
}

interface Stream {
  readonly id: number;
  readonly abort: AbortController;
  readonly mostWaiting: number;
  credit: number;
  records: number;
  lost: number;
  /** Wakes it, when it waits for credit. */
  wake(): void;
}

export class Session {
  private readonly reader = new ItemReader((value) => this.hear(readRequest(value)));
  private readonly streams = new Map<number, Stream>();
  private isGreeted = false;
  private isOver = false;
  private isFinishing = false;

  constructor(
    private readonly services: Services,
    private readonly outlet: Outlet,
  ) {}

  /** Bytes came from the client. */
  receive(bytes: Uint8Array): void {
    if (this.isOver) return;
    try {
      this.reader.push(bytes);
    } catch (error) {
      if (error instanceof CborError) this.fail(new ChannelError("protocol", error.message));
      else if (error instanceof ChannelError) this.fail(error);
      else throw error;
    }
    if (this.outlet.waiting > MOST_WAITING) void this.holdBack();
  }

  /** Nothing more comes from the client: it ends once all that was asked for is answered. */
  finish(): void {
    this.isFinishing = true;
    this.endIfDone();
  }

  /** The client is gone. */
  close(): void {
    this.isOver = true;
    for (const stream of this.streams.values()) stop(stream);
  }

  /** Ends it, and says why. */
  fail(error: ChannelError): void {
    if (this.isOver) return;
    this.send({ id: null, error: { code: error.code, text: error.message } });
    this.close();
    this.outlet.end();
  }

  private async holdBack(): Promise<void> {
    this.outlet.pause(true);
    await this.outlet.drained();
    this.outlet.pause(false);
  }

  private hear(request: Request): void {
    if (this.isOver) return; // what comes behind a fault
    const { id, op } = request;
    if (!this.isGreeted) {
      this.greet(request);
      return;
    }
    const stream = this.streams.get(id);
    if (op === CREDIT || op === CANCEL) {
      if (stream === undefined) return; // it may have ended meanwhile
      if (op === CANCEL) stop(stream);
      else grant(stream, request.credit);
    } else if (stream !== undefined) {
      throw new ChannelError("protocol", `a second request with the id ${id}`);
    } else {
      this.begin(request);
    }
  }

  private greet({ id, op, args }: Request): void {
    const { version } = args;
    if (op !== HELLO) throw new ChannelError("protocol", `${JSON.stringify(op.slice(0, 40))} before ${HELLO}`);
    if (version !== VERSION) throw new ChannelError("version", `this firewall speaks version ${VERSION}`);
    this.isGreeted = true;
    this.send({ id, data: { version: VERSION, ...this.services.greeting } });
    this.send({ id, end: { records: 1, lost: 0 } });
  }

  private begin({ id, op, args, credit }: Request): void {
    const operation = this.services.operations.get(op);
    if (operation === undefined) {
      const known = [...this.services.operations.keys()].join(", ");
      this.refuse(id, new ChannelError("operation", `there is no operation of this name (there are ${known})`));
    } else if (this.streams.size >= MOST_STREAMS) {
      this.refuse(id, new ChannelError("busy", `${MOST_STREAMS} requests are not answered yet`));
    } else {
      const { mostWaiting = MOST_WAITING } = operation;
      const counts = { credit, records: 0, lost: 0 };
      const stream: Stream = { id, abort: new AbortController(), mostWaiting, ...counts, wake: () => {} };
      this.streams.set(id, stream);
      void this.run(stream, operation, args);
    }
  }

  /** Sends a stream's records, and its end. */
  private async run(stream: Stream, operation: Operation, args: Partial<Fields>): Promise<void> {
    const { id, abort } = stream;
    try {
      const records = operation(args, abort.signal);
      try {
        await this.pump(stream, records);
      } finally {
        await records.return?.();
      }
      this.send({ id, end: { records: stream.records, lost: stream.lost } });
    } catch (error) {
      const { code, message } = error instanceof ChannelError ? error : new ChannelError("failed", messageOf(error));
      this.send({ id, error: { code, text: message } });
    } finally {
      this.streams.delete(id);
      this.endIfDone();
    }
  }

  private endIfDone(): void {
    if (!this.isFinishing || this.isOver || this.streams.size > 0) return;
    this.isOver = true;
    this.outlet.end();
  }

  private async pump(stream: Stream, records: AsyncIterator<Part>): Promise<void> {
    const { id, abort } = stream;
    for (let since = performance.now(); ; ) {
      await this.untilWanted(stream);
      if (abort.signal.aborted) return;
      const { done, value } = await records.next();
      if (done === true || abort.signal.aborted) return;
      const { data, lost = 0 } = value;
      stream.records++;
      stream.credit--;
      stream.lost += lost;
      this.send(lost === 0 ? { id, data } : { id, lost, data });
      if (performance.now() - since < SLICE) continue;
      await new Promise(setImmediate);
      since = performance.now();
    }
  }

  /** Settles when the client takes another record, or none any more. */
  private async untilWanted(stream: Stream): Promise<void> {
    const { signal } = stream.abort;
    while (stream.credit === 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        stream.wake = resolve;
      });
    }
    while (this.outlet.waiting > stream.mostWaiting && !signal.aborted) await this.outlet.drained();
  }

  private refuse(id: number, { code, message }: ChannelError): void {
    this.send({ id, error: { code, text: message } });
  }

  private send(reply: Reply): void {
    if (this.isOver) return;
    try {
      for (const piece of encodePieces(reply as Value)) this.outlet.write(piece);
    } catch (error) {
      if (!(error instanceof CborError) || !("data" in reply)) throw error;
      throw new ChannelError("failed", error.message);
    }
  }
}

function stop(stream: Stream): void {
  stream.abort.abort();
  stream.wake();
}

function grant(stream: Stream, records: number): void {
  stream.credit = Math.min(stream.credit + records, MOST_CREDIT);
  stream.wake();
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
