// Arguments of operations, as clients send them: each is what it should be, or the request fails with its name.
import type { Fields, Value } from "./cbor.ts";
import { ChannelError } from "./messages.ts";
import type { Operation, Part } from "./session.ts";

/** An operation whose answer is one record. @param known its arguments */
export function single(known: readonly string[], answer: (args: Partial<Fields>) => object): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, known);
    yield { data: answer(args) as Value };
  };
}

/** An operation without arguments, whose answer is a record for each. */
export function list(answer: () => readonly object[]): Operation {
  return async function* (args): AsyncGenerator<Part> {
    requireKnown(args, []);
    for (const data of answer()) yield { data: data as Value };
  };
}

/** @throws ChannelError where there is an argument that the operation does not have: it may be meant to leave something out */
export function requireKnown(args: Partial<Fields>, known: readonly string[]): void {
  const unknown = Object.keys(args).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const which = known.length === 0 ? "there are none" : `there are ${known.join(", ")}`;
  throw new ChannelError("arguments", `there is no argument ${JSON.stringify(unknown.slice(0, 40))} (${which})`);
}

/** @throws ChannelError unless it is a list of texts, or not there */
export function textsOf(args: Partial<Fields>, key: string): string[] {
  const value = args[key] ?? [];
  if (Array.isArray(value) && value.every((text) => typeof text === "string")) return value;
  throw wrong(key, "a list of texts");
}

/** @throws ChannelError unless it is a text, or not there */
export function textOf(args: Partial<Fields>, key: string): string | undefined {
  const value = args[key];
  if (value === undefined || typeof value === "string") return value;
  throw wrong(key, "a text");
}

/** @throws ChannelError unless it is a whole number from 0 on, or not there */
export function countOf(args: Partial<Fields>, key: string): number | undefined {
  const value = args[key];
  if (value === undefined || (typeof value === "number" && Number.isSafeInteger(value) && value >= 0)) return value;
  throw wrong(key, "a whole number");
}

/** @throws ChannelError unless it is true or false; not there, it is false */
export function flagOf(args: Partial<Fields>, key: string): boolean {
  const value = args[key] ?? false;
  if (typeof value === "boolean") return value;
  throw wrong(key, "true or false");
}

function wrong(key: string, what: string): ChannelError {
  return new ChannelError("arguments", `${key} is not ${what}`);
}
