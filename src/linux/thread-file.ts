// Where the program of a thread is. Inside a compiled executable files have paths of their own, as the build command gives
// them, while import.meta.url still names the source file on the machine that built it.
import { fileURLToPath } from "node:url";

/** @param module path of the thread's source below src/, without its ending */
export function threadFile(module: string): string | URL {
  if (isCompiled()) return `/$bunfs/root/${module}.js`;
  return new URL(`../${module}.ts`, import.meta.url);
}

/** @returns the folder of the checkout that the program is run from; undefined for a compiled executable */
export function sourceFolder(): string | undefined {
  return isCompiled() ? undefined : fileURLToPath(new URL("../..", import.meta.url));
}

function isCompiled(): boolean {
  return Bun.main.startsWith("/$bunfs/");
}
