// A firewall whose dataplane takes its time between the steps of the hand-over to the kernel path, or with each frame, as one on a
// slow or emulated machine may. The sources are changed as it is built; the product has nothing of this.
import { join } from "node:path";
import type { BunPlugin } from "bun";
import { buildWith } from "./kernel-mutants.ts";

const DATAPLANE = join(import.meta.dir, "../../src/dataplane");

/** By file: before which of its statements it may wait. */
type Places = Readonly<Record<string, readonly string[]>>;

const STEPS: Places = {
  "kernel/entries.ts": [
    "words[at + (ENTRY.LOST >> 2)] = 0;",
    "const hash = hashKey(this.keyed, entry);\n    const way",
    "this.raise(last, gate.passed);",
    "Atomics.compareExchange(words, ofGeneration",
  ],
  "io/packet-ring.ts": [
    "if (passed === settled) return;",
    "if (((port.placed + port.dropped) | 0) !== passed",
    "if (port.done < port.milestoneDone) return;",
  ],
  "io/worker.ts": ["ring.settle(iface);"],
};
const FRAMES: Places = { "io/worker.ts": ["router.receive(iface, offsets[i], lengths[i]);"] };

export const DELAYS = { "between steps": STEPS, "with each frame": FRAMES } as const;

/** Builds such a firewall. @param ms of each delay */
export async function buildSlow(where: keyof typeof DELAYS, ms: number, outfile: string): Promise<void> {
  await buildChanged(DELAYS[where], (statement) => `Bun.sleepSync(${ms}); ${statement}`, outfile);
}

/** Builds a firewall in which each of some statements, by file, is another. */
export async function buildChanged(
  places: Places,
  change: (statement: string) => string,
  outfile: string,
): Promise<void> {
  await buildWith(changes(places, change), outfile);
}

function changes(places: Places, change: (statement: string) => string): BunPlugin {
  return {
    name: "changes",
    setup(build) {
      for (const [file, statements] of Object.entries(places)) {
        build.onLoad({ filter: new RegExp(`^${join(DATAPLANE, file)}$`) }, async ({ path }) => {
          const source = await Bun.file(path).text();
          return {
            contents: statements.reduce((text, statement) => changed(text, statement, change), source),
            loader: "ts",
          };
        });
      }
    },
  };
}

function changed(source: string, statement: string, change: (statement: string) => string): string {
  if (!source.includes(statement)) throw new Error(`there is no ${statement} to change`);
  return source.replaceAll(statement, () => change(statement)); // frames are received with a tap and without
}
