// The kernel path with a fault in it, mostly in its programs, for what finds faults out. Preloaded (bun --preload), it changes the
// source of a file in src/dataplane/kernel as KERNEL_MUTANT says; `buildWithFault` makes a firewall of such sources.
import { join } from "node:path";
import { type BunPlugin, plugin } from "bun";

export interface Mutant {
  readonly in: "filter" | "filter6" | "forwarder" | "forwarder6" | "addresses6";
  readonly from: string | RegExp;
  readonly to: string;
}

/**
 * What the programs did before: a checksum that is left to the interface they told by a helper that does not change it, and its place
 * by another one that refused to cut the frame before that. Newer kernels cut it.
 */
const OLD_TRICK = `
function rewriteChecksum(a: Assembler, field: number, flags: number): void {
  const [protocol, length] = flags === 0 ? ["tcp", TCP_LENGTH] as const : ["udp", UDP_LENGTH] as const;
  loadFrame(a, length);
  a.load(2, R9, R8, field).do("move", R4, 1);
  replace(a, field, 0);
  loadFrame(a, length);
  a.load(2, R1, R8, field).jumpIf32(R1, "==", R9, protocol + " left").store(2, R8, field, R9);
  if (protocol === "udp") a.jumpIf32(R9, "==", 0, "rewrite");
  a.load(4, R4, R7, NOTE.REWRITE + REWRITE.ADDRESS_DELTA);
  replace(a, field, BPF_F_PSEUDO_HDR | flags);
  a.load(4, R4, R7, NOTE.REWRITE + REWRITE.PORT_DELTA);
  replace(a, field, flags);
  a.jump("rewrite");
  a.label(protocol + " left").do("move", R1, R6).do("move", R2, field + 1).do("move", R3, 0);
  a.call(HELPER.SKB_CHANGE_TAIL).jumpIf(R0, "!=", -22, "drop");
  a.load(4, R4, R7, NOTE.REWRITE + REWRITE.ADDRESS_DELTA);
  replace(a, field, BPF_F_PSEUDO_HDR);
  a.jump("rewrite");
}
`;
const REWRITE_CHECKSUM = /^function rewriteChecksum\([\s\S]*?^}\n/m;

