// What dom0's memory balancing wants to know: how much memory this domain uses (XenStore, memory/meminfo, in KiB).
import { readFileSync } from "node:fs";
import { type XenStore, XenStoreError } from "../xen/xenstore.ts";

/** In ms. */
const INTERVAL = 10_000;
/** KiB by which the figure must differ to be told. */
const NOTABLE = 1024;

/** Reports now and then. @returns what ends that */
export function reportMemory(store: XenStore): () => void {
  let told = 0;
  const report = async () => {
    const used = usedMemory(readFileSync("/proc/meminfo", "utf8"));
    if (Math.abs(used - told) < NOTABLE) return;
    told = used;
    await store.write("memory/meminfo", String(used));
  };
  const timer = setInterval(attempt, INTERVAL);
  const end = () => clearInterval(timer);
  function attempt(): void {
    report().catch((error) => {
      end(); // where dom0 doesn't want it, there is no permission
      if (!(error instanceof XenStoreError)) throw error;
    });
  }
  attempt();
  return end;
}

/** @param text of /proc/meminfo. @returns KiB that could not be given back */
function usedMemory(text: string): number {
  const field = (name: string) => Number(new RegExp(`^${name}: *([0-9]+) kB$`, "m").exec(text)?.[1] ?? 0);
  return field("MemTotal") - field("MemAvailable");
}
