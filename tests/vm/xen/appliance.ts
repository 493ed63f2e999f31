// The image as a qube on a real Xen (emulated, so everything is slow): dom0 is the netvm and plays Qubes OS's daemons, two
// guests are clients. One machine for all tests, which build on each other. Run by build/appliance.sh test-xen.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { version } from "../../../package.json" with { type: "json" };
import { type GuestType, XenLab } from "./lab.ts";

/** For machines that are busy with other things too; what waits in vain has limits of its own. */
setDefaultTimeout(1_200_000);

const UPLINK_MAC = "00:16:3e:00:00:05";
const DATABASE = {
  "/qubes-ip": "10.137.0.5",
  "/qubes-gateway": "10.138.0.1",
  "/qubes-netvm-gateway": "10.137.0.1",
  "/qubes-primary-dns": "10.139.1.1",
  "/qubes-secondary-dns": "10.139.1.2",
  "/qubes-netvm-primary-dns": "10.139.1.1",
  "/qubes-netvm-secondary-dns": "10.139.1.2",
  "/connected-ips": "",
};
/** What the clients may do, where they may do something. */
const RULES = ["action=accept proto=icmp", "action=accept proto=tcp dstports=80-80"];
/** MiB that the appliance gets. */
const MEMORY = 128;

/** MiB that a client gets. */
const CLIENT_MEMORY = 48;
/** MiB for Bun, which compiles what it runs there. */
const ECHO_MEMORY = 256;
/** That a vchan carries each way. */
const MESSAGES = 2000;
/** A guest that died stays as it is: one that boots again instead would hide that. */
const STAYS = ['on_reboot="preserve"', 'on_crash="preserve"'];

let lab: XenLab;
let fw: number;
let echo: number | undefined;

beforeAll(async () => {
  lab = await XenLab.boot();
  await lab.run(
    "mkdir -p /srv && dd if=/dev/urandom of=/srv/file bs=128k count=4 2>/dev/null && ip addr add 10.138.0.80/32 dev lo && " +
      "httpd -p 10.138.0.80:80 -h /srv && httpd -p 10.138.0.80:81 -h /srv",
  );
  fw = await startAppliance("fw", "pvh");
});

/** Creates the appliance as a qube, and serves it as Qubes OS's daemons do. @returns its domain's number */
async function startAppliance(name: string, type: GuestType): Promise<number> {
  const domain = await lab.create(name, type, [
    'kernel="/share/vmlinuz"',
    'ramdisk="/share/initramfs"',
    'extra="console=hvc0 quiet loglevel=3 panic=-1"',
    `memory=${MEMORY}`,
    `vif=["${uplinkVif()}"]`,
    ...STAYS,
  ]);
  // Qubes OS lets a qube report its memory.
  const report = `/local/domain/${domain}/memory/meminfo`;
  await lab.run(`xenstore-write ${report} '' && xenstore-chmod ${report} n${domain}`);
  await lab.ask({ do: "serve", domain, entries: DATABASE });
  return domain;
}

afterAll(async () => {
  if (failed) {
    const status = await lab.call("root:QUBESRPC firebreak.Status dom0").then(({ output }) => output, String);
    const consoles = ["fw", "echo", "pv"].map((name) => `== ${name}\n${lab.guestConsole(name)}`);
    const domains = await lab.run("xl list").catch(String);
    console.log(
      `== status\n${status}\n== domains\n${domains}\n== dom0\n${lab.console.slice(-3000)}\n${consoles.join("\n")}`,
    );
  }
  await lab.stop();
});

let failed = true; // until the last test has passed

function uplinkVif(address = DATABASE["/qubes-ip"]): string {
  return `mac=${UPLINK_MAC},ip=${address},script=/etc/xen/scripts/vif`;
}

async function createClient(name: string, host: number): Promise<void> {
  // A PV guest needs nothing of the CPU that emulation is slow at.
  await lab.create(name, "pv", [
    'kernel="/share/vmlinuz"',
    'ramdisk="/share/client"',
    `extra="console=hvc0 quiet loglevel=3 address=10.137.0.${host} gateway=10.137.0.1"`,
    `memory=${CLIENT_MEMORY}`,
    `vif=["backend=fw,mac=00:16:3e:00:01:${String(host).padStart(2, "0")},ip=10.137.0.${host}"]`,
    ...STAYS,
  ]);
}

async function attach(name: string, vif: string): Promise<void> {
  await lab.run(`xl network-attach ${name} ${vif.replaceAll(",", " ")}`);
}

