// soak.ts COUNT: boots the image again and again, emulated, two at a time, until it says that it is ready; the second half of them
// with two busy loops beside them. The console of a boot that failed is kept. Run by build/appliance.sh soak-boots.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine } from "../../lab/machine.ts";
import { Lab } from "../../lab/namespaces.ts";
import { configuration } from "../../lab/places.ts";

const COUNT = Number(process.argv[2]);
const LANES = 2;
const BUSY_LOOPS = 2;
/** ms until a boot has failed. */
const PATIENCE = 180_000;
const KEPT = join(import.meta.dir, "../../dist/soak");

const folder = mkdtempSync(join(tmpdir(), "firebreak-soak-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130));
const config = join(folder, "firebreak.toml");
writeFileSync(config, configuration([], "accept"));
rmSync(KEPT, { recursive: true, force: true });

let begun = 0;
let failed = 0;
const times: number[] = [];
const loops: Bun.Subprocess[] = [];
process.on("exit", stopLoops);

function stopLoops(): void {
  for (const loop of loops) loop.kill("SIGKILL");
}

/** @returns seconds until it was ready. @throws with its console, when it was not in time */
async function bootOnce(name: string): Promise<number> {
  const lab = new Lab(name);
  try {
    const neighbours = ["client", "internet"].map((end) => lab.namespace(end));
    const started = performance.now();
    const machine = await Machine.boot(lab, folder, neighbours, { config });
    await machine.console.says(/ready in \d+ ms/, 0, PATIENCE);
    const seconds = (performance.now() - started) / 1000;
    await machine.unplug();
    return seconds;
  } finally {
    await lab.close();
  }
}

function keep(boot: number, error: unknown): void {
  failed++;
  mkdirSync(KEPT, { recursive: true });
  const file = join(KEPT, `boot-${boot}.log`);
  writeFileSync(file, String(error));
  console.log(`boot ${boot} failed: ${file}`);
}

async function lane(number: number): Promise<void> {
  while (begun < COUNT) {
    const boot = ++begun;
    if (boot > COUNT / 2) startLoops();
    await bootOnce(`soak${number}`).then(
      (seconds) => times.push(seconds),
      (error) => keep(boot, error),
    );
    const done = times.length + failed;
    if (done % 10 === 0) console.log(`${done} of ${COUNT} boots, ${failed} failed, ${summary()}`);
  }
}

function startLoops(): void {
  if (loops.length > 0) return;
  console.log(`${BUSY_LOOPS} busy loops beside them from now on`);
  for (let i = 0; i < BUSY_LOOPS; i++) loops.push(Bun.spawn(["sh", "-c", "while :; do :; done"]));
}

function summary(): string {
  const sorted = times.toSorted((one, other) => one - other);
  return `ready after ${sorted[sorted.length >> 1]?.toFixed(1)} s (median), ${sorted.at(-1)?.toFixed(1)} s (longest)`;
}

await Promise.all(Array.from({ length: LANES }, (_, i) => lane(i)));
console.log(`${summary()}\n${times.length} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
