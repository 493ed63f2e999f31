// QubesDB's client: a copy of the database that dom0 keeps for this domain, always in step, and the keys that we write
// there. While dom0 is away the copy stays as it was; when it is back everything is read again. A daemon that was restarted is
// filled key by key: the copy stays as it was until the last of the base keys is there.
import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import { type ByteStream, Framer, ProtocolError, type StreamHandler } from "../xen/byte-stream.ts";
import type { Database } from "./client-rules.ts";
import { decodeQdb, encodeQdb, QDB, QDB_HEADER_LENGTH, type QdbMessage, qdbValueLength } from "./qubesdb-wire.ts";

export interface QubesDbListener {
  /**
   * The copy is that of dom0 again, after the start and after each interruption; anything may have changed.
   * @param before the copy as it was until now
   */
  synchronised(before: Database): void;
  /** One key was written, maybe with the value it had. */
  written(path: string): void;
  /** One key, or with a slash at the end all below, was removed. */
  removed(path: string): void;
  /** Something went wrong that people should know; the client goes on. */
  trouble(problem: string): void;
}

/** Keys that are kept: more can't be meant. */
const MOST_KEYS = 65536;

/**
 * Qubesd writes it behind all other base keys (qubes-core-admin, create_qdb_entries, and then reload_connected_ips), for each
 * qube that provides network. What clients were given and their rules come after it.
 */
const LAST_BASE_KEY = "/connected-ips";
/** Qubesd writes it right behind that. Where dom0 has IPv6 on, which one of these keys says before, it is waited for. */
const LAST_BASE_KEY_6 = "/connected-ips6";
const KEYS_6 = ["/qubes-ip6", "/qubes-netvm-gateway6"];

/** Until the connection is tried again, in ms. */
const PAUSE = 200;

export class QubesDb {
  private entries = new Map<string, string>();
  /** What we have written. */
  private readonly own = new Map<string, string>();
  /** The copy that is being read, or filled. */
  private incoming = new Map<string, string>();
  private stream: ByteStream | undefined;
  private callOff = () => {};
  private state: "away" | "reading" | "filling" | "synchronised" | "closed" = "away";

  /**
   * Connects, and stays connected until `close`.
   * @param connect opens the stream to dom0, as soon as that is there
   */
  constructor(
    private readonly connect: (handler: StreamHandler) => Promise<ByteStream>,
    private readonly listener: QubesDbListener,
    private readonly clock: Clock = MACHINE_CLOCK,
  ) {
    void this.open();
  }

  get synchronised(): boolean {
    return this.state === "synchronised";
  }

  /** Whether dom0 answered, but has not written all base keys. */
  get filling(): boolean {
    return this.state === "filling";
  }

  /** The value as dom0 last had it. */
  get(path: string): string | undefined {
    return this.entries.get(path);
  }

  /** @returns the keys below a path that ends in a slash, what stands behind that, with their values; sorted */
  below(path: string): [name: string, value: string][] {
    return below(this.entries, path);
  }

  /**
   * Writes a key of ours; now, or as soon as dom0 is there, and again after an interruption.
   * @throws RangeError when the path or value can't be in the database
   */
  write(path: string, value: string): void {
    const message = encodeQdb({ type: QDB.WRITE, path, value });
    this.own.set(path, value);
    if (this.state !== "synchronised") return;
    this.entries.set(path, value);
    this.stream?.send(message);
  }

  /** Removes a key that we wrote. */
  remove(path: string): void {
    this.own.delete(path);
    // A key that dom0's daemon doesn't have, it must not be asked to remove.
    if (this.state === "synchronised" && this.entries.delete(path)) this.send(QDB.RM, path);
  }

  close(): void {
    this.state = "closed";
    this.callOff();
    this.stream?.close();
  }

