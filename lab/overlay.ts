// An initramfs with other files in it: the kernel unpacks archives one after the other, and what comes later replaces.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const INITRAMFS = join(import.meta.dir, "../dist/initramfs");
/** Where an archive may start (Documentation/driver-api/early-userspace/buffer-format.rst). */
const ALIGNMENT = 4;

export interface OverlayFile {
  readonly content: string | Uint8Array;
  readonly mode: number;
}

/**
 * @param folder for what is made here
 * @param files by their path, without a slash in front
 * @returns the path of the image's initramfs with these files instead of its own
 */
export function overlay(folder: string, files: Readonly<Record<string, OverlayFile>>): string {
  const root = join(folder, "overlay");
  for (const [path, { content, mode }] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
    chmodSync(join(root, path), mode);
  }
  const names = Buffer.from(`${[...new Set(Object.keys(files).flatMap(withFolders))].join("\n")}\n`);
  const { stdout, exitCode } = Bun.spawnSync(["cpio", "-o", "-H", "newc", "--quiet"], { cwd: root, stdin: names });
  if (exitCode !== 0) throw new Error("cpio failed");
  const image = readFileSync(INITRAMFS);
  const padding = Buffer.alloc(-image.length & (ALIGNMENT - 1));
  const result = join(folder, "initramfs");
  writeFileSync(result, Buffer.concat([image, padding, stdout]));
  return result;
}

/** @returns the path, after those of the folders that it is in, from the outermost */
function withFolders(path: string): string[] {
  const parts = path.split("/");
  return parts.map((_, i) => parts.slice(0, i + 1).join("/"));
}
