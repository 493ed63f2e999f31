// soak.ts FRAMES [SEED]: mutated frames through the pure router, in slices of fifty thousand, by turns of IPv4, of IPv6 that is
// translated, and of IPv6 that is routed. It ends with the frame and the seed of its slice where one does harm; the tests have a slice of
// each. Run by build/appliance.sh soak-frames.
import { hostileSlice, KINDS } from "../support/slices.ts";

const SLICE = 50_000;
/** ms between two lines about how far it is. */
const TELLING = 10_000;

const [frames = 0, firstSeed = 1] = process.argv.slice(2).map(Number);
const started = performance.now();
let told = started;
let done = 0;
for (let seed = firstSeed; done < frames; seed++) {
  const kind = KINDS[seed % KINDS.length];
  const count = Math.min(SLICE, frames - done);
  try {
    hostileSlice(kind, seed, count);
  } catch (error) {
    console.log(`slice ${seed}, ${kind}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exit(1);
  }
  done += count;
  const now = performance.now();
  if (now - told < TELLING && done < frames) continue;
  told = now;
  console.log(`${done} of ${frames} frames, ${Math.round((done / (now - started)) * 1000)} a second`);
}
