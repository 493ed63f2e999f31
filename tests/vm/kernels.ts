// `firebreak run` on kernels that are not its own, which FIREBREAK_KERNELS names, beside the image's: TCP with and without
// offload, UDP, fragments, a reload in the middle of a transfer; on the kernel path, and with all frames in the program. The ends
// are this machine's kernel and its programs. One boot for each kernel. Run by build/appliance.sh test-kernels.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { peer, readState, type State } from "../../lab/firewall-lab.ts";
import { Machine } from "../../lab/machine.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { type OverlayFile, overlay } from "../../lab/overlay.ts";
import { becomeClient, becomeInternet, configuration, SERVER, serveHttp } from "../../lab/places.ts";

setDefaultTimeout(180_000);

const DIST = join(import.meta.dir, "../../dist");
/** What FIREBREAK_KERNELS calls the image's own kernel. */
const OWN = "image";
const RELEASES = (process.env.FIREBREAK_KERNELS ?? OWN).split(" ");

const ECHO = 7;
const SINK = 9;
const DOWNLOAD = 30_000_000;
const UPLOAD = 10_000_000;
/** Bytes a second of the transfer that lives through a reload. */
const LEISURELY = 5_000_000;
/** MiB: the executable and its libraries lie in memory, unpacked and packed. */
const MEMORY = 768;

/** ms until the kernel has forwarded something of a transfer that goes on. */
const GROWTH_PATIENCE = 20_000;

/** Drops for which a frame of an honest end gives no reason. */
const FAULTS = ["dropped: offload header that lies", "dropped: the kernel could not forward it"];

const ON = configuration([], "accept");
const OFF = `${ON}\n[nat]\nkernel_path = false\n`;

interface Row {
  readonly kernel: string;
  kernelPath: string;
  byKernel: number;
  /** Mbit/s of the download on the kernel path and without it. */
  readonly rates: number[];
  /** Segments that the server sent again. */
  resent: number;
  faults: string;
}

const rows: Row[] = [];

afterAll(() => {
  const table = rows.map(({ kernel, kernelPath, byKernel, rates, resent, faults }) => [
    kernel.padEnd(30),
    kernelPath.padEnd(4),
    String(byKernel).padStart(9),
    rates.map((rate) => rate.toFixed(0).padStart(5)).join(" /"),
    String(resent).padStart(6),
    faults,
  ]);
  const title = [
    "kernel".padEnd(30),
    "path",
    "by kernel",
    "Mbit/s: with offload, without; program alone",
    "resent",
    "faults",
  ];
  console.log(["", ...[title, ...table].map((cells) => cells.join("  ")), ""].join("\n"));
});

