// The image under QEMU, emulated, with its interfaces as taps inside other namespaces. Without a bridge between, what the
// client's and the internet's kernels hand over arrives in the appliance with its segmentation offload.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Monitor } from "./monitor.ts";
import type { Lab, Namespace, Program } from "./namespaces.ts";

const DIST = join(import.meta.dir, "../dist");

/** Kernel options of all machines: the console is QEMU's standard output, and a panic ends QEMU. */
const KERNEL_OPTIONS = "console=ttyS0 quiet loglevel=3 panic=-1";

/**
 * The CPU, without what emulation is slow at and hardware is not: string instructions that a kernel then prefers for copies, and
 * supervisor mode access prevention, switched at each of them. With these TCP through the appliance took six times as long.
 */
const CPU = "max,-erms,-fsrm,-smap";

/** What a network card of QEMU's can't do for its machine, nor the machine for it. */
const NO_OFFLOADS = ["csum", "gso", "host_tso4", "host_tso6", "guest_csum", "guest_tso4", "guest_tso6", "guest_ecn"]
  .map((feature) => `,${feature}=off`)
  .join("");

/** From the kernel's first instruction to forwarding takes 4 s here, on a busy machine minutes; in ms. */
const BOOT_PATIENCE = 300_000;

export interface MachineOptions {
  /** Path of a configuration for QEMU's firmware configuration. */
  readonly config?: string;
  /** More kernel options. */
  readonly kernelOptions?: string;
  /** Path of a kernel; the image's own without it. */
  readonly kernel?: string;
  /** Path of an initramfs; the image's own without it. */
  readonly initramfs?: string;
  /** MiB of memory. */
  readonly memory?: number;
  /** Path of a socket: the other end of the machine's port for control. */
  readonly port?: string;
  /** Number of an interface without offloads: its checksums are whole on the cable, in both directions, and its segments cut. */
  readonly bare?: number;
  /** Is called, and waited for, when the cables are there and before the machine's first instruction. */
  readonly onPlugged?: () => Promise<void>;
}

export class Machine {
  private constructor(
    readonly console: Program,
    private readonly monitor: Monitor,
  ) {}

  /**
   * Boots the image, its eth0, eth1 … being cables to the eth0 of each of `neighbours`.
   * @param folder for the control socket
   */
  static async boot(
    lab: Lab,
    folder: string,
    neighbours: readonly Namespace[],
    options: MachineOptions = {},
  ): Promise<Machine> {
    const namespace = lab.namespace("machine");
    const socket = join(folder, `${namespace.name}.monitor`);
    const taps = neighbours.map((_, i) => `tap${i}`);
    const console = namespace.start(commandLine(options, taps, socket), "pipe");
    const monitor = await Promise.race([Monitor.connect(socket), endOf(console)]);
    // A tap that QEMU has opened stays QEMU's in whichever namespace it is.
    for (const [i, neighbour] of neighbours.entries()) {
      namespace.ip("link", "set", taps[i] ?? "", "netns", neighbour.name, "name", "eth0");
      neighbour.ip("link", "set", "eth0", "up");
    }
    await options.onPlugged?.();
    await monitor.execute("cont");
    return new Machine(console, monitor);
  }

  /** Waits until the console has the whole of a line with `text` in it. */
  async says(text: string): Promise<void> {
    await this.console.says(text, 0, BOOT_PATIENCE);
    await this.console.says("\n", this.console.text.indexOf(text));
  }

  /** What the firewall answers on its console to Enter: counters and flows. */
  async state(): Promise<string> {
    const said = this.console.text.length;
    this.console.type("\n");
    await this.console.says(/flows: \d+\r\n/, said);
    const [, flows] = /flows: (\d+)/.exec(this.console.text.slice(said)) ?? [];
    await this.console.says(new RegExp(`flows: \\d+\r\n(.* flow: .*\r\n){${flows}}`), said);
    return this.console.text.slice(said).replaceAll("\r", "").trim();
  }

  /** Pulls the plug, and waits for the end. */
  async unplug(): Promise<void> {
    this.console.signal("SIGKILL");
    await this.console.end();
    this.monitor.close();
  }

  /** Presses the power button until init says that it heard, and waits for the end. @returns QEMU's exit status */
  async powerOff(): Promise<number> {
    let heard = false;
    for (let press = 0; press < 10 && !heard; press++) {
      await this.monitor.execute("system_powerdown");
      heard = await this.console.says("init: poweroff", 0, 2000).then(
        () => true,
        () => false, // so early after boot that acpid does not listen yet
      );
    }
    if (!heard) throw new Error(`the machine does not hear its power button:\n${this.console.text}`);
    const status = await this.console.end();
    this.monitor.close();
    return status;
  }
}

function commandLine(options: MachineOptions, taps: readonly string[], socket: string): string[] {
  const kernel = options.kernel ?? join(DIST, "vmlinuz");
  const initramfs = options.initramfs ?? join(DIST, "initramfs");
  for (const file of [kernel, initramfs]) {
    if (!existsSync(file)) throw new Error(`${file} is not there (make it: build/appliance.sh build)`);
  }
  const cables = taps.flatMap((tap, i) => [
    ...["-netdev", `tap,id=${tap},ifname=${tap},script=no,downscript=no`],
    ...["-device", `virtio-net-pci,netdev=${tap},mac=52:54:00:00:00:0${i}${i === options.bare ? NO_OFFLOADS : ""}`],
  ]);
  const config = options.config === undefined ? [] : ["-fw_cfg", `name=opt/firebreak/config,file=${options.config}`];
  const port = options.port === undefined ? [] : portOptions(options.port);
  return [
    ...["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", CPU, "-m", String(options.memory ?? 256)],
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"],
    ...["-S", "-qmp", `unix:${socket},server=on,wait=off`],
    ...["-kernel", kernel, "-initrd", initramfs],
    ...["-append", `${KERNEL_OPTIONS} ${options.kernelOptions ?? ""}`],
    ...config,
    ...port,
    ...cables,
  ];
}

function portOptions(path: string): string[] {
  return [
    ...["-device", "virtio-serial", "-chardev", `socket,id=control,path=${path},server=on,wait=off`],
    ...["-device", "virtserialport,chardev=control,name=org.firebreak.control"],
  ];
}

async function endOf(qemu: Program): Promise<never> {
  const status = await qemu.end();
  throw new Error(`QEMU exited ${status}:\n${qemu.text}`);
}
