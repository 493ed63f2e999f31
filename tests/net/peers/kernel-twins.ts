// kernel-twins.ts INTERFACE… [scrubbed | masqueraded6 | routed6 | scrubbed6]: has the kernel path and the slow path forward the same
// frames, and prints how many; it ends with the difference where they differ. The interfaces are those that the kernel is told the
// frames come in on. Scrubbed: one client's packets are changed beside NAT. Those with a 6 are of IPv6, and translated, or one
// client's are not.

import { Random } from "../../../lab/random.ts";
import { Lab } from "../../../lab/router-lab.ts";
import { KernelLab, withInterfaces } from "../../support/kernel-lab.ts";
import { Twins } from "../../support/twins.ts";
import { converse, PINNED, SCRUBBED } from "../../support/twins4.ts";
import { converse6, ROUTED_TWIN_6, SCRUBBED_TWIN_6, TWIN_6 } from "../../support/twins6.ts";

const STEPS = 25_000;
const KINDS = {
  scrubbed: SCRUBBED,
  masqueraded6: TWIN_6,
  routed6: ROUTED_TWIN_6,
  scrubbed6: SCRUBBED_TWIN_6,
} as const;
const IPV6_KINDS: readonly unknown[] = ["masqueraded6", "routed6", "scrubbed6"] satisfies (keyof typeof KINDS)[];

const words = process.argv.slice(2);
const isKind = (word: string): word is keyof typeof KINDS => word in KINDS;
const kind = words.find(isKind);
const names = words.filter((word) => !isKind(word));
const settings = withInterfaces(kind === undefined ? PINNED : KINDS[kind], names);
const kernel = new KernelLab(settings);
const twins = new Twins(kernel, new Lab({ settings, slow: true }));
const isIpv6 = IPV6_KINDS.includes(kind);
const forwarded = isIpv6 ? converse6(twins, STEPS, settings, new Random(2026)) : converse(twins, STEPS, settings);
console.log(JSON.stringify({ frames: twins.frames, forwarded, byKernel: kernel.byKernel, byIface: kernel.byIface }));
