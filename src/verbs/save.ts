// Writes what is in force in a running firewall to the file that it reads when it starts. The firewall itself may write no files
// (control/restrictions.ts), so the one who asks does: only where that file is still what the firewall has read, and whole or not at all.
// Whoever took the firewall over could name any file here: so it has to be a configuration already, and what is written too.
import { createHash } from "node:crypto";
import {
  chownSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { plain } from "../base/quote.ts";
import type { ChannelClient } from "../channel/client.ts";
import { ChannelError } from "../channel/messages.ts";
import { parseDocumentBytes } from "../config/config.ts";
import type { Configured } from "../control/provenance.ts";

/** A file that may be written: where it really is, and what it should have as long as nobody else has changed it. */
export interface Target {
  readonly path: string;
  readonly sha256: string;
}

/** @returns what a firewall has in force, and its bytes @throws Error where it has no text */
export async function textInForce(client: ChannelClient): Promise<{ configured: Configured; text: Uint8Array }> {
  let configured: Configured | undefined;
  const pieces: Uint8Array[] = [];
  for await (const { data } of client.ask("configuration")) {
    if (configured === undefined) configured = data as unknown as Configured;
    else pieces.push((data as { readonly text: Uint8Array }).text);
  }
  if (configured?.sha256 === undefined) throw new Error("what is in force has no text: it is not of a file");
  return { configured, text: Buffer.concat(pieces) };
}

/** @returns the firewall's file @throws Error where there is none here, or it has changed since the firewall read it */
export function targetOf({ read }: Configured): Target {
  if (read?.path === undefined) {
    throw new Error(
      "this firewall has no file that could be written: what is in force lasts until it is started again",
    );
  }
  const target = { path: realPath(read.path), sha256: read.sha256 };
  requireUnchanged(target);
  return target;
}

/**
 * Writes a file anew: with its mode and owner, and so that at each moment it is the old one or the new one.
 * @throws Error where somebody has changed it; then it stays as it is
 */
export function writeTarget(target: Target, bytes: Uint8Array): void {
  const { path } = target;
  requireConfiguration(bytes, "what is in force");
  const { mode, uid, gid } = statSync(path);
  const draft = join(dirname(path), `.${basename(path)}.${process.pid}.new`);
  const fd = openSync(draft, "wx", 0o600);
  try {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      chownSync(draft, uid, gid);
      fchmodSync(fd, mode & 0o7777);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    requireUnchanged(target);
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
}

/** Has the firewall look at its file. @throws Error where that is not what is in force */
export async function tellSaved(client: ChannelClient): Promise<void> {
  for await (const _ of client.ask("saved"));
}

/** @throws ChannelError where what is in force may go back by itself */
export function requireConfirmed({ trial_until }: Configured): void {
  if (trial_until === undefined) return;
  throw new ChannelError("failed", "what is in force is on trial (write firebreak configure --confirm --save)");
}

function requireUnchanged({ path, sha256 }: Target): void {
  const bytes = readFileSync(path);
  requireConfiguration(bytes, plain(path));
  if (createHash("sha256").update(bytes).digest("hex") === sha256) return;
  throw new Error(
    `${plain(path)} has changed since the firewall read it: it is left as it is (compare, then reload, or save by hand)`,
  );
}

function requireConfiguration(bytes: Uint8Array, what: string): void {
  if (!("config" in parseDocumentBytes(bytes, what)))
    throw new Error(`${what} is no good configuration: nothing is written`);
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    throw new Error(`${plain(path)}, the firewall's file, is not here (ask on the firewall's own machine)`);
  }
}

/** So that the file's new name outlives a loss of power. */
function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
