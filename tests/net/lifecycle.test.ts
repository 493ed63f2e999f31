// From start to stop: what the firewall needs, what it takes, what it gives back, and what it survives.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak, peer } from "../../lab/firewall-lab.ts";
import { becomeClient, CLIENT_GATEWAY, ROUTER, SERVER } from "../../lab/places.ts";
import { buildChanged } from "../support/slow-dataplane.ts";

const PING = "accept proto=icmp icmptype=8";
const PORT = 9;

const lab = new FirewallLab("lifecycle");

beforeAll(() => lab.configure([PING]));
beforeEach(async () => {
  await lab.firewall.run(["ip", "link", "set", "eth0", "down"]);
  await lab.firewall.run(["ip", "link", "set", "eth1", "down"]);
});

afterAll(() => lab.close());

async function pings(): Promise<boolean> {
  return (await lab.client.attempt(["ping", "-c", "1", "-W", "5", SERVER])).status === 0;
}

/** What the kernel has of the firewall's interfaces, and who has raw sockets there. */
async function leftovers(): Promise<string> {
  const script = `ip -details -oneline link show | sed 's/ link-netns.*promiscuity/ promiscuity/'
    for name in eth0 eth1; do
      grep -H . /proc/sys/net/ipv[46]/conf/$name/{disable_ipv6,forwarding,rp_filter,arp_ignore}
      tc qdisc show dev $name; tc filter show dev $name ingress
    done
    cat /proc/net/packet`;
  return await lab.firewall.run(["bash", "-c", `${script} 2>/dev/null || true`]);
}

/** CPU time of a process so far, in ms. */
function cpuTime(pid: number): number {
  const [, ...fields] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
  const [user = 0, system = 0] = fields.join("").split(" ").slice(11, 13).map(Number);
  return (user + system) * 10; // sysconf(_SC_CLK_TCK) is 100
}

/** Memory that is the process's own, in KiB. */
function privateMemory(pid: number): number {
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} stops it, and leaves the interfaces as they were`, async () => {
    const before = await leftovers();
    const program = await lab.start();
    expect(await pings()).toBe(true);
    expect(await leftovers()).not.toBe(before);
    program.signal(signal);
    expect(await program.end()).toBe(0);
    expect(program.text).toEndWith("stopped\n");
    expect(await leftovers()).toBe(before);
  });
}

test("SIGTERM at any time of its start leaves the interfaces as they were", async () => {
  const before = await leftovers();
  for (let ms = 0; ms <= 1000; ms += 50) {
    const program = lab.firewall.start(firebreak("run", "--config", lab.configFile));
    await Bun.sleep(ms);
    program.signal("SIGTERM");
    const status = await program.end(); // 143: it had not begun yet
    expect([ms, status, status === 0 || status === 143 ? "" : program.text]).toEqual([ms, status, ""]);
    expect([ms, await leftovers()]).toEqual([ms, before]);
  }
}, 120_000);

test("a configuration that can't be read to its end keeps nothing waiting", async () => {
  const program = await lab.start();
  const text = readFileSync(lab.configFile, "utf8");
  await lab.firewall.run(["sh", "-c", `rm ${lab.configFile} && mkfifo ${lab.configFile}`]);
  program.signal("SIGHUP");
  await program.says("it took more than 10 s");
  await lab.firewall.run(["rm", lab.configFile]);
  writeFileSync(lab.configFile, text);
  await lab.reload();
  await lab.firewall.run(["sh", "-c", `mv ${lab.configFile} ${lab.configFile}.kept && mkfifo ${lab.configFile}`]);
  program.signal("SIGHUP");
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
  await lab.firewall.run(["mv", `${lab.configFile}.kept`, lab.configFile]);
}, 120_000);

test("it says in a few lines what it is and what it has", async () => {
  const program = await lab.start();
  program.signal("SIGTERM");
  await program.end();
  const mac = "([0-9a-f]{2}:){5}[0-9a-f]{2}";
  const at = "\\[ *\\d+\\.\\d\\d \\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ\\]";
  expect(program.text).toMatch(
    new RegExp(`^${at} firebreak \\d+\\.\\d+\\.\\d+
