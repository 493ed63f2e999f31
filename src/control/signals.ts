// What signals ask of the running firewall: to stop, to read its configuration again, to print its state.
import { log, logAll } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { ConfigurationError, type Firewall } from "./firewall.ts";

/** How long reading the configuration may take, in ms: a pipe that nobody writes to must not keep the next reload waiting. */
const READING = 10_000;

/** Hears signals from when it is made: what comes while the firewall starts is not lost, and ends no program that has taken interfaces. */
export class Signals {
  readonly stopAsked = stopAsked();
  private reloadsAsked = 0;
  private reload = () => {
    this.reloadsAsked++;
  };
  private print = () => {};

  constructor() {
    process.on("SIGHUP", () => this.reload());
    process.on("SIGUSR1", () => this.print());
  }

  /** From now on these do what signals ask for, and what they have asked for already. */
  serve(reload: () => void, print: () => void): void {
    this.reload = reload;
    this.print = print;
    if (this.reloadsAsked > 0) reload();
  }
}

/**
 * Serves signals until one asks to stop, then stops the firewall, as it does when the dataplane died, or hangs.
 * @param readAgain the configuration as it is now
 * @throws when it did
 */
export async function untilStopped(
  firewall: Firewall,
  readAgain: () => Promise<Config>,
  signals = new Signals(),
): Promise<void> {
  let changes = Promise.resolve();
  let isOver = false;
  const reload = async () => {
    try {
      const config = await inTime(readAgain());
      if (isOver) return;
      await firewall.apply(config);
      log("configuration reloaded");
    } catch (error) {
      if (isOver) return;
      linesOf(error).forEach(log);
      log("configuration not reloaded: the old one stays in force");
    }
  };
  signals.serve(
    () => {
      changes = changes.then(reload);
    },
    () => logAll(firewall.describeState()),
  );
  try {
    await Promise.race([signals.stopAsked, firewall.failed]);
  } finally {
    isOver = true;
    await firewall.stop(); // what is being put in force is, before
  }
  log("stopped");
}

async function inTime(reading: Promise<Config>): Promise<Config> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const seconds = READING / 1000;
    timer = setTimeout(
      () => reject(new Error(`the configuration can't be read: it took more than ${seconds} s`)),
      READING,
    );
  });
  try {
    return await Promise.race([reading, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Settles when a signal asks the program to stop. */
export function stopAsked(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => resolve());
  });
}

/** Prints what went wrong, where nothing runs: all errors of a configuration, or the one of anything else. */
export function complain(error: unknown): void {
  process.stderr.write(`${linesOf(error).join("\n")}\n`);
}

function linesOf(error: unknown): readonly string[] {
  if (error instanceof ConfigurationError) return error.errors;
  return [`firebreak: ${error instanceof Error ? error.message : String(error)}`];
}
