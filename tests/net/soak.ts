// soak.ts RECORDS [SEED]: a hundred mad clients at once send mutated records to the control socket of a firewall in namespaces, in slices
// of twenty thousand; somebody pings through it meanwhile. It ends with the slice's seed where the firewall ends, keeps anything open,
// grows, or loses a ping; tests/net/control.test.ts has a small slice. Run by build/appliance.sh soak-requests, as root.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Stormed, storm } from "../../lab/channel-storm.ts";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { SERVER } from "../../lab/places.ts";
import { faultOf, MOST_MEMORY, openDescriptors, ownMemory, Pinging } from "../../lab/unharmed.ts";

const CLIENTS = 100;
const SLICE = 20_000;
/** ms that a slice may take, which is many times what it does take; and for what clients have left behind: a trace takes a second. */
const PATIENCE = 600_000;
const SETTLE = 15_000;

const [records = 0, firstSeed = 1] = process.argv.slice(2).map(Number);
const lab = new FirewallLab("soak");
process.on("exit", () => rmSync(lab.folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130));

const folder = join(lab.folder, "run");
const inFolder = (command: readonly string[]): string[] => ["env", `RUNTIME_DIRECTORY=${folder}`, ...command];

/** @returns what is wrong with the firewall after a slice, or undefined. What is left behind has some seconds to go */
async function harm(program: Program, before: number): Promise<string | undefined> {
  const deadline = performance.now() + SETTLE;
  for (;;) {
    if (program.process.exitCode !== null) return `the firewall has ended:\n${program.text.slice(-2000)}`;
    const [descriptors, memory] = [openDescriptors(program.pid), await ownMemory(program.pid)];
    if (descriptors <= before && memory <= MOST_MEMORY) return undefined;
    if (performance.now() > deadline) {
      return `the firewall had ${before} descriptors and keeps ${descriptors}, and has ${megabytes(memory)} MB of its own`;
    }
    await Bun.sleep(100);
  }
}

/** @throws Error when the firewall ends meanwhile, or nobody is answered any more */
async function slice(program: Program, seed: number, count: number): Promise<Stormed> {
  const storming = storm(join(folder, "firewall.sock"), { clients: CLIENTS, records: count, seed });
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("its records were not taken in time")), PATIENCE);
  program.process.exited.then(() => reject(new Error(`the firewall has ended:\n${program.text.slice(-2000)}`)));
  try {
    return await Promise.race([storming, promise]);
  } finally {
    clearTimeout(timer);
  }
}

function megabytes(bytes: number): string {
  return (bytes / (1 << 20)).toFixed(1);
}

async function soak(): Promise<string | undefined> {
  lab.configure(["accept proto=icmp", "drop proto=udp dstports=9"], "accept");
  const program = lab.firewall.start(inFolder(firebreak("run", "--config", lab.configFile)));
  await program.says("ready in");
  // It has a map, and keeps it for a minute: mad clients ask for that too.
  await lab.firewall.run(inFolder(firebreak("flows", "--bytes", "0")));
  const before = openDescriptors(program.pid);
  console.log(`before: ${megabytes(await ownMemory(program.pid))} MB, ${before} descriptors`);
  const pinging = new Pinging(lab.client, SERVER);
  const started = performance.now();
  const replies = new Map<string, number>();
  let [sent, greeted, refused, seed] = [0, 0, 0, firstSeed];
  for (; sent < records; seed++) {
    const some = await slice(program, seed, Math.min(SLICE, records - sent)).catch((error: Error) => error.message);
    const wrong = typeof some === "string" ? some : await harm(program, before);
    if (typeof some === "string" || wrong !== undefined) return `slice ${seed}: ${wrong}`;
    sent += some.records;
    greeted += some.greeted;
    refused += some.refused;
    for (const [kind, count] of some.replies) replies.set(kind, (replies.get(kind) ?? 0) + count);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    const memory = megabytes(await ownMemory(program.pid));
    console.log(
      `${sent} of ${records} records after ${seconds} s: ${memory} MB, ${openDescriptors(program.pid)} descriptors`,
    );
  }
  const kinds = [...replies].map(([kind, count]) => `${count} ${kind}`).join(", ");
  console.log(`${greeted} connections, ${refused} refused; replies: ${kinds}`);
  const pinged = await pinging.end();
  console.log(`${pinged.sent} pings, ${pinged.answered.length} answered`);
  return faultOf(pinged);
}

let wrong: string | undefined;
try {
  wrong = await soak();
} finally {
  await lab.close();
}
if (wrong !== undefined) console.log(wrong);
process.exit(wrong === undefined ? 0 : 1);
