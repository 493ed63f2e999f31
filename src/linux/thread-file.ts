// Where the program of a thread is. Inside a compiled executable files have paths of their own, as the build command gives
// them, while import.meta.url still names the source file on the machine that built it.

/** @param module path of the thread's source below src/, without its ending */
export function threadFile(module: string): string | URL {
  if (Bun.main.startsWith("/$bunfs/")) return `/$bunfs/root/${module}.js`;
  return new URL(`../${module}.ts`, import.meta.url);
}
