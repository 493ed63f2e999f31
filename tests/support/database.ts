import type { Database } from "../../src/qubes/client-rules.ts";

/** QubesDB as a plain object, which may change later. */
export function databaseOf(entries: Readonly<Record<string, string>>): Database {
  return {
    get: (path) => entries[path],
    below: (path) =>
      Object.keys(entries)
        .filter((key) => key.startsWith(path))
        .sort()
        .map((key) => [key.slice(path.length), entries[key] ?? ""]),
  };
}
