// `firebreak replay` as its user runs it, for tests of the files that it writes: one client behind eth0, the uplink at eth1.
import { expect } from "bun:test";
import { join } from "node:path";

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** MAC addresses of a host of the client, and of the firewall at eth0 and at eth1. */
export const HOST = "02:00:00:00:00:0a";
export const INSIDE = "02:00:00:00:01:00";
export const OUTSIDE = "02:00:00:00:01:01";

export interface ReplayConfig {
  /** Lines of the client, beside its name, interface and addresses. */
  readonly client?: string;
  /** The client's interface. */
  readonly name?: string;
}

/** @returns a configuration */
export function replayConfig({ client = 'policy = "accept"', name = "eth0" }: ReplayConfig = {}): string {
  return `[uplink]
interface = "eth1"
own_mac = "${OUTSIDE}"
address = "192.0.2.254/24"
gateway = "192.0.2.1"

[[client]]
name = "work"
interface = ${JSON.stringify(name)}
own_mac = "${INSIDE}"
address = "10.137.0.10"
gateway = "10.137.0.1"
${client}
`;
}

/**
 * Runs a replay that says nothing, and expects it to succeed.
 * @param folder where the configuration is put, as firebreak.toml
 * @param inputs captures, each INTERFACE=FILE
 */
export async function runReplay(
  folder: string,
  toml: string,
  inputs: readonly string[],
  ...options: readonly string[]
): Promise<void> {
  const file = join(folder, "firebreak.toml");
  await Bun.write(file, toml);
  const ins = inputs.flatMap((input) => ["--in", input]);
  const args = ["replay", "--config", file, ...ins, "--quiet", ...options];
  const { exitCode, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args]);
  expect([stderr.toString(), exitCode]).toEqual(["", 0]);
}