${at} eth1 ${mac} mtu 1500: uplink 192\\.0\\.2\\.254/24 gateway 192\\.0\\.2\\.1
${at} eth0 ${mac} mtu 1500: client work
${at} ready in \\d+ ms
${at} stopped
$`),
  );
});

test("without the capabilities that it needs it says so", async () => {
  const powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
  expect(await lab.firewall.attempt([...powerless, ...firebreak("run", "--config", lab.configFile)])).toEqual({
    status: 1,
    stdout: "",
    stderr:
      "firebreak: this process lacks CAP_NET_ADMIN, CAP_NET_RAW (run it as root, or give it these capabilities)\n",
  });
});

test("where few files may be open it says so", async () => {
  const command = `ulimit -n 64; exec ${firebreak("run", "--config", lab.configFile).join(" ")}`;
  expect(await lab.firewall.attempt(["bash", "-c", command])).toEqual({
    status: 1,
    stdout: "",
    stderr:
      "firebreak: only 64 files may be open here, and the firewall may need 256 " +
      "(ulimit -n 256, or LimitNOFILE= in a unit of systemd)\n",
  });
});

test("it starts in a folder that is gone", async () => {
  const folder = join(lab.folder, "gone");
  const command = `mkdir ${folder} && cd ${folder} && rmdir ${folder} && exec ${firebreak("run", "--config", lab.configFile).join(" ")}`;
  const program = lab.firewall.start(["bash", "-c", command]);
  await program.says("ready in");
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
  const relative = `cd ${lab.folder} && mkdir gone && cd gone && rmdir ../gone && exec ${firebreak("run", "--config", "x.toml").join(" ")}`;
  const { status, stderr } = await lab.firewall.attempt(["bash", "-c", relative]);
  expect({ status, stderr }).toEqual({
    status: 2,
    stderr: "x.toml: can't be read: ENOENT: no such file or directory (the folder that it was started in is gone)\n",
  });
});

test("an interface that the kernel has an address on is refused, whatever its label", async () => {
  lab.firewall.ip("address", "add", "10.1.2.3/24", "dev", "eth0", "label", "eth0:x");
  const outcome = await lab.firewall.attempt(firebreak("run", "--config", lab.configFile));
  lab.firewall.ip("address", "flush", "dev", "eth0");
  expect(outcome).toEqual({
    status: 1,
    stdout: "",
    stderr:
      "firebreak: eth0: the kernel has the address 10.1.2.3 there and would answer beside the firewall " +
      "(configure interfaces that this machine itself does not use, or run it in a network namespace: docs/NAMESPACE.md)\n",
  });
  expect(await lab.firewall.run(["ip", "-brief", "link", "show", "eth1"])).toContain("DOWN");
});

test("a second firewall on the same interfaces is refused and told of the first, which forwards on", async () => {
  const program = await lab.start();
  const run = firebreak("run", "--config", lab.configFile);
  const { status, stdout, stderr } = await lab.firewall.attempt(run);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toStartWith(`firebreak: eth1: another firewall, process ${program.pid} (`);
  expect(stderr).toEndWith("), has this interface already (stop that one, or configure other interfaces)\n");
  expect(await pings()).toBe(true);
  // In another network namespace there are other interfaces, of the same names.
  expect((await lab.client.attempt(run)).stderr).not.toContain("has this interface already");
  program.signal("SIGTERM");
  await program.end();
});

test("it goes on when nobody reads its log any more", async () => {
  const command = firebreak("run", "--config", lab.configFile).join(" ");
  const program = lab.firewall.start(["bash", "-c", `exec ${command} > >(grep --max-count=1 --line-buffered ready)`]);
  await program.says("ready in");
  for (let i = 0; i < 3; i++) program.signal("SIGUSR1"); // grep has ended: nobody reads what this prints
  expect(await pings()).toBe(true);
  program.signal("SIGUSR1");
  expect(await pings()).toBe(true);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

test("it goes on when the disk that its log and its errors go to is full", async () => {
  const good = await Bun.file(lab.configFile).text();
  const command = firebreak("run", "--config", lab.configFile).join(" ");
  const program = lab.firewall.start(["bash", "-c", `exec ${command} >/dev/full 2>/dev/full`]);
  while (!(await pings()));
  lab.writeConfig("no configuration");
  program.signal("SIGHUP");
  program.signal("SIGUSR1");
  await Bun.sleep(500); // nobody is told when it is done
  expect(await pings()).toBe(true);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
  lab.writeConfig(good);
});

describe("an interface that goes, and one of its name that comes,", () => {
  const MARK = "a moment";
  /** Between two looks at it. */
  const WHEN = [
    [
      "when it is taken, and before its number is looked up",
      "control/firewall.ts",
      "const judgedAt = MACHINE_CLOCK.unixTime();",
    ],
    ["before its socket is opened", "control/dataplane-thread.ts", "const inForce = openSockets("],
  ] as const;

  test.each(WHEN)(
    "%s is taken anew, and nothing is left of either",
    async (_, file, statement) => {
      const executable = join(lab.folder, "moment");
      const wait = `if (!globalThis.waited) { globalThis.waited = true; log("${MARK}"); Bun.sleepSync(2000); }`;
      await buildChanged({ [`../${file}`]: [statement] }, (before) => `${wait} ${before}`, executable);
      const [{ address }] = JSON.parse(await lab.client.run(["ip", "-json", "link", "show", "eth0"]));
      const program = lab.firewall.start([executable, "run", "--config", lab.configFile]);
      await program.says(MARK);
      lab.firewall.ip("link", "delete", "eth0");
      lab.cable(lab.firewall, "eth0", lab.client, "eth0");
      lab.client.ip("link", "set", "eth0", "address", address);
      becomeClient(lab.client);
      lab.firewall.ip("link", "set", "eth0", "down");
      const before = await leftovers();
      await program.says("ready in");
      while (!(await pings()));
      expect(await lab.firewall.run(["cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore"])).toBe("8\n");
      program.signal("SIGTERM");
      expect(await program.end()).toBe(0);
      const silent = (state: string) => state.split("\n").filter((line) => line.includes("eth0"));
      expect(silent(await leftovers())).toEqual(silent(before));
    },
    60_000,
  );
});

test("an address that somebody gives an interface while it is ours is told of, once, and again when it is given again", async () => {
  const program = await lab.start();
  const given = "eth0: somebody has given the kernel the address 10.1.2.3 there";
  const times = () => program.text.split(given).length - 1;
  lab.firewall.ip("address", "add", "10.1.2.3/24", "dev", "eth0");
  await program.says(given);
  lab.firewall.ip("address", "add", "10.1.2.4/24", "dev", "eth0");
  await program.says("the address 10.1.2.4 there");
  expect(times()).toBe(1);
  lab.firewall.ip("address", "flush", "dev", "eth0");
  await Bun.sleep(1000); // that they are gone nobody is told
  lab.firewall.ip("address", "add", "10.1.2.3/24", "dev", "eth0");
  while (times() < 2) await Bun.sleep(20);
  expect(await pings()).toBe(true);
  lab.firewall.ip("address", "flush", "dev", "eth0");
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

test("IPv6 that somebody switches on in the kernel while an interface is ours is told of, by the address that the kernel makes itself", async () => {
  const program = await lab.start();
  const own =
    /eth0: somebody has switched on the kernel's own IPv6 there, and it has the address fe80::[0-9a-f:]+: it sends/;
  expect(await lab.firewall.run(["ip", "-6", "address", "show", "dev", "eth0"])).toBe("");
  await lab.firewall.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"]);
  while (!own.test(program.text)) await Bun.sleep(20);
  expect(program.text).toContain("(switch it off: sysctl net.ipv6.conf.eth0.disable_ipv6=1)");
  await lab.firewall.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"]);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

test("an interface by whose IPv6 address this machine may be reached is refused; the link-local one is no reason", async () => {
  await lab.firewall.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"]);
  lab.firewall.ip("-6", "address", "add", "2001:db8::7/64", "dev", "eth0", "nodad");
  const refused = await lab.firewall.attempt(firebreak("run", "--config", lab.configFile));
  expect(refused.stderr).toContain(
    "firebreak: eth0: the kernel has the address 2001:db8::7 there, and who reaches this machine by it",
  );
  expect(refused.stderr).toContain("sysctl net.ipv6.conf.eth0.disable_ipv6=1");
  expect(await lab.firewall.run(["ip", "-6", "address", "show", "dev", "eth0"])).toContain("2001:db8::7");
  lab.firewall.ip("-6", "address", "delete", "2001:db8::7/64", "dev", "eth0");
  const program = await lab.start();
  expect(await lab.firewall.run(["ip", "-6", "address", "show", "dev", "eth0"])).toBe("");
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
  expect(await lab.firewall.run(["cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"])).toBe("0\n");
  await lab.firewall.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"]);
});

describe("after SIGKILL", () => {
  const set = async (name: string, file: string, value: number) =>
    await lab.firewall.run(["sh", "-c", `echo ${value} >/proc/sys/net/ipv4/conf/${name}/${file}`]);

  /** Not what an interface begins with, nor what the firewall makes of it. */
  beforeAll(async () => {
    for (const name of ["eth0", "eth1"]) {
      await set(name, "arp_ignore", 2);
      await set(name, "forwarding", 1);
    }
  });
  afterAll(async () => {
    for (const name of ["eth0", "eth1"]) {
      await set(name, "arp_ignore", 0);
      await set(name, "forwarding", 0);
    }
  });

  async function kill(): Promise<void> {
    const killed = await lab.start();
    killed.signal("SIGKILL");
    await killed.end();
  }

  test("the next one starts at once, and leaves the interfaces as they were before the one that was killed", async () => {
    const before = await leftovers();
    await kill();
    expect(await leftovers()).not.toBe(before);
    await kill();
    const next = await lab.start();
    expect(await pings()).toBe(true);
    next.signal("SIGTERM");
    expect(await next.end()).toBe(0);
    expect(await leftovers()).toBe(before);
  });

  test("firebreak restore leaves them as they were, and has nothing to do then", async () => {
    const before = await leftovers();
    await kill();
    const restore = firebreak("restore");
    expect((await lab.firewall.run(restore)).split("\n").sort()).toEqual([
      "",
      "eth0 is as it was",
      "eth1 is as it was",
    ]);
    expect(await leftovers()).toBe(before);
    expect(await lab.firewall.run(restore)).toBe("");
  });

  test("firebreak restore leaves the interfaces of a firewall that runs to it", async () => {
    const program = await lab.start();
    const running = await leftovers();
    expect(await lab.firewall.run(firebreak("restore"))).toBe("");
    expect(await leftovers()).toBe(running);
    expect(await pings()).toBe(true);
    program.signal("SIGTERM");
    expect(await program.end()).toBe(0);
  });

  test("what somebody has changed since stays, and so does what was there at ingress", async () => {
    await lab.firewall.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"]);
    const before = await leftovers();
    await kill();
    await set("eth0", "arp_ignore", 1);
    await lab.firewall.run(firebreak("restore"));
    expect(await leftovers()).toBe(before.replace(/(eth0.arp_ignore:)2/, "$11"));
    await set("eth0", "arp_ignore", 2);
    await lab.firewall.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"]);
  });

  test("an interface that has been in another namespace since begins anew", async () => {
    await kill();
    lab.firewall.ip("link", "set", "eth0", "netns", lab.client.name, "name", "back0");
    lab.client.ip("link", "set", "back0", "netns", lab.firewall.name, "name", "eth0");
    lab.firewall.ip("link", "set", "eth0", "up");
    await lab.firewall.run(firebreak("restore"));
    const before = await leftovers();
    await set("eth0", "arp_ignore", 2);
    await set("eth0", "forwarding", 1);
    expect(before).toMatch(/eth0.arp_ignore:0/);
  });

  test("at any time of its start, nothing of it stays", async () => {
    const before = await leftovers();
    for (let ms = 0; ms <= 600; ms += 50) {
      const program = lab.firewall.start(firebreak("run", "--config", lab.configFile));
      await Bun.sleep(ms);
      program.signal("SIGKILL");
      await program.end();
      await lab.firewall.run(firebreak("restore"));
      expect([ms, await leftovers()]).toEqual([ms, before]);
    }
  }, 120_000);
});

test("an interface that a reload lets go of is free for another firewall, and one that it takes is not", async () => {
  const both = await Bun.file(lab.configFile).text();
  lab.firewall.ip("link", "add", "eth2", "type", "veth", "peer", "eth3");
  const other = join(lab.folder, "other.toml");
  writeFileSync(other, both.replace('"eth0"', '"eth2"').replace('"eth1"', '"eth3"'));
  const program = await lab.start();
  const second = lab.firewall.start(firebreak("run", "--config", other));
  await second.says("ready in");
  lab.writeConfig(both.replace('"eth0"', '"eth2"'));
  const said = program.text.length;
  program.signal("SIGHUP");
  await program.says("configuration not reloaded: the old one stays in force", said);
  expect(program.text.slice(said)).toContain(`eth2: another firewall, process ${second.pid} (`);
  second.signal("SIGTERM");
  await second.end();
  await lab.reload();
  writeFileSync(other, both.replace('"eth1"', '"eth3"'));
  const third = lab.firewall.start(firebreak("run", "--config", other));
  await third.says("ready in"); // eth0 is free again
  for (const one of [program, third]) one.signal("SIGTERM");
  await Promise.all([program.end(), third.end()]);
  lab.firewall.ip("link", "delete", "eth2");
  lab.writeConfig(both);
});

test("docs/namespace.sh runs it in a namespace and gives the interfaces back; one with an address it does not touch", async () => {
  const program = join(lab.folder, "firebreak");
  writeFileSync(program, `#!/bin/sh\nexec ${firebreak().join(" ")} "$@"\n`, { mode: 0o755 });
  const name = `firebreak-${process.pid}`;
  const script = join(import.meta.dir, "../../docs/namespace.sh");
  const command = [
    "env",
    `FIREBREAK=${program}`,
    `FIREBREAK_NAMESPACE=${name}`,
    script,
    lab.configFile,
    "eth0",
    "eth1",
  ];
  lab.firewall.ip("address", "add", "10.1.2.3/24", "dev", "eth0");
  const refused = await lab.firewall.attempt(command);
  expect({ status: refused.status, stderr: refused.stderr.split(",")[0] }).toEqual({
    status: 1,
    stderr: "namespace.sh: eth0 has an address",
  });
  expect(await lab.firewall.run(["ip", "-brief", "address", "show", "eth0"])).toContain("10.1.2.3/24");
  lab.firewall.ip("address", "delete", "10.1.2.3/24", "dev", "eth0");
  const running = lab.firewall.start(command);
  await running.says("ready in");
  expect(await pings()).toBe(true);
  expect((await lab.firewall.attempt(["ip", "link", "show", "eth0"])).status).not.toBe(0);
  running.signal("SIGHUP");
  await running.says("configuration reloaded");
  running.signal("SIGTERM");
  expect(await running.end()).toBe(0);
  expect(running.text).toContain("stopped");
  // The document's cables, on a machine whose own interfaces are in use.
  lab.firewall.ip("link", "add", "br0", "type", "bridge");
  const document = readFileSync(join(import.meta.dir, "../../docs/NAMESPACE.md"), "utf8");
  const cables = Array.from(document.matchAll(/^ {4}ip (.*)$/gm), ([, words = ""]) => words.split(" "));
  expect(cables.length).toBe(5);
  for (const words of cables) lab.firewall.ip(...words);
  const good = await Bun.file(lab.configFile).text();
  lab.writeConfig(good.replace('"eth0"', '"lan1"').replace('"eth1"', '"up1"'));
  const cabled = lab.firewall.start([...command.slice(0, -2), "up1", "lan1"]);
  await cabled.says("ready in");
  await lab.firewall.run(["ping", "-c", "1", "-W", "10", "192.0.2.254"]);
  cabled.signal("SIGTERM");
  expect(await cabled.end()).toBe(0);
  lab.writeConfig(good);
  for (const name of ["up0", "lan0", "br0"]) lab.firewall.ip("link", "delete", name);
  const back = await lab.firewall.run(["ip", "-brief", "link"]);
  expect(back).toMatch(/^eth0/m);
  expect(back).toMatch(/^eth1/m);
});

