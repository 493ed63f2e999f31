// The whole program of a qube with real interfaces, and doubles in place of Xen and dom0: clients come and go by hundreds.
// Needs root.
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { becomeClient, becomeInternet, SERVER, serveHttp } from "../../lab/places.ts";

setDefaultTimeout(240_000);

const CYCLES = 200;
/** Datagrams through the client that stays, and how many a second. */
const PACKETS = 4000;
const RATE = 400;

let lab: Lab;
let client: Namespace;
let firewall: Namespace;
let internet: Namespace;

beforeEach(() => {
  lab = new Lab("qube");
  client = lab.namespace("client");
  firewall = lab.namespace("firewall");
  internet = lab.namespace("internet");
  lab.cable(firewall, "vif1.0", client, "eth0");
  lab.cable(firewall, "eth0", internet, "eth0");
  becomeClient(client, "10.137.0.9");
  becomeInternet(internet);
});

afterEach(() => lab.close());

test(`${CYCLES} clients come and go: one that stays is served, and nothing is left behind`, async () => {
  const program = firewall.start(peer("qube", CYCLES));
  await program.says("the client has its interface");
  serveHttp(internet, "/usr/share/common-licenses");
  const fetch = (port: number, ...options: readonly string[]) =>
    client.attempt(["curl", "-s", "-S", "-m", "5", ...options, `http://${SERVER}:${port}/GPL-3`]);
  const untilServed = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"];
  expect((await fetch(80, ...untilServed)).stdout).toContain("GNU GENERAL PUBLIC LICENSE");
  expect((await fetch(81)).status).not.toBe(0);
  program.signal("SIGUSR2");
  const said = () => /holdings (.*)\n/.exec(program.text)?.[1];
  const counter = internet.start(peer("udp-count", SERVER, 5000));
  await counter.says("listening");
  const stream = client.start(peer("udp-stream", SERVER, 5000, PACKETS, RATE));
  await stream.says("sent", 0, 60_000);
  expect(said()).toBeUndefined(); // clients came and went all the time
  counter.signal("SIGTERM");
  await counter.says("received");
  const { received, repeated, overrun } = JSON.parse(counter.text.split("\n")[1] ?? "");
  expect({ received: received + overrun, repeated }).toEqual({ received: PACKETS, repeated: 0 });
  await program.says("holdings", 0, 200_000);
  program.signal("SIGUSR2");
  expect(await program.end()).toBe(0);
  const text = said() ?? "";
  const { before, after, mistakes } = JSON.parse(text);
  console.log(`a qube after ${CYCLES} clients: ${text}`);
  expect(mistakes).toEqual([]);
  expect({ ...after, memory: 0 }).toEqual({ ...before, memory: 0 });
  // MiB: compiled code and the collector's slack come to some 6, so 80 KiB kept of each client is what this would find.
  expect(after.memory - before.memory).toBeLessThanOrEqual(16);
});
