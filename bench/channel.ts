// The control channel among mad clients, on its own: `bun bench/channel.ts [RECORDS] [CLIENTS]`, as root. A firewall in namespaces, a client
// that goes on pinging through it, and RECORDS mutated records (a million, if it isn't said) from CLIENTS at once (100). Prints after each
// tenth how many there were and what memory the firewall has of its own, and at the end what is left open and whether a ping was lost.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { storm } from "../lab/channel-storm.ts";
import { FirewallLab, firebreak } from "../lab/firewall-lab.ts";
import { SERVER } from "../lab/places.ts";

const TENTHS = 10;
/** ms for what clients have left behind to end: a trace takes a second. */
const SETTLE = 2500;

async function main(records: number, clients: number): Promise<void> {
  const lab = new FirewallLab("storm");
  try {
    lab.configure(["accept proto=icmp", "drop proto=udp dstports=9"], "accept");
    const folder = join(lab.folder, "run");
    const command = ["env", `RUNTIME_DIRECTORY=${folder}`, ...firebreak("run", "--config", lab.configFile)];
    const program = lab.firewall.start(command);
    await program.says("ready in");
    const own = async () => {
      const text = await Bun.file(`/proc/${program.pid}/smaps_rollup`).text();
      return (Number(/Anonymous:\s+(\d+) kB/.exec(text)?.[1]) / 1024).toFixed(1);
    };
    const open = () => readdirSync(`/proc/${program.pid}/fd`).length;
    const before = open();
    const ping = lab.client.start(["ping", "-i", "0.05", "-q", SERVER]);
    console.log(`before: ${await own()} MB, ${before} descriptors`);
    const began = performance.now();
    let [sent, greeted, refused] = [0, 0, 0];
    const replies = new Map<string, number>();
    for (let tenth = 1; tenth <= TENTHS; tenth++) {
      const some = await storm(join(folder, "firewall.sock"), { clients, records: records / TENTHS, seed: tenth });
      sent += some.records;
      greeted += some.greeted;
      refused += some.refused;
      for (const [kind, count] of some.replies) replies.set(kind, (replies.get(kind) ?? 0) + count);
      const seconds = ((performance.now() - began) / 1000).toFixed(0);
      await Bun.sleep(SETTLE);
      console.log(`${sent} records after ${seconds} s: ${await own()} MB, ${open()} descriptors`);
    }
    const kinds = [...replies].map(([kind, count]) => `${count} ${kind}`).join(", ");
    console.log(`${greeted} connections, ${refused} refused; replies: ${kinds}`);
    ping.signal("SIGINT");
    await ping.end();
    console.log(ping.text.trim().split("\n").slice(-2).join("\n"));
    if (program.process.exitCode !== null) throw new Error(`the firewall has ended:\n${program.text.slice(-2000)}`);
  } finally {
    await lab.close();
  }
}

await main(Number(process.argv[2] ?? 1_000_000), Number(process.argv[3] ?? 100));
