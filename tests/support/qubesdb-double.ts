// Dom0's QubesDB daemon as far as one domain sees it: a database, told whole when asked for and change by change after. It
// shares with the client only the codec, and is held against the real daemon (tests/qubes/transcripts).

import {
  decodeQdb,
  encodeQdb,
  QDB,
  QDB_HEADER_LENGTH,
  type QdbMessage,
  qdbValueLength,
} from "../../src/qubes/qubesdb-wire.ts";
import { type ByteStream, Framer, type StreamHandler } from "../../src/xen/byte-stream.ts";

/** What stands behind a path's end and in the padding: whatever whoever changed the database had in its memory. */
const GARBAGE = 0xee;
const PATH_END = 68;

export class QubesDbDouble {
  readonly entries = new Map<string, string>();
  /** Our changes that the domain has not acknowledged. */
  unanswered = 0;
  /** What the domain did that the real daemon would not survive, or could not understand. */
  readonly mistakes: string[] = [];
  private stream: ByteStream | undefined;
  private reading = false;
  /** Bytes that it sends yet before it dies. */
  private left = Number.POSITIVE_INFINITY;

  constructor(entries: Readonly<Record<string, string>> = {}) {
    for (const [path, value] of Object.entries(entries)) this.entries.set(path, value);
  }

  /** For one connection; give it the stream with `attach`. */
  handler(): StreamHandler {
    const framer = new Framer(QDB_HEADER_LENGTH, qdbValueLength, (header, data) => this.hear(decodeQdb(header, data)));
    this.reading = false;
    this.unanswered = 0;
    this.left = Number.POSITIVE_INFINITY;
    return {
      received: (bytes) => framer.push(bytes),
      closed: () => {
        this.stream = undefined;
      },
    };
  }

  attach(stream: ByteStream): void {
    this.stream = stream;
  }

  /** Dies in the middle of whatever it sends then. @param bytes that it sends yet */
  dieAfter(bytes: number): void {
    this.left = bytes;
  }

  /** Goes away, as the daemon does when it is restarted; after half a message, if wanted. */
  detach(half = false): void {
    if (half) this.stream?.send(encodeQdb({ type: QDB.WRITE, path: "/half", value: "a message" }).subarray(0, 75));
    this.stream?.close();
    this.stream = undefined;
  }

  write(path: string, value: string): void {
    this.entries.set(path, value);
    this.change({ type: QDB.WRITE, path, value });
  }

  /** What is not there is not told of. */
  remove(path: string): void {
    if (this.forget(path)) this.change({ type: QDB.RM, path, value: "" });
  }

  /** A client's rules as qubesd writes them. @param rules null for one of the other family, whose number stays free */
  writeRules(address: string, rules: readonly (string | null)[], policy = "drop"): void {
    this.remove(`/qubes-firewall/${address}/`);
    this.write(`/qubes-firewall/${address}/policy`, policy);
    for (const [i, rule] of rules.entries()) {
      if (rule !== null) this.write(`/qubes-firewall/${address}/${String(i).padStart(4, "0")}`, rule);
    }
    this.write(`/qubes-firewall/${address}`, "");
  }

  private change(message: QdbMessage): void {
    if (!this.reading) return; // the domain will read it all
    this.unanswered++;
    const bytes = encodeQdb(message);
    bytes.fill(GARBAGE, 1 + message.path.length + 1, PATH_END);
    this.put(bytes);
  }

  private put(bytes: Uint8Array): void {
    this.stream?.send(bytes.subarray(0, Math.max(0, this.left)));
    this.left -= bytes.length;
    if (this.left <= 0) this.detach();
  }

  private forget(path: string): boolean {
    if (!path.endsWith("/")) return this.entries.delete(path);
    const below = [...this.entries.keys()].filter((key) => key.startsWith(path));
    for (const key of below) this.entries.delete(key);
    return below.length > 0;
  }

  private hear({ type, path, value }: QdbMessage): void {
    const answer = (kind: number, of: string, what = "") => this.put(encodeQdb({ type: kind, path: of, value: what }));
    if (type === QDB.MULTIREAD && path === "" && !this.reading) {
      const backwards = [...this.entries].sort(([one], [other]) => (one < other ? 1 : -1)); // as the real one does
      for (const [key, held] of backwards) answer(QDB.RESP_MULTIREAD, key, held);
      answer(QDB.RESP_MULTIREAD, "");
      this.reading = true;
    } else if (type === QDB.WRITE) {
      this.entries.set(path, value);
      answer(QDB.RESP_OK, path);
    } else if (type === QDB.RM && this.forget(path)) {
      answer(QDB.RESP_OK, path);
    } else if (type === QDB.RESP_OK) {
      this.unanswered--;
    } else {
      this.die(type === QDB.RM ? `removed ${path}, which is not there` : `sent a message of type ${type}`);
    }
  }

  /** The real daemon ends. */
  private die(mistake: string): void {
    this.mistakes.push(mistake);
    this.detach();
  }
}
