// Slices of hostile frames, each from a seed, through a router of its own: of every kind of firewall that there is.
import { Random } from "../../lab/random.ts";
import { Lab } from "../../lab/router-lab.ts";
import { LAN_HOST_6, ROUTED_HOST } from "../../lab/router-lab6.ts";
import type { Settings } from "../../src/dataplane/settings.ts";
import { bombard, checkLeftovers, type Judge } from "./bombardment.ts";
import { checkSent, mutate } from "./hostile.ts";
import { judge6, mutate6 } from "./hostile6.ts";
import { BUSY, MORE_SAMPLES, SAMPLES, type Sample } from "./samples.ts";
import { BUSY_6, BUSY_ROUTED_6, samples6 } from "./samples6.ts";

export const KINDS = ["IPv4", "IPv6", "IPv6, routed"] as const;
export type Kind = (typeof KINDS)[number];

interface Front {
  readonly settings: Settings;
  readonly samples: readonly Sample[];
  readonly mutate: (frame: Uint8Array, random: Random) => Uint8Array;
  readonly judge: Judge;
}

const FRONTS: Readonly<Record<Kind, Front>> = {
  IPv4: { settings: BUSY, samples: [...SAMPLES, ...MORE_SAMPLES], mutate, judge: checkSent },
  IPv6: { settings: BUSY_6, samples: samples6(LAN_HOST_6), mutate: mutate6, judge: judge6("fd00:1::", false) },
  "IPv6, routed": {
    settings: BUSY_ROUTED_6,
    samples: samples6(ROUTED_HOST),
    mutate: mutate6,
    judge: judge6("2001:db8:1::", true),
  },
};

/**
 * Gives a router sound frames, and many that are not.
 * @returns how many had each verdict, by name
 * @throws Error at the first harm that is done, and where anything is left at the end
 */
export function hostileSlice(kind: Kind, seed: number, frames: number): ReadonlyMap<string, number> {
  const { settings, samples, mutate, judge } = FRONTS[kind];
  const random = new Random(seed);
  const lab = new Lab({ settings, seed });
  const addresses = lab.router.addresses.size;
  for (const { iface, frame } of samples) lab.receive(iface, frame);
  const next = (): Sample => {
    const { iface, frame } = random.pick(samples);
    if (random.chance(0.1)) return { iface, frame };
    return { iface: random.chance(0.97) ? iface : random.below(3), frame: mutate(frame, random) };
  };
  bombard(lab, frames, next, random, judge);
  checkLeftovers(lab, addresses);
  return new Map(Object.entries(lab.counts()));
}
