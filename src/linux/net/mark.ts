// What an interface was before it was ours, written on the interface itself, as one of its alternative names: a firewall that is killed
// leaves it as it is, and the next one, or `firebreak restore`, finds there how to leave it. It goes with the interface and with the
// machine's end, as what it tells of does. Who may write it may as well change what it tells of.
import { statSync } from "node:fs";
import { SystemError } from "../libc.ts";
import { addAlternativeName, alternativeNames, removeAlternativeName } from "./alternative-names.ts";

const PREFIX = "firebreak-before";
const OURS = "/proc/thread-self/ns/net";

/** What was before. */
export interface Mark {
  readonly wasUp: boolean;
  /** Whether programs could hang on its ingress (tc.ts). */
  readonly hadClsact: boolean;
  /** Of /proc/sys/net, by the last part of the file's name. */
  readonly values: ReadonlyMap<string, string>;
}

/** Where a mark was written: no two interfaces have the same name. */
export interface Writing {
  /** Number of the network namespace's file. */
  readonly namespace: number;
  /** The kernel's number of the interface. */
  readonly index: number;
  readonly pid: number;
}

/** @returns `firebreak-before.ns=4026531840.if=3.pid=4711.up=0.clsact=0.disable_ipv6=0.…` */
export function markText({ wasUp, hadClsact, values }: Mark, { namespace, index, pid }: Writing): string {
  const fields = [`ns=${namespace}`, `if=${index}`, `pid=${pid}`, `up=${Number(wasUp)}`, `clsact=${Number(hadClsact)}`];
  for (const [name, value] of values) fields.push(`${name}=${value}`);
  return [PREFIX, ...fields].join(".");
}

const TEXT = new RegExp(
  `^${PREFIX}\\.ns=(\\d+)\\.if=\\d+\\.pid=\\d+\\.up=([01])\\.clsact=([01])((?:\\.[a-z_0-9]+=-?\\d+)*)$`,
);

/**
 * @param namespace that it should be of; an interface that was moved to another has the state there that all begin with
 * @returns undefined for what is no mark of this namespace
 */
export function parseMark(text: string, namespace: number): Mark | undefined {
  const [, where, up, clsact, rest = ""] = TEXT.exec(text) ?? [];
  if (where !== String(namespace)) return undefined;
  const values = Array.from(
    rest.matchAll(/\.([a-z_0-9]+)=(-?\d+)/g),
    ([, name = "", value = ""]) => [name, value] as const,
  );
  return { wasUp: up === "1", hadClsact: clsact === "1", values: new Map(values) };
}

/**
 * @param index the kernel's number of the interface, which no other firewall has now
 * @returns the mark of a firewall that was killed; those of another namespace are removed
 * @throws SystemError
 */
export function findMark(index: number): Mark | undefined {
  let found: Mark | undefined;
  for (const name of alternativeNames(index)) {
    const mark = parseMark(name, ourNamespace());
    if (mark !== undefined) found ??= mark;
    else if (name.startsWith(`${PREFIX}.`)) removeAlternativeName(index, name);
  }
  return found;
}

/** What the kernel says where it has no such names, or none so long. */
const NOT_THERE: readonly string[] = ["EOPNOTSUPP", "EINVAL", "ERANGE"];

/** A kernel that has no such names does without. @throws SystemError */
export function writeMark(index: number, mark: Mark): void {
  try {
    addAlternativeName(index, markText(mark, { namespace: ourNamespace(), index, pid: process.pid }));
  } catch (error) {
    if (!(error instanceof SystemError && NOT_THERE.includes(error.code))) throw error;
  }
}

/** Removes what `findMark` would find. @throws SystemError */
export function removeMark(index: number): void {
  for (const name of alternativeNames(index)) if (name.startsWith(`${PREFIX}.`)) removeAlternativeName(index, name);
}

function ourNamespace(): number {
  return statSync(OURS, { throwIfNoEntry: false })?.ino ?? 0;
}