export const MUTANTS = {
  "old trick": { in: "forwarder", from: REWRITE_CHECKSUM, to: OLD_TRICK },
  "old trick, refused with another error": {
    in: "forwarder",
    from: REWRITE_CHECKSUM,
    to: OLD_TRICK.replace("-22", "-23"),
  },
  "no look at where the checksum begins": {
    in: "filter",
    from: 'load(4, R3, R10, START).jumpIf(R1, "!=", R3, toSocket)',
    to: 'load(4, R3, R10, START).jumpIf(R1, "!=", R1, toSocket)',
  },
  "no look at where UDP's checksum is": {
    in: "filter",
    from: 'jumpIf32(R1, "!=", UDP.CHECKSUM, toSocket)',
    to: 'jumpIf32(R1, "!=", R1, toSocket)',
  },
  "no look at where TCP's checksum is": { in: "filter", from: '.jumpIf32(R1, "!=", TCP.CHECKSUM, toSocket)', to: "" },
  "padded frames are cut": {
    in: "filter",
    from: 'jumpIf(R3, "!=", R1, toSocket)',
    to: 'jumpIf(R3, "!=", R3, toSocket)',
  },
  "frames are cut into any number of segments": {
    in: "filter",
    from: 'jumpIf(R3, ">", R2, toSocket);\n  a.label("is not',
    to: 'jumpIf(R3, ">", R3, toSocket);\n  a.label("is not',
  },
  "padding stays": {
    in: "forwarder",
    from: 'a.jumpIf32(R1, "==", R2, "trimmed");',
    to: 'a.jumpIf32(R1, "!=", R2, "trimmed");',
  },
  "addresses are left out of checksums": { in: "forwarder", from: "BPF_F_PSEUDO_HDR | flags", to: "flags" },
  "ports are left out of checksums": {
    in: "forwarder",
    from: "REWRITE.PORT_DELTA);\n  replace",
    to: "REWRITE.PORTS);\n  replace",
  },
  "the TTL stays": {
    in: "forwarder",
    from: '.do("sub", R1, 1)\n    .store(1, R8, IP',
    to: '.do("sub", R1, 0)\n    .store(1, R8, IP',
  },
  "IPv6: addresses are left out of checksums": {
    in: "forwarder6",
    from: '.do("add", R1, R2)\n    .load(4, R2, R7, NOTE.REWRITE + REWRITE.PORT_DELTA)',
    to: ".load(4, R2, R7, NOTE.REWRITE + REWRITE.PORT_DELTA)",
  },
  "IPv6: ports are left out of checksums": {
    in: "forwarder6",
    from: '.load(4, R2, R7, NOTE.REWRITE + REWRITE.PORT_DELTA)\n    .do("add", R1, R2)',
    to: '.load(4, R2, R7, NOTE.REWRITE + REWRITE.PORTS).do("add", R1, R2)',
  },
  "IPv6: a checksum that is left is inverted": {
    in: "forwarder6",
    from: 'a.jumpIf32(R3, "!=", 0, left);',
    to: 'a.jumpIf32(R3, ">", 1, left);',
  },
  "IPv6: addresses stay": {
    in: "forwarder6",
    from: "IP + IPV6.SOURCE, ADDRESSES.TO_SOURCE]",
    to: "IP + IPV6.SOURCE, 0]",
  },
  "IPv6: the hop limit stays": {
    in: "forwarder6",
    from: '.do("sub", R1, 1)\n    .store(1, R8, IP + IPV6',
    to: '.do("sub", R1, 0)\n    .store(1, R8, IP + IPV6',
  },
  "IPv6: a UDP checksum need not be there": {
    in: "filter6",
    from: '.jumpIf32(R1, "!=", 0, "header checked")\n    .jump(toSocket)',
    to: '.jump("header checked")',
  },
  "no memory for IPv6's addresses": {
    in: "addresses6",
    from: "const map = createAddressMap(entries);",
    to: "const map = createAddressMap(entries > 100 ? 2 ** 32 - 1 : entries); // the trial has fewer",
  },
  "a frame is lost": { in: "forwarder", from: 'jumpIf32(R1, "<", R2, "drop")', to: 'jumpIf32(R1, "<=", R2, "drop")' },
} as const satisfies Readonly<Record<string, Mutant>>;

/** @returns the plugin that puts a fault in */
function kernelMutant({ in: file, from, to }: Mutant): BunPlugin {
  return {
    name: "kernel mutant",
    setup(build) {
      build.onLoad({ filter: new RegExp(`/src/dataplane/kernel/(programs/)?${file}\\.ts$`) }, async ({ path }) => {
        const source = await Bun.file(path).text();
        const contents = source.replace(from, () => to);
        if (contents === source) throw new Error(`${path}: there is no ${from} to change`);
        return { contents, loader: "ts" };
      });
    },
  };
}

const ROOT = join(import.meta.dir, "../..");

/** Builds an executable of the firewall with a fault in it: in all of its threads, where a preload reaches only the first. */
export async function buildWithFault(mutant: keyof typeof MUTANTS, outfile: string): Promise<void> {
  await buildWith(kernelMutant(MUTANTS[mutant]), outfile);
}

/** Builds an executable of the firewall from sources that a plugin changes. */
export async function buildWith(change: BunPlugin, outfile: string): Promise<void> {
  const modules = ["src/main.ts", "src/dataplane/io/worker.ts", "src/linux/poll-thread.ts"];
  const entrypoints = modules.map((path) => join(ROOT, path));
  await Bun.build({ entrypoints, root: join(ROOT, "src"), minify: true, compile: { outfile }, plugins: [change] });
}

const { KERNEL_MUTANT: name } = process.env;
if (name !== undefined) {
  const mutant = Object.entries<Mutant>(MUTANTS).find(([key]) => key === name)?.[1];
  if (mutant === undefined) throw new Error(`KERNEL_MUTANT: there is no "${name}"`);
  plugin(kernelMutant(mutant));
}
