// The bootable image: booted as its users boot it, with real programs on both of its sides. What it needs is in dist/
// (build/appliance.sh build).
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Listening, listen } from "../../lab/listening.ts";
import { Machine, type MachineOptions } from "../../lab/machine.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { overlay } from "../../lab/overlay.ts";
import {
  becomeClient,
  becomeInternet,
  CLIENT_GATEWAY,
  configuration,
  ROUTER,
  SERVER,
  serveDns,
  serveHttp,
  UPLINK,
} from "../../lab/places.ts";
import { version } from "../../package.json" with { type: "json" };

/** A boot takes 5 s here, on a busy machine minutes; in ms. */
setDefaultTimeout(400_000);

const FILE_LENGTH = 20_000_000;
/** ms in which an emulator gets no turn, and then one. A kernel that counts on its timer panics of that in two boots of three. */
const HOST_AWAY = 60;
const HOST_HERE = 15;
/** Seconds until Qubes OS pulls the plug of a qube that is to power off. */
const QUBES_PATIENCE = 2;
const RULES = [
  "accept proto=icmp icmptype=8",
  "accept specialtarget=dns",
  `accept dst4=${SERVER} proto=tcp dstports=80`,
];

let lab: Lab;
let folder: string;
let client: Namespace;
let internet: Namespace;

beforeEach(() => {
  lab = new Lab("vm");
  folder = mkdtempSync(join(tmpdir(), "firebreak-"));
  client = lab.namespace("client");
  internet = lab.namespace("internet");
});

afterEach(async () => {
  await lab.close();
  rmSync(folder, { recursive: true });
});

async function boot(options: MachineOptions = {}): Promise<Machine> {
  const machine = await Machine.boot(lab, folder, [client, internet], options);
  becomeClient(client);
  becomeInternet(internet);
  return machine;
}

/** Writes a file. @returns its path */
function put(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The console's lines from the character `from` on, without their times. */
function linesOf(machine: Machine, from = 0): string[] {
  const lines = machine.console.text.slice(from).replaceAll("\r", "").trimEnd().split("\n");
  return lines.map((line) => line.replace(/^\[ *\d+\.\d+[^\]]*\] /, "").replace(/\d+ ms$/, "N ms"));
}

/** Boots, and hears what the machine sends to both sides from its first instruction on. */
async function bootHeard(options: MachineOptions): Promise<{ machine: Machine; listening: Listening }> {
  let listening: Listening | undefined;
  const machine = await boot({
    ...options,
    async onPlugged() {
      listening = await listen([client, internet]);
    },
  });
  if (listening === undefined) throw new Error("nobody listens");
  return { machine, listening };
}

