// A thread of the firewall that hangs, or the firewall killed: a second later nothing passes, whichever way it took; the program
// ends, so that whoever watches it starts another, and the interfaces are as they were.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FirewallLab, firebreak, peer } from "../../lab/firewall-lab.ts";
import type { Program } from "../../lab/namespaces.ts";
import { configuration, SERVER } from "../../lab/places.ts";
import { buildChanged } from "../support/slow-dataplane.ts";

const PORT = 5000;
/** Datagrams a second. */
const RATE = 500;
const ENDLESS = 1_000_000;
/** ms after which nothing may pass; half of a second for a busy machine to do what is due. */
const OVER = 1500;

const lab = new FirewallLab("hung");

/** With a queue in front of the uplink, which is to go too. */
const configure = (rules: readonly string[]) =>
  lab.writeConfig(configuration(rules, "accept").replace("[uplink]\n", '[uplink]\nrate = "900 Mbit"\n'));

beforeAll(() => configure([]));
beforeEach(async () => {
  for (const name of ["eth0", "eth1"]) await lab.firewall.run(["ip", "link", "set", name, "down"]);
});
afterAll(() => lab.close());

/** What the kernel has of the firewall's interfaces. */
async function state(): Promise<string> {
  const script = `ip -details -oneline link show | sed 's/ link-netns.*promiscuity/ promiscuity/'
    for name in eth0 eth1; do
      grep -H . /proc/sys/net/ipv[46]/conf/$name/{disable_ipv6,forwarding,rp_filter,arp_ignore}
      tc qdisc show dev $name; tc filter show dev $name ingress
    done
    nft list ruleset; cat /proc/net/packet | wc -l`;
  return await lab.firewall.run(["bash", "-c", `${script} 2>/dev/null || true`]);
}

/** Numbers of a process's threads: control's is the process's own, the dataplane's that which has been in poll(2) or forwarded most. */
function threads({ pid }: Program): { control: number; dataplane: number } {
  const others = readdirSync(`/proc/${pid}/task`).map(Number);
  const named = others.filter((task) => readFileSync(`/proc/${pid}/task/${task}/comm`, "utf8") === "Worker\n");
  expect(named).toHaveLength(1);
  return { control: pid, dataplane: named[0] };
}

/** Starts it, with a flow on the kernel path and an echo request now and then on the other one. @returns what counts both at the server */
async function startWithTraffic(command = firebreak()) {
  const program = await lab.start(command);
  const counter = lab.internet.start(peer("udp-gaps", SERVER, PORT));
  await counter.says("listening");
  const stream = lab.client.start(peer("udp-stream", SERVER, PORT, ENDLESS, RATE));
  const pings = lab.client.start(["ping", "-i", "0.05", "-W", "1", SERVER]);
  while (((await lab.state()).kernelPath.get("forwarded") ?? 0) < RATE) await Bun.sleep(50);
  const passed = async () => Number(await lab.internet.run(["cat", "/sys/class/net/eth0/statistics/rx_packets"]));
  const stop = async () => {
    for (const one of [stream, pings, counter]) one.signal("SIGKILL");
    await Promise.all([stream.end(), pings.end(), counter.end()]);
  };
  return { program, passed, stop };
}

async function stopThread(task: number): Promise<Program> {
  const stopper = lab.firewall.start(peer("stop-thread", task));
  await stopper.says("stopped");
  return stopper;
}

test.each(["dataplane", "control"] as const)(
  "the thread of %s hangs",
  async (which) => {
    const before = await state();
    const { program, passed, stop } = await startWithTraffic();
    const stopper = await stopThread(threads(program)[which]);
    await Bun.sleep(OVER);
    const over = await passed();
    expect(await program.end()).toBe(1);
    await stopper.end();
    expect(await passed()).toBe(over);
    const thread = which === "control" ? "control thread" : "dataplane's thread";
    expect(program.text).toContain(`firebreak: the ${thread} hangs`);
    await stop();
    expect(await state()).toBe(before);
  },
  120_000,
);

test("killed, it leaves the interfaces silent, and firebreak restore as they were", async () => {
  const before = await state();
  const { program, passed, stop } = await startWithTraffic();
  program.signal("SIGKILL");
  await program.end();
  const over = await passed();
  await Bun.sleep(OVER);
  expect(await passed()).toBe(over);
  await lab.firewall.run(firebreak("restore"));
  await stop();
  expect(await state()).toBe(before);
}, 120_000);

test("asked to stop while the dataplane's thread hangs, it ends too", async () => {
  const before = await state();
  const { program, stop } = await startWithTraffic();
  const stopper = await stopThread(threads(program).dataplane);
  program.signal("SIGTERM");
  expect(await program.end()).toBe(1);
  await stopper.end();
  await stop();
  expect(await state()).toBe(before);
}, 120_000);

test("all of it stopped for a while and woken again goes on, and so it does when control alone was silent for two seconds", async () => {
  const { program, passed, stop } = await startWithTraffic();
  program.signal("SIGSTOP");
  await Bun.sleep(12_000);
  program.signal("SIGCONT");
  await goesOn(passed);

  const stopper = await stopThread(program.pid);
  await Bun.sleep(OVER);
  const over = await passed();
  await Bun.sleep(500);
  expect(await passed()).toBe(over);
  stopper.signal("SIGKILL"); // whom it had stopped goes on
  await goesOn(passed);
  await stop();
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
}, 120_000);

/** Waits until packets pass. */
async function goesOn(passed: () => Promise<number>): Promise<void> {
  const before = await passed();
  while ((await passed()) < before + RATE) await Bun.sleep(20);
}

describe("the dataplane's thread dies", () => {
  const executable = join(lab.folder, "firebreak");

  beforeAll(async () => {
    const COMMAND = 'if (command.type === "stop") {';
    await buildChanged(
      { "io/commands.ts": [COMMAND] },
      // Of the firewall's own settings: the thread rehearses with others.
      (statement) => `if (command.settings?.clients[0].name === "work") throw new Error("a fault"); ${statement}`,
      executable,
    );
  }, 120_000);

  test("the program ends with an error, whatever timers there are, and leaves the interfaces as they were", async () => {
    const before = await state();
    configure(["accept proto=udp expire=4000000000"]); // a timer
    const { program, passed, stop } = await startWithTraffic([executable]);
    program.signal("SIGHUP");
    expect(await program.end()).toBe(1);
    expect(program.text).toContain("firebreak: the dataplane failed: Error: a fault");
    const over = await passed();
    await Bun.sleep(300);
    expect(await passed()).toBe(over);
    await stop();
    expect(await state()).toBe(before);
    configure([]);
  }, 120_000);
});

test("a dataplane's thread that takes long to start, as on a slow machine, is waited for", async () => {
  const executable = join(lab.folder, "slow-to-start");
  const HUNG = 12_000; // of one that has started
  const START = "const { programs, wants } = triedPrograms();";
  await buildChanged({ "io/worker.ts": [START] }, (statement) => `Bun.sleepSync(${HUNG}); ${statement}`, executable);
  const program = lab.firewall.start([executable, "run", "--config", lab.configFile]);
  await program.says("ready in");
  program.signal("SIGTERM");
  expect(await program.end()).toBe(0);
}, 120_000);
