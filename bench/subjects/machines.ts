// The machines of `vm` and `size`: the firewall's image and its Linux peer, on Debian's kernel, under the same emulation, each
// between a client and an internet of its own. Both tell how much memory they use when they get a line of input.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Machine } from "../../lab/machine.ts";
import { Lab, type Namespace } from "../../lab/namespaces.ts";
import { overlay } from "../../lab/overlay.ts";
import { becomeClient, becomeInternet, CLIENT_GATEWAY, configuration, SERVER, UPLINK } from "../../lab/places.ts";
import { generator } from "../load/generate.ts";
import { BENCH_FOLDER } from "./subjects.ts";

/** MAC addresses that Machine gives: towards the first client, and the uplink. */
const MACHINE_MAC = { inside: macOf(0), outside: macOf(1) };

function macOf(iface: number): string {
  return `52:54:00:00:00:0${iface}`;
}

/** Starts the program, and answers for it on the console. */
const PROGRAM = `#!/bin/sh
/system/firebreak "$@" </dev/null &
while read -r _; do
  while read -r name kilobytes _; do
    case $name in MemTotal: | MemAvailable:) echo "$name $kilobytes" ;; esac
  done </proc/meminfo
done
`;

export interface Image {
  /** Path of its kernel; the appliance's without it. */
  readonly kernel?: string;
  /** Path of its initramfs. */
  readonly initramfs: string;
  /** Path of its configuration, where it needs one. */
  readonly config?: string;
  /** Kernel options that it needs. */
  readonly kernelOptions?: string;
  /** Clients that it serves: one, without it. */
  readonly clients?: number;
}

/** A client of a machine. */
export interface MachineClient {
  readonly namespace: Namespace;
  readonly address: string;
  /** The machine's MAC address that it sends to. */
  readonly firstHop: string;
}

/** @param folder for files; the caller's to remove */
export function firebreakImage(folder: string, clients = 1): Image {
  const config = join(folder, `firebreak-${clients}.toml`);
  const more = Array.from({ length: clients - 1 }, (_, i) => clientSection(i + 1));
  writeFileSync(config, configuration([], "accept") + more.join(""));
  return { clients, initramfs: overlay(folder, { firebreak: { content: PROGRAM, mode: 0o755 } }), config };
}

export function linuxImage(): Image {
  // The appliance's kernel has the option built in: without it an emulated machine does not always boot on a busy host.
  return {
    kernel: join(BENCH_FOLDER, "kernel/vmlinuz"),
    initramfs: join(BENCH_FOLDER, "linux"),
    kernelOptions: "no_timer_check",
  };
}

/** The first client is on eth0, the others come after the uplink on eth1. */
function interfaceOf(client: number): number {
  return client === 0 ? 0 : client + 1;
}

function addressOf(client: number): string {
  return `10.137.0.${10 + client}`;
}

function clientSection(client: number): string {
  return `
[[client]]
name = "client${client}"
interface = "eth${interfaceOf(client)}"
address = "${addressOf(client)}"
gateway = "${CLIENT_GATEWAY}"
policy = "accept"
`;
}

/** Rejects when a machine ends: with too little memory its kernel panics. */
async function endOf({ console }: Machine): Promise<never> {
  await console.end();
  throw new Error(`the machine ended:\n${console.text}`);
}

/** A machine that forwards. */
export class Booted {
  private constructor(
    readonly clients: readonly MachineClient[],
    readonly internet: Namespace,
    private readonly machine: Machine,
    /** From the kernel's first instruction to the first packet there and back, in seconds. */
    readonly bootTime: number,
  ) {}

  /**
   * Boots an image, and lets `use` have it once it has forwarded a packet.
   * @param memory MiB
   * @param patience how long that may take, in ms
   * @throws Error when it does not forward in time
   */
  static async use<T>(
    image: Image,
    folder: string,
    memory: number,
    patience: number,
    use: (booted: Booted) => Promise<T>,
  ): Promise<T> {
    const lab = new Lab("bench");
    try {
      return await use(await Booted.boot(lab, image, folder, memory, patience));
    } finally {
      await lab.close();
    }
  }

  private static async boot(lab: Lab, image: Image, folder: string, memory: number, patience: number): Promise<Booted> {
    const clients = Array.from({ length: image.clients ?? 1 }, (_, i) => ({
      namespace: lab.namespace(`client${i}`),
      address: addressOf(i),
      firstHop: macOf(interfaceOf(i)),
    }));
    const [client, ...others] = clients.map(({ namespace }) => namespace);
    const internet = lab.namespace("internet");
    const machine = await Machine.boot(lab, folder, [client, internet, ...others], { ...image, memory });
    const started = performance.now();
    becomeInternet(internet);
    for (const { namespace, address, firstHop } of clients) {
      becomeClient(namespace, address);
      // So that nobody waits a second to ask again for what is not up yet.
      namespace.ip("neighbour", "add", CLIENT_GATEWAY, "lladdr", firstHop, "dev", "eth0");
    }
    internet.ip("neighbour", "add", UPLINK, "lladdr", MACHINE_MAC.outside, "dev", "eth0");
    const ping = client.start(["ping", "-n", "-i", "0.02", SERVER]);
    await Promise.race([ping.says("bytes from", 0, patience), endOf(machine)]);
    const bootTime = (performance.now() - started) / 1000;
    ping.signal("SIGINT");
    await ping.end();
    return new Booted(clients, internet, machine, bootTime);
  }

  /** The first client. */
  get client(): Namespace {
    return this.clients[0].namespace;
  }

  /**
   * Has all clients open flows, by a packet each.
   * @param flows how many in all, of which every client opens its share, rounded down
   * @param rate in all, a second
   */
  async openFlows(flows: number, rate: number): Promise<void> {
    const [share, each] = [flows, rate].map((all) => Math.floor(all / this.clients.length));
    const ms = Math.ceil((1000 * share) / each);
    await Promise.all(
      this.clients.map(({ namespace, address, firstHop }) =>
        namespace.run(generator(share, each, ms, { client: address, server: SERVER }, firstHop)),
      ),
    );
  }

  /** MemTotal − MemAvailable, in MiB. */
  async memoryUsed(): Promise<number> {
    const { console } = this.machine;
    const said = console.text.length;
    console.type("\n");
    await console.says(/MemAvailable: \d+\r\n/, said);
    const [total = 0, available = 0] = ["MemTotal", "MemAvailable"].map((name) =>
      Number(new RegExp(`${name}: (\\d+)`).exec(console.text.slice(said))?.[1]),
    );
    return (total - available) / 1024;
  }
}
