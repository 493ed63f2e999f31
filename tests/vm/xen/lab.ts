// A Xen on this machine, under QEMU's emulation: the hypervisor, dom0 with the test double in it, and guests made with xl.
// What it boots is in dist/xen (build/xen.sh). Everything takes long: a guest some ten seconds.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Subprocess } from "bun";
import type { CallResult } from "../../support/qrexec-double.ts";
import { type Answer, type Facts, put, type Ran, type Request, type Talked, take } from "./dom0/mail.ts";

const XEN = join(import.meta.dir, "../../../dist/xen");
const SHARE = join(XEN, "share");
const MAIL = join(SHARE, "mail");
const CONSOLES = join(SHARE, "console");
const LOGS = join(XEN, "logs");

/** How long booting dom0 may take, and answering one request, in ms. */
const BOOT_PATIENCE = 600_000;
const PATIENCE = 300_000;
const TALK_PATIENCE = 900_000;

/** Characters of a console that an error shows. */
const SHOWN = 3000;

/** dom0 dies at once with SMAP, at an iretq. */
const CPU = "max,-smap,-xsave,-avx,-avx2,-f16c,-fma,-vaes,-pku";

/** What xl calls a way of virtualising. */
export type GuestType = "pv" | "pvh";

export class XenLab {
  private lastRequest = 0;

  private constructor(private readonly qemu: Subprocess) {}

  static async boot(): Promise<XenLab> {
    for (const folder of [MAIL, CONSOLES, LOGS]) {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
    }
    const hypervisor = [
      ...["com1=115200,8n1", "console=com1", "dom0_mem=768M,max:768M", "dom0_max_vcpus=1", "dom0_vcpus_pin=0"],
      ...["noreboot", "guest_loglvl=warning", "loglvl=warning"],
    ];
    const dom0 = `${join(XEN, "current/vmlinuz")} console=hvc0 panic=1 mitigations=off quiet,${join(XEN, "current/dom0")}`;
    const qemu = Bun.spawn(
      [
        ...[
          "setpriv",
          "--pdeathsig",
          "KILL", // also when the tests end without a word
          "qemu-system-x86_64",
          "-machine",
          "pc",
          "-accel",
          "tcg,thread=multi",
          "-cpu",
          CPU,
          "-m",
          "2048",
          "-smp",
          "2",
        ],
        ...["-display", "none", "-no-reboot", "-nic", "none", "-monitor", "none"],
        ...["-serial", `file:${join(LOGS, "console.log")}`],
        ...["-kernel", join(XEN, "current/xen"), "-append", hypervisor.join(" "), "-initrd", dom0],
        ...["-fsdev", `local,id=share,path=${SHARE},security_model=none`],
        ...["-device", "virtio-9p-pci,fsdev=share,mount_tag=share"],
      ],
      { stdin: "ignore", stdout: "ignore", stderr: "inherit" },
    );
    const lab = new XenLab(qemu);
    await lab.consoleSays("double: up", BOOT_PATIENCE);
    return lab;
  }

  /** What Xen, dom0 and the double have said. */
  get console(): string {
    return readLog(join(LOGS, "console.log"));
  }

  /**
   * @returns how long something took, in ms: by the clock, and without the time that the emulated machine's threads had to wait
   * for a processor of this machine, which may have other things to do
   */
  async timed(action: () => Promise<void>): Promise<{ clock: number; own: number }> {
    const start = performance.now();
    const waited = this.waited();
    await action();
    const clock = performance.now() - start;
    return { clock, own: Math.max(0, clock - (this.waited() - waited)) };
  }

  /** @returns ms that QEMU's threads were ready to run, and did not: all of them together */
  private waited(): number {
    const tasks = `/proc/${this.qemu.pid}/task`;
    return readdirSync(tasks).reduce((sum, task) => sum + waitOf(`${tasks}/${task}/schedstat`), 0) / 1e6;
  }

  async stop(): Promise<void> {
    this.qemu.kill("SIGKILL");
    await this.qemu.exited;
  }

