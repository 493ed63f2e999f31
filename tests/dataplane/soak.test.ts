// A million mutated frames through the pure router, of both families: what `build/appliance.sh soak-frames` does for longer.
import { expect, test } from "bun:test";
import { hostileSlice, KINDS, type Kind } from "../support/slices.ts";

const SLICES = 7;
const SLICE = 50_000;

/** Of each kind of firewall the faults that frames are dropped for, at least. */
const FAULTS = { IPv4: 13, IPv6: 19, "IPv6, routed": 19 } as const satisfies Record<Kind, number>;

for (const kind of KINDS) {
  test(`${SLICES * SLICE} frames, ${kind}: what leaves is sound, and was let through; nothing is left of them`, () => {
    let forwarded = 0;
    const faults = new Set<string>();
    for (let seed = 1; seed <= SLICES; seed++) {
      const counts = hostileSlice(kind, seed, SLICE);
      forwarded += counts.get("forwarded") ?? 0;
      for (const verdict of counts.keys()) if (verdict.startsWith("dropped: malformed")) faults.add(verdict);
    }
    expect(forwarded).toBeGreaterThan((SLICES * SLICE) / 20);
    expect(faults.size).toBeGreaterThanOrEqual(FAULTS[kind]);
  }, 300_000);
}