/** Starts the guest that sends back what it gets over vchans. @returns its domain's number */
async function startEcho(): Promise<number> {
  const domain = await lab.create("echo", "pv", [
    'kernel="/share/vmlinuz"',
    'ramdisk="/share/echo"',
    'extra="console=hvc0 quiet loglevel=3 panic=-1"',
    `memory=${ECHO_MEMORY}`,
    ...STAYS,
  ]);
  await lab.guestSays("echo", "echo: server is open");
  return domain;
}

/** Fetches the file from a port. @returns its MD5 sum, or how that failed */
async function fetch(client: string, port: number): Promise<string> {
  const { output } = await lab.in(client, `wget -q -O /file http://10.138.0.80:${port}/file && md5sum </file`, 60);
  return (
    output
      .replace(/^.*[$#] /s, "")
      .trim()
      .split("\n")
      .at(-1) ?? ""
  );
}

async function pings(client: string, address: string): Promise<boolean> {
  const { status } = await lab.in(client, `ping -c 1 -W 10 ${address}`);
  return status === 0;
}

/** Tries again until it is so. @param seconds at most */
async function eventually(seconds: number, what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`${what} did not come about in ${seconds} s`);
    await Bun.sleep(100);
  }
}

function said({ clock, own }: { clock: number; own: number }): string {
  return `${Math.round(clock)} ms, of which ${Math.round(own)} ms were its own`;
}

async function handled(host: number): Promise<number> {
  return Number((await lab.dump())[`/qubes-firewall-handled/10.137.0.${host}`] ?? 0);
}

/** Writes rules as qubesd does, and waits until the firewall says that they are in force. */
async function setRules(host: number, rules: readonly string[], policy = "drop"): Promise<void> {
  const before = await handled(host);
  await lab.ask({ do: "rules", address: `10.137.0.${host}`, rules, policy });
  await eventually(60, `/qubes-firewall-handled of ${host}`, async () => (await handled(host)) > before);
}

/** The file's MD5 sum. */
async function sum(): Promise<string> {
  return (await lab.run("md5sum </srv/file")).trim();
}

/** The last that a kernel says. */
const END = /\] reboot: (?:System halted|Power down)/;
const REFUSED = /host is unreachable|permission denied|connection refused|no route/i;

test("it boots, finds QubesDB, and tells dom0 what it supports", async () => {
  const console = await lab.guestSays("fw", /clients: none/);
  const lines = console
    .trim()
    .split("\n")
    .map((line) => line.replace(/^\[ *[0-9.]+[^\]]*\] /, "").replace(/\d+ ms/, "N ms"));
  expect(lines.slice(lines.indexOf(`firebreak ${version}`))).toEqual([
    `firebreak ${version}`,
    `found eth0 ${UPLINK_MAC} mtu 1500`,
    "QubesDB answered after N ms",
    "ready in N ms",
    "uplink eth0 10.137.0.5 through 10.138.0.1",
    "clients: none",
  ]);
  await eventually(120, "qubes.FeaturesRequest", async () => (await lab.facts()).triggered.length > 0);
  expect((await lab.facts()).triggered).toEqual(["dom0 qubes.FeaturesRequest"]);
  const { "/features-request/qubes-firewall": feature, "/qubes-iptables-error": error } = await lab.dump();
  expect([feature, error]).toEqual(["1", ""]);
});

test("it reports its memory", async () => {
  const used = Number(await lab.run(`xenstore-read /local/domain/${fw}/memory/meminfo`));
  expect(used).toBeGreaterThan(10_000);
  expect(used).toBeLessThan(MEMORY * 1024);
  console.log(`the appliance, as a guest with ${MEMORY} MiB, uses ${Math.round(used / 1024)} MiB`);
});

test("a client gets what its rules accept, intact, and is refused the rest; one without rules gets nothing", async () => {
  await setRules(9, RULES);
  // One boots while the other is built; more at once than the emulated machine has CPUs, and all take several times as long.
  await createClient("work", 9);
  await createClient("lost", 10);
  for (const name of ["work", "lost"]) await lab.guestSays(name, "client: ready");
  expect(await fetch("work", 80)).toBe(await sum());
  expect(await fetch("work", 81)).toMatch(REFUSED);
  expect(await pings("work", "10.138.0.80")).toBeTrue();
  expect(await fetch("lost", 80)).toMatch(REFUSED);
  expect(await pings("lost", "10.138.0.80")).toBeFalse();
  expect(await pings("lost", "10.137.0.1")).toBeTrue();
  expect(await pings("work", "10.137.0.10")).toBeFalse();
});

