// Interfaces that change while the firewall runs: they go and are made anew, come late, get another MTU or MAC address, lose
// their link, flap. Nobody reloads anything.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { FirewallLab, firebreak, peer } from "../../lab/firewall-lab.ts";
import type { Namespace, Program } from "../../lab/namespaces.ts";
import { becomeClient, CLIENT_GATEWAY, ROUTER, SERVER } from "../../lab/places.ts";

const PORT = 9;
const ENDLESS = 1_000_000;
const RATE = 500;
const OUR_OTHER_MAC = "02:00:00:00:0a:0b";

let lab: FirewallLab;

beforeEach(async () => {
  lab = new FirewallLab("interfaces");
  lab.configure([], "accept");
});

afterEach(() => lab.close());

async function pings(from = lab.client, ...options: readonly string[]): Promise<boolean> {
  return (await from.attempt(["ping", "-c", "1", "-W", "1", ...options, SERVER])).status === 0;
}

/** Waits until pings come back, a few times a second. */
async function untilPings(from = lab.client): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await from.attempt(["ping", "-c", "1", "-W", "0.2", SERVER]).then(({ status }) => status === 0))) {
    if (performance.now() > deadline) throw new Error(`no ping comes back:\n${lab.program.text}`);
  }
}

/** @returns what the firewall says from now on, once it has said `pattern` */
async function said(pattern: string | RegExp, act: () => void): Promise<string> {
  const from = lab.program.text.length;
  act();
  await lab.program.says(pattern, from);
  return lab.program.text.slice(from);
}

/** Waits until the firewall has forwarded so many more frames. */
async function forwards(more: number): Promise<void> {
  const forwarded = async () => (await lab.state()).frames.get("forwarded") ?? 0;
  for (const end = (await forwarded()) + more; (await forwarded()) < end; ) await Bun.sleep(20);
}

/** A cable in place of one whose end at the firewall is gone: the other end has its MAC address and addresses again. */
function recable(name: string, other: Namespace, become: () => void): void {
  lab.cable(lab.firewall, name, other, "eth0");
  become();
}

function becomeRouter(): void {
  lab.internet.ip("address", "add", `${ROUTER}/24`, "dev", "eth0");
}

/** @returns how many lines of the log say something, without the time in front */
function count(text: string, line: string): number {
  return text.split("\n").filter((said) => said.endsWith(`] ${line}`)).length;
}

test("an uplink that is deleted and made anew is taken again, and the flows through it go on", async () => {
  await lab.start();
  const counter = lab.internet.start(peer("udp-count", SERVER, PORT));
  await counter.says("listening");
  const stream = lab.client.start(peer("udp-stream", SERVER, PORT, ENDLESS, RATE));
  await forwards(100);
  await said("eth1 has gone: waiting for it", () => lab.firewall.ip("link", "delete", "eth1"));
  expect(await lab.client.run(["ping", "-c", "1", "-W", "5", CLIENT_GATEWAY])).toContain("1 received");
  const refused = await lab.client.attempt(["ping", "-c", "50", "-i", "0.02", "-W", "1", SERVER]); // errors are a trickle
  expect(refused.stdout).toContain("Destination Host Unreachable");
  const back = await said("eth1 is there: ", () => recable("eth1", lab.internet, becomeRouter));
  const started = performance.now();
  await untilPings();
  console.log(`an interface made anew: forwarding ${Math.round(performance.now() - started)} ms after the log says so`);
  expect(count(back, "eth1 has gone: waiting for it")).toBe(0);
  await forwards(100);
  stream.signal("SIGTERM");
  await stream.says("sent");
  counter.signal("SIGTERM");
  await counter.says("received");
  const { sources, received } = JSON.parse(counter.text.split("\n")[1] ?? "");
  expect(received).toBeGreaterThan(150);
  expect(sources).toHaveLength(1); // the same mapping: the flow has lived on
});

