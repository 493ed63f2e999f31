// XenStore's client: one connection for the whole program, one request at a time, watches counted and removed.
// Paths without a slash in front are relative to this domain's own directory, /local/domain/N.
import { type ByteStream, Framer, ProtocolError, type StreamHandler } from "./byte-stream.ts";
import {
  decodeXs,
  encodeXs,
  splitStrings,
  XS,
  XS_HEADER_LENGTH,
  type XsMessage,
  xsPayloadLength,
} from "./xenstore-wire.ts";

/** XenStore refused a request. `code` is its name for why: ENOENT, EACCES, EAGAIN … */
export class XenStoreError extends Error {
  constructor(
    readonly code: string,
    what: string,
  ) {
    super(`XenStore: ${what}: ${code}${REMARKS.get(code) ?? ""}`);
  }
}

const REMARKS: ReadonlyMap<string, string> = new Map([
  ["EACCES", " (this domain has no permission there)"],
  ["EQUOTA", " (this domain has used up its quota)"],
  ["ENOSPC", " (this domain has used up its quota)"],
]);

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(XS).map(([name, type]) => [type, name.toLowerCase().replaceAll("_", " ")]),
);

/** How often a transaction is tried before its failure is an error. */
const ATTEMPTS = 100;

/** What can be done inside a transaction and outside. All reject with XenStoreError, or Error when the connection ends. */
abstract class Access {
  /** @returns the answer's payload */
  protected abstract request(type: number, payload: string): Promise<Uint8Array>;

  /** @returns the value, undefined where there is none */
  async read(path: string): Promise<string | undefined> {
    const value = await orMissing(this.request(XS.READ, `${path}\0`));
    return value && new TextDecoder().decode(value);
  }

  /** @returns the names of what is below, undefined where the path itself is not there */
  async directory(path: string): Promise<string[] | undefined> {
    const names = await orMissing(this.request(XS.DIRECTORY, `${path}\0`));
    return names && splitStrings(names);
  }

  /** Makes the path, and what leads to it, where it is not there. */
  async write(path: string, value: string): Promise<void> {
    await this.request(XS.WRITE, `${path}\0${value}`);
  }

  /** Removes a path with all that is below; one that is not there is removed already. */
  async rm(path: string): Promise<void> {
    await orMissing(this.request(XS.RM, `${path}\0`));
  }

  /** @returns `b1`, `r2` …: the owner with what all others may, then domains with what each may (n, r, w, b) */
  async permissions(path: string): Promise<string[]> {
    return splitStrings(await this.request(XS.GET_PERMS, `${path}\0`));
  }

  async setPermissions(path: string, permissions: readonly string[]): Promise<void> {
    await this.request(XS.SET_PERMS, [path, ...permissions, ""].join("\0"));
  }
}

/** An operation whose path may be missing. */
async function orMissing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof XenStoreError && error.code === "ENOENT") return undefined;
    throw error;
  }
}

interface Asked {
  /** Its number, which the answer repeats. */
  readonly request: number;
  /** What is asked, for the error. */
  readonly what: string;
  readonly type: number;
  readonly bytes: Uint8Array;
  resolve(payload: Uint8Array): void;
  reject(error: Error): void;
}

export class XenStore extends Access {
  private readonly stream: ByteStream;
  /** The request that waits for its answer, and those that wait to be sent. */
  private pending: Asked | undefined;
  private queue: Asked[] = [];
  private readonly watches = new Map<string, (path: string) => void>();
  private readonly framer = new Framer(XS_HEADER_LENGTH, xsPayloadLength, (header, payload) =>
    this.hear(decodeXs(header, payload)),
  );
  private lastRequest = 0;
  private lastToken = 0;
  private ended: Error | undefined;

  /**
   * @param connect opens the stream to the daemon
   * @param fail hears, once, that the connection has ended: nothing works any more
   */
  constructor(
    connect: (handler: StreamHandler) => ByteStream,
    private readonly fail: (error: Error) => void,
  ) {
    super();
    this.stream = connect({
      received: (bytes) => this.take(bytes),
      closed: (reason) => this.end(new Error(`XenStore: the connection ended: ${reason}`)),
    });
  }

  /** Watches that are set. */
  get watched(): number {
    return this.watches.size;
  }

