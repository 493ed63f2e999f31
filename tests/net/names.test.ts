// Host names in rules, with a real name server and real clients: what the names resolve to can be fetched from, whatever they
// are like, and nothing else can.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, peer } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { ROUTER, serveDns } from "../../lab/places.ts";

/** Where the lying name server is. */
const LIAR = "192.0.2.53";
const CONTENT = "fetched\n";

setDefaultTimeout(30_000);

const lab = new FirewallLab("names");
const www = join(lab.folder, "www");
const hostsFile = join(lab.folder, "hosts");
let dns: Program;

/** The server's n-th address. */
function server(n: number): string {
  return `198.51.100.${n}`;
}

/** The first addresses of the server. */
function servers(number: number): string[] {
  return Array.from({ length: number }, (_, i) => server(i + 1));
}

const hosts = new Map<string, readonly string[]>([
  ["one", [server(101)]],
  ["eight", servers(8)],
  ["thirty", servers(30)],
  ["more", servers(100)],
  ["moving", [server(1)]],
  ["apart", [server(110)]],
]);

function writeHosts(): void {
  const lines = Array.from(hosts, ([name, addresses]) => addresses.map((address) => `${address} ${name}.example\n`));
  writeFileSync(hostsFile, lines.flat().join(""));
}

/** Has the name server know other addresses of a name. */
async function changeHost(name: string, ...addresses: readonly string[]): Promise<void> {
  const said = dns.text.length;
  hosts.set(name, addresses);
  writeHosts();
  dns.signal("SIGHUP");
  await dns.says(`read ${hostsFile}`, said);
}

/** A chain of aliases to one.example: `links3` is one of three. */
function aliases(length: number): string[] {
  const names = Array.from({ length }, (_, i) => `links${length - i}.example`);
  return names.map((name, i) => `--cname=${name},${names[i + 1] ?? "one.example"}`);
}

beforeAll(async () => {
  mkdirSync(www);
  writeFileSync(join(www, "index.html"), CONTENT);
  for (let n = 1; n <= 120; n++) if (n !== 80) lab.internet.ip("address", "add", server(n), "dev", "lo");
  lab.internet.ip("address", "add", `${LIAR}/24`, "dev", "eth0");
  lab.internet.start(["busybox", "httpd", "-f", "-p", "80", "-h", www]);
  writeHosts();
  const size = "--edns-packet-max=4096";
  dns = await serveDns(
    lab.internet,
    "--user=root", // may read the folder of the test
    ...[`--addn-hosts=${hostsFile}`, "--local=/example/", "--local-ttl=1", size],
    ...["--cname=alias.example,eight.example", ...aliases(9), `--listen-address=${ROUTER}`, "--bind-interfaces"],
  );
  await dns.says(`read ${hostsFile}`);
  configureNames([]);
  await lab.start();
});

afterAll(() => lab.close());

/** @returns what a client gets that looks the name up itself, "" where it is refused */
async function fetchByName(name: string, nameServer = ROUTER): Promise<string> {
  const resolvConf = join(lab.folder, "resolv.conf");
  writeFileSync(resolvConf, `nameserver ${nameServer}\n`);
  const script = `mount --bind ${resolvConf} /etc/resolv.conf && exec curl -sS --connect-timeout 3 http://${name}.example/`;
  return (await lab.client.attempt(["sh", "-c", script])).stdout;
}

