// `firebreak top`, running: keys and signals come, the firewall is asked, and the terminal is drawn on; and given back whatever happens.
import { KeyReader } from "./keys.ts";
import { listRows, renderTop } from "./screen.ts";
import { Terminal } from "./terminal.ts";
import type { TopSource } from "./top-source.ts";
import { firstState, press, settle, type TopState, type Wish } from "./top-state.ts";

/** ms until Escape is Escape, and not the beginning of a key's bytes. */
const ESCAPE_PATIENCE = 150;
/** ms until a picture is drawn that the terminal was too slow for. */
const PAUSE = 50;

export class Top {
  private state: TopState;
  private readonly terminal = new Terminal();
  private readonly keys = new KeyReader();
  private readonly over = Promise.withResolvers<void>();
  private escapeTimer: ReturnType<typeof setTimeout> | undefined;
  private paintTimer: ReturnType<typeof setTimeout> | undefined;
  private isLooking = false;
  private isAsked = false;

  /** @param name of the firewall @param interval ms */
  constructor(
    name: string,
    private readonly source: TopSource,
    private readonly interval: number,
    private readonly isUnicode: boolean,
  ) {
    this.state = firstState(name);
  }

  /** Settles when somebody has asked it to end. @throws what went wrong, with the terminal as it was */
  async run(): Promise<void> {
    const { terminal } = this;
    process.on("exit", () => terminal.leave());
    const fail = (error: unknown) => this.over.reject(error);
    process.on("uncaughtException", fail);
    process.on("unhandledRejection", fail);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => this.over.resolve());
    process.on("SIGTSTP", () => this.suspend());
    process.on("SIGCONT", () => this.resume());
    process.stdout.on("resize", () => this.repaint());
    process.stdin.on("data", (bytes: Buffer) => this.hear(bytes.toString("latin1")));
    process.stdin.on("end", () => this.over.resolve()); // the terminal is gone
    process.stdin.on("error", () => this.over.resolve());
    const timer = setInterval(() => void this.look(true), this.interval);
    try {
      terminal.take();
      this.paint();
      void this.look(true);
      await this.over.promise;
    } finally {
      clearInterval(timer);
      terminal.leave();
      this.source.close();
    }
  }

  private hear(text: string): void {
    clearTimeout(this.escapeTimer);
    this.take(this.keys.read(text));
    if (this.keys.isWaiting) this.escapeTimer = setTimeout(() => this.take(this.keys.flush()), ESCAPE_PATIENCE);
  }

  private take(keys: readonly string[]): void {
    for (const key of keys) {
      const { state, wish } = press(this.state, key, this.rows);
      this.state = state;
      if (wish !== undefined) this.fulfil(wish);
    }
    this.paint();
  }

  private fulfil(wish: Wish): void {
    switch (wish.type) {
      case "quit":
        this.over.resolve();
        return;
      case "suspend":
        this.suspend();
        return;
      case "redraw":
        this.repaint();
        return;
      case "look":
        void this.look(false);
        return;
      case "end":
        void this.source.end(wish.match).then((message) => {
          this.show({ ...this.state, message });
          void this.look(false);
        });
        return;
      case "why":
        void this.source.why(wish.source, wish.destination, wish.match).then(({ lines, message }) => {
          const shown = lines === undefined ? { message: message ?? "" } : { view: "why" as const, why: lines };
          this.show({ ...this.state, ...shown });
        });
    }
  }

  /** Asks the firewall; once more, if that is wanted meanwhile. */
  private async look(isTick: boolean): Promise<void> {
    if (this.isLooking) {
      this.isAsked ||= !isTick;
      return;
    }
    this.isLooking = true;
    const found = await this.source.look(this.state, this.rows, isTick);
    this.isLooking = false;
    const { trouble: _, ...state } = this.state;
    this.show("trouble" in found ? { ...state, trouble: found.trouble } : settle({ ...state, ...found }, this.rows));
    if (!this.isAsked) return;
    this.isAsked = false;
    void this.look(false);
  }

  private suspend(): void {
    this.terminal.leave();
    process.kill(process.pid, "SIGSTOP");
  }

  private resume(): void {
    this.terminal.takeAgain();
    this.repaint();
  }

  private get rows(): number {
    return listRows(this.terminal.size);
  }

  private show(state: TopState): void {
    this.state = state;
    this.paint();
  }

  private repaint(): void {
    this.terminal.redraw();
    this.state = settle(this.state, this.rows);
    this.paint();
    void this.look(false); // there may be room for more
  }

  private paint(): void {
    clearTimeout(this.paintTimer);
    if (this.terminal.isBusy) {
      this.paintTimer = setTimeout(() => this.paint(), PAUSE);
      return;
    }
    this.terminal.draw(renderTop(this.state, { ...this.terminal.size, isUnicode: this.isUnicode }));
  }
}
