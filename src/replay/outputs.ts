// The files that a replay writes, each beside its place until it is whole. Nothing that is read is ever written over: that is refused
// before the first byte.
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { resolve } from "node:path";
import { plain } from "../base/quote.ts";
import { reasonOf } from "../base/reason.ts";

/** What can't be done with a file; the message names it. */
export class FileError extends Error {}

/** An output is an input, or another output; the message names both, and the remedy. */
export class OverwriteError extends Error {}

/** A file that is to be written, and what asks for it: `--out replayed`. */
export interface OutputName {
  readonly path: string;
  readonly asked: string;
  /** What it asks by. */
  readonly kind: "file" | "directory";
}

const STANDARD_INPUT = 0;

export class Outputs {
  /** Of the files that are begun and not in their places yet, by path. */
  private readonly files = new Map<string, number>();

  /** @param inputs files that are read; "-" is standard input @throws OverwriteError, FileError */
  constructor(
    private readonly names: readonly OutputName[],
    inputs: readonly string[],
  ) {
    const read = inputs.map((path) => ({ path, status: path === "-" ? fstatSync(STANDARD_INPUT) : statusOf(path) }));
    const taken = new Map<string, string>();
    for (const name of names) {
      const { path, asked } = name;
      for (const output of [path, partOf(path)]) refuseInput(output, name, read);
      const other = taken.get(resolve(path));
      if (other !== undefined)
        throw new OverwriteError(
          `${asked} would overwrite ${plain(path)}, which is written by ${other} (name another)`,
        );
      taken.set(resolve(path), asked);
    }
  }

  /** Begins all files. @returns for each, in their order, what writes to it */
  open(): ((bytes: Buffer) => void)[] {
    return this.names.map(({ path }) => {
      // What a replay that was stopped has left goes first: nothing is written through a link that is there.
      const file = attempt(`${plain(path)}: can't be written`, () => {
        rmSync(partOf(path), { force: true });
        return openSync(partOf(path), "wx");
      });
      this.files.set(path, file);
      return (bytes) => {
        attempt(`${plain(path)}: can't be written`, () => {
          for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
        });
      };
    });
  }

  /** Puts all files in their places, once everything is written. */
  finish(): void {
    for (const { path } of this.names) {
      attempt(`${plain(path)}: can't be written`, () => renameSync(partOf(path), path));
      this.forget(path);
    }
  }

  /** Removes what is not whole. */
  discard(): void {
    for (const path of [...this.files.keys()]) {
      rmSync(partOf(path), { force: true });
      this.forget(path);
    }
  }

  private forget(path: string): void {
    const file = this.files.get(path);
    this.files.delete(path);
    if (file !== undefined) attempt(`${plain(path)}: can't be written`, () => closeSync(file));
  }
}

/** Makes the directory of --out, if it isn't there. @throws FileError */
export function makeDirectory(directory: string): void {
  attempt(`${plain(directory)}: can't be made`, () => mkdirSync(directory, { recursive: true }));
}

function refuseInput(
  output: string,
  { asked, kind }: OutputName,
  read: readonly { readonly path: string; readonly status: Stats | undefined }[],
): void {
  const status = statusOf(output);
  if (status?.isDirectory()) {
    throw new FileError(`${plain(output)}: can't be written: EISDIR: illegal operation on a directory`);
  }
  const input = read.find((one) => status !== undefined && isSame(one.status, status));
  if (input === undefined) return;
  const problem = `${asked} would overwrite ${plain(output)}, which is read (as ${plain(input.path)})`;
  throw new OverwriteError(`${problem} (name another ${kind})`);
}

function partOf(path: string): string {
  return `${path}.part`;
}

/** @returns undefined for what is not there; why something can't be looked at is told where it is opened */
function statusOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** The same file, by whatever name: links of both kinds lead to one inode. */
function isSame(one: Stats | undefined, other: Stats): boolean {
  return one !== undefined && one.dev === other.dev && one.ino === other.ino;
}

function attempt<T>(problem: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new FileError(`${problem}: ${reasonOf(error)}`);
  }
}