  /**
   * @param changed hears of each change at or below the path, by the path that changed; once at the start too
   * @returns what removes the watch: `changed` hears no more from the call on
   */
  async watch(path: string, changed: (path: string) => void): Promise<() => Promise<void>> {
    const token = String(++this.lastToken);
    this.watches.set(token, changed);
    try {
      await this.request(XS.WATCH, `${path}\0${token}\0`);
    } catch (error) {
      this.watches.delete(token);
      throw error;
    }
    return async () => {
      if (this.watches.delete(token)) await this.request(XS.UNWATCH, `${path}\0${token}\0`);
    };
  }

  /**
   * Does several things at once, or none of them; again, when somebody else came between.
   * @param body what to do; may run more than once. When it throws, nothing has happened
   */
  async transaction<T>(body: (access: Access) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const id = Number(new TextDecoder().decode(await this.request(XS.TRANSACTION_START, "\0")).replace("\0", ""));
      const result = await this.attempt(body, id);
      try {
        await this.ask(XS.TRANSACTION_END, "T\0", id);
        return result;
      } catch (error) {
        const again = error instanceof XenStoreError && error.code === "EAGAIN" && attempt < ATTEMPTS;
        if (!again) throw error;
      }
    }
  }

  close(): void {
    this.stream.close();
    this.reject(new Error("XenStore: the connection was closed"));
  }

  protected override request(type: number, payload: string): Promise<Uint8Array> {
    return this.ask(type, payload, 0);
  }

  private async attempt<T>(body: (access: Access) => Promise<T>, id: number): Promise<T> {
    try {
      return await body(new Transaction((type, payload) => this.ask(type, payload, id)));
    } catch (error) {
      await this.ask(XS.TRANSACTION_END, "F\0", id);
      throw error;
    }
  }

  private async ask(type: number, text: string, transaction: number): Promise<Uint8Array> {
    if (this.ended !== undefined) throw this.ended;
    this.lastRequest = (this.lastRequest + 1) >>> 0;
    const request = this.lastRequest;
    const payload = new TextEncoder().encode(text);
    const bytes = encodeXs({ type, request, transaction, payload });
    const [path] = text.split("\0");
    const what = `${NAMES.get(type)} ${path}`.trim();
    return new Promise<Uint8Array>((resolve, reject) => {
      this.queue.push({ request, what, type, bytes, resolve, reject });
      this.sendNext();
    });
  }

  /**
   * Sends a request when none is under way. Linux's /dev/xen/xenbus answers one about watches inside the write(2) that makes
   * it, and then hangs forever if the answer to an earlier request has yet to come (xenbus_file_write holds a lock that
   * xenbus_dev_queue_reply needs); and with many requests under way Xen's own xenstored ended with a failed assertion
   * (consider_message). Both seen with Linux 6.1 and Xen 4.17.
   */
  private sendNext(): void {
    if (this.pending !== undefined) return;
    this.pending = this.queue.shift();
    if (this.pending !== undefined) this.stream.send(this.pending.bytes);
  }

  private take(bytes: Uint8Array): void {
    try {
      this.framer.push(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.stream.close();
      this.end(error);
    }
  }

  private hear(message: XsMessage): void {
    if (message.type === XS.WATCH_EVENT) {
      const [path = "", token = ""] = splitStrings(message.payload);
      this.watches.get(token)?.(path); // of a watch just removed, events may still be on their way
      return;
    }
    const { pending } = this;
    if (pending?.request !== message.request) return;
    this.pending = undefined;
    if (message.type === XS.ERROR) {
      const [code = "?"] = splitStrings(message.payload);
      pending.reject(new XenStoreError(code, pending.what));
    } else if (message.type === pending.type) {
      pending.resolve(message.payload);
    } else {
      pending.reject(new Error(`XenStore: ${pending.what}: answered by a message of type ${message.type}`));
    }
    this.sendNext();
  }

  private end(error: Error): void {
    this.reject(error);
    this.fail(error);
  }

  private reject(error: Error): void {
    this.ended = error;
    for (const asked of this.pending === undefined ? this.queue : [this.pending, ...this.queue]) asked.reject(error);
    this.pending = undefined;
    this.queue = [];
    this.watches.clear();
  }
}

class Transaction extends Access {
  constructor(protected override readonly request: (type: number, payload: string) => Promise<Uint8Array>) {
    super();
  }
}
