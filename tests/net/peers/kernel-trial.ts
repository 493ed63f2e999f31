// kernel-trial.ts [LAYOUT]: tries the kernel path as the firewall does, and prints what is wrong with it, or "passed". LAYOUT, in
// JSON, is taken in place of what the kernel says of its struct sk_buff.
import { drawKernelKeys } from "../../../src/dataplane/kernel/addresses6.ts";
import { tryKernelPath } from "../../../src/dataplane/kernel/trial/trial.ts";
import { readSkbLayout } from "../../../src/linux/bpf/skb-layout.ts";

const [, , changed = "{}"] = process.argv;
try {
  const fault6 = tryKernelPath(
    drawKernelKeys(() => 42),
    { ...readSkbLayout(), ...JSON.parse(changed) },
    true,
  );
  console.log(fault6?.message ?? "passed");
} catch (error) {
  console.log(error instanceof Error ? error.message : error);
}
