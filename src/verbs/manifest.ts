// What the program, and the image around it, were made of: `firebreak --version --verbose` prints it, in the words of
// build/manifest.sh. None of them holds its own sum; what came of these inputs stands in dist/MANIFEST.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** Defined by build/image.sh; there is none when the program runs from its sources. */
declare const FIREBREAK_INPUTS: string | undefined;

/** In the image, and nowhere else: the inputs of all of it. */
const IMAGE_INPUTS = "/etc/firebreak.manifest";

/** @returns lines */
export async function readInputs(): Promise<string> {
  if (existsSync(IMAGE_INPUTS)) return readFile(IMAGE_INPUTS, "utf8");
  return typeof FIREBREAK_INPUTS === "string" ? FIREBREAK_INPUTS : "# from its sources, not built\n";
}
