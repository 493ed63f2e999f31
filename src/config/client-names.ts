// What is proposed where a client's name is wanted and another text stands: a name that was mistyped, and no other, for that would give
// access to somebody who was not meant.
import { distance } from "../base/distance.ts";
import { bad, type Reading, show, type TomlValue } from "./toml-table.ts";

/** Letters that a slip of the hand changes. */
const SLIP = 2;

/** @param key that the value is of @param names of clients that it may name */
export function noClient(
  key: string,
  value: TomlValue,
  names: readonly string[],
  form: (name: string) => string,
): Reading<never> {
  const meant = names.find((name) => typeof value === "string" && isSlipOf(value, name));
  if (meant !== undefined) return bad("names no client", `write ${key} = ${form(meant)}`);
  const list = names.map(show).join(", ");
  return bad("names no client", list === "" ? "leave it out: there is no other" : `known: ${list}`);
}

function isSlipOf(text: string, name: string): boolean {
  return distance(text, name) <= Math.min(SLIP, Math.floor(name.length / 2));
}
