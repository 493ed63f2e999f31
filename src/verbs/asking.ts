// What all verbs share that ask a running firewall: where it is, and how its answer is shown.
import { readdirSync } from "node:fs";
import type { ParseArgsOptionsConfig } from "node:util";
import { isQubeName } from "../base/qube-name.ts";
import { formatJson, printable, quote } from "../base/quote.ts";
import type { Fields } from "../channel/cbor.ts";
import { type Answer, type ChannelClient, connectTo } from "../channel/client.ts";
import { ChannelError } from "../channel/messages.ts";
import { type Privilege, privilegeFor } from "../channel/privileges.ts";
import { qubeIn } from "../channel/qrexec-line.ts";
import { isAbandoned, isName, nameOfSocket, socketFolder, socketPath } from "../channel/socket-file.ts";
import { onReaderGone } from "./stopping.ts";
import { UsageError } from "./verb.ts";

export const ASKING_OPTIONS = {
  at: { type: "string" },
  json: { type: "boolean", default: false },
} satisfies ParseArgsOptionsConfig;

/** For the help of each. */
export const AT_HELP = `  --at WHERE   the firewall: its name, its socket's path, or in a qube qrexec:NAME, another qube's;
               FIREBREAK_AT is meant if it isn't given, and without either the only one that runs here`;
export const ASKING_HELP = `${AT_HELP}
  --json       print JSON, an object a line: docs/CONTROL.md has its keys`;

/** @param at what --at says @throws UsageError */
export function whereIs(at = process.env.FIREBREAK_AT || undefined): string {
  const qube = qubeIn(at ?? "");
  if (qube !== undefined && !isQubeName(qube)) throw new UsageError(`--at ${quote(at ?? "")} names no qube`);
  if (qube !== undefined || at?.includes("/")) return at ?? "";
  if (at !== undefined && !isName(at)) throw new UsageError(`--at ${quote(at)} is neither a name nor a path`);
  if (at !== undefined) return socketPath(at);
  const all = namesHere();
  const names = all.length === 1 ? all : all.filter((name) => !isAbandoned(socketPath(name)));
  if (names.length === 1) return socketPath(names[0]);
  const which = names.map((name) => `--at ${name}`).join(", ");
  throw new UsageError(
    names.length === 0
      ? `no firewall runs here: ${all.length === 0 ? "nothing is" : "nothing listens"} in ${socketFolder()} (write --at WHERE)`
      : `${names.length} firewalls run here (write one of ${which})`,
  );
}

/** @returns also those of firewalls that died and left their socket */
function namesHere(): string[] {
  try {
    const names = readdirSync(socketFolder()).map(nameOfSocket);
    return names.flatMap((name) => (name !== undefined && isName(name) ? [name] : [])).sort();
  } catch {
    return [];
  }
}

/**
 * Asks, shows each record as it comes, and ends: also where nobody reads any more.
 * @param show prints a record
 * @returns the exit status
 */
export function askAndShow(
  path: string,
  op: string,
  args: Fields,
  show: (answer: Answer) => void | Promise<void>,
): Promise<number> {
  return askWith(path, privilegeFor(op, args), async (client) => {
    for await (const answer of client.ask(op, args)) {
      await show(answer);
      if (isOutputGone) return;
    }
  });
}

/** As askAndShow, of what goes on: it ends too when nobody is left who reads, though nothing comes. */
export async function followAndShow(
  path: string,
  op: string,
  args: Fields,
  show: (answer: Answer) => void | Promise<void>,
): Promise<number> {
  return await askWith(path, privilegeFor(op, args), async (client) => {
    const endWatch = onReaderGone(() => {
      isOutputGone = true;
      client.close();
    });
    try {
      for await (const answer of client.ask(op, args)) {
        await show(answer);
        if (isOutputGone) return;
      }
    } catch (error) {
      if (!isOutputGone) throw error;
    } finally {
      endWatch();
    }
  });
}

/** Asks one thing after the other, and ends. @param privilege that all of them take @returns the exit status */
export async function askWith(
  path: string,
  privilege: Privilege,
  ask: (client: ChannelClient) => Promise<void>,
): Promise<number> {
  let client: ChannelClient | undefined;
  try {
    ({ client } = await connectTo(path, undefined, privilege));
    await ask(client);
    return 0;
  } catch (error) {
    return fail(error);
  } finally {
    client?.close();
  }
}

/** Says what went wrong; of a configuration all its errors, a line each. @returns the exit status */
function fail(error: unknown): number {
  const code = error instanceof ChannelError ? error.code : undefined;
  const text = error instanceof Error ? error.message : String(error);
  const lines = code === "configuration" ? text.split("\n") : [`firebreak: ${text}`];
  process.stderr.write(lines.map((line) => `${printable(line)}\n`).join(""));
  return code === "arguments" || code === "configuration" ? 2 : 1;
}

/** @param what the option @throws UsageError */
export function readCount(text: string, what: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${what} ${quote(text)} is not a number`);
  return Number(text);
}

/** Settles once nobody takes what is printed: its reader has seen enough, or the disk is full. Then it is never drained. */
const outputGone = new Promise<void>((resolve) => {
  const isGone = () => {
    isOutputGone = true;
    resolve();
  };
  process.stdout.once("error", isGone);
  process.stdout.once("close", isGone);
});
let isOutputGone = false;

/** Prints, and waits until the reader has taken it, or is gone: what comes after that stays with the firewall. */
export async function print(what: string | Uint8Array): Promise<void> {
  if (isOutputGone || process.stdout.write(what)) return;
  const drained = Promise.withResolvers<void>();
  process.stdout.once("drain", drained.resolve);
  await Promise.race([drained.promise, outputGone]);
  process.stdout.off("drain", drained.resolve);
}

/** Prints what nobody can do without. @returns whether it was taken; else standard output's own error is told first */
export async function isPrinted(text: string): Promise<boolean> {
  const isTaken = await new Promise((resolve) => process.stdout.write(text, (error) => resolve(!error)));
  if (isTaken !== true) await outputGone;
  return isTaken === true;
}

export function printJson({ data }: { readonly data: unknown }): Promise<void> {
  return print(`${formatJson(data)}\n`);
}
