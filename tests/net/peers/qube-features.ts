// qube-features.ts: the appliance as a qube, in the namespace that it is started in, with doubles in place of Xen and dom0. Its eth0
// leads to the netvm, cables vif1.0 and vif2.0 to the clients 10.137.0.9 and 10.137.0.10. On each SIGUSR2 dom0's user says something
// else by qvm-features; it says when the program has read that, with what the program tells dom0 of it.
import { formatMac } from "../../../src/base/address.ts";
import { listDevices } from "../../../src/linux/net/links.ts";
import { QubeDouble, sayAndWait, until } from "../qube-double.ts";

const ROOT = "/vm-config/firebreak-";
const double = new QubeDouble({
  "/qubes-ip": "192.0.2.254",
  "/qubes-gateway": "192.0.2.1",
  "/qubes-netvm-gateway": "10.137.0.1",
  "/connected-ips": "10.137.0.9 10.137.0.10",
});
const { store, database } = double;

async function step(what: string, ...changes: readonly (readonly [name: string, value: string | undefined])[]) {
  for (const [name, value] of changes) {
    if (value === undefined) database.remove(ROOT + name);
    else database.write(ROOT + name, value);
  }
  await until(`${what} is read`, () => database.unanswered === 0);
  await sayAndWait(`step ${what}`);
  console.log(`told after ${what}: ${JSON.stringify(database.entries.get("/qubes-iptables-error"))}`);
}

const uplink = listDevices().find(({ name }) => name === "eth0");
if (uplink === undefined) throw new Error("there is no eth0");
store.put("device/vif/0/mac", formatMac(uplink.mac));
store.put("device/vif/0/state", "4");
database.writeRules("10.137.0.9", ["action=accept proto=icmp"]);
database.writeRules("10.137.0.10", ["action=accept"]);
const clients = [double.attach(1, "10.137.0.9"), double.attach(2, "10.137.0.10")];

const qube = await double.start();
for (const client of clients) await double.connected(client);
await step("nothing");
await step(
  "all",
  ["forwards", "tcp:8080>10.137.0.9:80"],
  ["reach", "10.137.0.9>10.137.0.10"],
  ["refuse", "drop"],
  ["log", "10.137.0.9"],
);
await step("mistakes", ["forwards", "tcp:8080 10.137.0.9"], ["refuse", "reset"]);
await step("none", ["forwards", undefined], ["reach", undefined], ["refuse", undefined], ["log", undefined]);
console.log(`mistakes ${JSON.stringify(database.mistakes)}`);
await qube.stop();
process.exit();
