// SIGHUP under traffic: the new configuration is in force from one frame to the next, and a bad one changes nothing.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FirewallLab, peer } from "./firewall-lab.ts";
import type { Namespace } from "./namespaces.ts";
import { SERVER, UPLINK } from "./places.ts";

const PORT = 9;
const OTHER_PORT = 10;
const PACKETS = 6000;
const RATE = 2000;
const RELOADS = 20;
/** ms between two packets of a stream, usually, while interfaces come and go. */
const LONGEST_GAP = 12;

const ALLOWED = `accept dst4=${SERVER} proto=udp dstports=${PORT}`;
const PING = "accept proto=icmp icmptype=8";

const lab = new FirewallLab("reload");

beforeAll(async () => {
  lab.configure([ALLOWED, PING]);
  await lab.start();
}, 20_000);

afterAll(() => lab.close());

async function ping(): Promise<boolean> {
  return (await lab.client.attempt(["ping", "-c", "1", "-W", "1", SERVER])).status === 0;
}

test(`${RELOADS} reloads lose no packet of an allowed flow, and change nothing about it`, async () => {
  const counter = lab.internet.start(peer("udp-count", SERVER, PORT));
  await counter.says("listening");
  const stream = lab.client.start(peer("udp-stream", SERVER, PORT, PACKETS, RATE));
  for (let i = 0; i < RELOADS; i++) {
    // The flow is allowed by another rule each time, and last by the policy.
    const others = Array.from({ length: i }, (_, j) => `drop proto=udp dstports=${5000 + j}`);
    if (i === RELOADS - 1) lab.configure(others, "accept");
    else lab.configure([...others, ALLOWED, PING]);
    await lab.reload();
    await Bun.sleep(100);
  }
  expect(stream.text).toBe("");
  await stream.says("sent");
  counter.signal("SIGTERM");
  await counter.says("received");
  const { received, repeated, sources } = JSON.parse(counter.text.split("\n")[1] ?? "");
  expect({ received, repeated }).toEqual({ received: PACKETS, repeated: 0 });
  expect(sources).toHaveLength(1);
  expect(sources[0]).toStartWith(`${UPLINK}:`);
}, 30_000);

test("a flow that the new rules refuse is cut", async () => {
  lab.configure([ALLOWED, `accept proto=udp dstports=${OTHER_PORT}`]);
  await lab.reload();
  const counter = lab.internet.start(peer("udp-count", SERVER, OTHER_PORT));
  await counter.says("listening");
  const stream = lab.client.start(peer("udp-stream", SERVER, OTHER_PORT, PACKETS / 4, RATE));
  await Bun.sleep(300);
  lab.configure([ALLOWED]);
  await lab.reload();
  const { flows } = await lab.state();
  await stream.says("sent");
  counter.signal("SIGTERM");
  await counter.says("received");
  const { received } = JSON.parse(counter.text.split("\n")[1] ?? "");
  expect(received).toBeGreaterThan(0);
  expect(received).toBeLessThan(PACKETS / 4);
  expect(flows.filter((flow) => flow.includes(`:${OTHER_PORT} as`))).toEqual([]);
}, 30_000);

test("a configuration with errors is told of and changes nothing", async () => {
  lab.configure([PING]);
  await lab.reload();
  const said = lab.program.text.length;
  lab.configure([PING, "accept dstports=80-"]);
  lab.program.signal("SIGHUP");
  await lab.program.says("configuration not reloaded: the old one stays in force", said);
  expect(lab.program.text.slice(said)).toContain(`${lab.configFile}:15: client "work": rule 2: `);
  expect(await ping()).toBe(true);
});

test("so is one whose interface is not there", async () => {
  const said = lab.program.text.length;
  lab.configure([PING]);
  lab.writeConfig((await Bun.file(lab.configFile).text()).replace('"eth0"', '"eth7"'));
  lab.program.signal("SIGHUP");
  await lab.program.says("configuration not reloaded: the old one stays in force", said);
  expect(lab.program.text.slice(said)).toContain('client "work": interface "eth7" is not there');
  expect(await ping()).toBe(true);
});

test("so is one with an interface that the kernel has an address on, and that interface is left alone", async () => {
  lab.firewall.ip("link", "add", "eth2", "type", "veth", "peer", "eth3");
  lab.firewall.ip("address", "add", "10.1.2.3/24", "dev", "eth2");
  const said = lab.program.text.length;
  lab.configure([PING]);
  lab.writeConfig((await Bun.file(lab.configFile).text()).replace('"eth1"', '"eth2"'));
  lab.program.signal("SIGHUP");
  await lab.program.says("configuration not reloaded: the old one stays in force", said);
  expect(lab.program.text.slice(said)).toContain("eth2: the kernel has the address 10.1.2.3 there");
  expect(await lab.firewall.run(["ip", "-brief", "link", "show", "eth2"])).toContain("DOWN");
  expect(await ping()).toBe(true);
});

/** Adds another client's namespace, on an interface eth4 of the firewall. @returns it, and configurations with it and without */
async function addGuest(name: string): Promise<{ guest: Namespace; present: string; absent: string }> {
  const guest = lab.namespace(name);
  lab.cable(lab.firewall, "eth4", guest, "eth0");
  lab.firewall.ip("link", "set", "eth4", "down");
  guest.ip("address", "add", "10.137.0.11", "dev", "eth0");
  guest.ip("route", "add", "10.137.0.1", "dev", "eth0");
  guest.ip("route", "add", "default", "via", "10.137.0.1");
  const client = `[[client]]
name = "guest"
interface = "eth4"
address = "10.137.0.11"
gateway = "10.137.0.1"
policy = "accept"
`;
  lab.configure([ALLOWED, PING]);
  const absent = await Bun.file(lab.configFile).text();
  return { guest, absent, present: absent.replace("[[client]]", `${client}\n[[client]]`) };
}

test("a client on an interface that was not there before is served, and no more when it left the configuration", async () => {
  const { guest, present, absent } = await addGuest("guest");
  lab.writeConfig(present);
  await lab.reload();
  expect(await guest.run(["ping", "-c", "2", "-i", "0.1", SERVER])).toContain("2 received");
  expect(await ping()).toBe(true);

  lab.writeConfig(absent);
  await lab.reload();
  expect((await guest.attempt(["ping", "-c", "1", "-W", "1", SERVER])).status).toBe(1);
  expect(await ping()).toBe(true);
  expect(await lab.firewall.run(["ip", "-brief", "link", "show", "eth4"])).toContain("DOWN");
  lab.firewall.ip("link", "delete", "eth4");
});

test("clients that come and go don't keep others waiting", async () => {
  const { present, absent } = await addGuest("visitor");
  const receiver = lab.internet.start(peer("udp-gaps", SERVER, PORT));
  await receiver.says("listening");
  lab.client.start(peer("udp-stream", SERVER, PORT, 10 * RATE, RATE));
  const gaps: number[] = [];
  for (let i = 0; i < RELOADS; i++) {
    lab.writeConfig(i % 2 === 0 ? present : absent);
    await lab.reload();
    await Bun.sleep(50);
    const said = receiver.text.length;
    receiver.signal("SIGUSR1");
    await receiver.says(/ms\n/, said);
    gaps.push(Number.parseFloat(receiver.text.slice(said)));
  }
  // One of them may be anything: other programs run here too.
  const median = gaps.sort((one, other) => one - other)[RELOADS / 2] ?? Number.NaN;
  expect(median).toBeLessThan(LONGEST_GAP);
}, 30_000);
