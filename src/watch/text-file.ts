// A file that another program reads whenever it likes, as node_exporter does those of its textfile collector: it is there whole or not at
// all, and anyone may read it.
import { chmodSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Nobody else's to write to. */
const MODE = 0o644;

/** Puts a file in the place of the one before. @throws Error; then the one before stays, and nothing else is left */
export function replaceFile(path: string, text: string): void {
  const made = join(dirname(path), `.${basename(path)}.${process.pid}`); // collectors look for *.prom
  rmSync(made, { force: true }); // what a program of this number has left; nothing is written through a link
  try {
    writeFileSync(made, text, { flag: "wx", mode: MODE });
    chmodSync(made, MODE); // whatever the umask is
    renameSync(made, path);
  } catch (error) {
    rmSync(made, { force: true });
    throw error;
  }
}
