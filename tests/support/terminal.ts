// A program in a terminal (terminal.py beside it): what somebody would see of it, and what is left of the terminal afterwards.
import { join } from "node:path";
import type { Namespace, Program } from "../../lab/namespaces.ts";

const DRIVER = join(import.meta.dir, "terminal.py");
/** ms that something may take to be seen. */
const PATIENCE = 60_000;

export interface Screen {
  /** Without spaces at their ends. */
  readonly lines: readonly string[];
  /** Numbers of those that begin the other way round. */
  readonly reversed: readonly number[];
  readonly isCursorHidden: boolean;
  /** Whether it is the other screen, which leaves no traces. */
  readonly isOther: boolean;
  /** Whether keys come, and are echoed, as before the program. */
  readonly isAsBefore: boolean;
  readonly stopped: boolean;
  /** Exit status, 128 + signal where a signal ended it. */
  readonly ended: number | null;
  /** That the program has written. */
  readonly bytes: number;
}

export class TerminalLab {
  private readonly driver: Program;

  constructor(namespace: Namespace, columns: number, rows: number, command: readonly string[]) {
    this.driver = namespace.start(["/usr/bin/python3", DRIVER, String(columns), String(rows), ...command], "pipe");
  }

  type(keys: string): void {
    this.ask({ keys });
  }

  resize(columns: number, rows: number): void {
    this.ask({ size: [columns, rows] });
  }

  signal(signal: NodeJS.Signals): void {
    this.ask({ signal });
  }

  /** From now on nothing is taken from the program, as by a terminal that is held; or all is. */
  pause(pause: boolean): void {
    this.ask({ pause });
  }

  async show(): Promise<Screen> {
    const from = this.driver.text.length;
    this.ask({ show: true });
    await this.driver.says(/\n/, from);
    return JSON.parse(this.driver.text.slice(from).split("\n")[0]);
  }

  /** Waits until somebody would see that. @returns the screen */
  async until(isSeen: (screen: Screen) => boolean): Promise<Screen> {
    const deadline = performance.now() + PATIENCE;
    for (;;) {
      const screen = await this.show();
      if (isSeen(screen)) return screen;
      if (performance.now() > deadline) throw new Error(`it is not seen: ${JSON.stringify(screen, undefined, 1)}`);
      await Bun.sleep(20);
    }
  }

  private ask(request: object): void {
    this.driver.type(`${JSON.stringify(request)}\n`);
  }
}
