// Devices in the event loop: calls back when a descriptor has something to read. Waiting is a thread's business
// (poll-thread.ts); reading is the callback's, which must not block.
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { openEvent, signalEvent } from "./eventfd.ts";
import { libc } from "./libc.ts";
import { threadFile } from "./thread-file.ts";

/** The message that ends the thread, and its last answer. */
export const STOP = -1;

/** What the thread is started with. */
export interface PollStart {
  readonly descriptors: readonly number[];
  /**
   * Carries indexes of descriptors. The thread sends those that are readable, and waits for each again when its index comes
   * back. STOP ends the thread, which answers STOP.
   */
  readonly port: MessagePort;
  /** An eventfd, signalled when there is a message. */
  readonly wake: number;
}

export interface Polled {
  readonly fd: number;
  /** Reads all that is there. */
  ready(): void;
}

export class Poller {
  private readonly worker: Worker;
  private readonly port: MessagePort;
  private readonly wake = openEvent();
  private readonly ended = Promise.withResolvers<void>();

  /** @param fail hears when the thread dies: nothing is read any more */
  constructor(
    private readonly polled: readonly Polled[],
    fail: (error: Error) => void,
  ) {
    const { port1, port2 } = new MessageChannel();
    const start: PollStart = { descriptors: polled.map(({ fd }) => fd), port: port2, wake: this.wake };
    this.worker = new Worker(threadFile("linux/poll-thread"), { workerData: start, transferList: [port2] });
    this.worker.on("error", (error) => fail(error instanceof Error ? error : new Error(String(error))));
    this.worker.on("exit", () => this.ended.resolve());
    this.port = port1;
    this.port.on("message", (index: number) => this.hear(index));
  }

  /**
   * Waits until the thread uses the descriptors no more; they stay open. What is left of it goes by itself: to wait for that
   * would take seconds where the machine is emulated.
   */
  async stop(): Promise<void> {
    this.send(STOP);
    await this.ended.promise;
    this.worker.unref();
    this.port.close();
    libc.close(this.wake);
  }

  private hear(index: number): void {
    if (index === STOP) {
      this.ended.resolve();
      return;
    }
    this.polled[index]?.ready();
    this.send(index);
  }

  private send(message: number): void {
    this.port.postMessage(message);
    signalEvent(this.wake);
  }
}
