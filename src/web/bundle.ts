// Makes the page's files, when this program is built: its scripts become one, so that the executable has the page in it. Imported as a
// macro: it runs in the bundler, or as the sources are loaded, and only what it returns is part of the program.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** The page's files, as text. */
export interface PageFiles {
  readonly html: string;
  readonly script: string;
  readonly style: string;
  readonly icon: string;
}

/** As its licence asks, where it is copied. */
const NOTICE = "/*! uPlot, copyright (c) Leon Sorokin, MIT licence: github.com/leeoniya/uPlot */";

/** @throws Error where the script can't be bundled */
export function bundlePage(): PageFiles {
  const folder = join(import.meta.dir, "page");
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  // A bundler can't be asked from inside itself, but another can.
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [
      process.execPath,
      "build",
      join(folder, "main.ts"),
      "--minify",
      "--target=browser",
      "--format=iife",
      `--banner=${NOTICE}`,
    ],
    { env: { ...process.env, BUN_BE_BUN: "1" } },
  );
  if (exitCode !== 0) throw new Error(`the page can't be bundled: ${stderr}`);
  const charts = createRequire(import.meta.url).resolve("uplot/dist/uPlot.min.css");
  return {
    html: read("page.html"),
    script: stdout.toString(),
    style: [charts, join(folder, "../../base/pages.css"), join(folder, "page.css")]
      .map((path) => readFileSync(path, "utf8"))
      .join("\n"),
    icon: read("icon.svg"),
  };
}