test("rules change while traffic flows", async () => {
  await setRules(10, RULES);
  expect(await fetch("lost", 80)).toBe(await sum());
  await setRules(9, ["action=accept proto=tcp dstports=81-81"]);
  expect(await fetch("work", 81)).toBe(await sum());
  expect(await fetch("work", 80)).toMatch(REFUSED);
});

test("rules that are not understood drop everything of that client, and dom0 reads why", async () => {
  await setRules(9, ["action=accept", "action=accept frobnicate=1"], "accept");
  expect(await fetch("work", 80)).toMatch(REFUSED);
  expect(await fetch("lost", 80)).toBe(await sum());
  const { "/qubes-iptables-error": error } = await lab.dump();
  expect(error).toStartWith('client 10.137.0.9: rule 0001: unknown key "frobnicate"');
  await setRules(9, RULES);
  expect((await lab.dump())["/qubes-iptables-error"]).toBe("");
});

test("QubesDB goes in the middle of a message and comes back: no packet is lost, and changes are in force in 2 s", async () => {
  const pinging = lab.in("work", "ping -c 12 10.138.0.80", 60);
  await Bun.sleep(2000);
  await lab.ask({ do: "kill", back: false });
  await lab.ask({ do: "rules", address: "10.137.0.10", rules: [], policy: "drop" });
  await Bun.sleep(3000);
  const before = await handled(10);
  await lab.ask({ do: "kill", back: true });
  const took = await lab.timed(() => eventually(60, "the new rules", async () => (await handled(10)) > before));
  console.log(`in step with QubesDB again after ${said(took)}`);
  expect(took.own).toBeLessThan(2000);
  expect((await pinging).output).toContain("12 packets transmitted, 12 packets received, 0% packet loss");
  expect(await fetch("lost", 80)).toMatch(REFUSED);
});

test("a client is destroyed in the middle of a transfer, and another comes with its address", async () => {
  await lab.in("work", "(while :; do wget -q -O /dev/null http://10.138.0.80/file; done) >/dev/null 2>&1 &");
  await Bun.sleep(1000);
  // It is silent when we clear away what is ours, and says after ten seconds that we don't.
  expect(await lab.run("xl destroy work 2>&1")).toBe("");
  await createClient("work2", 9);
  await lab.guestSays("work2", "client: ready");
  expect(await fetch("work2", 80)).toBe(await sum());
  expect(
    lab
      .guestConsole("fw")
      .match(/clients: .*/g)
      ?.at(-1),
  ).toMatch(/^clients: .*10\.137\.0\.9 on vif\d+\.0/);
});

test("a second interface with the same address takes over once it connects, and gives back when it goes", async () => {
  await attach("work2", "backend=fw,mac=00:16:3e:00:02:09,ip=10.137.0.9");
  await lab.in(
    "work2",
    "until [ -e /sys/class/net/eth1 ]; do usleep 100000; done; ip addr flush dev eth0; ip link set eth0 down; " +
      "ip addr add 10.137.0.9/32 dev eth1; ip link set eth1 up; ip route add 10.137.0.1/32 dev eth1; ip route add default via 10.137.0.1",
  );
  await eventually(120, "the way by the second interface", () => pings("work2", "10.138.0.80"));
  expect(await fetch("work2", 80)).toBe(await sum());
  expect(await lab.run("xl network-detach work2 1 2>&1")).toBe("");
  await lab.in(
    "work2",
    "ip addr add 10.137.0.9/32 dev eth0; ip link set eth0 up; ip route add 10.137.0.1/32 dev eth0; ip route add default via 10.137.0.1",
  );
  await eventually(120, "the way by the first interface", () => pings("work2", "10.138.0.80"));
});

test("the netvm is detached: clients keep their interface; attached again, with another address of ours, all is well", async () => {
  expect(await lab.run("xl network-detach fw 0 2>&1")).toBe("");
  for (const path of ["/qubes-ip", "/qubes-gateway"]) await lab.ask({ do: "remove", path });
  await lab.guestSays("fw", "no uplink: nothing is forwarded");
  expect(await pings("work2", "10.138.0.80")).toBeFalse();
  expect(await pings("work2", "10.137.0.1")).toBeTrue();
  await lab.ask({ do: "write", path: "/qubes-gateway", value: "10.138.0.1" });
  await lab.ask({ do: "write", path: "/qubes-ip", value: "10.137.0.6" });
  await attach("fw", uplinkVif("10.137.0.6"));
  await lab.guestSays("fw", "uplink eth0 10.137.0.6 through 10.138.0.1");
  await eventually(120, "the way out", () => pings("work2", "10.138.0.80"));
  expect(await fetch("work2", 80)).toBe(await sum());
});