test("a client's interface is made anew, as when its machine starts again: what is its own follows it", async () => {
  await lab.start();
  await untilPings();
  lab.firewall.ip("link", "delete", "eth0");
  recable("eth0", lab.client, () => becomeClient(lab.client));
  await untilPings();
  // The lock, the hook at ingress, and the silence of the kernel are those of the new interface.
  const second = await lab.firewall.attempt(firebreak("run", "--config", lab.configFile));
  expect(second.stderr).toContain(`another firewall, process ${lab.program.pid} (`);
  expect(await lab.firewall.run(["tc", "filter", "show", "dev", "eth0", "ingress"])).toContain("firebreak");
  expect(await lab.firewall.run(["nft", "list", "ruleset"])).toContain('device "eth0"');
  expect(await lab.firewall.run(["cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore"])).toBe("8\n");
  const [{ address }] = JSON.parse(await lab.firewall.run(["ip", "-json", "link", "show", "eth0"]));
  lab.program.signal("SIGTERM");
  expect(await lab.program.end()).toBe(0);
  expect(await lab.firewall.run(["nft", "list", "ruleset"])).toBe("");
  expect(await lab.firewall.run(["cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore"])).toBe("0\n");
  expect(address).toBeString();
});

/** @returns what the firewall and the kernel have at an interface */
function atInterface(name: string): Promise<string> {
  const script = `nft list ruleset | grep "hook.*${name}"; tc filter show dev ${name} ingress | grep -o firebreak
    cat /proc/sys/net/ipv4/conf/${name}/arp_ignore /proc/sys/net/ipv4/conf/${name}/rp_filter; awk 'NR > 1 { print $5 }' /proc/net/packet | sort`;
  return lab.firewall.run(["sh", "-c", script]);
}

test("an interface that goes and comes between two looks, with the same name and number, is made ours anew", async () => {
  const other = lab.namespace("other");
  await lab.start();
  await untilPings();
  const before = await atInterface("eth0");
  const indexOf = async () => JSON.parse(await lab.firewall.run(["ip", "-json", "link", "show", "eth0"]))[0].ifindex;
  const index = await indexOf();
  // Changes that use up the looks which come soon: the next one is half a second away.
  for (let mtu = 1400; mtu < 1430; mtu++) {
    lab.firewall.ip("link", "set", "eth1", "mtu", String(mtu));
    await Bun.sleep(15);
  }
  const lines = await said("eth0 is there: ", () => {
    lab.firewall.ip("link", "set", "eth0", "netns", other.name);
    other.ip("link", "set", "eth0", "netns", lab.firewall.name);
    lab.firewall.ip("link", "set", "eth0", "up");
  });
  expect(await indexOf()).toBe(index);
  expect(lines).toContain("eth0 has gone: waiting for it");
  await untilPings();
  expect(await atInterface("eth0")).toBe(before);
  const second = await lab.firewall.attempt(firebreak("run", "--config", lab.configFile));
  expect(second.stderr).toContain(`another firewall, process ${lab.program.pid} (`);
});

test("a tap that its machine lets go of loses its link, and works again when somebody has it again", async () => {
  lab.writeConfig((await Bun.file(lab.configFile).text()).replace('"eth0"', '"tap0"'));
  lab.firewall.ip("tuntap", "add", "tap0", "mode", "tap");
  const program = await lab.start();
  expect(program.text).toContain(", without a link: client work");
  const owner = () => lab.firewall.start(peer("tap", "tap0"));
  const first = owner();
  await program.says("tap0 has its link again");
  await said("tap0 has no link: nothing gets out there", () => first.signal("SIGKILL"));
  await said("tap0 has its link again", owner);
});

test("interfaces that are not there yet are waited for, by name and by MAC address", async () => {
  lab.firewall.ip("link", "delete", "eth0");
  lab.firewall.ip("link", "delete", "eth1");
  const mac = "02:00:00:00:00:e1";
  lab.writeConfig((await Bun.file(lab.configFile).text()).replace('"eth1"', `"${mac}"`));
  const program = await lab.start();
  expect(program.text).toContain(`${mac} is not there: waiting for it: uplink 192.0.2.254/24`);
  expect(program.text).toContain("eth0 is not there: waiting for it: client work");
  await said("eth0 is there: ", () => recable("eth0", lab.client, () => becomeClient(lab.client)));
  expect(await lab.client.run(["ping", "-c", "1", "-W", "5", CLIENT_GATEWAY])).toContain("1 received");
  lab.cable(lab.firewall, "up7", lab.internet, "eth0");
  becomeRouter();
  lab.firewall.ip("link", "set", "up7", "down");
  lab.firewall.ip("link", "set", "up7", "address", mac);
  await untilPings();
  // A reload that names one that is not there is no error either.
  const said7 = await said("configuration reloaded", () => {
    lab.configure([], "accept");
    program.signal("SIGHUP");
  });
  expect(said7).toContain("eth1 is not there: waiting for it");
  lab.firewall.ip("link", "set", "up7", "down");
  lab.firewall.ip("link", "set", "up7", "name", "eth1");
  await untilPings();
});

