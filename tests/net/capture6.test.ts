// Captures of IPv6 from a running firewall, by filters in its addresses: both sides of each packet, translated or routed.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { firebreak } from "../../lab/firewall-lab.ts";
import { GUEST_HOST6, Ipv6Lab, LAN_HOST6, OUTSIDE6, SERVER6 } from "../../lab/ipv6-lab.ts";
import type { Namespace } from "../../lab/namespaces.ts";

const lab = new Ipv6Lab("capture6");

beforeAll(async () => {
  await lab.settle();
  await lab.start();
}, 120_000);
afterAll(() => lab.close());

const size = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

/** @returns source and destination of each frame that tshark finds */
function addresses(file: string): string[] {
  const args = ["-r", file, "-T", "fields", "-e", "ipv6.src", "-e", "ipv6.dst", "-E", "separator= "];
  const { stdout } = Bun.spawnSync(["tshark", ...args], { env: { ...process.env, LC_ALL: "C.UTF-8" } });
  return stdout
    .toString()
    .split("\n")
    .filter((line) => line !== "");
}

/** Pings the server while a capture of four frames goes on. */
async function captured(host: Namespace, ...filter: readonly string[]): Promise<string[]> {
  const file = join(lab.lab.folder, `${filter.join(" ").replaceAll(/[^a-z0-9]/g, "-")}.pcapng`);
  const command = lab.inFolder(firebreak("capture", ...filter, "--count", "4", "-w", file));
  const program = lab.firewall.start(command);
  for (const deadline = performance.now() + 30_000; size(file) === 0; await Bun.sleep(5)) {
    if (performance.now() > deadline) throw new Error(`no capture: ${program.text}`);
  }
  await host.run(["ping", "-6", "-c", "1", "-W", "5", SERVER6]);
  expect(await program.end()).toBe(0);
  return addresses(file);
}

const ANSWERED = (client: string, ours: string) => [
  `${client} ${SERVER6}`,
  `${ours} ${SERVER6}`,
  `${SERVER6} ${ours}`,
  `${SERVER6} ${client}`,
];

test.each([
  ["dst", SERVER6],
  ["dst6", SERVER6],
  ["dst", "2001:db8:ffff::/48"],
])(
  "a guest's, by %s=%s",
  async (key, value) => {
    expect(await captured(lab.guest, `${key}=${value}`)).toEqual(ANSWERED(GUEST_HOST6, OUTSIDE6));
  },
  60_000,
);

test("a routed host's, by its address and the server's", async () => {
  expect(await captured(lab.lan, `src=${LAN_HOST6}`, `dst=${SERVER6}`)).toEqual(ANSWERED(LAN_HOST6, LAN_HOST6));
}, 60_000);
