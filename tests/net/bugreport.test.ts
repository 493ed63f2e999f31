// `firebreak bugreport` of a running firewall: what is in it, what is not, and that masked nothing is left by which somebody is found.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { FirewallLab, firebreak } from "../../lab/firewall-lab.ts";
import { CLIENT, configuration, ROUTER, SERVER, UPLINK } from "../../lab/places.ts";

const lab = new FirewallLab("bugreport");
const run = join(lab.folder, "run");
const verb = (...args: readonly string[]) =>
  lab.firewall.attempt(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak(...args)]);

const SECTIONS = [
  ...["program", "configuration", "text", "settings", "status", "clients", "kernel path", "flows", "rules", "drops"],
  ...["log", "asked by"],
];

beforeAll(async () => {
  const text = configuration(["accept proto=icmp", "accept dsthost=www.example proto=tcp"]);
  lab.writeConfig(text.replace("[[client]]", "# the laptop of somebody\n[[client]]"));
  await lab.start(["env", `RUNTIME_DIRECTORY=${run}`, ...firebreak()]);
  await lab.client.run(["ping", "-c", "1", "-W", "10", SERVER]);
  const datagram = `import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"payload", ("${SERVER}", 9))`;
  await lab.client.run(["/usr/bin/python3", "-c", datagram]);
}, 60_000);
afterAll(() => lab.close());

function sectionsOf(text: string): Map<string, string> {
  return new Map(
    text
      .split(/^== /m)
      .slice(1)
      .map((part) => [part.slice(0, part.indexOf("\n")), part]),
  );
}

test("it has versions, the configuration, numbers, the kernel path, rules, drops and the log", async () => {
  const { stdout, stderr, status } = await verb("bugreport");
  expect([status, stderr]).toEqual([0, ""]);
  const sections = sectionsOf(stdout);
  expect([...sections.keys()]).toEqual(SECTIONS);
  expect(sections.get("program")).toMatch(/^firebreak \d\S*, firewall, up \d+ s, at /m);
  expect(sections.get("program")).toMatch(/^\/proc\/self\/status: VmRSS: +\d+ kB$/m);
  expect(sections.get("text")).toContain("# the laptop of somebody");
  expect(sections.get("status")).toMatch(/^frames: \d+ forwarded$/m);
  expect(sections.get("kernel path")).toMatch(/^kernel path: (?:in use|off, because .+)$/m);
  expect(sections.get("flows")).toMatch(/^1 work out icmp$/m);
  expect(sections.get("rules")).toContain("work, rule 2");
  expect(sections.get("drops")).toMatch(
    new RegExp(`^1 refused by rules: udp ${CLIENT}:\\d+ to ${SERVER}:9 on eth0`, "m"),
  );
  expect(sections.get("log")).toMatch(/^\S+Z ready in \d+ ms$/m);
  expect(stdout).not.toContain("payload");
  expect(stdout).toMatch(/^[ -~\n]*$/);
});

test("masked it has the same lines, but no address, host name or comment", async () => {
  const { stdout } = await verb("bugreport", "--mask");
  for (const text of [CLIENT, SERVER, ROUTER, UPLINK, "www.example", "laptop"]) expect(stdout).not.toContain(text);
  const macs = await lab.firewall.run(["cat", "/sys/class/net/eth0/address", "/sys/class/net/eth1/address"]);
  for (const mac of macs.trim().split("\n")) expect(stdout).not.toContain(mac);
  const sections = sectionsOf(stdout);
  expect([...sections.keys()]).toEqual(SECTIONS);
  // Who was refused is who is configured.
  const [, client = "?"] = /^address = "(10\.[\d.]+)"$/m.exec(sections.get("text") ?? "") ?? [];
  expect(sections.get("drops")).toContain(`udp ${client}:`);
  expect(sections.get("text")).toContain("dsthost=host1.example");
});

test("as JSON, a record for each piece", async () => {
  const records = (await verb("bugreport", "--json")).stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect([...new Set(records.map(({ section }) => section))]).toEqual(SECTIONS);
  expect((await verb("bugreport", "more")).status).toBe(2);
});