test("a lowered MTU is followed at once: ping hears of it, and no packet is counted as forwarded that was not sent", async () => {
  await lab.start();
  const big = ["ping", "-c", "1", "-W", "5", "-M", "do", "-s", "1400", SERVER];
  expect(await lab.client.run(big)).toContain("1 received");
  await said("eth1 has the mtu 1300 now", () => lab.firewall.ip("link", "set", "eth1", "mtu", "1300"));
  const forwardedBefore = (await lab.state()).frames.get("forwarded");
  const { stdout } = await lab.client.attempt(big);
  expect(stdout).toMatch(/Frag needed and DF set \(mtu = 1300\)/);
  const { frames, ring } = await lab.state();
  expect(frames.get("forwarded")).toBe(forwardedBefore);
  expect(frames.get("dropped: larger than the egress MTU")).toBe(1);
  expect(ring.get("transmit refused")).toBeUndefined();
  await said("eth1 has the mtu 1500 now", () => lab.firewall.ip("link", "set", "eth1", "mtu", "1500"));
  lab.client.ip("route", "flush", "cache");
  expect(await lab.client.run(big)).toContain("1 received");
});

test("what a full queue of the interface drops is not counted as forwarded", async () => {
  lab.writeConfig(`${await Bun.file(lab.configFile).text()}\n[nat]\nkernel_path = false\n`);
  await lab.start();
  await untilPings();
  await lab.firewall.run([
    "tc",
    "qdisc",
    "add",
    "dev",
    "eth1",
    "root",
    "tbf",
    "rate",
    "1mbit",
    "burst",
    "2k",
    "limit",
    "3000",
  ]);
  const before = (await lab.state()).frames;
  const counter = lab.internet.start(peer("udp-count", SERVER, PORT));
  await counter.says("listening");
  await lab.client.run(peer("udp-stream", SERVER, PORT, 3000, 6000));
  counter.signal("SIGTERM"); // it waits until nothing comes any more
  await counter.says("received");
  const { received, overrun } = JSON.parse(counter.text.split("\n")[1] ?? "");
  const { frames, ring } = await lab.state();
  const forwarded = (frames.get("forwarded") ?? 0) - (before.get("forwarded") ?? 0);
  expect(forwarded).toBe(received + overrun);
  expect(frames.get("dropped: egress interface's queue full")).toBe(3000 - forwarded);
  expect(ring.get("transmit queue full")).toBe(3000 - forwarded);
  expect(3000 - forwarded).toBeGreaterThan(100);
});

/** Pings several times a second until stopped. @returns lost ones in a row, at most */
function steadyPing(): Program {
  return lab.client.start(["ping", "-i", "0.05", "-W", "1", SERVER]);
}

for (const [name, of] of [
  ["eth1", "the uplink"],
  ["eth0", "a client's interface"],
] as const) {
  test(`another MAC address of ours on ${of} is told: Linux goes on within a second`, async () => {
    const program = await lab.start();
    await untilPings();
    const ping = steadyPing();
    await ping.says("icmp_seq=5 ");
    const lines = await said(`${name} has the MAC address ${OUR_OTHER_MAC} now`, () =>
      lab.firewall.ip("link", "set", name, "address", OUR_OTHER_MAC),
    );
    const last = Number(/icmp_seq=(\d+) (?!.*icmp_seq)/s.exec(ping.text)?.[1]);
    await ping.says(`icmp_seq=${last + 60} `);
    ping.signal("SIGINT");
    await ping.end();
    const answered = new Set(Array.from(ping.text.matchAll(/icmp_seq=(\d+) /g), ([, number]) => Number(number)));
    const lost = Array.from({ length: last + 60 }, (_, i) => i + 1).filter((number) => !answered.has(number));
    console.log(`${of}: ${lost.length} pings lost, of 20 a second`);
    expect(lost.length).toBeLessThan(20);
    expect(count(lines, `${name} has the MAC address ${OUR_OTHER_MAC} now`)).toBe(1);
    const neighbour = name === "eth1" ? lab.internet : lab.client;
    expect(await neighbour.run(["ip", "neighbour", "show", "dev", "eth0"])).toContain(OUR_OTHER_MAC);
    program.signal("SIGTERM");
    await program.end();
  });
}