  private async open(): Promise<void> {
    const framer = new Framer(QDB_HEADER_LENGTH, qdbValueLength, (header, data) => this.hear(decodeQdb(header, data)));
    let ended = false;
    const lose = (reason: string) => {
      if (ended) return;
      ended = true;
      this.lose(reason);
    };
    try {
      const stream = await this.connect({
        received: (bytes) => {
          if (ended) return;
          try {
            framer.push(bytes);
          } catch (error) {
            if (!(error instanceof ProtocolError)) throw error;
            this.stream?.close();
            lose(error.message);
          }
        },
        closed: lose,
      });
      // It may have ended while it was opened: what is left of it is given back.
      if (ended || this.state === "closed") return stream.close();
      this.stream = stream;
      this.state = "reading";
      this.incoming = new Map();
      this.send(QDB.MULTIREAD, "");
    } catch (error) {
      lose(error instanceof Error ? error.message : String(error));
    }
  }

  private lose(reason: string): void {
    if (this.state === "closed") return;
    this.stream = undefined;
    this.state = "away";
    this.listener.trouble(`QubesDB: ${reason}; connecting again`);
    this.callOff = this.clock.after(PAUSE, () => void this.open());
  }

  private send(type: number, path: string): void {
    this.stream?.send(encodeQdb({ type, path, value: "" }));
  }

  private hear(message: QdbMessage): void {
    const { type, path } = message;
    if (type === QDB.RESP_MULTIREAD) this.hearEntry(message);
    else if (type === QDB.WRITE) this.hearWrite(message);
    else if (type === QDB.RM) this.hearRemoval(path);
    else if (type === QDB.RESP_ERROR || type === QDB.RESP_ERROR_NOENT) {
      this.listener.trouble(`QubesDB: dom0 refused ${path}`);
    } else if (type !== QDB.RESP_OK) throw new ProtocolError(`a message of type ${type}`);
  }

  private hearEntry({ path, value }: QdbMessage): void {
    if (this.state !== "reading") throw new ProtocolError("an answer to nothing asked");
    if (path !== "") {
      keep(this.incoming, path, value);
      return;
    }
    this.state = "filling";
    this.adopt();
  }

  /** Whether the base keys of the copy that is being filled are all there. */
  private get isComplete(): boolean {
    const hasIpv6 = KEYS_6.some((key) => this.incoming.has(key));
    return this.incoming.has(LAST_BASE_KEY) && (!hasIpv6 || this.incoming.has(LAST_BASE_KEY_6));
  }

  /** Takes what was read for the truth, once it is all there. */
  private adopt(): void {
    if (this.state !== "filling" || !this.isComplete) return;
    const last = this.entries;
    this.entries = this.incoming;
    this.incoming = new Map();
    this.state = "synchronised";
    for (const [key, wanted] of this.own) {
      if (this.entries.get(key) !== wanted) this.write(key, wanted);
    }
    this.listener.synchronised({ get: (path) => last.get(path), below: (path) => below(last, path) });
  }

  /** While everything is being read, or filled, a change belongs to that. */
  private hearWrite({ path, value }: QdbMessage): void {
    if (path === "") throw new ProtocolError("a key without a name is written");
    const isNew = this.state !== "synchronised";
    keep(isNew ? this.incoming : this.entries, path, value);
    this.send(QDB.RESP_OK, path);
    if (isNew) this.adopt();
    else this.listener.written(path);
  }

  private hearRemoval(path: string): void {
    const entries = this.state === "synchronised" ? this.entries : this.incoming;
    if (!path.endsWith("/")) entries.delete(path);
    else for (const key of [...entries.keys()]) if (key.startsWith(path)) entries.delete(key);
    this.send(QDB.RESP_OK, path);
    if (this.state === "synchronised") this.listener.removed(path);
  }
}

function keep(entries: Map<string, string>, path: string, value: string): void {
  entries.set(path, value);
  if (entries.size > MOST_KEYS) throw new ProtocolError(`more than ${MOST_KEYS} keys`);
}

function below(entries: ReadonlyMap<string, string>, path: string): [name: string, value: string][] {
  const found = [...entries].filter(([key]) => key.startsWith(path));
  return found.map(([key, value]): [string, string] => [key.slice(path.length), value]).sort(byName);
}

function byName([one]: [string, string], [other]: [string, string]): number {
  return one < other ? -1 : Number(one > other);
}
