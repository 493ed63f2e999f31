// The machines of `vm` and `size`: the firewall's image and its Linux peer, on Debian's kernel, under the same emulation, each
// between a client and an internet of its own. Both tell how much memory they use when they get a line of input.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Lab, type Namespace } from "../tests/net/namespaces.ts";
import { becomeClient, becomeInternet, CLIENT_GATEWAY, configuration, SERVER, UPLINK } from "../tests/net/places.ts";
import { Machine } from "../tests/vm/machine.ts";
import { overlay } from "../tests/vm/overlay.ts";
import { BENCH_FOLDER } from "./subjects.ts";

/** MAC addresses that Machine gives. */
export const MACHINE_MAC = { inside: "52:54:00:00:00:00", outside: "52:54:00:00:00:01" };

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
}

/** @param folder for files; the caller's to remove */
export function firebreakImage(folder: string): Image {
  const config = join(folder, "firebreak.toml");
  writeFileSync(config, configuration([], "accept"));
  return { initramfs: overlay(folder, { firebreak: { content: PROGRAM, mode: 0o755 } }), config };
}

export function linuxImage(): Image {
  return { kernel: join(BENCH_FOLDER, "kernel/vmlinuz"), initramfs: join(BENCH_FOLDER, "linux") };
}

/** Rejects when a machine ends: with too little memory its kernel panics. */
async function endOf({ console }: Machine): Promise<never> {
  await console.end();
  throw new Error(`the machine ended:\n${console.text}`);
}

/** A machine that forwards. */
export class Booted {
  private constructor(
    readonly client: Namespace,
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
    const client = lab.namespace("client");
    const internet = lab.namespace("internet");
    const machine = await Machine.boot(lab, folder, [client, internet], { ...image, memory });
    const started = performance.now();
    becomeClient(client);
    becomeInternet(internet);
    // So that nobody waits a second to ask again for what is not up yet.
    client.ip("neighbour", "add", CLIENT_GATEWAY, "lladdr", MACHINE_MAC.inside, "dev", "eth0");
    internet.ip("neighbour", "add", UPLINK, "lladdr", MACHINE_MAC.outside, "dev", "eth0");
    const ping = client.start(["ping", "-n", "-i", "0.02", SERVER]);
    await Promise.race([ping.says("bytes from", 0, patience), endOf(machine)]);
    const bootTime = (performance.now() - started) / 1000;
    ping.signal("SIGINT");
    await ping.end();
    return new Booted(client, internet, machine, bootTime);
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