test("a firewall that starts with another MAC address than the one before it had tells so", async () => {
  const before = await lab.start();
  await untilPings();
  before.signal("SIGTERM");
  await before.end();
  for (const name of ["eth0", "eth1"]) {
    lab.firewall.ip("link", "set", name, "address", `02:00:00:00:0c:0${name.slice(3)}`);
  }
  const neighbours = await lab.client.run(["ip", "neighbour", "show", CLIENT_GATEWAY, "dev", "eth0"]);
  expect(neighbours).toMatch(/lladdr (?!02:00:00:00:0c:00)/); // Linux still believes in the old one
  await lab.start();
  expect(await pings()).toBe(true);
});

test("interfaces that are made anew again and again leave nothing behind", async () => {
  const { pid } = await lab.start();
  async function remake(times: number): Promise<{ descriptors: number; hooks: number }> {
    for (let i = 0; i < times; i++) {
      lab.firewall.ip("link", "delete", "eth0");
      recable("eth0", lab.client, () => becomeClient(lab.client));
      await untilPings();
    }
    const left = await lab.firewall.run(["sh", "-c", `ls /proc/${pid}/fd | wc -l; nft list ruleset | grep -c device`]);
    const [descriptors = Number.NaN, hooks = Number.NaN] = left.split("\n").map(Number);
    return { descriptors, hooks };
  }
  const once = await remake(3);
  const often = await remake(12);
  expect(often.hooks).toBe(once.hooks);
  expect(often.descriptors).toBeLessThan(once.descriptors + 4); // the engine has more or less of its own; a leak would be twelve
});

test("an interface that flaps is followed a bounded number of times, and others are served", async () => {
  lab.firewall.ip("link", "add", "eth8", "type", "veth", "peer", "eth9");
  lab.firewall.ip("link", "set", "eth9", "up");
  const client = `[[client]]
name = "flapping"
interface = "eth8"
address = "10.137.0.99"
gateway = "${CLIENT_GATEWAY}"
`;
  lab.writeConfig((await Bun.file(lab.configFile).text()).replace("[[client]]", `${client}\n[[client]]`));
  const program = await lab.start();
  await untilPings();
  const from = program.text.length;
  const started = performance.now();
  for (let i = 0; i < 200; i++) lab.firewall.ip("link", "set", "eth9", i % 2 === 0 ? "down" : "up");
  const seconds = (performance.now() - started) / 1000;
  expect(await pings()).toBe(true);
  const lines = program.text.slice(from).match(/eth8 has/g)?.length ?? 0;
  console.log(`200 changes of a link in ${seconds.toFixed(1)} s: ${lines} followed`);
  expect(lines).toBeLessThanOrEqual(8 + 2 * (seconds + 1.5));
  await Bun.sleep(600); // the last state of all is followed too
  const state = await said(/flows: /, () => program.signal("SIGUSR1"));
  expect(state).toBeString();
  expect(
    program.text
      .slice(from)
      .match(/eth8 has [^\n]*/g)
      ?.at(-1),
  ).toBe("eth8 has its link again");
});

test("what can't be taken is said once, waited for, and keeps no other interface waiting", async () => {
  const program = await lab.start();
  await untilPings();
  lab.firewall.ip("link", "delete", "eth1");
  await program.says("eth1 has gone: waiting for it");
  // It comes back with an address of the kernel's own.
  const at = program.text.length;
  lab.firewall.ip("link", "add", "early", "type", "veth", "peer", "other");
  lab.firewall.ip("address", "add", "10.1.2.3/24", "dev", "early");
  lab.firewall.ip("link", "set", "early", "name", "eth1");
  await program.says("eth1: the kernel has the address 10.1.2.3 there", at);
  lab.firewall.ip("link", "set", "eth0", "mtu", "1400");
  await program.says("eth0 has the mtu 1400 now", at);
  await Bun.sleep(2500);
  expect(program.text.slice(at).match(/the kernel has the address/g)).toHaveLength(1);
  lab.firewall.ip("address", "delete", "10.1.2.3/24", "dev", "eth1");
  await program.says("eth1 is there: ", at);
});