describe("the image", () => {
  test("boots, lets real programs through where the rules do, and powers off", async () => {
    const { machine, listening } = await bootHeard({ config: put("firebreak.toml", configuration(RULES)) });
    await machine.says("ready in");
    expect(linesOf(machine)).toEqual([
      `firebreak ${version}`,
      "found eth0 52:54:00:00:00:00 mtu 1500",
      "found eth1 52:54:00:00:00:01 mtu 1500",
      "configuration from opt/firebreak/config",
      `eth1 52:54:00:00:00:01 mtu 1500: uplink ${UPLINK}/24 gateway ${ROUTER}`,
      "eth0 52:54:00:00:00:00 mtu 1500: client work",
      "ready in N ms",
    ]);
    await Bun.sleep(1000); // a kernel that were not silent would ask for routers and join groups by now
    // ARP's probes and announcements (RFC 5227), and not one frame of IPv6, of which there is nothing in the configuration.
    for (const lines of await listening.stop()) {
      expect(lines).not.toEqual([]);
      expect(lines.filter((line) => !line.startsWith("ARP, "))).toEqual([]);
    }

    for (const address of [CLIENT_GATEWAY, SERVER]) {
      expect(await client.run(["ping", "-c", "3", "-i", "0.2", address])).toContain("3 received, 0% packet loss");
    }
    await serveDns(internet);
    expect(await client.run(["dig", "+short", `@${ROUTER}`, "www.example"])).toBe(`${SERVER}\n`);

    const www = join(folder, "www");
    mkdirSync(www);
    const content = randomBytes(FILE_LENGTH);
    put("www/file", content);
    const server = serveHttp(internet, www);
    const fetched = join(folder, "fetched");
    await client.run(["curl", "-sS", "--retry", "5", "--retry-connrefused", "-o", fetched, `http://${SERVER}/file`]);
    expect(sha256(readFileSync(fetched))).toBe(sha256(content));
    expect(server.text).toContain(UPLINK);

    serveHttp(internet, www, 8080);
    expect((await client.attempt(["curl", "-sS", "--max-time", "3", `http://${SERVER}:8080/file`])).status).not.toBe(0);
    const state = await machine.state();
    expect(state).toMatch(/frames: \d+ forwarded/);
    expect(state).toMatch(/kernel path: \d+ forwarded/);
    expect(state).toContain("dropped: refused by rules");
    expect(state).toMatch(
      new RegExp(`flow: tcp .* to ${SERVER}:80 as ${UPLINK}:\\d+, [A-Z-]+, client work, rule 3`, "i"),
    );

    const said = machine.console.text.length;
    expect(await machine.powerOff()).toBe(0);
    expect(linesOf(machine, said)).toEqual(["init: poweroff", "reboot: Power down"]);
  });

  test("boots on a host that gives it a turn only now and then", async () => {
    const machine = await boot({ config: put("firebreak.toml", configuration(RULES)) });
    let isBooting = true;
    const ready = machine.says("ready in").finally(() => {
      isBooting = false;
    });
    while (isBooting) {
      machine.console.signal("SIGSTOP");
      await Bun.sleep(HOST_AWAY);
      machine.console.signal("SIGCONT");
      await Bun.sleep(HOST_HERE);
    }
    await ready;
    expect(await machine.powerOff()).toBe(0);
  });

  test("without a configuration says how to give one, is silent, and powers off", async () => {
    const { machine, listening } = await bootHeard({});
    await machine.says("firebreak.config=");
    expect(linesOf(machine).slice(3)).toEqual([
      "no configuration: nothing is forwarded. Start the machine with one, in any of these ways:",
      "  QEMU option             -fw_cfg name=opt/firebreak/config,file=firebreak.toml",
      "  file in the initramfs   /etc/firebreak.toml",
      "  kernel command line     firebreak.config=$(base64 -w 0 firebreak.toml)",
    ]);
    expect((await client.attempt(["ping", "-c", "1", "-W", "1", CLIENT_GATEWAY])).status).not.toBe(0);
    expect(await machine.powerOff()).toBe(0);
    expect(await listening.stop()).toEqual([[], []]);
  });

  test("takes its configuration from the kernel command line", async () => {
    const config = Buffer.from(configuration(RULES)).toString("base64");
    const machine = await boot({ kernelOptions: `firebreak.config=${config}` });
    await machine.says("ready in");
    expect(linesOf(machine)).toContain("configuration from firebreak.config");
    expect(await client.run(["ping", "-c", "3", "-i", "0.2", SERVER])).toContain("3 received, 0% packet loss");
    expect(await machine.powerOff()).toBe(0);
  });

  test("holds the uplink to its line's rate, and what waits there keeps no other flow waiting", async () => {
    const text = configuration([], "accept").replace("[uplink]\n", '[uplink]\nrate = "500 kbit"\n');
    const machine = await boot({ config: put("firebreak.toml", text) });
    await machine.says("ready in");
    expect(linesOf(machine).at(-3)).toEndWith(`gateway ${ROUTER} rate 500 kbit`);
    const server = internet.start(["iperf3", "--server", "--forceflush"]);
    await server.says("listening");
    const upload = client.start(["iperf3", "--forceflush", "--client", SERVER, "--parallel", "8", "--time", "600"]);
    await upload.says(/SUM.*bits\/sec/);
    const received = async () => Number(await internet.run(["cat", "/sys/class/net/eth0/statistics/rx_bytes"]));
    const [started, before] = [performance.now(), await received()];
    const pings = await client.run(["ping", "-n", "-c", "25", "-i", "0.4", SERVER]);
    const rate = (8 * ((await received()) - before)) / (performance.now() - started);
    const rtts = [...pings.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms)).sort((a, b) => a - b);
    console.log(`${rate.toFixed(0)} kbit/s; pings beside, of the same client: ${rtts.join(" ")} ms`);
    expect(rate).toBeLessThan(550);
    // A plain queue of the 16 KB that may wait takes 260 ms: fq_codel sends a flow that sends little first.
    expect(rtts[12]).toBeLessThan(160);
    upload.signal("SIGKILL");
    expect(await machine.powerOff()).toBe(0);
  });

  test("tells what is wrong with the file in its initramfs, and forwards nothing", async () => {
    const wrong = configuration(RULES).replace(`"${UPLINK}/24"`, '"192.0.2.300/24"');
    const machine = await boot({
      initramfs: overlay(folder, { "etc/firebreak.toml": { content: wrong, mode: 0o644 } }),
    });
    await machine.says("is not good");
    const [, , , source, error, ...rest] = linesOf(machine);
    expect(source).toBe("configuration from /etc/firebreak.toml");
    expect(error).toStartWith("/etc/firebreak.toml:3: uplink: ");
    expect(rest).toEqual(["the configuration is not good: nothing is forwarded until it is corrected"]);
    expect((await client.attempt(["ping", "-c", "1", "-W", "1", CLIENT_GATEWAY])).status).not.toBe(0);
    expect(await machine.powerOff()).toBe(0);
  });
});

