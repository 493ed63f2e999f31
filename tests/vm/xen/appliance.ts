// The image as a qube on a real Xen (emulated, so everything is slow): dom0 is the netvm and plays Qubes OS's daemons, two
// guests are clients. One machine for all tests, which build on each other. Run by build/appliance.sh test-xen.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { version } from "../../../package.json" with { type: "json" };
import { XenLab } from "./lab.ts";
import {
  address6,
  FIREWALL6,
  LOST,
  MEMORY,
  NETVM6,
  RULES,
  SERVER,
  SERVER6,
  UPLINK_MAC,
  uplinkVif,
  WORK,
} from "./place.ts";
import { eventually, Qubes } from "./qubes.ts";

/** For machines that are busy with other things too; what waits in vain has limits of its own. */
setDefaultTimeout(1_200_000);

/** That a vchan carries each way. */
const MESSAGES = 2000;
let lab: XenLab;
let qubes: Qubes;
let fw: number;
let echo: number | undefined;

beforeAll(async () => {
  lab = await XenLab.boot();
  qubes = new Qubes(lab);
  await qubes.startServer();
  fw = await qubes.startAppliance("fw", "pvh");
});

afterAll(async () => {
  if (failed) {
    const status = await lab.call("root:QUBESRPC firebreak.Status dom0").then(({ output }) => output, String);
    const consoles = ["fw", "lost", "echo", "pv"].map((name) => `== ${name}\n${lab.guestConsole(name)}`);
    const domains = await lab.run("xl list").catch(String);
    console.log(
      `== status\n${status}\n== domains\n${domains}\n== dom0\n${lab.console.slice(-3000)}\n${consoles.join("\n")}`,
    );
  }
  await lab.stop();
});

let failed = true; // until the last test has passed

function said({ clock, own }: { clock: number; own: number }): string {
  return `${Math.round(clock)} ms, of which ${Math.round(own)} ms were its own`;
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
    `uplink eth0 10.137.0.5 through 10.138.0.1, ${FIREWALL6} through ${NETVM6}`,
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
  await qubes.setRules(WORK, RULES);
  // One boots while the other is built; more at once than the emulated machine has CPUs, and all take several times as long.
  await qubes.createClient("work", 9);
  await qubes.createClient("lost", 10, true);
  for (const name of ["work", "lost"]) await lab.guestSays(name, "client: ready");
  expect(await qubes.fetch("work", 80)).toBe(await qubes.sum());
  expect(await qubes.fetch("work", 81)).toMatch(REFUSED);
  expect(await qubes.pings("work", "10.138.0.80")).toBeTrue();
  expect(await qubes.fetch("lost", 80)).toMatch(REFUSED);
  expect(await qubes.fetch("lost", 80, SERVER6.allowed)).toMatch(REFUSED);
  expect(await qubes.pings("lost", "10.138.0.80")).toBeFalse();
  expect(await qubes.pings("lost", "10.137.0.1")).toBeTrue();
  expect(await qubes.pings("work", "10.137.0.10")).toBeFalse();
});

test("rules change while traffic flows", async () => {
  await qubes.setRules(LOST, RULES);
  expect(await qubes.fetch("lost", 80)).toBe(await qubes.sum());
  await qubes.setRules(WORK, ["action=accept proto=tcp dstports=81-81"]);
  expect(await qubes.fetch("work", 81)).toBe(await qubes.sum());
  expect(await qubes.fetch("work", 80)).toMatch(REFUSED);
});

test("rules that are not understood drop everything of that client, and dom0 reads why", async () => {
  await qubes.setRules(WORK, ["action=accept", "action=accept frobnicate=1"], "accept");
  expect(await qubes.fetch("work", 80)).toMatch(REFUSED);
  expect(await qubes.fetch("lost", 80)).toBe(await qubes.sum());
  const { "/qubes-iptables-error": error } = await lab.dump();
  expect(error).toStartWith('client 10.137.0.9: rule 0001: unknown key "frobnicate"');
  await qubes.setRules(WORK, RULES);
  expect((await lab.dump())["/qubes-iptables-error"]).toBe("");
});

