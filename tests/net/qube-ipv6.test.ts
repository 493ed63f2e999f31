// A qube with both families: the whole program with real interfaces, Linux's own IPv6 on both sides as Qubes OS sets it up, and doubles in
// place of Xen and dom0. Needs root.
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { peer } from "../../lab/firewall-lab.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { becomeClient, becomeInternet, CLIENT_GATEWAY, ROUTER, SERVER } from "../../lab/places.ts";

setDefaultTimeout(120_000);

const NETBACK_MAC = "fe:ff:ff:ff:ff:ff";
const PREFIX = "fd09:24ef:4179::a89";
const [CLIENT, CLIENT_6] = ["10.137.0.9", `${PREFIX}:9`];
const US_6 = `${PREFIX}:5`;
const NETVM_6 = `${PREFIX}:1`;
const US = "192.0.2.254";
const SERVER_6 = "2001:db8::80";

let lab: Lab;
let client: Namespace;
let firewall: Namespace;
let netvm: Namespace;

beforeEach(async () => {
  lab = new Lab("qubeipv6");
  client = lab.namespace("client");
  firewall = lab.namespace("firewall");
  netvm = lab.namespace("netvm");
  lab.cable(firewall, "vif1.0", client, "eth0");
  lab.cable(firewall, "eth0", netvm, "eth0");
  becomeClient(client, CLIENT);
  becomeInternet(netvm);
  netvm.ip("link", "set", "eth0", "address", NETBACK_MAC);
  await hasIpv6(client, CLIENT_6, US_6);
  await hasIpv6(netvm, NETVM_6, US_6);
  client.ip("-6", "route", "add", "default", "via", US_6, "dev", "eth0");
  netvm.ip("-6", "address", "add", SERVER_6, "dev", "lo", "nodad");
});

afterEach(() => lab.close());

/** What Qubes' agent does on eth0 (qubes-core-agent-linux, setup-ip), or a client's: one address, and who is beyond is known. */
async function hasIpv6(place: Namespace, address: string, beyond: string): Promise<void> {
  const on = "for name in eth0 lo; do echo 0 >/proc/sys/net/ipv6/conf/$name/disable_ipv6; done";
  await place.run(["sh", "-c", `echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ${on}`]);
  place.ip("-6", "address", "add", address, "dev", "eth0", "nodad");
  place.ip("-6", "route", "add", beyond, "dev", "eth0");
  const mac = place === client ? NETBACK_MAC : (await firewall.run(["cat", "/sys/class/net/eth0/address"])).trim();
  place.ip("neighbour", "replace", "to", beyond, "dev", "eth0", "lladdr", mac, "nud", "permanent");
}

/** What becomes of a client's attempts by IPv6: an exchange by HTTP, another at a port that rules do not accept, and a ping. */
async function attempts(): Promise<string[]> {
  const fetch = async (host: string, port: number) => {
    const { stdout, stderr } = await client.attempt([
      "curl",
      "-s",
      "-S",
      "-g",
      "-m",
      "2",
      `http://${host}:${port}/GPL-3`,
    ]);
    if (stdout.includes("GNU GENERAL PUBLIC LICENSE")) return "served";
    return stderr.includes("timed out") ? "silence" : "refused";
  };
  const ping = await client.attempt(["ping", "-6", "-c", "1", "-W", "2", SERVER_6]);
  const pinged = ping.status === 0 ? "served" : /prohibited/i.test(ping.stdout) ? "refused" : "silence";
  const six = [await fetch(`[${SERVER_6}]`, 80), await fetch(`[${SERVER_6}]`, 81), pinged];
  expect([await fetch(SERVER, 80), await fetch(SERVER, 81)]).toEqual(["served", "refused"]); // IPv4 is as it was, whatever becomes of IPv6
  return six;
}

const STEPS: [step: string, six: string[], problem: RegExp][] = [
  ["both", ["served", "refused", "served"], /^$/],
  ["nothing of IPv6", ["refused", "refused", "refused"], /^$/],
  ["nonsense of IPv6", ["refused", "refused", "refused"], /^client fd09:24ef:4179::a89:9: rule 0000: dst4 is not for/],
  ["both again", ["served", "refused", "served"], /^$/],
  ["feature off", ["silence", "silence", "silence"], /^$/],
  ["feature on", ["served", "refused", "served"], /^$/],
  ["netvm without IPv6", ["refused", "refused", "refused"], /^$/],
];

test("serves a client by both, by rules of its own for each, and follows the feature off and on", async () => {
  for (const address of [SERVER, `[${SERVER_6}]`]) {
    for (const port of [80, 81]) {
      netvm.start(["busybox", "httpd", "-f", "-p", `${address}:${port}`, "-h", "/usr/share/common-licenses"]);
    }
  }
  const program = firewall.start(peer("qube-ipv6", CLIENT, CLIENT_6, CLIENT_GATEWAY, US_6, US, US_6, ROUTER, NETVM_6));
  for (const [step, six, problem] of STEPS) {
    await program.says(new RegExp(`step ${step}: .*\n`));
    const [, said = ""] = new RegExp(`step ${step}: (.*)\n`).exec(program.text) ?? [];
    expect([step, await attempts()]).toEqual([step, six]);
    expect(JSON.parse(said)).toMatch(problem);
    program.signal("SIGUSR2");
  }
  expect(await program.end()).toBe(0);
  expect(program.text).toContain(`uplink eth0 ${US} through ${ROUTER}, ${US_6} through ${NETVM_6}\n`);
  expect(program.text).toContain(`clients: ${CLIENT} and ${CLIENT_6} on vif1.0\n`);
  expect(program.text).toContain("mistakes []\n");
});
