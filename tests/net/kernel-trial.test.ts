// The trial of the kernel path: programs and layouts with a fault in them do not pass it, and a firewall does without them.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { configuration, SERVER } from "../../lab/places.ts";
import { readSkbLayout } from "../../src/linux/bpf/skb-layout.ts";
import { buildWithFault, type MUTANTS } from "../support/kernel-mutants.ts";

const PRELOAD = join(import.meta.dir, "../support/kernel-mutants.ts");

const lab = new FirewallLab("trial");
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
  lab.configure([], "accept");
});
afterAll(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

/** The command of a Bun program in which the kernel path's programs have a fault. */
function withFault(mutant: string, [bun = "", ...rest]: readonly string[]): string[] {
  return ["env", `KERNEL_MUTANT=${mutant}`, bun, "--preload", PRELOAD, ...rest];
}

async function tried(layout: object = {}): Promise<string> {
  return (await lab.firewall.run(peer("kernel-trial", JSON.stringify(layout)))).trim();
}

async function triedWith(mutant: keyof typeof MUTANTS): Promise<string> {
  return (await lab.firewall.run(withFault(mutant, peer("kernel-trial")))).trim();
}

test("the programs pass, and leave nothing behind", async () => {
  const network = () =>
    lab.firewall.run(["sh", "-c", "ip -oneline link | cut -d: -f2; tc qdisc; tc filter show dev lo ingress"]);
  const before = await network();
  expect(await tried()).toBe("passed");
  expect(await network()).toBe(before);
});

const CHANGED = "the kernel made something else of the frame";

test.each([
  ["old trick, refused with another error", "UDP with its checksum left to the interface, from the client: the kernel lost the frame"],
  ["no look at where the checksum begins", `UDP whose checksum is left to begin later, from the client: ${CHANGED}`],
  ["no look at where UDP's checksum is", `UDP that leaves its ports as checksum, from the client: ${CHANGED}`],
  ["no look at where TCP's checksum is", `TCP that leaves its ports as checksum, from the client: ${CHANGED}`],
  ["padded frames are cut", `padded TCP to be cut, from the client: ${CHANGED}`],
  ["frames are cut into any number of segments", `TCP to be cut into too many, from the client: ${CHANGED}`],
  ["padding stays", `padded UDP, from the client: ${CHANGED}`],
  ["addresses are left out of checksums", `UDP with its checksum left to the interface, from the client: ${CHANGED}`],
  ["ports are left out of checksums", `UDP, from the client: ${CHANGED}`],
  ["the TTL stays", `UDP, from the client: ${CHANGED}`],
  ["IPv6: addresses are left out of checksums", `UDP over IPv6, from the client: ${CHANGED}`],
  ["IPv6: ports are left out of checksums", `UDP over IPv6, from the client: ${CHANGED}`],
  ["IPv6: a checksum that is left is inverted", `UDP with its checksum left to the interface over IPv6, from the client: ${CHANGED}`],
  ["IPv6: addresses stay", `UDP over IPv6, from the client: ${CHANGED}`],
  ["IPv6: the hop limit stays", `UDP over IPv6, from the client: ${CHANGED}`],
  ["IPv6: a UDP checksum need not be there", `UDP without checksum over IPv6, from the client: ${CHANGED}`],
  ["a frame is lost", "UDP, from the client: the kernel lost the frame"],
] as const)("%s: that does not pass", async (mutant, says) => {
  expect(await triedWith(mutant)).toBe(says);
}, 20_000); // biome-ignore format: a table

test("a layout that is another kernel's does not pass", async () => {
  const { ip_summed, csum_start, data } = readSkbLayout();
  const left = "UDP with its checksum left to the interface, from the client: the frame did not take it";
  expect(await tried({ ip_summed: ip_summed + 8 })).toBe(
    `UDP that leaves its ports as checksum, from the client: ${CHANGED}`,
  );
  expect(await tried({ csum_start: csum_start + 2 })).toBe(left);
  expect(await tried({ data: data - 8 })).toBe(left);
});

test("a firewall whose kernel path does not pass says so, and forwards without it", async () => {
  const executable = join(folder, "firebreak");
  await buildWithFault("old trick, refused with another error", executable);
  const program = lab.firewall.start([executable, "run", "--config", lab.configFile]);
  await program.says("ready in");
  expect(program.text).toMatch(
    /kernel path: off, because UDP with its checksum left to the interface, from the client: the/,
  );
  await lab.client.run(["ping", "-c", "1", SERVER]);
  program.signal("SIGTERM");
  await program.says("stopped");
}, 20_000);

test("where IPv6 alone does not pass, IPv6 alone does without it, and that is said", async () => {
  const executable = join(folder, "firebreak-ipv4");
  const uplink6 = 'address6 = "2001:db8:1::254/64"\ngateway6 = "2001:db8:1::1"\n';
  lab.writeConfig(configuration([], "accept").replace("[uplink]\n", `[uplink]\n${uplink6}`));
  await buildWithFault("IPv6: the hop limit stays", executable);
  const program = lab.firewall.start([executable, "run", "--config", lab.configFile]);
  await program.says("ready in");
  expect(program.text).toContain("kernel path: off for IPv6, because UDP over IPv6, from the client: the kernel made");
  expect(program.text).not.toContain("kernel path: off,");
}, 20_000);
