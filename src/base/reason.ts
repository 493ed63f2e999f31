// Why the system would not do something with a file, in its own words.

/** @returns of the system's message, "ENOENT: no such file or directory, open …", what stands before the comma */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.split(", ")[0] : String(error);
}