test("a configuration with errors ends it with status 2", async () => {
  const good = await Bun.file(lab.configFile).text();
  lab.writeConfig(good.replace('policy = "drop"', 'policy = "maybe"'));
  const { status, stdout, stderr } = await lab.firewall.attempt(firebreak("run", "--config", lab.configFile));
  lab.writeConfig(good);
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  expect(stderr).toStartWith(`${lab.configFile}:12: client "work": policy`);
});

test("the kernel takes nothing for itself from its interfaces, and answers no ARP request beside us", async () => {
  const elsewhere = "10.1.2.3";
  lab.configure([], "accept");
  const program = await lab.start();
  lab.firewall.ip("link", "add", "other0", "type", "veth", "peer", "other1");
  lab.firewall.ip("address", "add", elsewhere, "dev", "other0");
  lab.firewall.ip("link", "set", "other0", "up");
  const listener = lab.firewall.start(peer("udp-count", elsewhere, PORT));
  await listener.says("listening");
  const tcpdump = lab.client.start(["tcpdump", "-n", "-l", "--immediate-mode", "-Q", "in", "-i", "eth0", "arp"]);
  await tcpdump.says("listening on");
  lab.client.ip("route", "add", elsewhere, "dev", "eth0");
  await lab.client.run(peer("udp-stream", elsewhere, PORT, 10, 100));
  lab.client.ip("route", "delete", elsewhere);
  listener.signal("SIGTERM");
  await listener.says("received");
  expect(JSON.parse(listener.text.split("\n")[1] ?? "")).toEqual({ received: 0, repeated: 0, overrun: 0, sources: [] });
  expect(tcpdump.text.match(new RegExp(`Reply ${elsewhere} is-at`, "g"))).toHaveLength(1);
  program.signal("SIGTERM");
  await program.end();
  lab.firewall.ip("link", "delete", "other0");
  lab.configure([PING]);
});

