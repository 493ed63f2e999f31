// qube-uplink-client.ts: the appliance as a qube whose netvm is its client 10.137.0.7, in the namespace that it is started in,
// with doubles in place of Xen and dom0. Cables vif7.0 and vif8.0 lead to that client, vif1.0 to the client 10.137.0.9. It
// says when a step is in force, with what QubesDB has of names, and goes on to the next on SIGUSR2.
import { parseAddress } from "../../../src/base/address.ts";
import { QubeDouble, sayAndWait, until } from "../qube-double.ts";

/** As dom0 lists them: the netvm too is a client to it. */
const CONNECTED = "10.137.0.7 10.137.0.9";

function address(text: string): number {
  return parseAddress(text) ?? 0;
}

const double = new QubeDouble({ "/qubes-netvm-gateway": "10.137.0.1", "/connected-ips": CONNECTED });
const { database } = double;

function names(): string {
  const found = [...database.entries].filter(([path]) => path.startsWith("/dns/"));
  return JSON.stringify(Object.fromEntries(found));
}

/** Waits for a line of the program's own log that tells of a step, then tells the test. */
async function step(what: string, condition: () => boolean): Promise<void> {
  await until(what, condition);
  await sayAndWait(`step ${what}: ${names()}`);
}

/** Whether QubesDB tells of names, which it does as long as the client has its rules. */
function hasNames(): boolean {
  return names() !== "{}";
}

database.writeRules("10.137.0.7", ["action=accept"]); // which are of no matter: it is no client of ours
database.writeRules("10.137.0.9", ["action=accept proto=tcp dstports=80 dsthost=www.example"]);
const first = double.attach(7, "10.137.0.7");
const client = double.attach(1, "10.137.0.9");
const qube = await double.start({
  uplinkClient: address("10.137.0.7"),
  address: address("10.137.0.5"),
  dns: [address("10.137.0.7")],
  place: "firebreak.config:1: qubes",
});
await Promise.all([double.connected(first), double.connected(client)]);
await step("connected", hasNames);

double.detach(first);
await step("without uplink", () => !hasNames());

await double.connected(double.attach(8, "10.137.0.7"));
await step("connected again", hasNames);

database.write("/connected-ips", `${CONNECTED} 198.51.100.80`);
await until("what was written is read", () => database.unanswered === 0);
await step("server inside", hasNames);

database.write("/connected-ips", CONNECTED);
await step("server outside", hasNames);

console.log(`mistakes ${JSON.stringify(database.mistakes)}`);
await qube.stop();
process.exit();
