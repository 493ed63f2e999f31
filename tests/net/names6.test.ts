// Host names in rules of clients that have IPv6, with a real name server that is asked over IPv6 alone, and real clients: what the names
// resolve to can be fetched from, and nothing else can.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GUEST_GATEWAY6, GUEST_HOST6, Ipv6Lab, OUTSIDE6, ROUTER6, SERVER6 } from "../../lab/ipv6-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { serveDns } from "../../lab/places.ts";

setDefaultTimeout(60_000);

const home = new Ipv6Lab("names6");
const { lab, guest, internet } = home;
const www = join(lab.folder, "www");
const hostsFile = join(lab.folder, "hosts");
let dns: Program;

/** The server's n-th address. */
function server(n: number): string {
  return `2001:db8:ffff::${n.toString(16)}`;
}

/** From the 100th on. */
function servers(number: number): string[] {
  return Array.from({ length: number }, (_, i) => server(100 + i));
}

const hosts = new Map<string, readonly string[]>([
  ["one", [server(200)]],
  ["both", [server(201), "198.51.100.7"]],
  ["more", servers(80)],
  ["moving", [server(202)]],
  ["apart", [server(203)]],
]);

function writeHosts(): void {
  const lines = Array.from(hosts, ([name, addresses]) => addresses.map((address) => `${address} ${name}.example\n`));
  writeFileSync(hostsFile, lines.flat().join(""));
}

function configure(...rules: readonly string[]): void {
  const lines = rules.map((rule) => `  "action=${rule}",\n`);
  lab.writeConfig(`[uplink]
interface = "eth1"
address = "192.0.2.254/24"
gateway = "192.0.2.1"
address6 = "${OUTSIDE6}/64"
gateway6 = "${ROUTER6}"
dns = ["${SERVER6}"]

[[client]]
name = "guest"
interface = "eth2"
address = "10.137.0.10"
gateway = "10.137.0.1"
address6 = "${GUEST_HOST6}"
gateway6 = "${GUEST_GATEWAY6}"
rules = [
${lines.join("")}]
`);
}

async function use(...rules: readonly string[]): Promise<void> {
  configure(...rules);
  await lab.reload();
}

function accepting(...names: readonly string[]): string[] {
  return ["accept specialtarget=dns", ...names.map((name) => `accept dsthost=${name}.example proto=tcp dstports=80`)];
}

/** @returns those of the addresses that the guest can fetch from without looking anything up */
async function reachable(addresses: readonly string[]): Promise<string[]> {
  const script = `for a; do curl -6 -g -s --connect-timeout 3 -o /dev/null "http://[$a]/" && echo $a; done; true`;
  return (await guest.run(["sh", "-c", script, "sh", ...addresses])).split("\n").filter(Boolean);
}

/** Waits until exactly these of the server's addresses can be fetched from. */
async function expectReachable(addresses: readonly string[], of: readonly string[]): Promise<void> {
  const deadline = performance.now() + 60_000;
  let found = await reachable(of);
  while (found.join() !== addresses.join() && performance.now() < deadline) {
    await Bun.sleep(100);
    found = await reachable(of);
  }
  expect(found).toEqual([...addresses]);
}

beforeAll(async () => {
  mkdirSync(www);
  writeFileSync(join(www, "index.html"), "fetched\n");
  writeHosts();
  configure(...accepting());
  await home.settle();
  for (let n = 100; n < 210; n++) internet.ip("-6", "address", "add", `${server(n)}/128`, "dev", "lo");
  internet.start(["busybox", "httpd", "-f", "-p", "[::]:80", "-h", www]);
  dns = await serveDns(
    internet,
    "--user=root", // may read the folder of the test
    ...[`--addn-hosts=${hostsFile}`, "--local=/example/", "--local-ttl=1"],
    ...[`--listen-address=${SERVER6}`, "--bind-interfaces"],
  );
  await dns.says(`read ${hostsFile}`);
  await home.start();
});

afterAll(() => home.close());

describe("asked over IPv6 alone, a name server makes known", () => {
  test("the IPv6 address of a name that has one, and no other can be fetched from", async () => {
    await use(...accepting("one"));
    await expectReachable([server(200)], [server(199), server(200), server(201)]);
  });

  test("that of a name with addresses of both families", async () => {
    await use(...accepting("both"));
    await expectReachable([server(201)], [server(200), server(201)]);
  });

  test("eighty, which a datagram does not hold: they come over TCP", async () => {
    const said = lab.program.text.length;
    await use(...accepting("more"));
    await expectReachable(servers(80), [...servers(80), server(180)]);
    expect(lab.program.text.slice(said)).not.toContain("more IPv6 addresses");
  });

  test("that there is none, which is said", async () => {
    const said = lab.program.text.length;
    await use(...accepting("late", "one"));
    await lab.program.says('name "late.example" does not resolve to IPv6 addresses, its rules match nothing', said);
    await expectReachable([server(200)], [server(200), server(204)]);
  });
});

test("a rule that drops a name refuses its IPv6 address alone, and every one while no name server answers", async () => {
  await use("drop dsthost=one.example", "accept");
  expect(await reachable([server(200), server(201)])).toEqual([server(201)]);
  const said = lab.program.text.length;
  dns.signal("SIGSTOP");
  try {
    await use("drop dsthost=apart.example proto=tcp", "accept");
    await lab.program.says('name "apart.example" does not resolve to IPv6 addresses, until it does', said);
    expect(await reachable([server(200), server(203)])).toEqual([]);
  } finally {
    dns.signal("SIGCONT");
  }
  await lab.program.says('name "apart.example" resolves to IPv6 addresses now', said);
  await expectReachable([server(200)], [server(200), server(203)]);
});

test("a client that looks a name up itself, over IPv6, can fetch from what it is told, at once", async () => {
  await use(...accepting("moving"));
  await expectReachable([server(202)], [server(202), server(205)]);
  const read = dns.text.length;
  hosts.set("moving", [server(205)]);
  writeHosts();
  dns.signal("SIGHUP");
  await dns.says(`read ${hostsFile}`, read);
  const resolvConf = join(lab.folder, "resolv.conf");
  writeFileSync(resolvConf, `nameserver ${SERVER6}\n`);
  const script = `mount --bind ${resolvConf} /etc/resolv.conf && exec curl -6 -sS --connect-timeout 3 http://moving.example/`;
  expect((await guest.attempt(["sh", "-c", script])).stdout).toBe("fetched\n");
});
