// How the tests, on the host, talk to dom0: files in a shared folder, one a request and one its answer. Each is written
// under another name and renamed, so that whoever sees it sees it whole.
import { readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What dom0 can be asked. */
export type Request =
  /** A shell command. Answer: Ran */
  | { readonly do: "run"; readonly command: string }
  /** A shell command in a guest, by its console. Answer: Ran */
  | { readonly do: "in"; readonly guest: string; readonly command: string; readonly seconds: number }
  /** Serve a domain QubesDB and qrexec, as Qubes OS would. Answer: nothing */
  | { readonly do: "serve"; readonly domain: number; readonly entries: Readonly<Record<string, string>> }
  | { readonly do: "write"; readonly path: string; readonly value: string }
  | { readonly do: "remove"; readonly path: string }
  /** Those of one of a client's addresses; null for a rule that is about the other family */
  | {
      readonly do: "rules";
      readonly address: string;
      readonly rules: readonly (string | null)[];
      readonly policy: string;
    }
  /** QubesDB goes away in the middle of a message. With `back`, it comes again. Answer: nothing */
  | { readonly do: "kill"; readonly back: boolean }
  /** Answer: the whole database */
  | { readonly do: "dump" }
  /** Answer: CallResult of qrexec-double.ts */
  | { readonly do: "call"; readonly command: string; readonly input: string }
  /** Exchange messages with the echo in a domain, over a vchan that one of both serves. Answer: Talked */
  | { readonly do: "talk"; readonly domain: number; readonly server: "dom0" | "guest"; readonly messages: number }
  /** Answer: Facts */
  | { readonly do: "facts" };

export interface Ran {
  readonly status: number;
  readonly output: string;
}

/** What was sent and came back. */
export interface Talked {
  readonly messages: number;
  readonly bytes: number;
}

export interface Facts {
  /** What the domain has called by qrexec. */
  readonly triggered: readonly string[];
  /** What the domain did that QubesDB's real daemon would not survive. */
  readonly mistakes: readonly string[];
  /** Changes that the domain has not acknowledged. */
  readonly unanswered: number;
}

export interface Answer {
  readonly value?: unknown;
  readonly error?: string;
}

const REQUEST = /^([0-9]+)\.request$/;

export function put(folder: string, name: string, content: unknown): void {
  const path = join(folder, name);
  writeFileSync(`${path}.new`, JSON.stringify(content));
  renameSync(`${path}.new`, path);
}

/** @returns the content of a file that is there, which is gone afterwards */
export function take(folder: string, name: string): unknown {
  const path = join(folder, name);
  const content: unknown = JSON.parse(readFileSync(path, "utf8"));
  unlinkSync(path);
  return content;
}

/** @returns numbers of the requests that wait */
export function waiting(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => REQUEST.exec(name)?.[1] ?? []);
}