describe.each(RELEASES)("Linux %s", (release) => {
  const lab = new Lab("kernels");
  const folder = mkdtempSync(join(tmpdir(), "firebreak-"));
  const content = randomBytes(DOWNLOAD);
  const row: Row = { kernel: release, kernelPath: "?", byKernel: 0, rates: [], resent: 0, faults: "" };
  let client: Namespace;
  let internet: Namespace;
  let machine: Machine;

  beforeAll(async () => {
    client = lab.namespace("client");
    internet = lab.namespace("internet");
    console.log(`booting Linux ${release}, emulated`);
    rows.push(row);
    machine = await boot(release, lab, folder, client, internet);
    const www = join(folder, "www");
    mkdirSync(www);
    writeFileSync(join(www, "file"), content);
    serveHttp(internet, www);
    await internet.start(peer("echo", SERVER, ECHO)).says("listening");
  });

  afterAll(async () => {
    await machine?.unplug();
    await lab.close();
    rmSync(folder, { recursive: true });
  });

  async function state(): Promise<State> {
    const said = machine.console.text.length;
    machine.console.type("kill -USR1 $firewall\n");
    await machine.console.says(/flows: \d+\r\n/, said);
    return readState(machine.console.text.slice(said).replaceAll("\r", ""));
  }

  async function byKernel(): Promise<number> {
    return (await state()).kernelPath.get("forwarded") ?? 0;
  }

  async function reload(configuration: "on" | "off"): Promise<void> {
    const said = machine.console.text.length;
    machine.console.type(`busybox cp /etc/${configuration}.toml /etc/firebreak.toml; kill -HUP $firewall\n`);
    await machine.console.says("configuration reloaded", said);
  }

  /** Fetches the file. @returns Mbit/s. @throws when next to nothing comes for ten seconds, or not what was sent */
  async function download(...options: readonly string[]): Promise<number> {
    const fetched = join(folder, "fetched");
    const stall = ["--speed-limit", "100000", "--speed-time", "10"];
    const report = ["-sS", "-w", "%{speed_download}", "-o", fetched];
    const said = await client.run(["curl", ...report, ...stall, ...options, `http://${SERVER}/file`], 60_000);
    expect(sha256(readFileSync(fetched))).toBe(sha256(content));
    return (Number(said) * 8) / 1e6;
  }

  async function upload(): Promise<void> {
    const sink = internet.start(peer("sink", SINK));
    await sink.says("listening");
    const sent = JSON.parse(await client.run(peer("source", SERVER, SINK, UPLOAD), 60_000));
    await sink.says("hash");
    expect(JSON.parse(sink.text.split("\n")[1] ?? "")).toEqual(sent);
  }

  /** Sends datagrams of every size to the server, which sends them back. */
  async function datagrams(low: number, high: number): Promise<void> {
    const said = await client.run(peer("udp-sizes", SERVER, ECHO, low, high), 60_000);
    expect(JSON.parse(said)).toEqual({ intact: high - low + 1, changed: [], lost: [] });
  }

  async function fragments(): Promise<void> {
    await datagrams(2990, 3010);
    expect(await client.run(["ping", "-n", "-c", "3", "-i", "0.2", "-s", "8000", SERVER])).toContain(" 0% packet loss");
  }

  /** @returns frames that the kernel forwarded meanwhile */
  async function byKernelDuring(work: () => Promise<unknown>): Promise<number> {
    const before = await byKernel();
    await work();
    return (await byKernel()) - before;
  }

  test("the kernel path is on", () => {
    const [off = ""] = /.*kernel path.*/.exec(machine.console.text) ?? [];
    row.kernelPath = off === "" ? "on" : "off";
    expect(off).toBe("");
    expect(machine.console.text).toContain(release === OWN ? "-firebreak" : release);
  });

  test.each(["on", "off"] as const)(
    "TCP goes both ways, whole, by the kernel, with the ends' offloads %s",
    async (offloads) => {
      for (const end of [client, internet]) await offload(end, offloads);
      expect(await byKernelDuring(async () => row.rates.push(await download()))).toBeGreaterThan(100);
      expect(await byKernelDuring(upload)).toBeGreaterThan(100);
      for (const end of [client, internet]) await offload(end, "on");
    },
  );

  test("so does UDP, of all sizes, with and without offloads", async () => {
    for (const offloads of ["off", "on"] as const) {
      await offload(client, offloads);
      expect(await byKernelDuring(() => datagrams(1, 1472))).toBeGreaterThan(1472);
    }
  });

  test("fragments do, by the program", async () => {
    await fragments();
  });

  test("transfers live through two reloads, and are the kernel's again afterwards", async () => {
    let reloaded = false;
    // As many as it takes: on a busy machine one may be over before both reloads are.
    const transfers = (async () => {
      do await download("--limit-rate", String(LEISURELY));
      while (!reloaded);
    })();
    const reloads = (async () => {
      for (let i = 0; i < 2; i++) {
        await growth(byKernel);
        await reload("on");
        await growth(byKernel);
      }
    })().finally(() => {
      reloaded = true;
    });
    await Promise.allSettled([transfers, reloads]); // or one would run on in the next test, when the other fails
    await transfers;
    await reloads;
  });

  test("with kernel_path = false all of it goes, by the program", async () => {
    await reload("off");
    const during = await byKernelDuring(async () => {
      row.rates.push(await download());
      await upload();
      await datagrams(1, 1472);
      await fragments();
    });
    await reload("on");
    expect(during).toBe(0);
  });

  test("no frame was taken for a lie, none could not be forwarded", async () => {
    const { frames, kernelPath } = await state();
    row.byKernel = kernelPath.get("forwarded") ?? 0;
    row.resent = await resentSegments(internet);
    const found = FAULTS.filter((name) => frames.has(name)).map((name) => `${frames.get(name)} ${name}`);
    row.faults = found.join(", ");
    expect(found).toEqual([]);
  });

  test("it stops when told", async () => {
    const said = machine.console.text.length;
    machine.console.type("kill $firewall\n");
    await machine.console.says("stopped", said);
  });
});

async function boot(release: string, lab: Lab, folder: string, client: Namespace, internet: Namespace) {
  const initramfs = overlay(folder, filesOf(release));
  const kernel = join(DIST, release === OWN ? "vmlinuz" : `kernels/${release}/boot/vmlinuz-${release}`);
  // Debian's kernels lack what the image's has built in, and need it here as much.
  const options = { kernel, initramfs, memory: MEMORY, kernelOptions: "no_timer_check" };
  const machine = await Machine.boot(lab, folder, [client, internet], options);
  becomeClient(client);
  becomeInternet(internet);
  await machine.says("ready in");
  return machine;
}

/** What comes into the image's initramfs: init, the executable as hosts have it, its configurations, the kernel's modules. */
function filesOf(release: string): Record<string, OverlayFile> {
  const program = (path: string) => ({ content: readFileSync(path), mode: 0o755 });
  const text = (content: string) => ({ content, mode: 0o644 });
  const modules = join(DIST, "kernels", release, "modules");
  const names = release === OWN ? [] : readdirSync(modules);
  return {
    init: program(join(import.meta.dir, "kernel-init")),
    firebreak: program(join(DIST, "firebreak")),
    "etc/firebreak.toml": text(ON),
    "etc/on.toml": text(ON),
    "etc/off.toml": text(OFF),
    "lib/modules/order": text(""),
    ...Object.fromEntries(names.map((name) => [`lib/modules/${name}`, program(join(modules, name))])),
  };
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Has a kernel compute checksums and cut segments itself, or leave that to the tap and by that to the machine. */
async function offload(end: Namespace, state: "on" | "off"): Promise<void> {
  await end.run(["ethtool", "-K", "eth0", "tx", state, "tso", state, "gso", state, "gro", state]);
}

/** Waits until a number is larger than it was. @throws when it has not grown for long */
async function growth(number: () => Promise<number>): Promise<void> {
  const before = await number();
  const deadline = performance.now() + GROWTH_PATIENCE;
  while ((await number()) <= before) {
    if (performance.now() > deadline) throw new Error("the kernel forwards nothing");
    await Bun.sleep(100);
  }
}

async function resentSegments(end: Namespace): Promise<number> {
  return Number(/^TcpRetransSegs +(\d+)/m.exec(await end.run(["nstat", "-asz", "TcpRetransSegs"]))?.[1]);
}
