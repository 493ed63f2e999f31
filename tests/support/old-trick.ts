// The kernel path as it was with a trick that newer kernels undo: it told a checksum that is left to the interface by a helper that
// does not change it, and its place by another one that refuses to cut the frame before that, where newer ones cut it. With this
// preloaded, or given to Bun.build, the firewall has that trick in it; tests see to it that the trial finds it out.
import { type BunPlugin, plugin } from "bun";

const NOW = /^function rewriteChecksum\([\s\S]*?^}\n/m;

const THEN = `
function rewriteChecksum(a: Assembler, protocol: string, length: number, field: number, flags: number): void {
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

export const oldTrick: BunPlugin = {
  name: "old trick",
  setup(build) {
    build.onLoad({ filter: /\/kernel-programs\.ts$/ }, async ({ path }) => {
      const source = await Bun.file(path).text();
      if (!NOW.test(source)) throw new Error(`${path}: there is no function rewriteChecksum to put the old trick in`);
      return { contents: source.replace(NOW, () => THEN), loader: "ts" };
    });
  },
};

plugin(oldTrick);
