// A dataplane's thread that gets late to new rules: who keeps it busy wins no time by it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import { SERVER } from "../../lab/places.ts";
import { buildChanged } from "../support/slow-dataplane.ts";

const PORT = 5000;
/** Datagrams a second. */
const RATE = 1000;
const ENDLESS = 1_000_000;

const lab = new FirewallLab("late");
const executable = join(lab.folder, "firebreak");

beforeAll(async () => {
  const COMMAND = 'if (command.type === "stop") {';
  const HOLD = "const HOLD = 1e9;";
  // Each command waits five seconds, in which it does not count that the thread gives no sign of life.
  await buildChanged(
    { "io/commands.ts": [COMMAND], "kernel/pulse.ts": [HOLD] },
    (statement) => (statement === HOLD ? "const HOLD = 1e12;" : `Bun.sleepSync(5000); ${statement}`),
    executable,
  );
}, 120_000);

afterAll(() => lab.close());

/** Frames that the kernel forwarded. */
async function byKernel(): Promise<number> {
  return (await lab.state()).kernelPath.get("forwarded") ?? 0;
}

/** Waits until the kernel forwards, or until it does not. */
async function until(forwards: boolean): Promise<void> {
  for (let before = await byKernel(); ; ) {
    await Bun.sleep(100);
    const now = await byKernel();
    if (now > before === forwards) return;
    before = now;
  }
}

test("new rules end the kernel path at once, also while the dataplane's thread does not hear of them", async () => {
  lab.configure([], "accept");
  const program = await lab.start([executable]);
  const stream = lab.client.start(peer("udp-stream", SERVER, PORT, ENDLESS, RATE));
  await until(true);
  lab.configure([], "drop");
  const said = program.text.length;
  program.signal("SIGHUP");
  await until(false);
  expect(program.text.slice(said)).not.toContain("configuration reloaded");
  await program.says("configuration reloaded", said);
  await until(false);

  // Allowed flows take it again.
  lab.configure([], "accept");
  await lab.reload();
  await until(true);
  stream.signal("SIGTERM");
  await stream.end();
  program.signal("SIGTERM");
  await program.end();
}, 120_000);