  /** A shell command in dom0. @throws with its output, when it fails */
  async run(command: string): Promise<string> {
    const { status, output } = (await this.ask({ do: "run", command })) as Ran;
    if (status !== 0) throw new Error(`${command} exited ${status}:\n${output}`);
    return output.trim();
  }

  /** A shell command in a guest, which has so many seconds for it. */
  async in(guest: string, command: string, seconds = 60): Promise<Ran> {
    return (await this.ask({ do: "in", guest, command, seconds })) as Ran;
  }

  async call(command: string, input = ""): Promise<CallResult> {
    return (await this.ask({ do: "call", command, input })) as CallResult;
  }

  async dump(): Promise<Record<string, string>> {
    return (await this.ask({ do: "dump" })) as Record<string, string>;
  }

  /** Exchanges messages with the echo in a domain; that gives up by itself when nothing comes back any more. */
  async talk(domain: number, server: "dom0" | "guest", messages: number): Promise<Talked> {
    return (await this.ask({ do: "talk", domain, server, messages }, TALK_PATIENCE)) as Talked;
  }

  async facts(): Promise<Facts> {
    return (await this.ask({ do: "facts" })) as Facts;
  }

  /** @param patience ms. @returns the answer's value. @throws the answer's error, or when none came in time */
  async ask(request: Request, patience = PATIENCE): Promise<unknown> {
    const number = String(++this.lastRequest);
    put(MAIL, `${number}.request`, request);
    await this.until(
      `an answer to ${JSON.stringify(request)}`,
      () => existsSync(join(MAIL, `${number}.answer`)),
      patience,
    );
    const { value, error } = take(MAIL, `${number}.answer`) as Answer;
    if (error !== undefined) throw new Error(error);
    return value;
  }

  /** Starts a guest. @param lines of xl's configuration besides name and what all have */
  async create(name: string, type: GuestType, lines: readonly string[]): Promise<number> {
    const config = [`name="${name}"`, `type="${type}"`, 'tsc_mode="native"', "vcpus=1", ...lines].join("\n");
    writeFileSync(join(SHARE, `${name}.cfg`), `${config}\n`);
    await this.run(`xl create /share/${name}.cfg`);
    return Number(await this.run(`xl domid ${name}`));
  }

  /** What a guest's console has said since it was created. */
  guestConsole(name: string): string {
    return readLog(join(CONSOLES, `guest-${name}.log`));
  }

  /** Waits until a guest's console has said something. @returns all it has said */
  async guestSays(name: string, pattern: string | RegExp, patience = PATIENCE): Promise<string> {
    const deadline = performance.now() + patience;
    for (;;) {
      const text = this.guestConsole(name);
      if (typeof pattern === "string" ? text.includes(pattern) : pattern.test(text)) return text;
      if (performance.now() > deadline) throw new Error(`${name} did not say ${pattern}:\n${text.slice(-SHOWN)}`);
      await Bun.sleep(200);
    }
  }

  private async consoleSays(text: string, patience: number): Promise<void> {
    await this.until(`"${text}" on the console`, () => this.console.includes(text), patience);
  }

  private async until(what: string, condition: () => boolean, patience = PATIENCE): Promise<void> {
    const deadline = performance.now() + patience;
    while (!condition()) {
      if (this.qemu.exitCode !== null) throw new Error(`QEMU ended:\n${this.console.slice(-SHOWN)}`);
      if (performance.now() > deadline) throw new Error(`waited in vain for ${what}:\n${this.console.slice(-SHOWN)}`);
      await Bun.sleep(20);
    }
  }
}

/** @returns ns; 0 for a thread that has just ended */
function waitOf(schedstat: string): number {
  try {
    const [, waited] = readFileSync(schedstat, "utf8").split(" "); // ns run, ns waited, times run
    return Number(waited);
  } catch {
    return 0;
  }
}

/** What a console has said so far. */
function readLog(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8").replaceAll("\r", "") : "";
}
