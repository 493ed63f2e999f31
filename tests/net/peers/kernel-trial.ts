// kernel/trial.ts [LAYOUT]: tries the kernel path as the firewall does, and prints what is wrong with it, or "passed". LAYOUT, in
// JSON, is taken in place of what the kernel says of its struct sk_buff.
import { tryKernelPath } from "../../../src/dataplane/kernel/trial.ts";
import { drawHashKeys } from "../../../src/dataplane/keyed-hash.ts";
import { readSkbLayout } from "../../../src/linux/bpf/skb-layout.ts";

const [, , changed = "{}"] = process.argv;
try {
  tryKernelPath(
    drawHashKeys(() => 42),
    { ...readSkbLayout(), ...JSON.parse(changed) },
  );
  console.log("passed");
} catch (error) {
  console.log(error instanceof Error ? error.message : error);
}
