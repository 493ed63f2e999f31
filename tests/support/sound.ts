// For tests of what is made of a configuration, where nothing is to be wrong with it.

/** @param result of reading a configuration, of making settings of it, or an explanation @throws Error with all that is wrong */
export function sound<T extends object>(result: T): Exclude<T, { readonly errors: readonly string[] }> {
  if ("errors" in result) throw new Error((result.errors as readonly string[]).join("\n"));
  return result as Exclude<T, { readonly errors: readonly string[] }>;
}
