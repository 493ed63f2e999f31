// What of a configuration can't be put in force while the program runs: the flow table's memory, and the kernel path where
// it was not loaded. Such a configuration is refused whole, by the key's name: half of one is nobody's.

import type { Config } from "../config/config.ts";
import type { NatSettings } from "../dataplane/settings.ts";

/** @param started what the program was started with @returns an error for each key that needs a restart */
export function needsRestart({ nat, natPlaces }: Config, started: NatSettings): string[] {
  const errors: string[] = [];
  if (nat.maxFlows !== started.maxFlows) {
    errors.push(
      `${natPlaces?.maxFlows ?? "nat"}: max_flows ${nat.maxFlows} needs a restart: the table was made for ` +
        `${started.maxFlows} flows (restart the firewall, or write max_flows = ${started.maxFlows})`,
    );
  }
  if (nat.kernelPath && !started.kernelPath) {
    errors.push(
      `${natPlaces?.kernelPath ?? "nat"}: kernel_path true needs a restart: the program was started without it ` +
        "(restart the firewall, or write kernel_path = false)",
    );
  }
  return errors;
}
