// Control's handle on the dataplane's thread: starts it, posts commands, hears reports.
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { Settings } from "../dataplane/settings.ts";
import type { Command, Report, SharedState, Start } from "../dataplane/worker.ts";
import { openEvent, signalEvent } from "../linux/eventfd.ts";
import { libc } from "../linux/libc.ts";

interface Waiter {
  resolve(report: Report): void;
  reject(error: Error): void;
}

export class Dataplane {
  /** Settles only when the thread dies without having been told to: rejects with what it said. */
  readonly failed: Promise<never>;
  /** Those who wait for a report, in the order of their commands. */
  private readonly waiters: Waiter[] = [];
  private fail: (error: Error) => void = () => {};

  private constructor(
    private readonly worker: Worker,
    private readonly port: MessagePort,
    private readonly wake: number,
  ) {
    this.failed = new Promise((_, reject) => {
      this.fail = reject;
    });
    this.failed.catch(() => {}); // whoever does not ask is not told
    port.on("message", (report: Report) => this.hear(report));
    worker.on("error", (error) => this.die(error instanceof Error ? error : new Error(String(error))));
    worker.on("exit", () => this.die(new Error("the dataplane's thread ended")));
  }

  /**
   * @param settings whose interfaces are up
   * @throws Error where an interface can't be opened
   */
  static async start(settings: Settings): Promise<{ dataplane: Dataplane; state: SharedState }> {
    const { port1, port2 } = new MessageChannel();
    const wake = openEvent();
    const start: Start = { settings, port: port2, wake };
    const dataplane = new Dataplane(
      new Worker(workerFile(), { workerData: start, transferList: [port2] }),
      port1,
      wake,
    );
    const report = await dataplane.answer();
    if (report.type === "ready") return { dataplane, state: report.state };
    await dataplane.end();
    throw unexpected(report);
  }

  /**
   * Puts new settings in force between two frames.
   * @throws Error where they can't be: then the old ones stay in force
   */
  async apply(settings: Settings): Promise<void> {
    const report = await this.command({ type: "apply", settings });
    if (report.type !== "applied") throw unexpected(report);
  }

  /** Ends the thread, and with it all forwarding. */
  async stop(): Promise<void> {
    const report = await this.command({ type: "stop" });
    if (report.type !== "stopped") throw unexpected(report);
    await this.end();
  }

  private command(command: Command): Promise<Report> {
    this.port.postMessage(command);
    signalEvent(this.wake);
    return this.answer();
  }

  private answer(): Promise<Report> {
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  private hear(report: Report): void {
    if (report.type === "failed") this.die(new Error(`the dataplane failed: ${report.reason}`));
    else this.waiters.shift()?.resolve(report);
  }

  /** The first cause counts: what comes later follows from it. */
  private die(error: Error): void {
    this.fail(error);
    for (const waiter of this.waiters.splice(0)) waiter.reject(error);
  }

  private async end(): Promise<void> {
    this.worker.removeAllListeners("exit");
    await this.worker.terminate();
    this.port.close();
    libc.close(this.wake);
  }
}

function unexpected(report: Report): Error {
  return new Error(report.type === "refused" ? report.reason : `the dataplane answered ${report.type}`);
}

/**
 * Where the thread's program is. Inside a compiled executable files have places of their own, as the build command gives
 * them, while import.meta.url still names the source file on the machine that built it.
 */
function workerFile(): string | URL {
  if (Bun.main.startsWith("/$bunfs/")) return "/$bunfs/root/dataplane/worker.js";
  return new URL("../dataplane/worker.ts", import.meta.url);
}
