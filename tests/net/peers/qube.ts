// qube.ts CYCLES: the appliance as a qube, in the namespace that it is started in, with doubles in place of Xen and dom0. Its
// eth0 leads to the netvm; a cable vif1.0 to the client 10.137.0.9 is there. On SIGUSR2 other clients come and go, one after
// the other, and then it says what was there before and after; on the next it ends.
import { readdirSync, readFileSync } from "node:fs";
import { formatMac } from "../../../src/base/address.ts";
import { listDevices } from "../../../src/linux/net/links.ts";
import { QubeDouble, sayAndWait, until } from "../qube-double.ts";

/** What a run of cycles must leave as it was. */
interface Holdings {
  readonly descriptors: number;
  readonly watches: number;
  readonly interfaces: number;
  /** MiB of memory that is the program's alone. */
  readonly memory: number;
}

const [cycles = "1"] = process.argv.slice(2);
const double = new QubeDouble({
  "/qubes-ip": "192.0.2.254",
  "/qubes-gateway": "192.0.2.1",
  "/qubes-netvm-gateway": "10.137.0.1",
  "/connected-ips": "10.137.0.9 10.137.0.10",
});
const { store, database } = double;

function holdings(): Holdings {
  Bun.gc(true);
  const [, memory = "0"] = /^RssAnon:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return {
    descriptors: readdirSync("/proc/self/fd").length,
    watches: store.watched,
    interfaces: listDevices().length,
    memory: Math.round(Number(memory) / 1024),
  };
}

/** What it holds once it has put in force what was changed last: so often as a second has time for, and no more. */
async function holdingsAtRest(): Promise<Holdings> {
  for (let before = holdings(); ; ) {
    await Bun.sleep(500);
    const now = holdings();
    if (now.descriptors === before.descriptors && now.interfaces === before.interfaces) return now;
    before = now;
  }
}

function ip(...args: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["ip", ...args], { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
}

/** A client comes, gets its rules, and goes. */
async function cycle(domain: number): Promise<void> {
  const name = `vif${domain}.0`;
  ip("link", "add", name, "type", "veth", "peer", "name", "peer");
  ip("link", "set", "peer", "up");
  database.writeRules("10.137.0.10", [`action=accept proto=tcp dstports=${domain}`]);
  const path = double.attach(domain, "10.137.0.10");
  await double.connected(path);
  double.detach(path, () => ip("link", "delete", name));
  await until(`${path} cleared away`, () => store.get(`${path}/state`) === undefined);
}

const uplink = listDevices().find(({ name }) => name === "eth0");
if (uplink === undefined) throw new Error("there is no eth0");
store.put("device/vif/0/mac", formatMac(uplink.mac));
store.put("device/vif/0/state", "4");
database.writeRules("10.137.0.9", ["action=accept proto=tcp dstports=80", "action=accept proto=udp"]);
const client = double.attach(1, "10.137.0.9");

const qube = await double.start();
await double.connected(client);
await sayAndWait("the client has its interface");
for (let i = 0; i < 50; i++) await cycle(100 + i); // what grows once has grown
const before = await holdingsAtRest();
for (let i = 0; i < Number(cycles); i++) await cycle(1000 + i);
const after = await holdingsAtRest();
await sayAndWait(`holdings ${JSON.stringify({ before, after, mistakes: database.mistakes })}`);
await qube.stop();
process.exit();
