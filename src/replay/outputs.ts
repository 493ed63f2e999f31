// The captures that a replay writes: one for each interface, beside its place until it is whole. Nothing that is read is ever
// written over: that is refused before the first byte.
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
import { join } from "node:path";
import type { Resolution } from "../captures/frame.ts";
import { CaptureWriter } from "../captures/writer.ts";

/** What can't be done with a file; the message names it. */
export class FileError extends Error {}

/** An output is an input; the message names both. */
export class OverwriteError extends Error {}

const STANDARD_INPUT = 0;

export class Outputs {
  private readonly paths: readonly string[];
  private readonly files: number[] = [];
  writers: readonly CaptureWriter[] = [];

  /** @param names the interfaces' @param inputs files that are read; "-" is standard input */
  constructor(
    private readonly directory: string,
    names: readonly string[],
    inputs: readonly string[],
  ) {
    this.paths = names.map((name) => join(directory, `${name}.pcap`));
    const read = inputs.map((path) => ({ path, status: path === "-" ? fstatSync(STANDARD_INPUT) : statusOf(path) }));
    for (const output of this.paths.flatMap((path) => [path, partOf(path)])) {
      const status = statusOf(output);
      if (status?.isDirectory())
        throw new FileError(`${output}: can't be written: EISDIR: illegal operation on a directory`);
      const input = read.find((one) => status !== undefined && isSame(one.status, status));
      if (input === undefined) continue;
      throw new OverwriteError(`--out ${directory} would overwrite ${output}, which is read (as ${input.path})`);
    }
  }

  /** Begins all captures. */
  open(resolution: Resolution): void {
    attempt(`${this.directory}: can't be made`, () => mkdirSync(this.directory, { recursive: true }));
    this.writers = this.paths.map((path) => {
      // What a replay that was stopped has left goes first: nothing is written through a link that is there.
      const file = attempt(`${path}: can't be written`, () => {
        rmSync(partOf(path), { force: true });
        return openSync(partOf(path), "wx");
      });
      this.files.push(file);
      return new CaptureWriter(resolution, (bytes) => {
        attempt(`${path}: can't be written`, () => {
          for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
        });
      });
    });
  }

  /** Puts all captures in their places. */
  finish(): void {
    for (const [i, path] of this.paths.entries()) {
      this.writers[i].flush();
      closeSync(this.files[i]);
      attempt(`${path}: can't be written`, () => renameSync(partOf(path), path));
    }
  }
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

/** @returns of the system's message, "ENOENT: no such file or directory, open …", what stands before the comma */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.split(", ")[0] : String(error);
}
