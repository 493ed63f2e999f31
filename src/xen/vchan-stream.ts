// A vchan as a byte stream: reads what the peer wrote whenever there was a signal, queues what does not fit the ring yet,
// and gives the channel up when the peer goes, cheats or does not read.
import { type Clock, MACHINE_CLOCK } from "../base/clock.ts";
import { type PacedStream, ProtocolError, type StreamHandler } from "./byte-stream.ts";
import type { VchanEnd } from "./vchan.ts";

/** Bytes that may wait for the peer to read: more means that it doesn't. */
const MOST_QUEUED = 1 << 20;
/** How long a closed stream waits for the peer to read the rest, in ms. */
export const DRAIN_LIMIT = 120_000;

export class VchanStream implements PacedStream {
  private queue: Uint8Array[] = [];
  private queued = 0;
  private state: "open" | "closing" | "closed" = "open";
  private callOff = () => {};
  private emptied = Promise.withResolvers<void>();

  /** @param release gives memory and event channel back; called once */
  constructor(
    private readonly end: VchanEnd,
    private readonly handler: StreamHandler,
    private readonly release: () => void,
    private readonly clock: Clock = MACHINE_CLOCK,
  ) {}

  send(bytes: Uint8Array): void {
    if (this.state !== "open") return;
    this.queue.push(bytes.slice());
    this.queued += bytes.length;
    this.guard(() => {
      this.flush();
      if (this.queued > MOST_QUEUED) throw new ProtocolError("vchan: the peer does not read");
    });
  }

  flushed(): Promise<void> {
    if (this.queue.length === 0) return Promise.resolve();
    return this.emptied.promise;
  }

  close(): void {
    if (this.state !== "open") return;
    this.state = "closing";
    this.callOff = this.clock.after(DRAIN_LIMIT, () => this.leave());
    this.guard(() => this.finish());
  }

  /** Ends at once, whatever the peer has yet to read. The handler hears of it unless the stream was closed before. */
  abort(reason: string): void {
    this.give(reason);
  }

  /** Looks at the memory: after each signal, and once at the start. */
  look(): void {
    if (this.state === "closed") return;
    this.guard(() => {
      const abandoned = this.end.abandoned; // before the last look at what it wrote
      this.receive();
      this.flush();
      if (this.state === "closing") this.finish();
      else if (abandoned) this.give("the peer closed the channel");
    });
  }

  private receive(): void {
    const bytes = this.end.read();
    if (bytes.length > 0 && this.state === "open") this.handler.received(bytes);
  }

  private flush(): void {
    while (this.state !== "closed") {
      const [bytes] = this.queue;
      if (bytes === undefined) break;
      const written = this.end.write(bytes);
      this.queued -= written;
      if (written < bytes.length) {
        this.queue[0] = bytes.subarray(written);
        return;
      }
      this.queue.shift();
    }
    this.empty();
  }

  private empty(): void {
    this.emptied.resolve();
    this.emptied = Promise.withResolvers<void>();
  }

  private finish(): void {
    if (this.queue.length === 0 || this.end.abandoned) this.leave();
  }

  /** Ends the channel where the peer's indices can't be. */
  private guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.give(error.message);
    }
  }

  private give(reason: string): void {
    const wasOpen = this.state === "open";
    this.leave();
    if (wasOpen) this.handler.closed(reason);
  }

  private leave(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.callOff();
    this.queue = [];
    this.empty();
    this.end.leave();
    this.release();
  }
}