test("the kernel's own IP stack gets no packet while the firewall runs, and all of them afterwards", async () => {
  async function seen(): Promise<number> {
    const [, values = ""] = (await lab.firewall.run(["grep", "^Ip:", "/proc/net/snmp"])).split("\n");
    return Number(values.split(" ")[3]); // InReceives
  }
  const program = await lab.start();
  const before = await seen();
  expect(await lab.client.run(["ping", "-c", "10", "-i", "0.01", SERVER])).toContain("10 received");
  expect(await seen()).toBe(before);
  program.signal("SIGTERM");
  await program.end();
  expect(await lab.firewall.run(["nft", "list", "ruleset"])).toBe("");
  const [{ address }] = JSON.parse(await lab.firewall.run(["ip", "-json", "link", "show", "eth0"]));
  lab.firewall.ip("link", "set", "eth0", "up");
  lab.client.ip("neighbour", "replace", CLIENT_GATEWAY, "lladdr", address, "dev", "eth0");
  await lab.client.attempt(["ping", "-c", "20", "-i", "0.05", "-W", "1", SERVER]);
  lab.client.ip("neighbour", "delete", CLIENT_GATEWAY, "dev", "eth0");
  expect(await seen()).toBeGreaterThan(before);
});

test("an interface that goes down and comes up again works again", async () => {
  const program = await lab.start();
  expect(await pings()).toBe(true);
  lab.firewall.ip("link", "set", "eth1", "down");
  expect(await pings()).toBe(false);
  const before = cpuTime(program.pid);
  await Bun.sleep(500);
  expect(cpuTime(program.pid) - before).toBeLessThan(100);
  lab.firewall.ip("link", "set", "eth1", "up");
  await program.says("eth1 has its link again");
  expect(await pings()).toBe(true);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

test("an interface that vanishes harms nobody else, and is taken again when it is back", async () => {
  const program = await lab.start();
  expect(await pings()).toBe(true);
  const [{ address }] = JSON.parse(await lab.internet.run(["ip", "-json", "link", "show", "eth0"]));
  lab.firewall.ip("link", "delete", "eth1");
  expect(await pings()).toBe(false);
  expect(await lab.client.run(["ping", "-c", "1", "-W", "5", CLIENT_GATEWAY])).toContain("1 received");
  const before = cpuTime(program.pid);
  await Bun.sleep(500);
  expect(cpuTime(program.pid) - before).toBeLessThan(100);

  lab.cable(lab.firewall, "eth1", lab.internet, "eth0");
  lab.internet.ip("link", "set", "eth0", "address", address);
  lab.internet.ip("address", "add", `${ROUTER}/24`, "dev", "eth0");
  await program.says("eth1 is there: ");
  while (!(await pings())); // it has its link a moment later
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
});

test("memory and descriptors don't grow with frames and reloads", async () => {
  lab.configure([PING], "accept");
  const program = await lab.start();
  async function work(): Promise<void> {
    await lab.client.run(["ping", "-q", "-f", "-c", "5000", SERVER]);
    await lab.client.run(peer("udp-stream", SERVER, PORT, 20_000, 20_000));
    for (let i = 0; i < 50; i++) await lab.reload();
  }
  async function descriptors(): Promise<string> {
    return await lab.firewall.run(["sh", "-c", `ls /proc/${program.pid}/fd | wc -l`]);
  }
  /** @returns kB that memory has grown by, of 150 reloads */
  async function growth(): Promise<number> {
    const before = privateMemory(program.pid);
    for (let i = 0; i < 3; i++) await work();
    return privateMemory(program.pid) - before;
  }
  await work();
  const before = await descriptors();
  // What leaks does so each time; what the engine compiles, or collects a little later, grows once.
  const growths = [await growth()];
  while (Math.min(...growths) >= 6 * 1024 && growths.length < 4) growths.push(await growth());
  expect(Math.min(...growths), growths.join(", ")).toBeLessThan(6 * 1024);
  expect(await descriptors()).toBe(before);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
}, 300_000);