test("interfaces that come and go leave nothing behind", async () => {
  const descriptors = async () =>
    (await lab.call("root:QUBESRPC firebreak.Status dom0")).output.match(/^vif/gm)?.length;
  const before = await descriptors();
  for (let round = 0; round < 5; round++) {
    await attach("lost", "backend=fw,mac=00:16:3e:00:02:10,ip=10.137.0.11");
    expect(await lab.run("xl network-detach lost 1 2>&1")).toBe("");
  }
  await eventually(60, "the interfaces as before", async () => (await descriptors()) === before);
  expect(await lab.run(`xenstore-ls -f /local/domain/${fw}/backend/vif | grep -c /state`)).toBe("2");
});

test("qrexec: status, clock, session, and what is not there", async () => {
  const status = await lab.call("root:QUBESRPC firebreak.Status dom0");
  expect([status.status, status.error]).toEqual([0, ""]);
  expect(status.output.split("\n")[0]).toMatch(new RegExp(`^firebreak ${version}, up \\d+ s$`));
  expect(status.output).toMatch(/^eth0 00:16:3e:00:00:05 mtu 1500: uplink 10\.137\.0\.6\/32 gateway 10\.138\.0\.1$/m);
  expect(status.output).toMatch(/^vif\d+\.0 fe:ff:ff:ff:ff:ff mtu 1500: client 10\.137\.0\.9$/m);
  expect(status.output).toMatch(/^frames: \d+ forwarded$/m);
  expect(status.output).toMatch(/^kernel path: \d+ forwarded$/m);
  expect(status.output).toMatch(/^flows: \d+$/m);
  const outcome = async (command: string, input = "") => {
    const { status: code, error } = await lab.call(`root:QUBESRPC ${command} dom0`, input);
    return [code, error];
  };
  expect(await outcome("qubes.SetDateTime", "2030-01-02T03:04:05+00:00\n")).toEqual([0, ""]);
  expect(await outcome("qubes.SetDateTime", "tomorrow\n")).toEqual([
    1,
    "not a date: write it as date -u -Iseconds does\n",
  ]);
  expect(await outcome("qubes.WaitForSession")).toEqual([0, ""]);
  expect(await outcome("qubes.VMShell")).toEqual([
    127,
    "firebreak does not have the service qubes.VMShell (services: qubes.SetDateTime, qubes.WaitForSession, " +
      "qubes.SuspendPreAll, qubes.SuspendPre, qubes.SuspendPost, qubes.SuspendPostAll, " +
      "firebreak.Status, firebreak.Watch, firebreak.Capture, firebreak.Configure)\n",
  ]);
});

test("nothing was done that QubesDB's real daemon would not survive", async () => {
  expect(await lab.facts()).toMatchObject({ mistakes: [], unanswered: 0 });
});

test("it shuts down when told", async () => {
  await lab.run("xl destroy work2; xl destroy lost");
  const order = `xenstore-write /local/domain/${fw}/control/shutdown poweroff`; // what xl shutdown writes
  const ended = "until grep -q ' reboot: ' /share/console/guest-fw.log; do usleep 50000; done";
  const took = await lab.timed(async () => void (await lab.run(`${order}; ${ended}`)));
  expect(lab.guestConsole("fw")).toMatch(/\] init: poweroff/);
  expect(lab.guestConsole("fw")).toMatch(END);
  console.log(`shut down after ${said(took)}`);
  expect(took.own).toBeLessThan(2000);
  await eventually(120, "the end of the domain", async () => !(await lab.run("xl list")).includes("fw"));
});

test.each(["dom0", "guest"] as const)(
  "a vchan that %s serves, with Xen's own library in dom0: thousands of messages to and fro, both sides asleep in between",
  async (server) => {
    const started = performance.now();
    echo ??= await startEcho();
    expect(await lab.talk(echo, server, MESSAGES)).toMatchObject({ messages: MESSAGES });
    console.log(`${MESSAGES} messages each way in ${Math.round((performance.now() - started) / 1000)} s`);
  },
);

test("it boots as a PV guest too, as older hardware has them", async () => {
  await startAppliance("pv", "pv");
  await lab.guestSays("pv", "uplink eth0 10.137.0.5 through 10.138.0.1");
  expect((await lab.call("root:QUBESRPC firebreak.Status dom0")).output).toMatch(/^eth0 .*: uplink 10\.137\.0\.5\/32/m);
  expect(await lab.run("xl destroy pv 2>&1")).toBe("");
  failed = false;
});
