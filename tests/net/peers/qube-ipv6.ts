// qube-ipv6.ts CLIENT CLIENT6 GATEWAY GATEWAY6 US US6 NETVM NETVM6: the appliance as a qube that has both families, in the namespace that
// it is started in, with doubles in place of Xen and dom0, which do what qubesd does when the feature `ipv6` goes off and on. Its
// eth0 leads to the netvm, a cable vif1.0 to the client. It says when a step is in force, and goes on to the next on SIGUSR2.
import { formatMac } from "../../../src/base/address.ts";
import { listDevices } from "../../../src/linux/net/links.ts";
import { QubeDouble, sayAndWait, until } from "../qube-double.ts";

const [client, client6, gateway, gateway6, us, us6, netvm, netvm6] = process.argv.slice(2);

/** What dom0 writes only where the feature is on. */
const IPV6 = {
  "/qubes-netvm-gateway6": gateway6,
  "/qubes-ip6": us6,
  "/qubes-gateway6": netvm6,
};
const double = new QubeDouble({
  ...{ "/qubes-ip": us, "/qubes-gateway": netvm, "/qubes-netvm-gateway": gateway, "/connected-ips": client },
  ...{ ...IPV6, "/connected-ips6": client6 },
});
const { store, database } = double;

function handled(address: string): number {
  return Number(database.entries.get(`/qubes-firewall-handled/${address}`) ?? 0);
}

/** Dom0 writes rules of one family, and they are in force. */
async function setRules(address: string, rules: readonly string[]): Promise<void> {
  const before = handled(address);
  database.writeRules(address, rules);
  await until(`rules of ${address}`, () => handled(address) > before);
}

/** What was changed is in force: so is a change of rules behind it. */
async function step(what: string): Promise<void> {
  await setRules(client, IPV4_RULES);
  await sayAndWait(`step ${what}: ${JSON.stringify(database.entries.get("/qubes-iptables-error") ?? "")}`);
}

const IPV4_RULES = ["action=accept proto=tcp dstports=80-80"];
const IPV6_RULES = ["action=accept proto=tcp dstports=80-80", "action=accept proto=icmp"];

const uplink = listDevices().find(({ name }) => name === "eth0");
if (uplink === undefined) throw new Error("there is no eth0");
store.put("device/vif/0/mac", formatMac(uplink.mac));
store.put("device/vif/0/state", "4");
database.writeRules(client6, IPV6_RULES);
const path = double.attach(1, `${client} ${client6}`);
const qube = await double.start();
await double.connected(path);
await step("both");

await setRules(client6, []);
await step("nothing of IPv6");

await setRules(client6, ["action=accept dst4=192.0.2.1"]);
await step("nonsense of IPv6");

await setRules(client6, IPV6_RULES);
await step("both again");

for (const key of Object.keys(IPV6)) database.remove(key);
database.write("/connected-ips6", "");
store.put(`${path}/ip`, client);
await step("feature off");

for (const [key, value] of Object.entries(IPV6)) database.write(key, value);
database.write("/connected-ips6", client6);
store.put(`${path}/ip`, `${client} ${client6}`);
await step("feature on");

database.write("/qubes-ip6", "");
await step("netvm without IPv6");

console.log(`mistakes ${JSON.stringify(database.mistakes)}`);
await qube.stop();
process.exit();