test("a client with both families fetches by IPv6 too, in our name, and what rules say of one family is not said of the other", async () => {
  const line = new RegExp(`^clients: .*10\\.137\\.0\\.10 and ${address6(10)} on vif\\d+\\.0`, "m");
  expect(lab.guestConsole("fw").replaceAll(/^\[[^\]]*\] /gm, "")).toMatch(line);
  expect(await qubes.pings("lost", FIREWALL6)).toBeTrue();
  expect(await qubes.fetch("lost", 80, SERVER6.other)).toBe(await qubes.sum());
  expect(await qubes.seenAs("lost", SERVER6.allowed)).toBe(`[${FIREWALL6}]`);
  expect(await qubes.seenAs("lost", SERVER)).toBe("10.137.0.5");
  await qubes.setRules(LOST, [
    `action=drop dst6=${SERVER6.other}/128`,
    `action=accept dst4=${SERVER}/32 proto=tcp dstports=81-81`,
    `action=accept dst6=${SERVER6.allowed}/128 proto=tcp dstports=80-80`,
    "action=accept proto=icmp",
  ]);
  expect(await qubes.fetch("lost", 80, SERVER6.allowed)).toBe(await qubes.sum());
  expect(await qubes.fetch("lost", 81, SERVER6.allowed)).toMatch(REFUSED);
  expect(await qubes.fetch("lost", 80, SERVER6.other)).toMatch(REFUSED);
  expect(await qubes.fetch("lost", 81)).toBe(await qubes.sum());
  expect(await qubes.fetch("lost", 80)).toMatch(REFUSED);
  await qubes.setRules(LOST, RULES);
});

test("nothing of IPv6 passes from an interface whose client has the feature off, and it is counted; IPv4 does", async () => {
  await qubes.setRules(["10.137.0.12"], ["action=accept"]);
  await qubes.attach("lost", "backend=fw,mac=00:16:3e:00:02:12,ip=10.137.0.12");
  await lab.in(
    "lost",
    `until [ -e /sys/class/net/eth1 ]; do usleep 100000; done; ip link set eth1 up
    ip() { /sbin/ip "$@"; }
    ip addr add 10.137.0.12/32 dev eth1; ip route add default via 10.137.0.1 dev eth1 onlink metric 2048
    ip addr add ${address6(12)}/128 dev eth1 nodad; ip route add default via ${FIREWALL6} dev eth1 onlink metric 2048
    ip neigh replace ${FIREWALL6} lladdr fe:ff:ff:ff:ff:ff nud permanent dev eth1`,
  );
  const ping = (iface: string, address: string) => lab.in("lost", `ping -I ${iface} -c 2 -W 2 ${address}`);
  const echos = async () => Number(await lab.run("sed -n 's/^Icmp6InEchos *//p' /proc/net/snmp6"));
  await eventually(120, "its way by IPv4", async () => (await ping("eth1", SERVER)).status === 0);
  const before = { dropped: await qubes.withoutIpv6(), arrived: await echos() };
  expect((await ping("eth1", SERVER6.allowed)).output).toContain("2 packets transmitted, 0 packets received");
  await eventually(60, "their drop", async () => (await qubes.withoutIpv6()) >= before.dropped + 2);
  expect(await echos()).toBe(before.arrived);
  expect((await ping("eth0", SERVER6.allowed)).status).toBe(0);
  await eventually(60, "their arrival", async () => (await echos()) === before.arrived + 2);
  expect(await lab.run("xl network-detach lost 1 2>&1")).toBe("");
});

test("QubesDB goes in the middle of a message and comes back: no packet is lost, and changes are in force in 2 s", async () => {
  const pinging = lab.in("work", "ping -c 12 10.138.0.80", 60);
  await Bun.sleep(2000);
  await lab.ask({ do: "kill", back: false });
  await qubes.writeRules(LOST, []);
  await Bun.sleep(3000);
  const [address] = LOST;
  const before = await qubes.handled(address);
  await lab.ask({ do: "kill", back: true });
  const took = await lab.timed(() =>
    eventually(60, "the new rules", async () => (await qubes.handled(address)) > before),
  );
  console.log(`in step with QubesDB again after ${said(took)}`);
  expect(took.own).toBeLessThan(2000);
  expect((await pinging).output).toContain("12 packets transmitted, 12 packets received, 0% packet loss");
  expect(await qubes.fetch("lost", 80)).toMatch(REFUSED);
  expect(await qubes.fetch("lost", 80, SERVER6.allowed)).toMatch(REFUSED);
});

test("a client is destroyed in the middle of a transfer, and another comes with its address", async () => {
  await lab.in("work", "(while :; do wget -q -O /dev/null http://10.138.0.80/file; done) >/dev/null 2>&1 &");
  await Bun.sleep(1000);
  // It is silent when we clear away what is ours, and says after ten seconds that we don't.
  expect(await lab.run("xl destroy work 2>&1")).toBe("");
  await qubes.createClient("work2", 9);
  await lab.guestSays("work2", "client: ready");
  expect(await qubes.fetch("work2", 80)).toBe(await qubes.sum());
  expect(
    lab
      .guestConsole("fw")
      .match(/clients: .*/g)
      ?.at(-1),
  ).toMatch(/^clients: .*10\.137\.0\.9 on vif\d+\.0/);
});