describe("init, with other programs in the firewall's place", () => {
  async function bootProgram(text: string): Promise<Machine> {
    return boot({ initramfs: overlay(folder, { firebreak: { content: `#!/bin/sh\n${text}\n`, mode: 0o755 } }) });
  }

  test("starts it again when it ends", async () => {
    const machine = await bootProgram(
      '[ -e /once ] && echo encore && exec sleep 60; echo "$@" >/once; cat /once; exit 3',
    );
    await machine.says("encore");
    expect(linesOf(machine)).toEqual([
      "appliance",
      "init: the firewall ended with status 3; starting it again in 1 s",
      "encore",
    ]);
    expect(await machine.powerOff()).toBe(0);
  });

  test("starts one that ends at once ever more seldom, and powers off meanwhile", async () => {
    const machine = await bootProgram("exit 4");
    for (const pause of [1, 2, 4, 8]) await machine.says(`ended with status 4; starting it again in ${pause} s`);
    expect(await machine.powerOff()).toBe(0);
    expect(linesOf(machine).at(-2)).toBe("init: poweroff");
  });

  test("powers off although it would not stop", async () => {
    const machine = await bootProgram("trap '' TERM; echo stubborn; while :; do sleep 1; done");
    await machine.says("stubborn");
    expect(await machine.powerOff()).toBe(0);
    const [asked, down] = ["init: poweroff", "reboot: Power down"].map((line) => {
      return Number(new RegExp(`\\[ *([\\d.]+)[^\\]]*\\] ${line}`).exec(machine.console.text)?.[1]);
    });
    expect(down - asked).toBeLessThan(QUBES_PATIENCE);
    expect(linesOf(machine)).toEqual(["stubborn", "init: poweroff", "reboot: Power down"]);
  });

  test.each([
    ["poweroff", "reboot: Power down"],
    ["reboot", "reboot: Restarting system"],
  ])("obeys /sbin/%s", async (program, end) => {
    const machine = await bootProgram(`/sbin/${program}; exec sleep 60`);
    expect(await machine.console.end()).toBe(0);
    expect(linesOf(machine)).toEqual([`init: ${program}`, end]);
  });
});

test("twenty downloads of 100 MB: nothing comes out of its order, and nothing is dropped", async () => {
  const machine = await boot({ config: put("firebreak.toml", configuration([], "accept")) });
  // Frames that come in on several CPUs at a time have no order: here all come in on one.
  for (const end of [client, internet]) await end.run(["sh", "-c", "echo 1 >/sys/class/net/eth0/queues/rx-0/rps_cpus"]);
  await machine.says("ready in");
  const www = join(folder, "www");
  mkdirSync(www);
  await internet.run(["sh", "-c", `head -c 100000000 /dev/zero >${www}/file`]);
  serveHttp(internet, www);
  await client.run(["nstat", "-n"]);
  const download = ["curl", "-sS", "--retry-connrefused", "--retry", "9", "-o", "/dev/null", "-w", "%{size_download}"];
  for (let i = 0; i < 20; i++) {
    expect(await client.run([...download, `http://${SERVER}/file`], 300_000)).toBe("100000000");
  }
  const state = await machine.state();
  expect(state).not.toMatch(/: \d+ (dropped|lost)/);
  expect(Number(/ kernel path: (\d+) forwarded$/m.exec(state)?.[1])).toBeGreaterThan(20_000);
  expect(await client.run(["nstat", "-sz", "TcpExtTCPOFOQueue"])).toMatch(/^TcpExtTCPOFOQueue +0 /m);
});
