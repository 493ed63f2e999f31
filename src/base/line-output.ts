// Lines to a terminal, a pipe or a file whose reader may be slow, or gone: nobody who prints ever waits for it. A serial or a Xen
// console takes some 100 kB a second, and one that is held takes nothing, like a journal that stalls: a write(2) to it would keep the
// whole thread, and who watches that would take it for one that hangs.
import { constants, fstatSync, openSync, writeSync } from "node:fs";
import { sendNow } from "../linux/net/socket.ts";

/** Bytes that may wait for the reader; lines beyond are lost, and counted. */
const MOST_WAITING = 65_536;
/** Until what did not fit is tried again, in ms. */
const PAUSE = 20;

export class LineOutput {
  private waiting: Uint8Array[] = [];
  private waitingLength = 0;
  private lost = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private emptied = Promise.withResolvers<void>();

  /** What is given to the reader now. @returns as `give` */
  private readonly giveNow: (bytes: Uint8Array) => number | undefined;

  /** @param fd as `openOutput` gives it */
  constructor(fd: number) {
    const isSocket = fstatSync(fd, { throwIfNoEntry: false })?.isSocket() === true;
    this.giveNow = isSocket ? (bytes) => sendNow(fd, bytes) : (bytes) => writeSync(fd, bytes);
  }

  /** @param line without its end */
  write(line: string): void {
    const bytes = new TextEncoder().encode(`${line}\n`);
    if (this.waitingLength + bytes.length > MOST_WAITING) {
      this.lost++;
      return;
    }
    this.enqueue(bytes);
    if (this.timer === undefined) this.flush();
  }

  /** Settles once nothing waits. Who has much to print waits for it now and then: so none of it is lost. */
  async flushed(): Promise<void> {
    if (this.waitingLength > 0) await this.emptied.promise;
  }

  /** Gives the reader what it takes now. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (let bytes = this.waiting[0]; bytes !== undefined; bytes = this.waiting[0]) {
      const written = this.give(bytes);
      if (written === undefined) {
        this.later();
        return;
      }
      this.waitingLength -= written;
      if (written < bytes.length) this.waiting[0] = bytes.subarray(written);
      else this.waiting.shift();
      if (this.waiting.length === 0 && this.lost > 0) this.tellLost();
    }
    this.emptied.resolve();
    this.emptied = Promise.withResolvers<void>();
  }

  private enqueue(bytes: Uint8Array): void {
    this.waiting.push(bytes);
    this.waitingLength += bytes.length;
  }

  private tellLost(): void {
    this.enqueue(new TextEncoder().encode(`(${this.lost} lines are missing here: the reader was too slow)\n`));
    this.lost = 0;
  }

  /** @returns how many bytes the reader took: all, where there is none any more; undefined when it takes none now */
  private give(bytes: Uint8Array): number | undefined {
    try {
      return this.giveNow(bytes);
    } catch (error) {
      return error instanceof Error && "code" in error && error.code === "EAGAIN" ? undefined : bytes.length;
    }
  }

  private later(): void {
    this.timer = setTimeout(() => this.flush(), PAUSE);
    this.timer.unref(); // a program that ends does not wait for its reader
  }
}

/**
 * @param fd standard output. A terminal or a pipe is opened anew, so that writing to it does not block us, while it goes on to do
 *   so for others who have it too.
 * @returns where to write: the same descriptor where it can't be opened (a socket, which LineOutput asks not to block), or never
 *   blocks (a file)
 */
export function openOutput(fd: number): number {
  try {
    const stat = fstatSync(fd);
    if (!stat.isFIFO() && !stat.isCharacterDevice()) return fd;
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return fd;
  }
}