test("a second interface with the same address takes over once it connects, and gives back when it goes", async () => {
  await qubes.attach("work2", "backend=fw,mac=00:16:3e:00:02:09,ip=10.137.0.9");
  await lab.in(
    "work2",
    "until [ -e /sys/class/net/eth1 ]; do usleep 100000; done; ip addr flush dev eth0; ip link set eth0 down; " +
      "ip addr add 10.137.0.9/32 dev eth1; ip link set eth1 up; ip route add 10.137.0.1/32 dev eth1; ip route add default via 10.137.0.1",
  );
  await eventually(120, "the way by the second interface", () => qubes.pings("work2", "10.138.0.80"));
  expect(await qubes.fetch("work2", 80)).toBe(await qubes.sum());
  expect(await lab.run("xl network-detach work2 1 2>&1")).toBe("");
  await lab.in(
    "work2",
    "ip addr add 10.137.0.9/32 dev eth0; ip link set eth0 up; ip route add 10.137.0.1/32 dev eth0; ip route add default via 10.137.0.1",
  );
  await eventually(120, "the way by the first interface", () => qubes.pings("work2", "10.138.0.80"));
});

test("the netvm is detached: clients keep their interface; attached again, with another address of ours, all is well", async () => {
  expect(await lab.run("xl network-detach fw 0 2>&1")).toBe("");
  for (const path of ["/qubes-ip", "/qubes-gateway", "/qubes-ip6", "/qubes-gateway6"]) {
    await lab.ask({ do: "remove", path });
  }
  await lab.guestSays("fw", "no uplink: nothing is forwarded");
  expect(await qubes.pings("work2", "10.138.0.80")).toBeFalse();
  expect(await qubes.pings("work2", "10.137.0.1")).toBeTrue();
  await qubes.setRules(LOST, RULES);
  expect(await qubes.fetch("lost", 80, SERVER6.allowed)).toMatch(REFUSED);
  const now = {
    "/qubes-gateway": "10.138.0.1",
    "/qubes-ip": "10.137.0.6",
    "/qubes-gateway6": NETVM6,
    "/qubes-ip6": address6(6),
  };
  for (const [path, value] of Object.entries(now)) await lab.ask({ do: "write", path, value });
  await qubes.attach("fw", uplinkVif(`10.137.0.6 ${address6(6)}`));
  await lab.guestSays("fw", `uplink eth0 10.137.0.6 through 10.138.0.1, ${address6(6)} through ${NETVM6}`);
  await eventually(120, "the way out", () => qubes.pings("work2", "10.138.0.80"));
  expect(await qubes.fetch("work2", 80)).toBe(await qubes.sum());
  expect(await qubes.fetch("lost", 80, SERVER6.allowed)).toBe(await qubes.sum());
  expect(await qubes.seenAs("lost", SERVER6.allowed)).toBe(`[${address6(6)}]`);
});

test("interfaces that come and go leave nothing behind", async () => {
  const descriptors = async () =>
    (await lab.call("root:QUBESRPC firebreak.Status dom0")).output.match(/^vif/gm)?.length;
  const before = await descriptors();
  for (let round = 0; round < 5; round++) {
    await qubes.attach("lost", "backend=fw,mac=00:16:3e:00:02:10,ip=10.137.0.11");
    expect(await lab.run("xl network-detach lost 1 2>&1")).toBe("");
  }
  await eventually(60, "the interfaces as before", async () => (await descriptors()) === before);
  expect(await lab.run(`xenstore-ls -f /local/domain/${fw}/backend/vif | grep -c /state`)).toBe("2");
});

test("qrexec: status, clock, session, and what is not there", async () => {
  const status = await lab.call("root:QUBESRPC firebreak.Status dom0");
  expect([status.status, status.error]).toEqual([0, ""]);
  expect(status.output.split("\n")[0]).toMatch(new RegExp(`^firebreak ${version}, up \\d+ s$`));
  expect(status.output).toContain(
    "\neth0 00:16:3e:00:00:05 mtu 1500: uplink 10.137.0.6/32 gateway 10.138.0.1 " +
      `and ${address6(6)}/128 gateway ${NETVM6}\n`,
  );
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
    echo ??= await qubes.startEcho();
    expect(await lab.talk(echo, server, MESSAGES)).toMatchObject({ messages: MESSAGES });
    console.log(`${MESSAGES} messages each way in ${Math.round((performance.now() - started) / 1000)} s`);
  },
);

test("it boots as a PV guest too, as older hardware has them", async () => {
  await qubes.startAppliance("pv", "pv");
  await lab.guestSays("pv", "uplink eth0 10.137.0.5 through 10.138.0.1");
  expect((await lab.call("root:QUBESRPC firebreak.Status dom0")).output).toMatch(/^eth0 .*: uplink 10\.137\.0\.5\/32/m);
  expect(await lab.run("xl destroy pv 2>&1")).toBe("");
  failed = false;
});
