// Fragments without a first one, from anybody on the internet: they are held, forgotten, and cost no memory but what is set aside.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { macOf } from "../../lab/namespaces.ts";
import { SERVER, UPLINK } from "../../lab/places.ts";

/** Fragments until all that a run needs is there, and those that must take nothing more. */
const WARM_UP = 100_000;
const FLOOD = 300_000;
/** Sent at a time. */
const PART = 50_000;
const LENGTH = 1000;
/** That an engine's memory goes up and down by without a flood. */
const BREATH_MB = 8;
const HELD = "held until the first fragment comes";

const lab = new FirewallLab("fragments");
let ends: string[] = [];

beforeAll(async () => {
  lab.configure([], "accept");
  await lab.start();
  ends = [await macOf(lab.internet, "eth0"), await macOf(lab.firewall, "eth1"), SERVER, UPLINK];
}, 120_000);

afterAll(() => lab.close());

/** Sends fragments until the firewall has held so many: on a busy machine its ring overflows. */
async function flood(count: number): Promise<void> {
  const before = await held();
  for (let sent = 0; (await held()) - before < count; sent += PART) {
    if (sent > 20 * count) throw new Error("hardly a fragment arrives");
    const output = await lab.internet.run(peer("fragments", "eth0", ...ends, PART, LENGTH));
    expect(JSON.parse(output)).toEqual({ transmitted: PART });
  }
}

async function held(): Promise<number> {
  const { frames } = await lab.state();
  return frames.get(HELD) ?? 0;
}

/** @returns MB of memory that the firewall's process has */
function memory(): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${lab.program.pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) / 1024;
}

test("a flood of fragments takes no memory", async () => {
  await flood(WARM_UP);
  const before = memory();
  await flood(FLOOD);
  expect(memory() - before).toBeLessThan(BREATH_MB);
});
