// qube.ts CYCLES: the appliance as a qube, in the namespace that it is started in, with doubles in place of Xen and dom0. Its
// eth0 leads to the netvm; a cable vif1.0 to the client 10.137.0.9 is there. On SIGUSR2 other clients come and go, one after
// the other, and then it says what was there before and after; on the next it ends.
import { readdirSync, readFileSync } from "node:fs";
import { formatMac } from "../../../src/control/address.ts";
import { listDevices } from "../../../src/linux/interfaces.ts";
import { Qube } from "../../../src/qubes/qube.ts";
import { QUBESDB_PORT } from "../../../src/qubes/qubesdb-wire.ts";
import { XenStore } from "../../../src/qubes/xenstore.ts";
import { QubesDbDouble } from "../../support/qubesdb-double.ts";
import { Switchboard } from "../../support/vchans.ts";
import { XenStoreDouble } from "../../support/xenstore-double.ts";

/** What a run of cycles must leave as it was. */
interface Holdings {
  readonly descriptors: number;
  readonly watches: number;
  readonly interfaces: number;
  /** MiB of memory that is the program's alone. */
  readonly memory: number;
}

const [cycles = "1"] = process.argv.slice(2);
const store = new XenStoreDouble();
const database = new QubesDbDouble({
  "/qubes-ip": "192.0.2.254",
  "/qubes-gateway": "192.0.2.1",
  "/qubes-netvm-gateway": "10.137.0.1",
});
const board = new Switchboard();

function fail(error: unknown): never {
  throw error;
}

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

function ip(...args: readonly string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["ip", ...args], { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
}

function asked(): Promise<void> {
  return new Promise((resolve) => process.once("SIGUSR2", () => resolve()));
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what} did not come about`);
    await Bun.sleep(2);
  }
}

/** What libxl and netback write when a client's interface has come. @returns its directory */
function attach(domain: number, address: string): string {
  const path = `backend/vif/${domain}/0`;
  for (const [key, value] of Object.entries({ ip: address, online: "1", "hotplug-status": "", state: "2" })) {
    store.put(`${path}/${key}`, value);
  }
  return path;
}

/** A client comes, gets its rules, and goes. */
async function cycle(domain: number): Promise<void> {
  const name = `vif${domain}.0`;
  ip("link", "add", name, "type", "veth", "peer", "name", "peer");
  ip("link", "set", "peer", "up");
  database.writeRules("10.137.0.10", [`action=accept proto=tcp dstports=${domain}`]);
  const path = attach(domain, "10.137.0.10");
  await until(`${name} announced`, () => store.get(`${path}/hotplug-status`) === "connected");
  store.put(`${path}/state`, "4");
  store.put(`${path}/online`, "0");
  store.put(`${path}/state`, "5");
  ip("link", "delete", name);
  store.put(`${path}/state`, "6");
  await until(`${path} cleared away`, () => store.get(`${path}/state`) === undefined);
}

const uplink = listDevices().find(({ name }) => name === "eth0");
if (uplink === undefined) throw new Error("there is no eth0");
store.put("device/vif/0/mac", formatMac(uplink.mac));
store.put("device/vif/0/state", "4");
database.writeRules("10.137.0.9", ["action=accept proto=tcp dstports=80", "action=accept proto=udp"]);
const client = attach(1, "10.137.0.9");

const qube = new Qube(
  {
    store: new XenStore(store.connect, fail),
    connect: (_, port, handler) => board.connect(port, handler),
    serve: (_, port, handler) => board.serve(port, handler),
    close: async () => {},
  },
  fail,
);
const handler = database.handler();
void board.serve(QUBESDB_PORT, handler).then((stream) => database.attach(stream));
await qube.start();
await until("the client announced", () => store.get(`${client}/hotplug-status`) === "connected");
store.put(`${client}/state`, "4");
console.log("the client has its interface");

await asked();
for (let i = 0; i < 50; i++) await cycle(100 + i); // what grows once has grown
const before = holdings();
for (let i = 0; i < Number(cycles); i++) await cycle(1000 + i);
const after = holdings();
console.log(`holdings ${JSON.stringify({ before, after, mistakes: database.mistakes })}`);
await asked();
await qube.stop();
process.exit();
