// Each attack of lab/attacks.ts beside a client that goes about its business: that client loses nothing, new rules are in force at
// once, and the firewall goes on. How much slower it gets, `build/appliance.sh bench attack` measures.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ATTACKS } from "../../lab/attacks.ts";
import { HostileLab } from "../../lab/hostile-lab.ts";

const SECONDS = 3;

const hostile = new HostileLab("attacks");

beforeAll(async () => {
  const www = join(hostile.lab.folder, "www");
  mkdirSync(www);
  writeFileSync(join(www, "index.html"), "here\n");
  await hostile.start(www);
}, 120_000);

afterAll(() => hostile.close());

for (const name of Object.keys(ATTACKS)) {
  test(name, async () => {
    const attack = await hostile.attack(name, "firewall");
    const noticed = await hostile.victim(SECONDS);
    await hostile.lab.reload();
    attack.signal("SIGTERM");
    await attack.end();
    const { sent } = JSON.parse(attack.text.trimEnd().split("\n").at(-1) ?? "");
    console.log(`${name}: ${sent} frames sent; the victim: ${JSON.stringify(noticed)}`);
    expect(sent).toBeGreaterThan(0);
    expect({ lost: noticed.lost, refused: noticed.refused }).toEqual({ lost: 0, refused: 0 });
  }, 300_000);
}
