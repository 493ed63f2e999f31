// What signals ask of the running firewall: to stop, to read its configuration again, to print its state.
import { log, logAll } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { ConfigurationError, type Firewall } from "./firewall.ts";

/**
 * Serves signals until one asks to stop, then stops the firewall, as it does when the dataplane died, or hangs.
 * @param readAgain the configuration as it is now
 * @throws when it did
 */
export async function untilStopped(firewall: Firewall, readAgain: () => Promise<Config>): Promise<void> {
  let changes = Promise.resolve();
  process.on("SIGHUP", () => {
    changes = changes.then(() => reload(firewall, readAgain));
  });
  process.on("SIGUSR1", () => logAll(firewall.describeState()));
  try {
    await Promise.race([stopAsked(), firewall.failed]);
    await changes;
  } finally {
    await firewall.stop();
  }
  log("stopped");
}

/** Settles when a signal asks the program to stop. */
export function stopAsked(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => resolve());
  });
}

/** The new configuration is in force afterwards, or, with its errors printed, the old one. */
async function reload(firewall: Firewall, readAgain: () => Promise<Config>): Promise<void> {
  try {
    await firewall.apply(await readAgain());
    log("configuration reloaded");
  } catch (error) {
    complain(error);
    log("configuration not reloaded: the old one stays in force");
  }
}

/** Prints what went wrong: all errors of a configuration, or the one of anything else. */
export function complain(error: unknown): void {
  const lines = error instanceof ConfigurationError ? error.errors : [`firebreak: ${messageOf(error)}`];
  process.stderr.write(`${lines.join("\n")}\n`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
