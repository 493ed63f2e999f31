// Where the kernel path's programs are tried without a firewall around them.
import { peer } from "../../lab/firewall-lab.ts";
import type { Lab } from "../../lab/namespaces.ts";

/**
 * Makes a namespace with the interfaces that the programs are told frames come in on.
 * @returns what runs one of tests/net/peers that has those programs to itself, and gives back what it prints, from JSON
 */
export function kernelBench(lab: Pick<Lab, "namespace" | "cable">) {
  const bench = lab.namespace("bench");
  lab.cable(bench, "a0", bench, "a1");
  lab.cable(bench, "b0", bench, "b1");
  return async (name: string, ...words: readonly string[]) => {
    const command = ["taskset", "--cpu-list", "0", ...peer(name, "a0", "a1", "b0", ...words)];
    return JSON.parse(await bench.run(command, 120_000));
  };
}
