// A qube whose netvm is its client: the whole program with real interfaces, and doubles in place of Xen and dom0. Needs root.
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab, type Namespace, type Program } from "../../lab/namespaces.ts";
import { becomeClient, CLIENT_GATEWAY, SERVER, serveDns, serveHttp } from "../../lab/places.ts";

setDefaultTimeout(60_000);

let lab: Lab;
let client: Namespace;
let firewall: Namespace;
let netvm: Namespace;

beforeEach(() => {
  lab = new Lab("uplinkclient");
  client = lab.namespace("client");
  firewall = lab.namespace("firewall");
  netvm = lab.namespace("netvm");
  lab.cable(firewall, "vif1.0", client, "eth0");
  lab.cable(firewall, "vif7.0", netvm, "eth7");
  lab.cable(firewall, "vif8.0", netvm, "eth8");
  becomeClient(client, "10.137.0.9");
  netvm.ip("address", "add", SERVER, "dev", "lo");
  netvm.ip("address", "add", "10.137.0.7", "dev", "lo");
});

afterEach(() => lab.close());

/** The netvm reaches the firewall by this interface, as a host with a route to it alone does. */
function reachBy(name: string): void {
  netvm.ip("route", "replace", "10.137.0.5", "dev", name, "src", "10.137.0.7");
}

async function fetched(): Promise<string> {
  const url = `http://${SERVER}/GPL-3`;
  const { stdout, stderr } = await client.attempt(["curl", "-s", "-S", "-m", "3", "--retry", "0", url]);
  return stdout.includes("GNU GENERAL PUBLIC LICENSE") ? "fetched" : stderr.replace(/ after [0-9]+ m.*/, "").trim();
}

/** Fetches until that comes to what is expected, as it does once what was written is in force. @returns the last outcome */
async function fetchedAtLast(expected: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await fetched();
    if (attempt === 5 || outcome.startsWith(expected)) return outcome;
  }
}

/** What the program says of names once the step is in force. */
async function names(program: Program, step: string): Promise<unknown> {
  await program.says(new RegExp(`step ${step}: .*\n`));
  return JSON.parse(new RegExp(`step ${step}: (.*)\n`).exec(program.text)?.[1] ?? "");
}

test("serves its clients through it, waits while it is away, and heeds dom0's list of connected clients", async () => {
  reachBy("eth7");
  await serveDns(netvm);
  serveHttp(netvm, "/usr/share/common-licenses");
  const program = firewall.start(peer("qube-uplink-client"));
  const known = { "/dns/10.137.0.9/www.example": `{'${SERVER}/32'}` };

  expect(await names(program, "connected")).toEqual(known);
  expect(program.text).toContain("uplink vif7.0 10.137.0.5 through 10.137.0.7\n");
  expect(program.text).toContain("clients: 10.137.0.9 on vif1.0\n");
  expect(await fetched()).toBe("fetched");

  program.signal("SIGUSR2");
  expect(await names(program, "without uplink")).toEqual({});
  expect(await fetched()).toStartWith("curl: (7) Failed to connect"); // told at once that it is prohibited
  await client.run(["ping", "-c", "1", "-W", "5", CLIENT_GATEWAY]);

  reachBy("eth8");
  program.signal("SIGUSR2");
  expect(await names(program, "connected again")).toEqual(known);
  expect(await fetched()).toBe("fetched");

  program.signal("SIGUSR2");
  await names(program, "server inside");
  expect(await fetchedAtLast("curl: (28)")).toBe("curl: (28) Connection timed out");

  program.signal("SIGUSR2");
  await names(program, "server outside");
  expect(await fetchedAtLast("fetched")).toBe("fetched");
  program.signal("SIGUSR2");
  expect(await program.end()).toBe(0);
  expect(program.text).toContain("mistakes []\n");
});
