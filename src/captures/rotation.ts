// The files that a live capture goes to: one, or a ring of them, each of which can be read without the others.
import { closeSync, openSync, rmSync } from "node:fs";
import { extname } from "node:path";
import { plain } from "../base/quote.ts";
import { reasonOf } from "../base/reason.ts";
import { appendBlocks, NotWritten } from "./whole-blocks.ts";

export interface Rotation {
  /** Bytes after which another file begins. */
  readonly size: number;
  /** Files that are kept; all, if undefined. */
  readonly files?: number | undefined;
}

/** Digits of a file's number. */
const DIGITS = 5;

export class CaptureFiles {
  private head: Uint8Array = new Uint8Array(0);
  private file: number | undefined;
  private length = 0;
  private number = 0;

  /** @param path of the file; where they rotate, each has its number in front of the ending: `cap-00001.pcapng` */
  constructor(
    private readonly path: string,
    private readonly rotation?: Rotation,
  ) {}

  /**
   * Writes whole blocks.
   * @param head what a file begins with, where that is new
   * @throws Error, which names the file; NotWritten where some of it is there. No file is left that does not have all of its head
   */
  write(bytes: Uint8Array, head?: Uint8Array): void {
    if (head !== undefined) this.head = head;
    if (this.file === undefined) this.begin();
    else if (this.rotation !== undefined && this.length >= this.rotation.size) {
      this.close();
      this.begin();
      this.put(this.head);
    }
    this.put(bytes);
  }

  close(): void {
    if (this.file !== undefined) closeSync(this.file);
    this.file = undefined;
  }

  private begin(): void {
    const { rotation } = this;
    this.number++;
    const path = this.pathOf(this.number);
    attempt(path, () => {
      if (rotation?.files !== undefined && this.number > rotation.files) {
        rmSync(this.pathOf(this.number - rotation.files), { force: true });
      }
      this.file = openSync(path, "w", 0o600);
    });
    this.length = 0;
  }

  private put(bytes: Uint8Array): void {
    const { file } = this;
    if (file === undefined) return;
    const path = this.pathOf(this.number);
    try {
      appendBlocks(file, bytes, `${plain(path)}:`);
    } catch (error) {
      if (error instanceof NotWritten && this.length + error.length < this.head.length) rmSync(path, { force: true });
      throw error;
    }
    this.length += bytes.length;
  }

  private pathOf(number: number): string {
    if (this.rotation === undefined) return this.path;
    const ending = extname(this.path);
    const stem = this.path.slice(0, this.path.length - ending.length);
    return `${stem}-${String(number).padStart(DIGITS, "0")}${ending}`;
  }
}

function attempt(path: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    throw new Error(`${plain(path)}: can't be written: ${reasonOf(error)}`);
  }
}