/** @returns those of the addresses that a client can fetch from without looking anything up */
async function reachable(addresses: readonly string[]): Promise<string[]> {
  const script = `for address; do curl -s --connect-timeout 3 -o /dev/null http://$address/ && echo $address; done; true`;
  return (await lab.client.run(["sh", "-c", script, "sh", ...addresses])).split("\n").filter(Boolean);
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

function configureNames(names: readonly string[]): void {
  const rules = names.map((name) => `accept dsthost=${name}.example proto=tcp dstports=80`);
  lab.configure(["accept specialtarget=dns", ...rules]);
}

/** Puts rules about some names in force; what was known of others is forgotten. */
async function useNames(...names: readonly string[]): Promise<void> {
  configureNames(names);
  await lab.reload();
}

describe("without the client looking anything up, it can fetch from", () => {
  test("the address of a name that has one, and from no other, nor from another port", async () => {
    await useNames("one");
    await expectReachable([server(101)], [server(100), server(101), server(102)]);
    const script = `curl -sS --connect-timeout 3 http://${server(101)}:81/`;
    const { status, stderr } = await lab.client.attempt(["sh", "-c", script]);
    expect(status).toBe(7);
    expect(stderr).toContain("Could");
  });

  test("all of eight", async () => {
    await useNames("eight");
    await expectReachable(servers(8), servers(10));
  });

  test("all of thirty, which need more than 512 bytes", async () => {
    await useNames("thirty");
    await expectReachable(servers(30), servers(32));
  });

  test("all of a hundred, which a datagram does not hold: they come over TCP", async () => {
    const said = lab.program.text.length;
    await useNames("more");
    await expectReachable(servers(100), servers(102));
    expect(lab.program.text.slice(said)).not.toContain("more addresses");
  });

  test("what an alias leads to, over eight links, but not over nine", async () => {
    await useNames("alias");
    await expectReachable(servers(8), servers(10));
    await useNames("links8");
    await expectReachable([server(101)], [server(101), server(102)]);
    const said = lab.program.text.length;
    await useNames("links9");
    await lab.program.says('name "links9.example" does not resolve', said);
    expect(lab.program.text.slice(said)).toContain(`${ROUTER}: its aliases (CNAME) go in circles, or on and on`);
    expect(await reachable([server(101)])).toEqual([]);
  });

  test("a name that there is only later, while the other rules hold all the time", async () => {
    const said = lab.program.text.length;
    await useNames("late", "one");
    await lab.program.says('name "late.example" does not resolve, its rules match nothing until it does: there', said);
    await expectReachable([server(101)], [server(101), server(102)]);
    await changeHost("late", server(102));
    await lab.program.says('name "late.example" resolves now', said);
    await expectReachable([server(101), server(102)], [server(101), server(102)]);
  });

  test("no address of a name that no rule has any more", async () => {
    await useNames("one");
    await expectReachable([server(101)], [server(101), server(102)]);
  });
});

describe("a rule that drops a name", () => {
  async function drop(name: string): Promise<void> {
    lab.configure([`drop dsthost=${name}.example proto=tcp dstports=80`, "accept"]);
    await lab.reload();
  }

  test("refuses its address, and no other", async () => {
    await drop("one");
    expect(await reachable([server(101), server(102)])).toEqual([server(102)]);
  });

  test("refuses every address while no name server says which ones are meant, but by other protocols", async () => {
    const said = lab.program.text.length;
    dns.signal("SIGSTOP");
    try {
      await drop("apart");
      await lab.program.says('name "apart.example" does not resolve, until it does', said);
      expect(lab.program.text.slice(said)).toContain("rules that drop it any address: ");
      expect(await reachable([server(101), server(110)])).toEqual([]);
      expect(await lab.client.run(["ping", "-c", "1", "-W", "3", server(101)])).toContain(" 1 received");
    } finally {
      dns.signal("SIGCONT");
    }
    await lab.program.says('name "apart.example" resolves now', said);
    await expectReachable([server(101)], [server(101), server(110)]);
  });
});

describe("a client that looks names up itself", () => {
  test("fetches by name, over an alias too, and is refused where no rule has the name", async () => {
    await useNames("one", "alias");
    expect(await fetchByName("one")).toBe(CONTENT);
    expect(await fetchByName("alias")).toBe(CONTENT);
    expect(await fetchByName("apart")).toBe(""); // of other names some addresses are allowed, and curl tries them all
  });

  test("fetches from a name with a TTL of 1 s right after each of its moves", async () => {
    await useNames("moving");
    for (let n = 1; n <= 20; n++) {
      await changeHost("moving", server(n));
      expect(`${n} ${await fetchByName("moving")}`).toBe(`${n} ${CONTENT}`);
    }
  });

  test("may still use the addresses that it had before the move", async () => {
    expect(await reachable(servers(21))).toEqual(servers(20));
  });
});

describe("a name server of our own making", () => {
  async function useLiar(...names: readonly string[]): Promise<void> {
    await useNames(); // with another server, so that nothing is remembered of this one
    configureNames(names);
    const text = await Bun.file(lab.configFile).text();
    lab.writeConfig(text.replace(`dns = ["${ROUTER}"]`, `dns = ["${LIAR}"]`));
    await lab.reload();
  }

  beforeAll(() => lab.internet.start(peer("name-server", LIAR)).says("listening"));

  test.each([
    ["tells the truth", "true"],
    ["repeats the question in other capitals", "capitals"],
    ["repeats the question in small letters", "small"],
    ["says nothing to EDNS", "silent"],
    ["says FORMERR to EDNS", "formerr"],
    ["says SERVFAIL to EDNS", "servfail"],
    ["says NOTIMP to EDNS", "notimp"],
    ["truncates its answers, which come over TCP in pieces", "truncated"],
    ["truncates its answers and does not answer over TCP", "deaf"],
    ["appends bytes to its answers", "bytes"],
    ["takes 2.5 s", "slow"],
    ["does not get each second question", "lost"],
    ["has names in its chain that are no host names", "odd"],
  ])("that %s is believed", async (_, name) => {
    await useLiar(name);
    await expectReachable([server(99)], [server(99), server(100)]);
  });

  test.each([
    ["to another question", "question", "its answer is not accepted: it repeats another question"],
    ["with another number", "number", "no answer in 5000 ms"], // it may come from anybody, and is not even looked at
  ])("that answers %s is not", async (_, name, reason) => {
    const said = lab.program.text.length;
    await useLiar(name);
    await lab.program.says(`name "${name}.example" does not resolve`, said);
    expect(lab.program.text.slice(said)).toContain(`${LIAR}: ${reason}`);
    expect(await reachable([server(99)])).toEqual([]);
  });

  test("whose answers to a client are not those to us does not open a way for that client", async () => {
    await useLiar("forged");
    await expectReachable([server(99)], [server(98), server(99)]);
    expect(await fetchByName("forged", LIAR)).toBe("");
    expect(await reachable([server(98), server(99)])).toEqual([server(99)]);
    expect((await lab.state()).frames.get("held until the rules know its names")).toBeGreaterThan(0);
  });

  test("that gives out one address of thirty at a time (round robin): each fetch by name succeeds", async () => {
    await useLiar("rotate");
    const results: string[] = [];
    for (let i = 0; i < 40; i++) results.push(await fetchByName("rotate", LIAR));
    expect(results).toEqual(results.map(() => CONTENT));
  });
});
